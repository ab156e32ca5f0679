#include "ledger/period.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace bailian {
namespace {

constexpr int64_t kMinute = 60;
constexpr int64_t kHour = 3600;
constexpr int64_t kDay = 24 * kHour;

constexpr int64_t kMorning = 1795744800;  // 2026-11-27 10:00 in Shanghai, 02:00 UTC
constexpr int64_t kBooted = 1000;         // what CLOCK_BOOTTIME says then
constexpr std::array<uint64_t, 2> kBoot = {1, 2};

/// A machine whose wall clock can be set.
class Machine {
 public:
  explicit Machine(const std::string& zone = "Asia/Shanghai", int64_t wall = kMorning) : zone_(zone) {
    now_ = {wall, kBooted, kBoot};
    advance(clock_, now_, zone_);
  }
  ClockChange pass(int64_t seconds) {
    now_.wall += seconds;
    now_.boot += seconds;
    return advance(clock_, now_, zone_);
  }
  ClockChange set_wall(int64_t by) {
    now_.wall += by;
    return advance(clock_, now_, zone_);
  }
  ClockChange boot_again(int64_t after) {
    now_.wall += after;
    now_.boot += 5;  // up for as long as it was before
    ++now_.boot_id[0];
    return advance(clock_, now_, zone_);
  }
  void move_to(const std::string& zone) { zone_ = TimeZone(zone); }
  void open_period() { open_period_of(clock_, now_, zone_); }
  /// Until the ledger's time has passed the end of the period, second by second like its thread. Returns how
  /// long it took.
  int64_t pass_until_next_period() {
    for (int64_t seconds = 1;; ++seconds) {
      if (pass(1).has_new_period) return seconds;
      if (seconds > 40 * kDay) throw std::runtime_error("no period ends");
    }
  }
  [[nodiscard]] std::string date() const { return date_text(static_cast<Day>(clock_.day)); }
  [[nodiscard]] const PeriodClock& clock() const { return clock_; }
  [[nodiscard]] int64_t believed() const { return believed_time(clock_, now_); }
  [[nodiscard]] int64_t wall() const { return now_.wall; }

 private:
  TimeZone zone_;
  ClockReading now_;
  PeriodClock clock_;
};

TEST(Calendar, CountsMonths) {
  struct Row {
    std::string date;
    std::string month;
    Day day;
  };
  for (const Row& row : std::vector<Row>{{"1970-01-01", "1970-01", 0},
                                         {"2024-02-29", "2024-02", 19782},
                                         {"2026-11-27", "2026-11", 20784},
                                         {"2026-12-31", "2026-12", 20818},
                                         {"2027-01-01", "2027-01", 20819}}) {
    EXPECT_EQ(date_text(row.day), row.date);
    EXPECT_EQ(month_text(month_of(row.day)), row.month);
    EXPECT_EQ(month_of(first_day_of(month_of(row.day))), month_of(row.day));
    EXPECT_LE(first_day_of(month_of(row.day)), row.day);
    EXPECT_EQ(month_of(first_day_of(month_of(row.day)) - 1), month_of(row.day) - 1);
  }
}

TEST(TimeZones, KnowWhenADayBegins) {
  struct Row {
    std::string zone;
    Day day;
    int64_t start;
  };
  for (const Row& row : std::vector<Row>{
           {"UTC", 20784, 1795737600},
           {"Asia/Shanghai", 20784, 1795737600 - 8 * kHour},
           {"America/New_York", 20784, 1795737600 + 5 * kHour},
           {"America/New_York", 20520, 1772928000 + 5 * kHour},  // 2026-03-08, at 2:00 clocks go forward
           {"America/New_York", 20521, 1772928000 + kDay + 4 * kHour},
           {"America/Havana", 20520, 1772928000 + 5 * kHour},  // there at midnight: the day begins at 1:00
           {"Pacific/Kiritimati", 20784, 1795737600 - 14 * kHour},
       }) {
    const TimeZone zone(row.zone);
    EXPECT_EQ(zone.start_of(row.day), row.start) << row.zone << row.day;
    EXPECT_EQ(zone.day_at(row.start), row.day) << row.zone;
    EXPECT_EQ(zone.day_at(row.start - 1), row.day - 1) << row.zone;
  }
}

TEST(TimeZones, ThatDoNotExistAreRefused) {
  for (const char* const name : {"", "Asia/Shanghia", "../../etc/passwd", "/etc/localtime", "UTC+8"})
    EXPECT_THROW(TimeZone{name}, std::runtime_error) << name;
}

TEST(Periods, BeginAtTheFirstLookAtTheClock) {
  const Machine machine;
  EXPECT_EQ(machine.date(), "2026-11-27");
  EXPECT_EQ(machine.clock().ends, kMorning + 14 * kHour);
  EXPECT_EQ(machine.clock().month_ends, kMorning + 14 * kHour + 3 * kDay);
}

TEST(Periods, EndAtLocalMidnight) {
  struct Row {
    std::string zone;
    int64_t wall;
    int64_t remaining;
    std::string next;
  };
  for (const Row& row : std::vector<Row>{
           {"Asia/Shanghai", kMorning, 14 * kHour, "2026-11-28"},
           {"America/New_York", kMorning, 3 * kHour, "2026-11-27"},
           {"UTC", kMorning, 22 * kHour, "2026-11-28"},
           {"Asia/Shanghai", 1798732799, 1, "2027-01-01"},
           // 2026-03-08: 23 hours. 2026-11-01: 25 hours.
           {"America/New_York", 1772928000 + 5 * kHour, 23 * kHour, "2026-03-09"},
           {"America/New_York", 1793491200 + 4 * kHour, 25 * kHour, "2026-11-02"},
       }) {
    Machine machine(row.zone, row.wall);
    EXPECT_FALSE(machine.pass(row.remaining - 1).has_new_period) << row.zone;
    EXPECT_TRUE(machine.pass(1).has_new_period) << row.zone;
    EXPECT_EQ(machine.date(), row.next);
  }
}

TEST(Periods, AreOneForEachLocalDayOfAYear) {
  for (const char* const zone :
       {"Asia/Shanghai", "America/New_York", "America/Havana", "Australia/Lord_Howe"}) {
    Machine machine(zone);
    std::string last = machine.date();
    int periods = 0;
    for (int hours = 0; hours < 366 * 24; ++hours) {
      if (!machine.pass(kHour).has_new_period) continue;
      ++periods;
      EXPECT_GT(machine.date(), last);
      last = machine.date();
    }
    EXPECT_EQ(periods, 366) << zone;
  }
}

TEST(Periods, DoNotEndByAClockThatIsSetBack) {
  for (const int64_t back : {kHour, kDay, 40 * kDay}) {
    Machine machine;
    EXPECT_FALSE(machine.set_wall(-back).has_new_period);
    EXPECT_EQ(machine.date(), "2026-11-27");
    EXPECT_EQ(machine.believed(), machine.wall());
    // The day lasts until the clock has come to its end again.
    EXPECT_FALSE(machine.pass(back + 14 * kHour - 1).has_new_period);
    EXPECT_TRUE(machine.pass(1).has_new_period);
    EXPECT_EQ(machine.date(), "2026-11-28");
  }
}

TEST(Periods, GiveNoSecondAllowanceWhenMidnightComesTwice) {
  Machine machine;
  machine.pass(14 * kHour);
  EXPECT_EQ(machine.date(), "2026-11-28");
  machine.set_wall(-kHour);
  EXPECT_EQ(machine.date(), "2026-11-28");
  EXPECT_FALSE(machine.pass(kHour).has_new_period);
  EXPECT_EQ(machine.pass_until_next_period(), kDay);
}

TEST(Jumps, OfMoreThanAnHourOpenNoPeriodUntilTheyHaveHeld) {
  for (const int64_t jump : {kDay, 40 * kDay}) {
    Machine machine;
    EXPECT_EQ(machine.set_wall(jump).jump_seconds, jump);
    EXPECT_EQ(machine.date(), "2026-11-27");
    EXPECT_EQ(machine.believed(), kMorning);
    EXPECT_EQ(machine.pass(1).jump_seconds, 0) << "it is reported once";
    EXPECT_FALSE(machine.pass(kHoldSeconds - 2).has_new_period);
    EXPECT_EQ(machine.believed(), kMorning + kHoldSeconds - 1);
    EXPECT_TRUE(machine.pass(1).has_new_period);
    EXPECT_EQ(machine.date(), date_text(20784 + static_cast<Day>(jump / kDay)));
    EXPECT_EQ(machine.believed(), machine.wall());
  }
}

TEST(Jumps, ThatAreTakenBackOpenNone) {
  Machine machine;
  machine.set_wall(40 * kDay);
  machine.pass(kHoldSeconds - 1);
  EXPECT_FALSE(machine.set_wall(-40 * kDay).has_new_period);
  EXPECT_FALSE(machine.pass(kHour).has_new_period);
  EXPECT_EQ(machine.date(), "2026-11-27");
  EXPECT_EQ(machine.believed(), machine.wall());
}

TEST(Jumps, MustHoldAnew_WhenTheClockJumpsAgain) {
  Machine machine;
  machine.set_wall(2 * kDay);
  machine.pass(kHoldSeconds - 1);
  EXPECT_EQ(machine.set_wall(kDay).jump_seconds, 3 * kDay);
  EXPECT_FALSE(machine.pass(kHoldSeconds - 1).has_new_period);
  EXPECT_TRUE(machine.pass(1).has_new_period);
}

TEST(Jumps, OfAnHourAreBelieved) {
  Machine machine;
  machine.pass(13 * kHour + 30 * kMinute);
  EXPECT_TRUE(machine.set_wall(kMaxLeadSeconds).has_new_period);
  EXPECT_EQ(machine.date(), "2026-11-28");
}

TEST(Jumps, InStepsOfAnHourAreStillOneJump) {
  Machine machine;
  for (int i = 0; i < 24; ++i) {
    EXPECT_FALSE(machine.set_wall(kHour).has_new_period);
    EXPECT_FALSE(machine.pass(1).has_new_period);
  }
  EXPECT_EQ(machine.date(), "2026-11-27");
}

TEST(Jumps, LetMidnightComeMeanwhile) {
  Machine machine;
  machine.pass(14 * kHour - 300);
  machine.set_wall(40 * kDay);
  EXPECT_FALSE(machine.pass(299).has_new_period);
  EXPECT_TRUE(machine.pass(1).has_new_period);
  EXPECT_EQ(machine.date(), "2026-11-28");
}

TEST(Jumps, HoldOverARestartOnTheSameBoot) {
  // The process is away while the clock jumps: the ledger's clock is all that remains.
  Machine machine;
  machine.pass(kHour);
  EXPECT_EQ(machine.set_wall(2 * kDay).jump_seconds, 2 * kDay);
  EXPECT_EQ(machine.date(), "2026-11-27");
  EXPECT_TRUE(machine.pass(kHoldSeconds).has_new_period) << "ten minutes later, in which nothing ran";
}

TEST(Jumps, AreNoneAfterASuspendOrDaysOff) {
  Machine suspended;
  EXPECT_EQ(suspended.pass(3 * kDay).jump_seconds, 0);  // CLOCK_BOOTTIME goes on
  EXPECT_EQ(suspended.date(), "2026-11-30");

  Machine off;
  const ClockChange change = off.boot_again(3 * kDay);
  EXPECT_TRUE(change.has_new_period);
  EXPECT_EQ(change.jump_seconds, 0);
  EXPECT_EQ(off.date(), "2026-11-30");
}

TEST(Jumps, AreNotWhatAClockGainsInALongTime) {
  Machine machine;
  for (int hours = 0; hours < 24 * 60; ++hours) {
    machine.pass(kHour);
    EXPECT_EQ(machine.set_wall(30).jump_seconds, 0);  // 30 s in an hour
    ASSERT_EQ(machine.believed(), machine.wall()) << hours;
  }
}

TEST(TimeZones, ChangeAtTheEndOfTheRunningPeriod) {
  Machine west;
  west.move_to("America/New_York");
  EXPECT_FALSE(west.pass(3 * kHour).has_new_period);  // midnight there
  EXPECT_FALSE(west.pass(11 * kHour).has_new_period) << "in New York it is still the 27th";
  EXPECT_EQ(west.date(), "2026-11-27");
  EXPECT_EQ(west.pass_until_next_period(), 13 * kHour);
  EXPECT_EQ(west.date(), "2026-11-28");

  Machine east("America/New_York");
  EXPECT_EQ(east.date(), "2026-11-26");
  east.move_to("Asia/Shanghai");
  EXPECT_FALSE(east.pass(1).has_new_period) << "there it is the 27th, but the period runs";
  EXPECT_EQ(east.pass_until_next_period(), 3 * kHour - 1);
  EXPECT_EQ(east.date(), "2026-11-27");
}

TEST(OpenPeriod, BelievesTheWallClock) {
  Machine waiting;
  waiting.set_wall(2 * kDay);
  waiting.open_period();
  EXPECT_EQ(waiting.date(), "2026-11-29");
  EXPECT_EQ(waiting.believed(), waiting.wall());

  Machine wrong;
  wrong.set_wall(40 * kDay);
  wrong.pass(kHoldSeconds);
  EXPECT_EQ(wrong.date(), "2027-01-06");
  wrong.set_wall(-40 * kDay);
  EXPECT_EQ(wrong.date(), "2027-01-06");
  wrong.open_period();
  EXPECT_EQ(wrong.date(), "2026-11-27");
  EXPECT_EQ(wrong.pass_until_next_period(), 14 * kHour - kHoldSeconds);
}

TEST(Clocks, AreRead) {
  const ClockReading first = read_clocks();
  const ClockReading second = read_clocks();
  EXPECT_GT(first.wall, 1'700'000'000);
  EXPECT_LE(first.boot, second.boot);
  EXPECT_EQ(first.boot_id, second.boot_id);
  EXPECT_NE(first.boot_id[0], 0u);
}

}  // namespace
}  // namespace bailian
