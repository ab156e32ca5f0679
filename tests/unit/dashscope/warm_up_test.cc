#include "dashscope/warm_up.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>

#include "unit/loop_timers.h"
#include "unit/loop_upstream.h"

namespace bailian {
namespace {

using std::chrono::seconds;

constexpr const char* kResponse = "HTTP/1.1 404 Not Found\r\nContent-Length: 30\r\n\r\n";
constexpr seconds kConnectTimeout{7};
constexpr seconds kTimeLimit{14};
constexpr seconds kInterval{10};

class WarmUps : public testing::Test {
 protected:
  void SetUp() override { hung_.start(seconds(20)); }
  void on_hang() {
    ADD_FAILURE() << "the test hangs; " << upstream_.requests() << " requests\n" << metrics_.text({});
    loop_.stop();
  }

  // Calls `then` from the loop as soon as `holds`.
  void when(std::function<bool()> holds, std::function<void()> then) {
    loop_.post([this, holds = std::move(holds), then = std::move(then)] {
      if (holds()) return then();
      when(holds, then);
    });
  }
  bool is_counted(const std::string& result, int count) {
    const auto line = "bailian_warm_ups_total{result=\"" + result + "\"} " + std::to_string(count) + "\n";
    return metrics_.text({}).find(line) != std::string::npos;
  }
  void when_counted(const std::string& result, int count, std::function<void()> then) {
    when([=, this] { return is_counted(result, count); }, std::move(then));
  }
  void when_asked(size_t requests, std::function<void()> then) {
    when([this, requests] { return upstream_.requests() == requests; }, std::move(then));
  }
  // Calls `then` after enough iterations that all bytes sent before have arrived.
  void after_a_while(std::function<void()> then) {
    when([left = 50]() mutable { return --left == 0; }, std::move(then));
  }
  void stop_after_a_while() {
    after_a_while([this] { loop_.stop(); });
  }

  EventLoop loop_{std::chrono::nanoseconds::zero()};
  LoopUpstream upstream_{loop_};
  LoopTimers timers_{loop_};
  Metrics metrics_;
  HttpClient client_{loop_, upstream_.base_url()};
  WarmUp warm_up_{loop_, client_, upstream_.base_url(), kConnectTimeout};
  Timer hung_{loop_, bind<&WarmUps::on_hang>(this)};
  const Clock::time_point start_ = Clock::now();
};

TEST_F(WarmUps, AreAHeadWithoutKeyOrContent) {
  upstream_.script = {{kResponse}};
  warm_up_.expect_question(metrics_);
  when_counted("opened", 1, [this] { loop_.stop(); });
  loop_.run();
  const std::string& request = upstream_.last_request();
  EXPECT_TRUE(request.starts_with("HEAD /api/v1 HTTP/1.1\r\n")) << request;
  EXPECT_TRUE(request.ends_with("\r\n\r\n"));
  for (const char* const none : {"Authorization", "Content-Length", "Bearer", "WorkSpace"})
    EXPECT_EQ(request.find(none), std::string::npos) << request;
}

TEST_F(WarmUps, AreNotMadeWhileThereIsAFreshConnection) {
  upstream_.script = {{kResponse}};
  warm_up_.expect_question(metrics_);
  when_counted("opened", 1, [this] {
    warm_up_.expect_question(metrics_);
    EXPECT_TRUE(timers_.end(kInterval, start_));
    after_a_while([this] {
      EXPECT_TRUE(timers_.has(seconds(5), start_)) << "it looks again";
      loop_.stop();
    });
  });
  loop_.run();
  EXPECT_EQ(upstream_.requests(), 1U);
}

TEST_F(WarmUps, BeginOnceInTenSecondsHoweverManyPagesAreLoaded) {
  for (int i = 0; i < 100; ++i) warm_up_.expect_question(metrics_);
  when_asked(1, [this] {
    for (int i = 0; i < 100; ++i) warm_up_.expect_question(metrics_);
    EXPECT_TRUE(timers_.end(kTimeLimit, start_)) << "no response comes";
    when_counted("failed", 1, [this] {
      for (int i = 0; i < 100; ++i) warm_up_.expect_question(metrics_);
      EXPECT_TRUE(timers_.has(kInterval, start_));
      stop_after_a_while();
    });
  });
  loop_.run();
  EXPECT_EQ(upstream_.requests(), 1U);
}

TEST_F(WarmUps, AreRepeatedForAMinuteAfterAPageWasLoaded) {
  constexpr int kRepeats = 6;
  std::function<void(int)> fail = [&](int number) {
    when_asked(static_cast<size_t>(number), [&, number] {
      EXPECT_TRUE(timers_.end(kTimeLimit, start_)) << "no response comes";
      when_counted("failed", number, [&, number] {
        EXPECT_TRUE(timers_.end(kInterval, start_));
        number < kRepeats ? fail(number + 1) : stop_after_a_while();
      });
    });
  };
  warm_up_.expect_question(metrics_);
  fail(1);
  loop_.run();
  EXPECT_EQ(upstream_.requests(), 6U);
  EXPECT_FALSE(timers_.has(kInterval, start_));
}

TEST_F(WarmUps, EndWithoutATraceWhenStopped) {
  bool is_gone = false;
  upstream_.on_disconnected = [&] { is_gone = true; };
  warm_up_.expect_question(metrics_);
  when_asked(1, [&] {
    warm_up_.stop();
    EXPECT_FALSE(timers_.has(kInterval, start_));
    EXPECT_FALSE(timers_.has(kTimeLimit, start_));
    when([&] { return is_gone; }, [this] { loop_.stop(); });
  });
  loop_.run();
  for (const char* const result : {"opened", "kept", "failed"}) EXPECT_TRUE(is_counted(result, 0));
}

}  // namespace
}  // namespace bailian
