#include "control.h"

#include <charconv>
#include <optional>
#include <string>

#include "stats_wait.h"
#include "wire_format.h"

namespace bailian::simulator {
namespace {

constexpr std::string_view kJsonType = "application/json";

// An answer that is written at once.
class ShortReply : public Exchange {
 public:
  ShortReply(Connection& connection, const HttpRequest& request, int status, std::string_view body) {
    connection.write(http_reply(status, kJsonType, body, request));
  }
  Next on_drained() override { return Next::kFinish; }
};

std::string fault(std::string_view message) { return R"({"message":)" + json_string(message) + "}"; }

std::optional<std::int64_t> number(std::string_view value) {
  std::int64_t result = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result);
  if (value.empty() || error != std::errc() || end != value.data() + value.size()) return std::nullopt;
  return result;
}

std::optional<StatsGoal> parse_goal(const HttpRequest& request) {
  const auto field = Stats::find(request.parameter("wait"));
  const auto at_least = number(request.parameter("at_least"));
  const auto at_most = number(request.parameter("at_most"));
  const auto timeout = request.parameter("timeout_ms");
  const auto timeout_ms = timeout.empty() ? 5000 : number(timeout);
  constexpr std::int64_t kDay = 86'400'000;
  if (!field || at_least.has_value() == at_most.has_value()) return std::nullopt;
  if (!timeout_ms || *timeout_ms < 0 || *timeout_ms > kDay) return std::nullopt;
  return StatsGoal{*field, at_least, at_most, milliseconds(*timeout_ms)};
}

}  // namespace

std::unique_ptr<Exchange> Control::answer(Connection& connection, const HttpRequest& request) {
  const auto reply = [&](int status, std::string_view body) {
    return std::make_unique<ShortReply>(connection, request, status, body);
  };
  if (!request.is_post) return answer_get(connection, request);
  if (request.path == "/control/release") {
    gate_.open();
    return reply(204, "");
  }
  if (request.path == "/control/reset") {
    dashscope_.reset();
    return reply(204, "");
  }
  return reply(404, fault("no such control endpoint; see simulator --help"));
}

std::unique_ptr<Exchange> Control::answer_get(Connection& connection, const HttpRequest& request) {
  if (request.path == "/control/stats") return answer_stats(connection, request);
  int status = 200;
  std::string body;
  if (request.path != "/control/last-request") {
    status = 404;
    body = fault("no such control endpoint; see simulator --help");
  } else if (body = dashscope_.last_request_json(); body.empty()) {
    status = 404;
    body = fault("no request yet");
  }
  return std::make_unique<ShortReply>(connection, request, status, body);
}

std::unique_ptr<Exchange> Control::answer_stats(Connection& connection, const HttpRequest& request) {
  if (request.parameter("wait").empty()) {
    return std::make_unique<ShortReply>(connection, request, 200, stats_.json());
  }
  const auto goal = parse_goal(request);
  if (!goal) {
    return std::make_unique<ShortReply>(connection, request, 400,
                                        fault("wait=FIELD and at_least=N or at_most=N [timeout_ms=T]"));
  }
  return std::make_unique<StatsWait>(base_, connection, request, stats_, *goal);
}

}  // namespace bailian::simulator
