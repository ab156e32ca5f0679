#include "ledger/file_ledger.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <exception>
#include <system_error>
#include <vector>

#include "base/log.h"

namespace bailian {
namespace {

constexpr uint64_t kDefaultSlice = 512;

TimeZone zone_of(const std::string& name) {
  try {
    return TimeZone(name);
  } catch (const std::runtime_error&) {
    throw ConfigError(
        {fmt::format("CAP_TIMEZONE: {} is not in the time zone database (package tzdata)", name)});
  }
}

void set_caps(MeteredBot& bot, const Caps& caps) {
  bot.day_cap = caps.day.value_or(kNoCap);
  bot.month_cap = caps.month.value_or(kNoCap);
  bot.visitor_day_cap = caps.visitor_day.value_or(kNoCap);
  bot.is_configured = true;
}

void configure(MeteredBot& bot, const Config& config) {
  set_caps(bot, config.caps);
  bot.expected_input = config.cap_expected_input;
  bot.price_input = config.price_input;
  bot.price_output = config.price_output;
}

[[noreturn]] void throw_unusable() {
  throw std::system_error(EIO, std::generic_category(), "the ledger cannot be used");
}

}  // namespace

FileLedger::FileLedger(const Config& config)
    : path_(config.ledger),
      bots_(std::make_unique<std::array<MeteredBot, kEntries>>()),
      journal_(config.ledger + ".journal") {
  apply(config);
  try {
    open_table();
  } catch (const NotALedger& error) {
    throw ConfigError({fmt::format("LEDGER: {}", error.what())});
  } catch (const std::system_error& error) {
    report_fault(fault_, error.what());
  }
  thread_ = std::thread(&FileLedger::run, this);
}

FileLedger::~FileLedger() {
  {
    const std::scoped_lock locked(stop_mutex_);
    is_stopping_ = true;
  }
  stop_.notify_one();
  thread_.join();
}

// --- settings

void FileLedger::apply(const Config& config) {
  auto zone = zone_of(config.cap_timezone);
  policy_.slice = config.ledger_slice > 0 ? config.ledger_slice : kDefaultSlice;
  policy_.is_abort_worst = config.cap_on_abort_worst;
  is_open_on_fault_ = config.caps_open_on_fault;
  std::vector<const Config*> wanted{&config};
  for (const Config& bot : config.bots) wanted.push_back(&bot);

  const std::scoped_lock locked(settings_mutex_);
  timezone_ = config.cap_timezone;
  zone_ = zone;
  set_caps(bots_->front(), config.total_caps);
  for (size_t i = 1; i < bot_count_; ++i) {
    MeteredBot& bot = (*bots_)[i];
    const auto is_it = [&](const Config* one) { return one->name == bot.name; };
    if (std::none_of(wanted.begin(), wanted.end(), is_it)) bot.is_configured = false;
  }
  for (const Config* const one : wanted) {
    MeteredBot* bot = const_cast<MeteredBot*>(find(one->name));
    if (bot == nullptr) {
      if (bot_count_ == bots_->size()) continue;
      bot = &(*bots_)[bot_count_];
      bot->name = one->name;
      configure(*bot, *one);
      bot_count_.fetch_add(1, std::memory_order_release);
    }
    configure(*bot, *one);
  }
  if (Table* const table = table_.load()) {
    try {
      attach_bots(table->lock(), *table);
    } catch (const std::system_error& error) {  // the thread tries again
      log(LogLevel::kWarning, "ledger", error.what());
    }
  }
}

void FileLedger::attach_bots(const Table::Lock& lock, Table& table) {
  for (size_t i = 0; i < bot_count_.load(std::memory_order_acquire); ++i) {
    MeteredBot& bot = (*bots_)[i];
    if (bot.entry.load() == nullptr)
      bot.entry.store(table.find_or_add(lock, bot.name), std::memory_order_release);
  }
}

const MeteredBot* FileLedger::find(std::string_view name) const {
  const size_t count = bot_count_.load(std::memory_order_acquire);
  for (size_t i = 1; i < count; ++i) {
    if ((*bots_)[i].name == name) return &(*bots_)[i];
  }
  return nullptr;
}

// --- questions

// nullptr: the bot's tokens cannot be counted.
Table* FileLedger::table_for(const MeteredBot* bot) const {
  if (bot == nullptr || bot->entry.load(std::memory_order_acquire) == nullptr) return nullptr;
  return table_.load(std::memory_order_acquire);
}

// A fault refuses only what a cap applies to.
bool FileLedger::serves_uncounted(const MeteredBot* bot) const {
  const bool has_cap = bots_->front().has_cap() || (bot != nullptr && bot->has_cap());
  return is_open_on_fault_ || !has_cap;
}

std::variant<std::unique_ptr<Lease>, Refusal> FileLedger::take(EventLoop&, const Spending& spending,
                                                               LeaseHandler&) {
  const MeteredBot& all = bots_->front();
  const MeteredBot* const bot = find(spending.bot);
  if (Table* const table = table_for(bot)) {
    // From its construction on, a lease notices that an owner pauses at once.
    auto lease = std::make_unique<FileLease>(*table, *bot, all, policy_, spending.question_bytes);
    if (auto pause = pause_of(*bot, all)) return *std::move(pause);
    const auto is_under_way = [&] {
      return !spending.idempotency_id.empty() && table->is_under_way_elsewhere(spending.idempotency_id);
    };
    const Refusal under_way{Refusal::Cause::kUnderWay, std::chrono::seconds(1)};
    if (is_under_way()) return under_way;  // no cap refuses it
    auto refusal = lease->open(spending.visitor, spending.idempotency_id);
    // Again: of two processes that are asked at the same moment, at least one sees the other's lease.
    if (!refusal && is_under_way()) return under_way;
    if (!refusal) return lease;
    if (refusal->cause != Refusal::Cause::kUnknown) return *std::move(refusal);
  }
  if (serves_uncounted(bot)) return std::make_unique<UncountedLease>();
  return Refusal{Refusal::Cause::kUnknown};
}

std::optional<Refusal> FileLedger::closed(std::string_view name) const {
  const MeteredBot& all = bots_->front();
  const MeteredBot* const bot = find(name);
  if (const Table* const table = table_for(bot)) {
    if (auto pause = pause_of(*bot, all)) return pause;
    if (const auto scopes = scopes_of(*table, *bot, all, table->day(), 0))
      return refusal_of(*table, *scopes, std::max<uint64_t>(added_input(*bot), 1));
  }
  if (serves_uncounted(bot)) return std::nullopt;
  return Refusal{Refusal::Cause::kUnknown};
}

void FileLedger::count(std::string_view name, Count DaySlot::*number) noexcept {
  const MeteredBot* const bot = find(name);
  const Table* const table = table_for(bot);
  if (table == nullptr) return;
  for (const MeteredBot* const counted : {bot, &std::as_const(bots_->front())}) {
    if (DaySlot* const day = Table::account(*counted->entry.load(), table->day()).day)
      (day->*number).fetch_add(1, std::memory_order_relaxed);
  }
}

void FileLedger::count_cached(std::string_view bot) noexcept { count(bot, &DaySlot::cached); }

void FileLedger::count_refused(std::string_view bot, Refusal::Cause cause) noexcept {
  if (cause == Refusal::Cause::kUsedUp || cause == Refusal::Cause::kVisitorUsedUp)
    count(bot, &DaySlot::refused);
}

// --- the owner

void FileLedger::set_pause(std::string_view name, Pause pause, std::string_view message) {
  Table* const table = table_.load(std::memory_order_acquire);
  if (table == nullptr) throw_unusable();
  const auto lock = table->lock();
  Entry* const entry = table->find_or_add(lock, name);
  if (entry == nullptr) throw_unusable();
  table->pause(lock, *entry, pause, message);
}

void FileLedger::pause(std::string_view bot, std::string_view message, bool at_once) {
  set_pause(bot, at_once ? Pause::kAtOnce : Pause::kPaused, message);
}

void FileLedger::resume(std::string_view bot) { set_pause(bot, Pause::kNone, ""); }

bool FileLedger::note_alert(std::string_view name, std::string_view period, int percent) {
  const MeteredBot* const bot = name.empty() ? &bots_->front() : find(name);
  const Table* const table = table_for(bot);
  if (table == nullptr) return false;
  Entry& entry = *bot->entry.load();
  const uint64_t flags = percent >= 100 ? kAlerted80 | kAlerted100 : kAlerted80;
  if (period == "month") return Table::set_flags(entry.month_flags, month_of(table->day()), flags);
  return Table::set_flags(entry.day_flags, table->day(), flags);
}

void FileLedger::open_period() {
  Table* const table = table_.load(std::memory_order_acquire);
  if (table == nullptr) throw_unusable();
  const std::scoped_lock locked(settings_mutex_);
  table->open_period(table->lock(), read_clocks(), *zone_);
}

// --- faults

std::string FileLedger::fault() const {
  const std::scoped_lock locked(fault_mutex_);
  return fault_;
}

// Logs what has changed.
void FileLedger::report_fault(std::string& fault, const std::string& text) {
  const std::scoped_lock locked(fault_mutex_);
  if (fault == text) return;
  fault = text;
  if (text.empty()) {
    log(LogLevel::kInfo, "ledger", "the ledger can be used again", {{"path", path_}});
  } else {
    log(LogLevel::kError, "ledger", text);
  }
}

}  // namespace bailian
