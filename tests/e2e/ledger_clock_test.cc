// One allowance for each local day, whatever the clocks do.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "harness/answer.h"
#include "harness/deadline.h"
#include "harness/fd.h"
#include "harness/site.h"
#include "harness/work_dir.h"

namespace bailian::e2e {
namespace {

constexpr int64_t kMinute = 60;
constexpr int64_t kHour = 60 * kMinute;
constexpr int64_t kDay = 24 * kHour;

// The clocks of the programs that run with settings().
class ShiftedClocks {
 public:
  ShiftedClocks() {
    dir_.write("shifts", std::string(sizeof(Shifts), '\0'));
    const Fd file(open((dir_.path() + "/shifts").c_str(), O_RDWR | O_CLOEXEC));
    void* const bytes = mmap(nullptr, sizeof(Shifts), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    if (bytes == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
    shifts_ = static_cast<Shifts*>(bytes);
  }
  ~ShiftedClocks() { munmap(shifts_, sizeof(Shifts)); }
  ShiftedClocks(const ShiftedClocks&) = delete;
  ShiftedClocks& operator=(const ShiftedClocks&) = delete;

  // 2026-11-01T04:30 in UTC, for example.
  void set(int year, int month, int day, int hour, int minute) const {
    tm utc{};
    utc.tm_year = year - 1900;
    utc.tm_mon = month - 1;
    utc.tm_mday = day;
    utc.tm_hour = hour;
    utc.tm_min = minute;
    shifts_->jumped = timegm(&utc) - time(nullptr) - shifts_->passed;
  }
  // Somebody sets the wall clock.
  void jump(int64_t seconds) const { shifts_->jumped += seconds; }
  // Time passes, on both clocks at once.
  void pass(int64_t seconds) const { shifts_->passed += seconds; }

  Settings settings() const {
    return {{"LD_PRELOAD", sibling_program("shifted_clocks.so")}, {"CLOCK_SHIFTS", dir_.path() + "/shifts"}};
  }

 private:
  struct Shifts {
    std::atomic<int64_t> passed;
    std::atomic<int64_t> jumped;
  };
  WorkDir dir_;
  Shifts* shifts_;
};

// A site with a day's cap of a few answers.
class LedgerClock : public testing::Test {
 protected:
  void SetUp() override {
    if (is_sanitized()) GTEST_SKIP() << "a sanitizer wants to be loaded first";
  }

  void start(const std::string& zone) {
    settings_ = clocks_.settings();
    settings_.insert({{"CAP_TIMEZONE", zone}, {"CAP_DAY_TOKENS", "1000"}, {"CAP_EXPECTED_INPUT", "10"}});
    site_.emplace(SiteOptions{.settings = settings_});
  }
  Finished run_command(const std::vector<std::string>& arguments) {
    Settings all = site_settings(site_->dir(), site_->simulator());
    for (const auto& [name, value] : settings_) all[name] = value;
    return run(responder_command(site_->dir(), all, arguments));
  }
  // Lets the ledger look at the clocks.
  Json usage(const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"usage", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Finished finished = run_command(arguments);
    EXPECT_EQ(finished.exit_code, 0) << finished.err;
    return parse_json(finished.out);
  }
  std::string day() { return text_at(usage(), "/day"); }

  // Whether another question is answered.
  bool is_answered() {
    usage();
    const int status = site_->ask("[[sim events=1]]").status;
    EXPECT_TRUE(status == 200 || status == 429) << status;
    return status == 200;
  }
  // Uses up the day's tokens; there must be some.
  void spend() {
    usage();
    EXPECT_EQ(site_->ask("[[sim events=2000 interval=0]]").status, 200);
    EXPECT_FALSE(is_answered());
  }

  ShiftedClocks clocks_;
  Settings settings_;
  std::optional<Site> site_;
};

class ClockOf : public LedgerClock, public testing::WithParamInterface<const char*> {};

TEST_P(ClockOf, SetBackGivesNoSecondAllowance) {
  clocks_.set(2026, 12, 1, 4, 0);
  start(GetParam());
  const std::string today = day();
  spend();
  for (const int64_t back : {kHour, kDay, 40 * kDay}) {
    clocks_.jump(-back);
    EXPECT_FALSE(is_answered()) << back;
    EXPECT_EQ(day(), today) << back;
  }
}

TEST_P(ClockOf, JumpingForwardIsNotBelievedForTenMinutes) {
  clocks_.set(2026, 12, 1, 4, 0);
  start(GetParam());
  const std::string today = day();
  spend();
  clocks_.jump(40 * kDay);
  EXPECT_TRUE(site_->responder().logs("the clock jumped forward"));
  EXPECT_FALSE(is_answered());
  EXPECT_EQ(day(), today);
  clocks_.pass(9 * kMinute);
  EXPECT_FALSE(is_answered());
  clocks_.pass(2 * kMinute);
  spend();  // one allowance
  EXPECT_TRUE(day().starts_with("2027-01-")) << day();
  clocks_.jump(-40 * kDay);
  EXPECT_FALSE(is_answered());
}

TEST_P(ClockOf, AJumpWhileTheServiceIsStoppedIsNotBelievedEither) {
  clocks_.set(2026, 12, 1, 4, 0);
  start(GetParam());
  spend();
  site_->responder().process().signal(SIGTERM);
  EXPECT_EQ(site_->await_responder_end(), 0);
  clocks_.jump(40 * kDay);
  Settings all = site_settings(site_->dir(), site_->simulator());
  for (const auto& [name, value] : settings_) all[name] = value;
  Responder again(responder_command(site_->dir(), all));
  EXPECT_TRUE(again.logs("the clock jumped forward"));
  EXPECT_FALSE(is_answered());
  clocks_.jump(-40 * kDay);
  clocks_.pass(kDay);  // a day off is no jump
  EXPECT_TRUE(is_answered());
  again.process().signal(SIGTERM);
  EXPECT_EQ(again.process().wait(), 0);
}

TEST_P(ClockOf, TheOwnerMayOpenThePeriodOfTheClock) {
  clocks_.set(2026, 12, 1, 4, 0);
  start(GetParam());
  spend();
  clocks_.jump(40 * kDay);
  EXPECT_FALSE(is_answered());
  EXPECT_TRUE(text_at(usage({"--open-period"}), "/day").starts_with("2027-01-"));
  spend();
}

TEST_P(ClockOf, AnAnswerOverMidnightBelongsToTheDayOnWhichItBegan) {
  const bool is_east = std::string(GetParam()) == "Asia/Shanghai";
  clocks_.set(2026, 12, 1, is_east ? 15 : 4, 59);  // 23:59 there
  start(GetParam());
  const std::string yesterday = day();
  auto held = site_->stream("[[sim events=5 hold=2]]");
  EXPECT_EQ(read_text(held), "tok1 ");
  clocks_.pass(2 * kMinute);
  const Json before = usage();
  EXPECT_NE(text_at(before, "/day"), yesterday);
  EXPECT_EQ(number_at(before, "/bots/0/caps/0/used"), 0);
  site_->simulator().release();
  EXPECT_EQ(read_stream(held).text, "tok2 tok3 tok4 tok5 ");
  Json after = usage();
  for (const Deadline deadline; number_at(after, "/bots/0/open_leases") > 0 && deadline.left_ms() > 0;)
    after = usage();
  EXPECT_EQ(number_at(after, "/bots/0/caps/0/used"), 0);
  EXPECT_EQ(text_at(after, "/bots/0/days/0/date"), yesterday);
  EXPECT_EQ(number_at(after, "/bots/0/days/0/output_tokens"), 5);
  spend();
}

INSTANTIATE_TEST_SUITE_P(Zones, ClockOf, testing::Values("Asia/Shanghai", "America/New_York"),
                         [](const auto& zone) {
                           return std::string(zone.index == 0 ? "Shanghai" : "NewYork");
                         });

class DaylightSaving : public LedgerClock {};

TEST_F(DaylightSaving, ADayOf25HoursHasOneAllowance) {
  clocks_.set(2026, 11, 1, 4, 30);  // 00:30, an hour before the clocks are set back
  start("America/New_York");
  spend();
  clocks_.pass(24 * kHour + 20 * kMinute);  // 23:50
  EXPECT_FALSE(is_answered());
  clocks_.pass(20 * kMinute);
  spend();
  EXPECT_EQ(day(), "2026-11-02");
}

TEST_F(DaylightSaving, ADayOf23HoursEndsInTime) {
  clocks_.set(2027, 3, 14, 5, 30);  // 00:30
  start("America/New_York");
  spend();
  clocks_.pass(22 * kHour + 20 * kMinute);  // 23:50
  EXPECT_FALSE(is_answered());
  clocks_.pass(20 * kMinute);
  spend();
  EXPECT_EQ(day(), "2027-03-15");
}

}  // namespace
}  // namespace bailian::e2e
