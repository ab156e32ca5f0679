#include "commands/ping.h"

#include <fmt/format.h>
#include <sysexits.h>

#include <cstdio>
#include <optional>

#include "base/event_loop.h"
#include "base/key_mask.h"
#include "dashscope/client.h"
#include "dialects/myapi.h"

namespace bailian {
namespace {

struct Advice {
  std::string_view text;
  int exit_code;
};

Advice advice(UpstreamFault fault) {
  switch (fault) {
    case UpstreamFault::kAuth:
      return {"Check DASHSCOPE_API_KEY: it must be a key of the same region as DASHSCOPE_BASE_URL.",
              EX_NOPERM};
    case UpstreamFault::kApp:
      return {
          "Check APP_ID and that the application is published. The key must belong to its workspace, or set "
          "DASHSCOPE_WORKSPACE.",
          EX_CONFIG};
    case UpstreamFault::kQuota:
      return {
          "The account is in arrears, or its quota or monthly budget is used up: see the billing pages and "
          "Budget Management (预算管理) in the console.",
          EX_UNAVAILABLE};
    case UpstreamFault::kThrottled:
      return {"Too many requests at the moment; try again in a minute or have the limit raised.",
              EX_TEMPFAIL};
    case UpstreamFault::kTimeout:
      return {"Nothing came in time: check the network, a firewall and DASHSCOPE_BASE_URL.", EX_UNAVAILABLE};
    case UpstreamFault::kConnect:
      return {
          "No connection: check DNS, the firewall, the certificates (ca-certificates) and "
          "DASHSCOPE_BASE_URL.",
          EX_UNAVAILABLE};
    case UpstreamFault::kRejected:
    case UpstreamFault::kTooLarge:
    case UpstreamFault::kFailed:
      break;
  }
  return {"The upstream failed; its status page and the request id above help its support.", EX_UNAVAILABLE};
}

class Ping : private AnswerHandler {
 public:
  explicit Ping(const Config& config)
      : config_(config),
        loop_(std::chrono::nanoseconds::zero()),
        client_(loop_, config, received_),
        started_(Clock::now()) {}

  int run() {
    Question question;
    question.prompt = "Say OK.";
    const auto completion = client_.ask(question, AnswerMode::kStream, *this);
    loop_.run();
    return exit_code_;
  }

 private:
  [[nodiscard]] double elapsed_ms() const {
    return std::chrono::duration<double, std::milli>(Clock::now() - started_).count();
  }

  void on_text(std::string_view) override {
    if (!first_token_ms_) first_token_ms_ = elapsed_ms();
  }

  void on_finished(const Answer& answer) override {
    fmt::print("{} answered in {:.0f} ms (first token after {:.0f} ms)\n", config_.base_url, elapsed_ms(),
               first_token_ms_.value_or(elapsed_ms()));
    fmt::print("model {}, {} input and {} output tokens, request id {}\n",
               answer.model.empty() ? "not named" : scrub(answer.model, config_.api_key),
               answer.usage.input_tokens, answer.usage.output_tokens,
               scrub(answer.request_id, config_.api_key));
    exit_code_ = EX_OK;
    loop_.stop();
  }

  void on_failed(const UpstreamError& error) override {
    const Advice what_to_do = advice(error.fault);
    fmt::print("{} failed after {:.0f} ms: {}\n", config_.base_url, elapsed_ms(),
               to_http_error(error, true, config_.api_key).what());
    if (!error.request_id.empty()) fmt::print("request id {}\n", scrub(error.request_id, config_.api_key));
    fmt::print("{}\n", what_to_do.text);
    exit_code_ = what_to_do.exit_code;
    loop_.stop();
  }

  void on_lost() noexcept override {
    exit_code_ = EX_OSERR;
    std::fputs("bailian-fcgi: out of memory\n", stderr);
    loop_.stop();
  }

  const Config& config_;
  EventLoop loop_;
  Tally received_;
  DashScopeClient client_;
  Clock::time_point started_;
  std::optional<double> first_token_ms_;
  int exit_code_ = EX_SOFTWARE;
};

}  // namespace

int ping(const Config& config, const std::string& env_file) {
  if (config.api_key.empty() || config.app_id.empty()) {
    const bool is_key = config.api_key.empty();
    const std::string& file = is_key && !config.api_key_file.empty() ? config.api_key_file : env_file;
    fmt::print("{} is not configured: put it into {}\n", is_key ? "DASHSCOPE_API_KEY" : "APP_ID", file);
    return EX_CONFIG;
  }
  return Ping(config).run();
}

}  // namespace bailian
