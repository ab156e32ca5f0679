#include "fastcgi/listener.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "unit/fcgi_wire.h"
#include "unit/loop_timers.h"
#include "unit/loop_upstream.h"

namespace bailian {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kIdle{150};  // longer than a web server needs from its connection to its request
constexpr int kEnough = 50;         // iterations, until what was sent has arrived

class FcgiListeners : public testing::Test {
 protected:
  // Notes how many there are.
  class CountedExchange final : public Exchange {
   public:
    explicit CountedExchange(int& count) : count_(count) { ++count_; }
    ~CountedExchange() override { --count_; }
    void on_flushed() override {}
    void on_shutdown() override {}
    void describe(AccessRecord&) const override {}

   private:
    int& count_;
  };

  void connect(size_t peers) { connect(peers, socket_); }
  void connect(size_t peers, const UniqueFd& socket) {
    const sockaddr_in address = address_of(socket);
    for (size_t i = 0; i < peers; ++i) {
      peers_.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      EXPECT_EQ(::connect(peers_.back().get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
                0);
    }
  }

  // The latest peer sends a request.
  void ask() { ask(peers_.back()); }
  static void ask(const UniqueFd& peer) {
    const std::string request =
        wire::begin(1, 0) + wire::params(1, {{"REQUEST_METHOD", "GET"}}) + wire::stdin_stream(1, "");
    EXPECT_EQ(::send(peer.get(), request.data(), request.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(request.size()));
  }
  static bool is_closed(const UniqueFd& peer) {
    char byte = 0;
    return ::recv(peer.get(), &byte, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN;
  }
  static bool takes_no_body(std::string_view, std::string_view) { return false; }

  // Runs the loop and calls `look` in each iteration until it returns true.
  void run_until(std::function<bool()> look) {
    look_in_next(std::move(look));
    hang_.start(seconds(20));
    loop_.run();
  }

 private:
  void look_in_next(std::function<bool()> look) {
    loop_.post([this, look = std::move(look)] { look() ? loop_.stop() : look_in_next(look); });
  }
  void on_hang() {
    ADD_FAILURE() << "waits for what does not happen";
    loop_.stop();
  }

 protected:
  static constexpr FcgiLimits kLimits{1000, 7, seconds(60), seconds(60)};

  EventLoop loop_{std::chrono::nanoseconds::zero()};
  LoopTimers timers_{loop_};
  Timer hang_{loop_, bind<&FcgiListeners::on_hang>(this)};
  LoopBoard board_;
  Metrics metrics_;
  ConnectionCount count_{1000};
  UniqueFd socket_ = listen_on_loopback(512);
  std::vector<UniqueFd> peers_;
  int exchanges_ = 0;
  const FcgiHandler counted_{
      [this](const Request&, ClientStream&) { return std::make_unique<CountedExchange>(exchanges_); },
      takes_no_body};
  FcgiListener listener_{loop_, socket_.get(), kLimits, count_, board_, metrics_, counted_};
};

TEST_F(FcgiListeners, ThatMeetACrowdServeOthersInBetween) {
  constexpr size_t kPeers = 200;
  constexpr size_t kAtOnce = 64;
  connect(kPeers);
  size_t iterations = 0;
  run_until([&] {
    EXPECT_LE(count_.open, kAtOnce * ++iterations);
    return count_.open == kPeers;
  });
}

TEST_F(FcgiListeners, EndTheExchangeOfAPeerThatHangsUpAtOnce) {
  connect(1);
  ask();
  int iterations = 0;
  run_until([&] {
    if (exchanges_ == 1) peers_.clear();
    if (peers_.empty()) ++iterations;
    return iterations > 0 && exchanges_ == 0;
  });
  EXPECT_LE(iterations, kEnough);
  EXPECT_EQ(count_.open, 0U);
}

TEST_F(FcgiListeners, CloseThePeersThatAskForNothingToMakeRoom) {
  constexpr size_t kPeers = 5;
  constexpr size_t kSoftMax = 2;
  ConnectionCount few{kSoftMax};
  const UniqueFd socket = listen_on_loopback(16);
  FcgiListener listener(loop_, socket.get(), kLimits, few, board_, metrics_, {});
  connect(kPeers, socket);
  const auto connected_at = Clock::now();
  run_until([&] {
    // None is closed at first: a peer that has just connected may be about to ask.
    if (few.open == kPeers && peers_.size() == kPeers && Clock::now() > connected_at + kIdle)
      connect(1, socket);
    return peers_.size() > kPeers && few.open == kSoftMax;
  });
}

TEST_F(FcgiListeners, SpareNoPeersThatHaveJustConnectedWhenThereAreFarTooMany) {
  constexpr size_t kPeers = 20;
  constexpr size_t kHardMax = 4;
  ConnectionCount few{2, kHardMax};
  const UniqueFd socket = listen_on_loopback(kPeers);
  FcgiListener listener(loop_, socket.get(), kLimits, few, board_, metrics_, {});
  connect(kPeers, socket);
  size_t open = 0;
  run_until([&] {
    open = std::max(open, few.open.load());
    return is_closed(peers_.at(kPeers - kHardMax - 1));
  });
  EXPECT_GE(open, kHardMax);
  EXPECT_LE(few.open, kHardMax);
  EXPECT_FALSE(is_closed(peers_.back()));
}

TEST_F(FcgiListeners, CloseNoPeerWhoseRequestHasArrived) {
  ConnectionCount one{1};
  const UniqueFd socket = listen_on_loopback(16);
  FcgiListener listener(loop_, socket.get(), kLimits, one, board_, metrics_, counted_);
  connect(1, socket);
  const auto connected_at = Clock::now();
  run_until([&] {
    if (one.open == 1 && peers_.size() == 1 && Clock::now() > connected_at + kIdle) {
      connect(1, socket);  // accepted before the request is read
      ask(peers_.front());
    }
    return exchanges_ == 1;
  });
  EXPECT_EQ(one.open, 2U);
}

TEST_F(FcgiListeners, CloseNoAnswerInProgressToMakeRoom) {
  ConnectionCount one{1, 1};
  const UniqueFd socket = listen_on_loopback(16);
  FcgiListener listener(loop_, socket.get(), kLimits, one, board_, metrics_, counted_);
  connect(1, socket);
  ask();
  run_until([&] {
    if (exchanges_ == 1 && peers_.size() == 1) connect(1, socket);
    return one.open == 2;
  });
  EXPECT_EQ(exchanges_, 1);
}

// Lets the process open no more files while it lives.
class NoFilesLeft {
 public:
  NoFilesLeft() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit none = {0, before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoFilesLeft() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  NoFilesLeft(const NoFilesLeft&) = delete;
  NoFilesLeft& operator=(const NoFilesLeft&) = delete;

 private:
  rlimit before_{};
};

TEST_F(FcgiListeners, WithoutADescriptorPauseAndTryAgain) {
  constexpr milliseconds kPause{100};
  connect(1);
  const auto start = Clock::now();
  auto none = std::make_unique<NoFilesLeft>();
  run_until([&] {
    if (none && timers_.end(kPause, start)) {
      EXPECT_EQ(count_.open, 0U);
      none.reset();
    }
    return count_.open == 1;
  });
}

}  // namespace
}  // namespace bailian
