#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace date {
class time_zone;
}

namespace bailian {

/// A day of the calendar: days since 1970-01-01.
using Day = int32_t;
/// A month of the calendar: 12 for each year since year 0, and one for each month before it.
using Month = int32_t;

Month month_of(Day day);
Day first_day_of(Month month);
std::string date_text(Day day);       // 2026-11-27
std::string month_text(Month month);  // 2026-11

/// A zone of the system's tz database. Times are Unix seconds.
class TimeZone {
 public:
  /// Throws std::runtime_error if there is no zone of this name.
  explicit TimeZone(const std::string& name);
  [[nodiscard]] Day day_at(int64_t time) const;
  [[nodiscard]] int64_t start_of(Day day) const;

 private:
  const date::time_zone* zone_;
};

/// The clocks of the system, in seconds.
struct ClockReading {
  int64_t wall = 0;                   // since 1970
  int64_t boot = 0;                   // since the boot, with the time in suspend
  std::array<uint64_t, 2> boot_id{};  // of this boot
};
ClockReading read_clocks();

/// A jump forward of more than this, on the same boot, is not believed until it has held.
inline constexpr int64_t kMaxLeadSeconds = 3600;
inline constexpr int64_t kHoldSeconds = 600;

/// The running period, and how the ledger knows that its time has come. The ledger keeps it, so that it
/// outlives the process.
struct PeriodClock {
  // The clocks at the moment when they were last believed.
  int64_t wall = 0;
  int64_t boot = 0;
  std::array<uint64_t, 2> boot_id{};
  // By how much the wall clock is ahead of that, and since when (by `boot`); 0: it is not.
  int64_t lead = 0;
  int64_t lead_since = 0;

  int64_t day = 0;         // the running period; 0: none has begun
  int64_t ends = 0;        // when it ends
  int64_t month_ends = 0;  // when its month ends

  bool operator==(const PeriodClock&) const = default;
};

/// The time that the ledger believes: the wall clock, or, while that is too far ahead, the time since it was
/// last believed.
int64_t believed_time(const PeriodClock& clock, const ClockReading& now);

struct ClockChange {
  bool has_new_period = false;
  int64_t jump_seconds = 0;  // the wall clock has just jumped forward by so much; 0: it has not
};

/// Takes the time into account: ends the period when its time has come. A period never ends by a clock that
/// is set back; a jump forward counts when it has held for kHoldSeconds. Another boot and a suspend are no
/// jumps. `zone` decides when the next period ends.
ClockChange advance(PeriodClock& clock, const ClockReading& now, const TimeZone& zone);

/// Believes the wall clock, and opens its period, even one before the running one.
void open_period_of(PeriodClock& clock, const ClockReading& now, const TimeZone& zone);

}  // namespace bailian
