#include "commands/ping.h"

#include <fmt/format.h>
#include <sysexits.h>

#include <cstdio>
#include <optional>

#include "base/event_loop.h"
#include "base/key_mask.h"
#include "base/text.h"
#include "dashscope/client.h"
#include "dashscope/error_codes.h"
#include "dashscope/http_client.h"

namespace bailian {
namespace {

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
    fmt::print("{} answered in {:.0f} ms (first token after {:.0f} ms)\n", config_.targets.front().base_url,
               elapsed_ms(), first_token_ms_.value_or(elapsed_ms()));
    fmt::print("model {}, {} input and {} output tokens, request id {}\n",
               answer.model.empty() ? "not named" : scrub(answer.model, config_.targets.front().api_key),
               answer.usage.input_tokens, answer.usage.output_tokens,
               scrub(answer.request_id, config_.targets.front().api_key));
    exit_code_ = EX_OK;
    loop_.stop();
  }

  void on_failed(const UpstreamError& error) override {
    const Fault& fault = describe(error.fault);
    fmt::print("{} failed after {:.0f} ms: {}\n", config_.targets.front().base_url, elapsed_ms(),
               to_http_error(error, true, config_.targets.front().api_key).what());
    if (!error.request_id.empty())
      fmt::print("request id {}\n", scrub(error.request_id, config_.targets.front().api_key));
    fmt::print("{}\n", fault.advice);
    exit_code_ = fault.exit_code;
    loop_.stop();
  }

  void on_exception(const std::exception&) noexcept override {
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

int ping(const SettingsSource& source, const std::string& bot) {
  const Config main = load_settings(source).config;
  const Config* const found = find_bot(main, bot);
  if (found == nullptr) {
    fmt::print(stderr, "bailian-fcgi: --bot: there is no bot {}\n", printable(bot));
    return EX_USAGE;
  }
  const Config& config = *found;
  const std::string file =
      bot == kDefaultBot ? source.env_file.value_or(".env") : fmt::format("{}/{}.env", main.bots_dir, bot);
  if (config.targets.front().api_key.empty() || config.targets.front().app_id.empty()) {
    const bool is_key = config.targets.front().api_key.empty();
    fmt::print(
        "{} is not configured: put it into {}\n", is_key ? "DASHSCOPE_API_KEY" : "APP_ID",
        is_key && !config.targets.front().api_key_file.empty() ? config.targets.front().api_key_file : file);
    return EX_CONFIG;
  }
  const CurlLibrary curl;
  return Ping(config).run();
}

}  // namespace bailian
