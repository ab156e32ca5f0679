#include "ledger/redis_check.h"

#include <array>
#include <chrono>
#include <optional>
#include <string_view>

#include "base/event_loop.h"
#include "ledger/redis_connection.h"

namespace bailian {
namespace {

constexpr std::chrono::seconds kPatience{5};

// One question to the server.
class Inspection {
 public:
  explicit Inspection(const RedisAddress& address)
      : connection_(loop_, address,
                    {bind<&Inspection::on_ready>(this), bind<&Inspection::on_reply>(this),
                     bind<&Inspection::on_lost>(this)}),
        timeout_(loop_, bind<&Inspection::on_timeout>(this)) {}

  void run() {
    connection_.connect();
    timeout_.start(kPatience);
    loop_.run();
  }
  [[nodiscard]] const std::optional<RedisReply>& reply() const { return reply_; }
  [[nodiscard]] const std::string& fault() const { return fault_; }

 private:
  void on_ready() {
    constexpr std::array<std::string_view, 2> kWords{"INFO", "persistence"};
    connection_.send(kWords);
  }
  void on_reply(const RedisReply& reply) {
    reply_ = reply;
    loop_.stop();
  }
  void on_lost(const std::string& why) { end(why); }
  void on_timeout() { end("it does not answer"); }
  void end(const std::string& why) {
    fault_ = why;
    loop_.stop();
  }

  EventLoop loop_{std::chrono::nanoseconds(0)};
  RedisConnection connection_;
  Timer timeout_;
  std::optional<RedisReply> reply_;
  std::string fault_;
};

}  // namespace

std::vector<std::string> redis_warnings(const RedisAddress& address) {
  const std::string server = to_string(address);
  Inspection inspection(address);
  inspection.run();
  if (!inspection.reply()) return {"LEDGER: " + server + ": " + inspection.fault()};
  const RedisReply& reply = *inspection.reply();
  if (reply.text.find("aof_enabled:1") != std::string::npos) return {};
  if (reply.is_error() || reply.text.find("aof_enabled:0") == std::string::npos)
    return {"LEDGER: " + server + ": it does not say whether it has an append-only file (permission +info)"};
  return {"LEDGER: " + server +
          " has no append-only file: after a crash it has lost what was used, up to what its hosts remember "
          "(appendonly yes)"};
}

}  // namespace bailian
