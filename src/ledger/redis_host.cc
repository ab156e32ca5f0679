#include "ledger/redis_host.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

#include "base/log.h"
#include "ledger/redis_memory.h"
#include "ledger/redis_script.h"

namespace bailian {
namespace {

constexpr std::string_view kStateKey = "{bailian}:state";
constexpr std::chrono::milliseconds kShortTick{100};
constexpr std::chrono::seconds kRetryPause{1};
constexpr size_t kAlwaysTotals = 8;  // bots of which each batch asks for the totals

}  // namespace

RedisHost::RedisHost(EventLoop& loop, const RedisAddress& address, RedisShared& shared)
    : loop_(loop),
      shared_(shared),
      connection_(loop, address,
                  {bind<&RedisHost::on_ready>(this), bind<&RedisHost::on_reply>(this),
                   bind<&RedisHost::on_lost>(this)}),
      wake_(loop, bind<&RedisHost::on_wake>(this), bind<&RedisHost::on_exception>(this)),
      tick_(loop, bind<&RedisHost::on_tick>(this), bind<&RedisHost::on_exception>(this)),
      sha_(redis_script_sha()),
      last_good_(Clock::now()) {
  header_.host = random_hex(2);
  header_.lease_time = kLeaseTime;
  wake_.watch(shared_.wake_fd.get(), IoEvent::kRead);
  tick_.start(kShortTick);
  connection_.connect();
}

void RedisHost::on_wake() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t taken = ::read(shared_.wake_fd.get(), &count, sizeof count);
  shared_.is_woken.exchange(false, std::memory_order_seq_cst);  // reads what came before a wake()
  look();
}

void RedisHost::on_tick() {
  schedule_tick();
  if (is_leaving_ && Clock::now() >= next_beat_) {
    if (has_batch_ || !counts_.empty() || !slots_.empty())
      log(LogLevel::kError, "ledger",
          "the server does not answer: what the last answers used is not counted");
    return loop_.stop();
  }
  look();
}

void RedisHost::on_exception(const std::exception& error) {
  log(LogLevel::kError, "ledger", error.what());
  schedule_tick();
}

void RedisHost::schedule_tick() {
  const bool is_busy = has_batch_ || !connection_.is_ready() || is_leaving_ || !why_.empty();
  tick_.start(is_busy ? Clock::duration(kShortTick) : Clock::duration(kBeat));
}

void RedisHost::look() {
  take_over();
  advance_clock();
  obey_policy();
  send_if_due();
}

void RedisHost::leave() {
  is_leaving_ = true;
  next_beat_ = view_.is_away ? Clock::now() : Clock::now() + kPatience;
  look();
  on_tick();
}

// --- the connection

void RedisHost::on_ready() {
  const std::array<std::string_view, 1> words{"TIME"};
  connection_.send(words);
  expects_ = Expects::kTime;
}

void RedisHost::on_lost(const std::string& why) {
  expects_ = Expects::kNothing;
  note_fault(why);
  schedule_tick();
  obey_policy();
}

void RedisHost::on_reply(const RedisReply& reply) {
  switch (expects_) {
    case Expects::kTime:
      expects_ = Expects::kNothing;
      take_time(reply);
      break;
    case Expects::kBatch:
      expects_ = Expects::kNothing;
      take_batch_reply(reply);
      break;
    case Expects::kHistory:
      take_history(reply);
      break;
    case Expects::kNothing:
      break;
  }
  look();
}

void RedisHost::send_if_due() {
  if (!connection_.is_ready() || expects_ != Expects::kNothing || zone_ == std::nullopt) return;
  const auto now = Clock::now();
  if (now < next_try_) return;
  if (time_ms_ == 0) return on_ready();
  if (has_batch_) return send_batch(false);
  if (has_left_) return;
  if (history_days_ > 0 && view_.is_known) return send_history(std::exchange(history_days_, 0));
  const bool is_due = is_leaving_ || now >= next_beat_;
  if (!is_due && !has_urgent()) return;
  build_batch(is_due || settings_.bots.size() < kAlwaysTotals);
  if (!is_leaving_ && is_due) next_beat_ = now + kBeat;
  send_batch(false);
}

// `as_text`: the server does not have the script yet.
void RedisHost::send_batch(bool as_text) {
  const auto words = redis_batch_words(header_, batch_, restores_ ? &restored_ : nullptr, asked_totals_);
  std::vector<std::string_view> command{as_text ? "EVAL" : "EVALSHA", as_text ? redis_script() : sha_, "1",
                                        kStateKey};
  command.insert(command.end(), words.begin(), words.end());
  connection_.send(command);
  expects_ = Expects::kBatch;
  is_sent_as_text_ = as_text;
}

void RedisHost::send_history(int days) {
  history_asked_.clear();
  view_.history.clear();
  for (int i = 1; i < days; ++i) {
    const Day day = static_cast<Day>(clock_.day) - i;
    const std::string key = "{bailian}:day:" + compact_date(day);
    const std::array<std::string_view, 2> words{"HGETALL", key};
    connection_.send(words);
    history_asked_.push_back(day);
    expects_ = Expects::kHistory;
  }
  if (history_asked_.empty()) publish();
}

void RedisHost::retry(const std::string& why) {
  next_try_ = Clock::now() + kRetryPause;
  note_fault(why);
}

void RedisHost::note_good() {
  last_good_ = Clock::now();
  why_.clear();
  if (view_.is_away) log(LogLevel::kInfo, "ledger", "the ledger can be used again");
  view_.is_away = false;
  view_.is_known = true;
  view_.fault.clear();
}

// A failure that is soon over is none: a server that starts again refuses connections for a moment.
void RedisHost::note_fault(const std::string& why) {
  why_ = why;
  if (view_.is_known && Clock::now() - last_good_ < kPatience) return;
  const bool is_news = !view_.is_away || view_.fault != why;
  if (is_news) log(LogLevel::kError, "ledger", why);
  view_.is_away = true;
  view_.fault = why;
  if (is_news) publish();
}

// --- what the server has answered

void RedisHost::take_time(const RedisReply& reply) {
  if (reply.is_error()) return retry(explain_redis_error(reply.text));
  const auto seconds = reply.items.empty() ? std::nullopt : number_in(reply.items.front());
  constexpr uint64_t kMaxSeconds = uint64_t{1} << 36;
  if (!seconds || *seconds == 0 || *seconds > kMaxSeconds) return retry("the server does not know the time");
  time_ms_ = static_cast<int64_t>(*seconds * 1000);
  time_read_ = Clock::now();
  next_beat_ = std::min(next_beat_, is_leaving_ ? next_beat_ : time_read_);
}

void RedisHost::take_batch_reply(const RedisReply& reply) {
  if (reply.is_error() && reply.text.starts_with("NOSCRIPT") && !is_sent_as_text_) return send_batch(true);
  if (reply.is_error()) return retry(explain_redis_error(reply.text));
  auto answer = parse_redis_batch_reply(reply, asked_orders_.size(), asked_.size(), asked_totals_.size());
  constexpr int64_t kMaxMs = int64_t{1} << 46;
  if (!answer || answer->time_ms <= 0 || answer->time_ms > kMaxMs)
    return retry("the server's answer to a batch cannot be read");
  time_ms_ = answer->time_ms;
  time_read_ = Clock::now();
  switch (answer->status) {
    case RedisBatchReply::Status::kOtherDay:
      return take_other_day(*answer);
    case RedisBatchReply::Status::kLost:
      if (header_.leaves) return end();  // it was executed, its reply was lost, and the host is forgotten
      return take_lost();
    case RedisBatchReply::Status::kDone:
      break;
  }
  has_batch_ = false;
  if (header_.epoch.empty() || restores_) header_.epoch = answer->epoch;
  restores_ = false;
  restored_.clear();
  if (answer->visitor_key.size() == 32) visitor_keys_[header_.day] = answer->visitor_key;
  note_good();
  adopt_day(answer->day, answer->opened);
  take_grants(*answer);
  take_orders(*answer);
  if (!asked_totals_.empty()) take_totals(*answer);
  if (header_.leaves) end();
}

// New leases are of the other day; so they go with the next batch.
void RedisHost::take_other_day(const RedisBatchReply& reply) {
  adopt_day(reply.day, reply.opened);
  if (header_.day == clock_.day && header_.opened == opened_)
    return retry("the server does not know its day");
  header_.day = static_cast<Day>(clock_.day);
  header_.opened = opened_;
  for (size_t i = asked_.size(); i-- > 0;) {
    if (asked_[i].is_extension) continue;
    asked_[i].slot->day = 0;
    asked_.erase(asked_.begin() + static_cast<std::ptrdiff_t>(i));
    batch_.leases.erase(batch_.leases.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

void RedisHost::take_lost() {
  if (restores_) return retry("the server loses its data again and again");
  log(LogLevel::kWarning, "ledger",
      "the server has lost data: it gets the largest totals that are known here");
  restores_ = true;
  restored_ = redis_memory(totals_day_, view_.totals);
}

void RedisHost::take_grants(const RedisBatchReply& reply) {
  for (size_t i = 0; i < asked_.size(); ++i) {
    RedisSlot& slot = *asked_[i].slot;
    const int64_t grant = reply.grants[i];
    const auto refusal = static_cast<RedisVerdict>(redis_refusal(grant));
    if (grant >= 0) {
      slot.committed += static_cast<uint64_t>(grant);
    } else if (asked_[i].is_extension) {
      slot.committed += asked_[i].missing;
      if (asked_[i].missing > 0) slot.verdict.store(refusal, std::memory_order_relaxed);
    }
    slot.granted.store(slot.committed, std::memory_order_relaxed);
    if (slot.is_waiting) {
      slot.is_waiting = false;
      decide(slot, refusal);
    }
  }
  asked_.clear();
}

void RedisHost::take_orders(const RedisBatchReply& reply) {
  if (asked_orders_.empty()) return;
  {
    const std::scoped_lock locked(shared_.mutex);
    for (size_t i = 0; i < asked_orders_.size(); ++i) asked_orders_[i]->result = reply.orders[i];
  }
  asked_orders_.clear();
  shared_.changed.notify_all();
}

void RedisHost::take_totals(RedisBatchReply& reply) {
  totals_day_ = header_.day;
  view_.totals.clear();
  for (size_t i = 0; i < asked_totals_.size(); ++i)
    view_.totals[asked_totals_[i]] = std::move(reply.totals[i]);
  publish();
}

void RedisHost::take_history(const RedisReply& reply) {
  if (history_asked_.empty()) return;
  if (reply.is_error()) log(LogLevel::kWarning, "ledger", explain_redis_error(reply.text));
  auto& bots = view_.history[history_asked_.front()];
  for (const auto& [bot, totals] : view_.totals) bots[bot] = spent_in_hash(reply, escape_bot(bot));
  history_asked_.erase(history_asked_.begin());
  if (!history_asked_.empty()) return;
  expects_ = Expects::kNothing;
  publish();
}

void RedisHost::publish() {
  view_.day = static_cast<Day>(clock_.day);
  view_.ends = clock_.ends;
  view_.month_ends = clock_.month_ends;
  view_.time_ms = time_ms_;
  view_.time_read = time_read_;
  {
    const std::scoped_lock locked(shared_.mutex);
    shared_.view = view_;
    ++shared_.view_version;
  }
  shared_.changed.notify_all();
}

// --- periods

int64_t RedisHost::now_ms() const {
  return time_ms_ + std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - time_read_).count();
}

// The wall clock is the server's; how fast it may go is measured here.
void RedisHost::advance_clock() {
  if (time_ms_ == 0 || !zone_) return;
  ClockReading now = read_clocks();
  now.wall = now_ms() / 1000;
  const ClockChange change = advance(clock_, now, *zone_);
  if (change.jump_seconds > 0) {
    log(LogLevel::kWarning, "ledger",
        "the server's clock has jumped forward: no new period until it has held",
        {{"seconds", static_cast<double>(change.jump_seconds)}});
  }
  std::erase_if(visitor_keys_, [&](const auto& key) { return key.first + 2 < clock_.day; });
}

// A day that another host has begun is begun here too; one that the owner has opened may be an earlier one.
void RedisHost::adopt_day(Day day, uint64_t opened) {
  ClockReading now = read_clocks();
  now.wall = now_ms() / 1000;
  if (opened_ != opened) {
    opened_ = opened;
    open_period_of(clock_, now, *zone_);
  }
  if (clock_.day == day || day < clock_.day) return;
  clock_.day = day;
  clock_.ends = zone_->start_of(day + 1);
  clock_.month_ends = zone_->start_of(first_day_of(month_of(day) + 1));
}

}  // namespace bailian
