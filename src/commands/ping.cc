#include "commands/ping.h"

#include <fmt/format.h>
#include <sysexits.h>

#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/event_loop.h"
#include "base/key_mask.h"
#include "base/text.h"
#include "commands/key_advice.h"
#include "dashscope/error_codes.h"
#include "dashscope/http_client.h"
#include "dashscope/key_check.h"
#include "dashscope/targets.h"
#include "settings/settings_table.h"

namespace bailian {
namespace {

// Asks for the quotas of the key if that may tell what is wrong. Prints what it has found, and returns what
// to do about it; empty when it cannot tell.
std::string find_cause(const Config& config, const Target& target, const UpstreamError& error) {
  std::vector<KeyFinding> findings;
  if (is_about_access(error)) findings = ask_quotas(config, target, {target.base_url});
  const bool is_refused = !findings.empty() && findings.front().answer == KeyAnswer::kRefused;
  if (is_refused || has_no_connection(error)) {
    for (KeyFinding& finding : ask_quotas(config, target, other_addresses(target.base_url)))
      findings.push_back(std::move(finding));
  }
  if (!findings.empty()) fmt::print("asked for the quotas of the key, which is not billed:\n");
  for (const KeyFinding& finding : findings) fmt::print("  {}\n", describe(finding, target.api_key));
  return key_advice(target, findings);
}

class Ping : private AnswerHandler {
 public:
  /// Asks the first target.
  explicit Ping(const Config& config)
      : config_(config),
        target_(config.targets.front()),
        loop_(std::chrono::nanoseconds::zero()),
        targets_(loop_, config, healths_, received_),
        started_(Clock::now()) {}

  int run() {
    Question question;
    question.prompt = "Say OK.";
    const auto completion = targets_.ask(question, AnswerMode::kStream, *this);
    loop_.run();
    if (error_) advise(*error_);
    return exit_code_;
  }

 private:
  [[nodiscard]] double elapsed_ms() const {
    return std::chrono::duration<double, std::milli>(Clock::now() - started_).count();
  }

  void advise(const UpstreamError& error) const {
    const std::string advice = find_cause(config_, target_, error);
    fmt::print("{}\n", advice.empty() ? describe(error.fault).advice : advice);
  }

  void on_text(std::string_view) override {
    if (!first_token_ms_) first_token_ms_ = elapsed_ms();
  }

  void on_finished(const Answer& answer) override {
    fmt::print("{} answered in {:.0f} ms (first token after {:.0f} ms)\n", target_.base_url, elapsed_ms(),
               first_token_ms_.value_or(elapsed_ms()));
    fmt::print("model {}, {} input and {} output tokens, request id {}\n",
               answer.model.empty() ? "not named" : scrub(answer.model, target_.api_key),
               answer.usage.input_tokens, answer.usage.output_tokens,
               scrub(answer.request_id, target_.api_key));
    exit_code_ = EX_OK;
    loop_.stop();
  }

  void on_failed(const UpstreamError& error) override {
    const Fault& fault = describe(error.fault);
    fmt::print("{} failed after {:.0f} ms: {}\n", target_.base_url, elapsed_ms(),
               to_http_error(error, true, target_.api_key).what());
    if (!error.request_id.empty()) fmt::print("request id {}\n", scrub(error.request_id, target_.api_key));
    exit_code_ = fault.exit_code;
    error_ = error;
    loop_.stop();
  }

  void on_exception(const std::exception&) noexcept override {
    exit_code_ = EX_OSERR;
    std::fputs("bailian-fcgi: out of memory\n", stderr);
    loop_.stop();
  }

  const Config& config_;
  const Target& target_;
  EventLoop loop_;
  Tally received_;
  TargetHealths healths_;
  Targets targets_;
  Clock::time_point started_;
  std::optional<double> first_token_ms_;
  std::optional<UpstreamError> error_;
  int exit_code_ = EX_SOFTWARE;
};

// Asks this target alone. Returns the exit code.
int ping_target(Config config, const Target& target, const std::string& env_file) {
  if (config.targets.size() > 1) fmt::print("target {}, application {}:\n", target.number, target.app_id);
  if (target.api_key.empty() || target.app_id.empty()) {
    const bool is_key = target.api_key.empty();
    fmt::print("{} is not configured: put it into {}\n",
               numbered(is_key ? "DASHSCOPE_API_KEY" : "APP_ID", target.number),
               is_key && !target.api_key_file.empty() ? target.api_key_file : env_file);
    return EX_CONFIG;
  }
  config.targets = {target};
  return Ping(config).run();
}

}  // namespace

int ping(const SettingsSource& source, const std::string& bot) {
  const Config main = load_settings(source).config;
  const Config* const config = find_bot(main, bot);
  if (config == nullptr) {
    fmt::print(stderr, "bailian-fcgi: --bot: there is no bot {}\n", printable(bot));
    return EX_USAGE;
  }
  const std::string file =
      bot == kDefaultBot ? source.env_file.value_or(".env") : fmt::format("{}/{}.env", main.bots_dir, bot);
  const CurlLibrary curl;
  int exit_code = EX_OK;
  for (const Target& target : config->targets) {
    const int result = ping_target(*config, target, file);
    if (exit_code == EX_OK) exit_code = result;
  }
  return exit_code;
}

}  // namespace bailian
