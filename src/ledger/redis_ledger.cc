#include "ledger/redis_ledger.h"

#include <pthread.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <system_error>
#include <utility>

#include "base/log.h"
#include "ledger/redis_lease.h"
#include "ledger/visitors.h"

namespace bailian {
namespace {

constexpr uint64_t kMaxTokens = 1'000'000'000;
constexpr size_t kBytesPerToken = 3;

RedisAddress address_of(const Config& config) {
  auto address = parse_redis_address(config.ledger);
  if (const ValueFault* const fault = fault_in(address)) throw ConfigError({"LEDGER: " + fault->sentence});
  return std::get<RedisAddress>(std::move(address));
}

// Signals are for the loops of the service.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace

RedisLedger::RedisLedger(const Config& config, Options options)
    : address_(address_of(config)),
      options_(options),
      loop_(std::chrono::nanoseconds(0)),
      host_(loop_, address_, shared_) {
  apply(config);
  {
    const BlockedSignals blocked;
    thread_ = std::thread([this] { loop_.run(); });
  }
  if (!options_.waits) return;
  std::unique_lock locked(shared_.mutex);
  shared_.changed.wait_for(locked, kConnectPatience, [this] { return shared_.view.fault.empty(); });
}

RedisLedger::~RedisLedger() {
  loop_.post([this] { host_.leave(); });
  thread_.join();
}

void RedisLedger::apply(const Config& config) {
  RedisSettings settings;
  const auto add = [&](const Config& bot) {
    settings.bots[bot.name] = {bot.caps, bot.cap_expected_input, bot.price_input, bot.price_output};
  };
  add(config);
  for (const Config& bot : config.bots) add(bot);
  settings.total_caps = config.total_caps;
  settings.slice = config.ledger_slice > 0 ? config.ledger_slice : kDefaultSlice;
  settings.is_abort_worst = config.cap_on_abort_worst;
  settings.is_open_on_fault = config.caps_open_on_fault;
  settings.timezone = config.cap_timezone;
  try {
    const TimeZone zone(settings.timezone);
  } catch (const std::runtime_error&) {
    throw ConfigError(
        {"CAP_TIMEZONE: " + settings.timezone + " is not in the time zone database (package tzdata)"});
  }
  {
    const std::scoped_lock locked(shared_.mutex);
    shared_.settings = std::move(settings);
    ++shared_.settings_version;
  }
  shared_.wake();
}

// --- questions

RedisSlot& RedisLedger::acquire_slot() {
  if (shared_.free.empty()) {
    RedisSlot& slot = shared_.slots.emplace_back();
    shared_.free.reserve(shared_.slots.size());  // so that giving it back cannot fail
    return slot;
  }
  RedisSlot& slot = *shared_.free.back();
  shared_.free.pop_back();
  return slot;
}

std::variant<std::unique_ptr<Lease>, Refusal> RedisLedger::take(EventLoop& loop, const Spending& spending,
                                                                LeaseHandler& handler) {
  const uint64_t question = std::min<uint64_t>(spending.question_bytes / kBytesPerToken, kMaxTokens);
  std::unique_ptr<RedisLease> lease;
  {
    const std::scoped_lock locked(shared_.mutex);
    if (auto pause = pause_of(spending.bot)) return *std::move(pause);
    const RedisCaps caps = redis_caps(shared_.settings, spending.bot);
    const bool is_away = shared_.view.is_away;
    if (caps.any() && is_away && !shared_.settings.is_open_on_fault) return Refusal{Refusal::Cause::kUnknown};
    shared_.taken.reserve(shared_.taken.size() + 1);
    std::string bot(spending.bot);
    std::string visitor(VisitorId(spending.visitor).bytes());
    RedisSlot& slot = acquire_slot();
    slot.loop = &loop;
    slot.bot = std::move(bot);
    slot.visitor = std::move(visitor);
    slot.expected_input = question + added_input(spending.bot);
    slot.is_capped = caps.any();
    slot.is_waiting = caps.any() && !is_away;
    slot.since = Clock::now();
    if (!slot.is_waiting) slot.granted.store(UINT64_MAX, std::memory_order_relaxed);
    try {
      lease = std::make_unique<RedisLease>(*this, shared_, slot, handler, slot.is_waiting, question);
    } catch (const std::bad_alloc&) {
      shared_.free.push_back(&slot);
      throw;
    }
    shared_.taken.push_back(&slot);
  }
  shared_.wake();
  return lease;
}

std::optional<Refusal> RedisLedger::closed(std::string_view bot) const {
  const std::scoped_lock locked(shared_.mutex);
  if (auto pause = pause_of(bot)) return pause;
  const RedisCaps caps = redis_caps(shared_.settings, bot);
  if (!caps.any()) return std::nullopt;
  if (shared_.view.is_away) {
    if (shared_.settings.is_open_on_fault) return std::nullopt;
    return Refusal{Refusal::Cause::kUnknown};
  }
  const uint64_t needed = std::max<uint64_t>(added_input(bot), 1);
  const auto lacks = [&](std::string_view scope, auto period, uint64_t cap) {
    const auto totals = shared_.view.totals.find(scope);
    const uint64_t committed = totals == shared_.view.totals.end() ? 0 : (totals->second.*period).committed;
    return cap != kNoCap && (cap < needed || cap - needed < committed);
  };
  if (lacks(bot, &RedisTotals::month, caps.bot_month) || lacks({}, &RedisTotals::month, caps.total_month))
    return refusal_for(RedisVerdict::kMonth, bot);
  if (lacks(bot, &RedisTotals::day, caps.bot_day) || lacks({}, &RedisTotals::day, caps.total_day))
    return refusal_for(RedisVerdict::kDay, bot);
  if (caps.visitor_day < needed) return refusal_for(RedisVerdict::kVisitor, bot);
  return std::nullopt;
}

Refusal RedisLedger::refusal_of(RedisVerdict verdict, std::string_view bot) const {
  const std::scoped_lock locked(shared_.mutex);
  return refusal_for(verdict, bot);
}

Refusal RedisLedger::refusal_for(RedisVerdict verdict, std::string_view bot) const {
  const RedisView& view = shared_.view;
  const RedisCaps caps = redis_caps(shared_.settings, bot);
  const auto until = [&](Refusal::Cause cause, int64_t end, bool is_for_good) {
    // The next period begins up to a second late.
    const int64_t seconds = std::max<int64_t>(end - view.now_ms() / 1000 + 1, 1);
    return Refusal{cause, std::chrono::seconds(is_for_good ? 0 : seconds), {}};
  };
  const bool is_for_good =
      caps.bot_day == 0 || caps.bot_month == 0 || caps.total_day == 0 || caps.total_month == 0;
  switch (verdict) {
    case RedisVerdict::kVisitor:
      return until(Refusal::Cause::kVisitorUsedUp, view.ends, caps.visitor_day == 0);
    case RedisVerdict::kNone:  // no more than was granted: nothing is known of another cap
    case RedisVerdict::kDay:
      return until(Refusal::Cause::kUsedUp, view.ends, is_for_good);
    case RedisVerdict::kMonth:
      return until(Refusal::Cause::kUsedUp, view.month_ends, is_for_good);
    case RedisVerdict::kPaused:
      return pause_of(bot).value_or(Refusal{Refusal::Cause::kPaused});
    case RedisVerdict::kUnknown:
      break;
  }
  return Refusal{Refusal::Cause::kUnknown};
}

std::optional<Refusal> RedisLedger::pause_of(std::string_view bot) const {
  for (const std::string_view name : {bot, std::string_view()}) {
    const auto totals = shared_.view.totals.find(name);
    if (totals == shared_.view.totals.end() || !totals->second.is_paused) continue;
    return Refusal{.cause = Refusal::Cause::kPaused, .message = totals->second.pause_message};
  }
  return std::nullopt;
}

uint64_t RedisLedger::added_input(std::string_view bot) const {
  const auto totals = shared_.view.totals.find(bot);
  if (totals != shared_.view.totals.end() && totals->second.added_input)
    return std::min(*totals->second.added_input, kMaxTokens);
  const auto settings = shared_.settings.bots.find(bot);
  return settings == shared_.settings.bots.end() ? 0 : settings->second.expected_input;
}

// --- counts and faults

std::string RedisLedger::fault() const {
  const std::scoped_lock locked(shared_.mutex);
  return shared_.view.fault;
}

void RedisLedger::count_cached(std::string_view bot) noexcept {
  try {
    const std::scoped_lock locked(shared_.mutex);
    ++shared_.counted[std::string(bot)].first;
  } catch (const std::bad_alloc&) {  // one is missing in what is shown
  }
}

void RedisLedger::count_refused(std::string_view bot, Refusal::Cause cause) noexcept {
  if (cause != Refusal::Cause::kUsedUp && cause != Refusal::Cause::kVisitorUsedUp) return;
  try {
    const std::scoped_lock locked(shared_.mutex);
    ++shared_.counted[std::string(bot)].second;
  } catch (const std::bad_alloc&) {  // likewise
  }
}

// --- the owner

// Nothing: the server has not answered.
std::optional<bool> RedisLedger::give_order(RedisBatch::Order order) {
  const auto given = std::make_shared<RedisOrder>();
  given->order = std::move(order);
  std::unique_lock locked(shared_.mutex);
  shared_.orders.push_back(given);
  shared_.wake();
  shared_.changed.wait_for(locked, kPatience, [&] { return given->result.has_value(); });
  if (!given->result) std::erase(shared_.orders, given);
  return given->result;
}

void RedisLedger::order_or_throw(RedisBatch::Order order) {
  if (give_order(std::move(order))) return;
  const std::string why = fault();
  throw std::system_error(ETIMEDOUT, std::generic_category(),
                          why.empty() ? "the server does not answer" : why);
}

void RedisLedger::pause(std::string_view bot, std::string_view message, bool at_once) {
  const std::string_view kept = message.substr(0, kMaxPauseMessageBytes);
  order_or_throw({"pause", std::string(bot), at_once ? "2" : "1", std::string(kept)});
}

void RedisLedger::resume(std::string_view bot) { order_or_throw({"resume", std::string(bot), "", ""}); }

void RedisLedger::open_period() {
  std::string day;
  {
    std::unique_lock locked(shared_.mutex);
    shared_.changed.wait_for(locked, kPatience, [&] { return shared_.view.is_known; });
    if (!shared_.view.is_known)
      throw std::system_error(ETIMEDOUT, std::generic_category(), shared_.view.fault);
    day = compact_date(TimeZone(shared_.settings.timezone).day_at(shared_.view.now_ms() / 1000));
  }
  order_or_throw({"open", "", day, ""});
}

bool RedisLedger::note_alert(std::string_view bot, std::string_view period, int percent) {
  {
    const std::scoped_lock locked(shared_.mutex);
    if (shared_.view.is_away) return false;
  }
  return give_order({"alert", std::string(bot), std::to_string(percent), std::string(period)})
      .value_or(false);
}

}  // namespace bailian
