#include "commands/ping.h"

#include <fmt/format.h>
#include <sysexits.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/event_loop.h"
#include "base/key_mask.h"
#include "base/text.h"
#include "commands/key_advice.h"
#include "commands/ledger_access.h"
#include "dashscope/error_codes.h"
#include "dashscope/http_client.h"
#include "dashscope/key_check.h"
#include "dashscope/targets.h"
#include "ledger/ledger.h"
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

std::string describe(const Refusal& refusal, const std::string& bot) {
  const std::string command = bot == kDefaultBot ? "" : " --bot " + bot;
  switch (refusal.cause) {
    case Refusal::Cause::kUsedUp:
    case Refusal::Cause::kVisitorUsedUp:
      return fmt::format("the tokens of a cap are used up: bailian-fcgi usage{} shows which", command);
    case Refusal::Cause::kPaused:
      return fmt::format("the bot is paused: bailian-fcgi resume{} ends that", command);
    case Refusal::Cause::kUnknown:
      return "the ledger cannot be used, so the tokens left of the caps are unknown (CAPS_ON_FAULT)";
    case Refusal::Cause::kUnderWay:
      break;  // it has no Idempotency-Key
  }
  return "";
}

class Ping : private AnswerHandler, private LeaseHandler {
 public:
  /// Asks the first target, as far as `ledger` allows it; nullptr: there is none.
  Ping(const Config& config, Ledger* ledger)
      : config_(config),
        ledger_(ledger),
        target_(config.targets.front()),
        loop_(std::chrono::nanoseconds::zero()),
        targets_(loop_, config, healths_, received_),
        started_(Clock::now()) {}

  int run() {
    question_.prompt = "Say OK.";
    if (take_lease()) loop_.run();
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

  // False: there is none.
  bool take_lease() {
    if (ledger_ == nullptr) {
      ask();
      return true;
    }
    const Spending spending = {config_.name, "", question_.prompt.size() + config_.system_prompt.size()};
    auto taken = ledger_->take(loop_, spending, *this);
    if (const Refusal* const refusal = std::get_if<Refusal>(&taken)) {
      refuse(*refusal);
      return false;
    }
    lease_ = std::get<std::unique_ptr<Lease>>(std::move(taken));
    if (!lease_->is_pending()) ask();
    return true;
  }

  void ask() { completion_ = targets_.ask(question_, AnswerMode::kStream, *this); }

  void refuse(const Refusal& refusal) {
    fmt::print("{} is not asked: {}\n", target_.base_url, describe(refusal, config_.name));
    exit_code_ = EX_TEMPFAIL;
  }

  void on_leased() override { ask(); }

  void on_lease_refused(const Refusal& refusal) override {
    refuse(refusal);
    loop_.stop();
  }

  // Counts what the answer has cost so far.
  void settle() {
    if (!lease_ || !completion_) return;
    const Answer& answer = completion_->answer();
    const bool fits = answer.has_usage ? lease_->settle(answer.usage) : lease_->settle_estimate(text_bytes_);
    if (fits) return;
    completion_->cancel();
    fmt::print("{} was cut off: {}\n", target_.base_url, describe(lease_->refusal(), config_.name));
    exit_code_ = EX_TEMPFAIL;
    loop_.stop();
  }

  void on_text(std::string_view text) override {
    if (!first_token_ms_) first_token_ms_ = elapsed_ms();
    text_bytes_ += text.size();
    settle();
  }

  void on_thought(std::string_view text) override {
    text_bytes_ += text.size();
    settle();
  }

  void on_retry(const UpstreamError&) override {
    if (lease_) lease_->start_next_attempt();
    text_bytes_ = 0;
  }

  void on_finished(const Answer& answer) override {
    fmt::print("{} answered in {:.0f} ms (first token after {:.0f} ms)\n", target_.base_url, elapsed_ms(),
               first_token_ms_.value_or(elapsed_ms()));
    fmt::print("model {}, {} input and {} output tokens, request id {}\n",
               answer.model.empty() ? "not named" : scrub(answer.model, target_.api_key),
               answer.usage.input_tokens, answer.usage.output_tokens,
               scrub(answer.request_id, target_.api_key));
    if (lease_) {
      if (answer.has_usage) static_cast<void>(lease_->settle(answer.usage));
      lease_->finish();
    }
    exit_code_ = EX_OK;
    loop_.stop();
  }

  void on_failed(const UpstreamError& error) override {
    if (lease_ && completion_->answer().has_usage)
      static_cast<void>(lease_->settle(completion_->answer().usage));
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
  Ledger* const ledger_;
  const Target& target_;
  EventLoop loop_;
  Tally received_;
  TargetHealths healths_;
  Targets targets_;
  Clock::time_point started_;
  Question question_;
  std::unique_ptr<Lease> lease_;
  std::unique_ptr<Completion> completion_;
  size_t text_bytes_ = 0;  // of the attempt under way, with thoughts
  std::optional<double> first_token_ms_;
  std::optional<UpstreamError> error_;
  int exit_code_ = EX_SOFTWARE;
};

// Asks this target alone. Returns the exit code.
int ping_target(Config config, const Target& target, const std::string& env_file, Ledger* ledger) {
  if (config.targets.size() > 1) fmt::print("target {}, application {}:\n", target.number, target.app_id);
  if (target.api_key.empty() || target.app_id.empty()) {
    const bool is_key = target.api_key.empty();
    fmt::print("{} is not configured: put it into {}\n",
               numbered(is_key ? "DASHSCOPE_API_KEY" : "APP_ID", target.number),
               is_key && !target.api_key_file.empty() ? target.api_key_file : env_file);
    return EX_CONFIG;
  }
  config.targets = {target};
  return Ping(config, ledger).run();
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
  const auto ledger = open_ledger_as_owner(main);
  if (const std::string fault = ledger ? ledger->fault() : ""; !fault.empty())
    fmt::print(stderr, "warning: the ledger cannot be used, so the tokens of this are not counted: {}\n",
               printable(fault));
  const CurlLibrary curl;
  int exit_code = EX_OK;
  for (const Target& target : config->targets) {
    const int result = ping_target(*config, target, file, ledger.get());
    if (exit_code == EX_OK) exit_code = result;
  }
  return exit_code;
}

}  // namespace bailian
