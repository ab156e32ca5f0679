#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "ledger/file_ledger.h"
#include "unit/ledger/ledger_folder.h"

namespace bailian {

/// Until the ledger's thread or another process has come so far.
template <typename Condition>
bool await(Condition condition) {
  for (int i = 0; i < 60'000 && !condition(); ++i) ::usleep(1000);
  return condition();
}

class NoHandler final : public LeaseHandler {
  void on_leased() override { ADD_FAILURE(); }
  void on_lease_refused(const Refusal&) override { ADD_FAILURE(); }
};

inline Config config_for(const std::string& path) {
  Config config;
  config.ledger = path;
  return config;
}

struct FileLedgers : testing::Test {
  LedgerFolder folder;
  EventLoop loop{std::chrono::nanoseconds(0)};
  NoHandler handler;
  Config config = config_for(folder.ledger());
  std::unique_ptr<FileLedger> ledger;

  void open() {
    ledger.reset();
    ledger = std::make_unique<FileLedger>(config);
  }
  std::variant<std::unique_ptr<Lease>, Refusal> take(size_t bytes = 30,
                                                     std::string_view visitor = "192.0.2.1",
                                                     std::string_view bot = "default") {
    if (!ledger) open();
    return ledger->take(loop, {.bot = bot, .visitor = visitor, .question_bytes = bytes}, handler);
  }
  std::unique_ptr<Lease> lease(size_t bytes = 30, std::string_view visitor = "192.0.2.1",
                               std::string_view bot = "default") {
    auto taken = take(bytes, visitor, bot);
    if (const auto* const refusal = std::get_if<Refusal>(&taken))
      ADD_FAILURE() << "refused: " << static_cast<int>(refusal->cause);
    return std::holds_alternative<Refusal>(taken) ? nullptr
                                                  : std::move(std::get<std::unique_ptr<Lease>>(taken));
  }
  Refusal refused(size_t bytes = 30, std::string_view visitor = "192.0.2.1",
                  std::string_view bot = "default") {
    auto taken = take(bytes, visitor, bot);
    if (const auto* const refusal = std::get_if<Refusal>(&taken)) return *refusal;
    ADD_FAILURE() << "a lease was given";
    return {};
  }
  /// An answer of these tokens, to its end.
  void answer(uint64_t input, uint64_t output, std::string_view bot = "default",
              std::string_view visitor = "192.0.2.1") {
    const auto taken = lease(30, visitor, bot);
    ASSERT_TRUE(taken);
    (void)taken->settle({input, output});
    taken->finish();
  }
  BotReport report(std::string_view bot = "default") {
    if (!ledger) open();
    for (BotReport& one : ledger->report(31).bots) {
      if (one.bot == bot) return one;
    }
    ADD_FAILURE() << "not in the report: " << bot;
    return {};
  }
  uint64_t used(std::string_view bot = "default") { return report(bot).caps.at(0).used; }
};

}  // namespace bailian
