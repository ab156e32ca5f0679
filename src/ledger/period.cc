#include "ledger/period.h"

// As Debian builds the library: with the system's tzdata.
#define USE_OS_TZDB 1
#include <date/tz.h>
#include <fmt/format.h>
#include <time.h>

#include <charconv>
#include <chrono>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "base/file.h"

namespace bailian {
namespace {

constexpr int64_t kSteadySeconds = 60;  // a lead that changes by more is another jump

date::year_month_day date_of(Day day) { return date::sys_days(date::days(day)); }

int64_t seconds_of(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return now.tv_sec;
}

// The hexadecimal digits of the kernel's text; zeros if there is no /proc.
std::array<uint64_t, 2> read_boot_id() {
  std::string digits;
  for (const char c : read_file("/proc/sys/kernel/random/boot_id", 64).value_or("")) {
    if (c != '-' && c != '\n') digits += c;
  }
  std::array<uint64_t, 2> id{};
  if (digits.size() != 32) return id;
  for (size_t i = 0; i < id.size(); ++i) {
    const char* const start = digits.data() + 16 * i;
    std::from_chars(start, start + 16, id[i], 16);
  }
  return id;
}

void believe(PeriodClock& clock, const ClockReading& now) {
  clock.wall = now.wall;
  clock.boot = now.boot;
  clock.boot_id = now.boot_id;
  clock.lead = 0;
  clock.lead_since = 0;
}

void begin(PeriodClock& clock, Day day, const TimeZone& zone) {
  clock.day = day;
  clock.ends = zone.start_of(day + 1);
  clock.month_ends = zone.start_of(first_day_of(month_of(day) + 1));
}

// By how much the wall clock is ahead of the time since it was last believed. Nothing: that time is not
// known.
std::optional<int64_t> lead_of(const PeriodClock& clock, const ClockReading& now) {
  if (clock.wall == 0 || now.boot_id != clock.boot_id || now.boot < clock.boot) return std::nullopt;
  return now.wall - clock.wall - (now.boot - clock.boot);
}

}  // namespace

Month month_of(Day day) {
  const auto date = date_of(day);
  return static_cast<int>(date.year()) * 12 + static_cast<int>(static_cast<unsigned>(date.month())) - 1;
}

Day first_day_of(Month month) {
  const auto first = date::year(month / 12) / date::month(static_cast<unsigned>(month % 12 + 1)) / 1;
  return static_cast<Day>(date::sys_days(first).time_since_epoch().count());
}

std::string month_text(Month month) { return fmt::format("{:04}-{:02}", month / 12, month % 12 + 1); }

std::string date_text(Day day) {
  return fmt::format("{}-{:02}", month_text(month_of(day)), static_cast<unsigned>(date_of(day).day()));
}

TimeZone::TimeZone(const std::string& name) : zone_(date::locate_zone(name)) {}

Day TimeZone::day_at(int64_t time) const {
  const auto local = zone_->to_local(date::sys_seconds(std::chrono::seconds(time)));
  return static_cast<Day>(date::floor<date::days>(local).time_since_epoch().count());
}

// Where the clocks go forward at midnight, the day begins an hour later.
int64_t TimeZone::start_of(Day day) const {
  const date::local_seconds midnight{date::local_days(date::days(day))};
  return zone_->to_sys(midnight, date::choose::earliest).time_since_epoch().count();
}

ClockReading read_clocks() {
  static const std::array<uint64_t, 2> boot_id = read_boot_id();
  return {seconds_of(CLOCK_REALTIME), seconds_of(CLOCK_BOOTTIME), boot_id};
}

int64_t believed_time(const PeriodClock& clock, const ClockReading& now) {
  const auto lead = lead_of(clock, now);
  return lead && *lead > kMaxLeadSeconds ? now.wall - *lead : now.wall;
}

ClockChange advance(PeriodClock& clock, const ClockReading& now, const TimeZone& zone) {
  ClockChange change;
  const auto lead = lead_of(clock, now);
  const bool is_ahead = lead && *lead > 0;
  if (is_ahead && (clock.lead_since == 0 || std::abs(*lead - clock.lead) > kSteadySeconds)) {
    clock.lead = *lead;
    clock.lead_since = std::max<int64_t>(now.boot, 1);
    if (*lead > kMaxLeadSeconds) change.jump_seconds = *lead;
  } else if (!is_ahead || now.boot - clock.lead_since >= kHoldSeconds) {
    believe(clock, now);
  }

  const int64_t time = believed_time(clock, now);
  if (time < clock.ends) return change;
  const Day day = zone.day_at(time);
  change.has_new_period = day > clock.day;
  // After a change of the zone its date may be the running one: then that goes on.
  begin(clock, static_cast<Day>(std::max<int64_t>(day, clock.day)), zone);
  return change;
}

void open_period_of(PeriodClock& clock, const ClockReading& now, const TimeZone& zone) {
  believe(clock, now);
  begin(clock, zone.day_at(now.wall), zone);
}

}  // namespace bailian
