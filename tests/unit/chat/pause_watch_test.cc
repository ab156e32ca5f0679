#include "chat/pause_watch.h"

#include <gtest/gtest.h>

#include <functional>
#include <optional>

#include "unit/loop_timers.h"

namespace bailian {
namespace {

struct Answer {
  int looks = 0;
  std::function<void()> on_look = [] {};
  void look() {
    ++looks;
    on_look();
  }
};

class PauseWatches : public testing::Test {
 protected:
  bool is_due() const { return timers_.has_between(std::chrono::seconds(0), PauseWatch::kInterval); }
  // The next look comes in the next iteration.
  void end_interval() { EXPECT_TRUE(timers_.end_between(std::chrono::seconds(0), PauseWatch::kInterval)); }

  EventLoop loop_{std::chrono::nanoseconds::zero()};
  LoopTimers timers_{loop_};
  PauseWatch watch_{loop_};
};

TEST_F(PauseWatches, LookAgainAndAgainAtTheAnswersThatAreOpen) {
  Answer first;
  Answer second;
  const PauseWatch::Entry watches_first(watch_, bind<&Answer::look>(&first));
  std::optional<PauseWatch::Entry> watches_second;
  watches_second.emplace(watch_, bind<&Answer::look>(&second));
  first.on_look = [&] {
    loop_.post([&] {
      if (!watches_second) return loop_.stop();
      watches_second.reset();
      end_interval();
    });
  };
  end_interval();
  loop_.run();
  EXPECT_EQ(first.looks, 2);
  EXPECT_EQ(second.looks, 1);
}

TEST_F(PauseWatches, WakeNobodyWhileNoAnswerIsOpen) {
  EXPECT_FALSE(is_due());
  Answer answer;
  { const PauseWatch::Entry watches(watch_, bind<&Answer::look>(&answer)); }
  std::optional<PauseWatch::Entry> later;
  end_interval();
  loop_.post([&] {
    loop_.post([&] {
      EXPECT_FALSE(is_due());
      later.emplace(watch_, bind<&Answer::look>(&answer));
      end_interval();
    });
  });
  answer.on_look = [this] { loop_.stop(); };
  loop_.run();
  EXPECT_EQ(answer.looks, 1);
}

}  // namespace
}  // namespace bailian
