#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/event_loop.h"
#include "ledger/period.h"
#include "ledger/redis_batch.h"
#include "ledger/redis_connection.h"
#include "ledger/redis_shared.h"

namespace bailian {

/// This process as the server knows it: a host with leases. Sends one batch at a time, with everything that
/// has happened since the one before, and sends it until it is answered; the server executes it once. Urgent
/// news go at once, the others once a second. Thread of the ledger only.
class RedisHost {
 public:
  static constexpr std::chrono::milliseconds kPatience{2000};  // of questions, when the server is silent
  static constexpr std::chrono::seconds kBeat{1};              // between batches without urgent news
  static constexpr std::chrono::seconds kLeaseTime{60};        // that leases hold without their host
  static constexpr size_t kMaxLeases = 128;  // new ones in a batch, so that no script takes long

  /// `address` is copied. `shared` must outlive it.
  RedisHost(EventLoop& loop, const RedisAddress& address, RedisShared& shared);
  RedisHost(const RedisHost&) = delete;
  RedisHost& operator=(const RedisHost&) = delete;

  /// Looks at what the loops have handed over.
  void look();
  /// Sends the rest, gives back all leases, and stops the loop; within kPatience.
  void leave();

 private:
  enum class Expects { kNothing, kTime, kBatch, kHistory };
  // A slot in the batch under way, and what was asked for it.
  struct Asked {
    RedisSlot* slot;
    bool is_extension;
    uint64_t missing;
  };

  // --- the connection
  void on_ready();
  void on_lost(const std::string& why);
  void on_reply(const RedisReply& reply);
  void on_tick();
  void on_wake();
  void on_exception(const std::exception& error);
  void send_if_due();
  void send_batch(bool as_text);
  void send_history(int days);
  void retry(const std::string& why);
  void note_good();
  void note_fault(const std::string& why);
  void schedule_tick();

  // --- what the server has answered
  void take_time(const RedisReply& reply);
  void take_batch_reply(const RedisReply& reply);
  void take_history(const RedisReply& reply);
  void take_other_day(const RedisBatchReply& reply);
  void take_lost();
  void take_grants(const RedisBatchReply& reply);
  void take_orders(const RedisBatchReply& reply);
  void take_totals(RedisBatchReply& reply);
  void publish();
  void end() {
    has_batch_ = false;
    has_left_ = true;
    loop_.stop();
  }

  // --- slots
  void take_over();
  [[nodiscard]] bool has_urgent() const;
  void build_batch(bool with_totals);
  void add_slot(RedisSlot& slot, RedisBatch::Count& count);
  void add_waiting(RedisSlot& slot);
  void close_slot(RedisSlot& slot, RedisBatch::Count& count);
  void extend_if_low(RedisSlot& slot, uint64_t used);
  void count_used(RedisSlot& slot, RedisBatch::Count& count);
  void commit(RedisSlot& slot, RedisBatch::Count& count, int64_t tokens);
  RedisBatch::Count& count_of(Day day, const std::string& bot);
  void recycle(RedisSlot& slot);
  void decide(RedisSlot& slot, RedisVerdict verdict);
  void obey_policy();
  void hash_visitor(RedisSlot& slot);
  std::vector<RedisBatch::Memory> memory() const;

  // --- periods
  void advance_clock();
  void adopt_day(Day day, uint64_t opened);
  [[nodiscard]] int64_t now_ms() const;

  EventLoop& loop_;
  RedisShared& shared_;
  RedisConnection connection_;
  IoEvent wake_;
  Timer tick_;
  const std::string sha_;

  RedisSettings settings_;
  uint64_t settings_version_ = 0;
  std::optional<TimeZone> zone_;

  Expects expects_ = Expects::kNothing;
  bool is_leaving_ = false;
  bool has_left_ = false;
  bool has_batch_ = false;  // it is not answered yet
  bool is_sent_as_text_ = false;
  Clock::time_point next_try_;
  Clock::time_point next_beat_;
  RedisHeader header_;
  RedisBatch batch_;
  std::vector<Asked> asked_;  // one for each lease of the batch
  size_t asked_new_ = 0;      // of these, no extensions
  std::vector<std::shared_ptr<RedisOrder>> asked_orders_;
  std::vector<std::string> asked_totals_;
  bool restores_ = false;
  std::vector<RedisBatch::Memory> restored_;
  int history_days_ = 0;  // to be read
  std::vector<Day> history_asked_;

  std::vector<RedisSlot*> slots_;
  std::vector<RedisSlot*> recycled_;
  std::map<std::pair<Day, std::string>, RedisBatch::Count> counts_;
  std::map<std::pair<Day, std::string>, std::pair<uint64_t, uint64_t>> open_;  // as sent last
  std::vector<std::shared_ptr<RedisOrder>> orders_;

  std::map<Day, std::string> visitor_keys_;
  PeriodClock clock_;
  uint64_t opened_ = 0;
  int64_t time_ms_ = 0;  // the server's clock; 0: not known
  Clock::time_point time_read_;
  Day totals_day_ = 0;
  RedisView view_;
  std::string why_;  // the last failure; empty: none since
  Clock::time_point last_good_;
};

}  // namespace bailian
