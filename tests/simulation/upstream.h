#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "simulation/record.h"
#include "simulation/world.h"

namespace bailian::simulation {

/// The start of a response.
struct Head {
  int status = 200;
  std::string content_type;
  long retry_after_s = 0;
  bool ends_with_connection = false;  // neither a length nor chunks
};

/// libcurl's connection to the upstream.
class Connection final : public File {
 public:
  enum class State { kConnecting, kConnected, kRefused };

  State state = State::kConnecting;
  bool is_untrusted = false;      // the TLS handshake fails
  size_t upload_room = SIZE_MAX;  // bytes of a request that the kernel takes now

  // What has arrived.
  std::optional<Head> head;
  std::string body;
  bool has_end = false;    // of the response
  bool is_closed = false;  // by the upstream
  bool is_reset = false;
  bool is_answering = false;  // has begun a response

  [[nodiscard]] bool is_readable() const override {
    return head || !body.empty() || has_end || is_closed || state == State::kRefused;
  }
  [[nodiscard]] bool is_writable() const override { return state != State::kConnecting && upload_room > 0; }
  void on_close() override;

 private:
  friend class Upstream;
  int id_ = 0;
};

/// Stands in for DashScope: decides the fate of each connection and how each request is answered. Answers and
/// errors have the forms described in tests/simulator/contract.md.
class Upstream {
 public:
  /// A new connection. opened() decides its fate.
  std::unique_ptr<Connection> connect();
  /// To be called with each connection that libcurl has opened.
  void opened(int descriptor);
  /// A whole request has arrived.
  void receive(int descriptor, std::string_view url, std::string_view headers, std::string_view body);
  /// Likewise a HEAD request.
  void receive_head(int descriptor, std::string_view url, std::string_view headers);
  /// libcurl keeps the connection after a response.
  void keep(int descriptor);

 private:
  struct Step {
    Duration delay{};
    std::optional<Head> head{};
    std::string bytes{};
    bool ends = false;
    bool closes = false;
    bool resets = false;
    std::optional<Attempt> after{};  // the attempt once this step is sent
  };
  struct Play;

  Connection* find(int descriptor, int id) const;
  void run(std::shared_ptr<Play> play);
  void plan_answer(Play& play);
  void plan_error(Play& play);

  int connections_ = 0;
};
extern Upstream* upstream;

}  // namespace bailian::simulation
