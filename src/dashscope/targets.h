#pragma once

#include <bitset>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <string_view>
#include <vector>

#include "base/event_loop.h"
#include "dashscope/client.h"
#include "dashscope/completion.h"
#include "dashscope/session_id.h"
#include "settings/config.h"
#include "settings/settings_table.h"
#include "telemetry/metrics.h"

namespace bailian {

/// The targets of one bot in their order, and who asks which. Loop thread only.
class Targets {
 public:
  /// `config` and `received`, which counts the bytes of answers, must outlive it. Throws std::bad_alloc.
  Targets(EventLoop& loop, const Config& config, TargetHealths& healths, Tally& received);

  /// At least one must be configured. `mode` and `started`: see Completion.
  std::unique_ptr<Completion> ask(const Question& question, AnswerMode mode, AnswerHandler& handler,
                                  Clock::time_point started = Clock::now()) {
    return std::make_unique<Completion>(*this, question, mode, handler, started);
  }

  /// Makes a connection ready for a question that may come soon, to the target that would be asked.
  void expect_question(Metrics& metrics) noexcept;
  void stop_expecting() noexcept {
    for (DashScopeClient& client : clients_) client.stop_expecting();
  }

  /// Those that are configured: with a key and an application.
  [[nodiscard]] const std::deque<DashScopeClient>& clients() const { return clients_; }

 private:
  friend class Completion;
  using Asked = std::bitset<kMaxTargets>;  // by index
  struct Choice {
    size_t index;
    TargetHealth::Probe probe;
  };

  /// The first that is well, or may be probed, and was not asked; `preferred` before the others.
  std::optional<Choice> choose(const Asked& asked, std::optional<size_t> preferred, Clock::time_point now);
  /// The one whose rest ends first; of those that were not asked.
  [[nodiscard]] std::optional<Choice> choose_resting(const Asked& asked, Clock::time_point now) const;
  [[nodiscard]] bool has_several() const { return clients_.size() > 1; }
  [[nodiscard]] SentSession read_session(std::string_view sent) const;

  EventLoop& loop_;
  const Config& config_;
  Tally& received_;
  std::deque<DashScopeClient> clients_;
  std::minstd_rand jitter_;
};

}  // namespace bailian
