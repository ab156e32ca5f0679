// A real connection on a real socket pair; the exchange is scripted.
#include "fastcgi/connection.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <functional>
#include <list>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "unit/fcgi_wire.h"
#include "unit/loop_timers.h"

namespace bailian {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
constexpr char kKeep = FCGI_KEEP_CONN;

std::string request(char flags = kKeep, const std::string& path = "/x") {
  return wire::begin(1, flags) + wire::params(1, {{"REQUEST_METHOD", "GET"}, {"REQUEST_URI", path}}) +
         wire::stdin_stream(1, "");
}

/// Does nothing by itself; records the calls it receives.
class ScriptedExchange final : public Exchange {
 public:
  ScriptedExchange(ClientStream& client, std::string& log, std::string& logged_path, const bool& lacks_memory)
      : client_(client), log_(log), logged_path_(logged_path), lacks_memory_(lacks_memory) {}
  ~ScriptedExchange() override { log_ += "destroyed;"; }
  void on_flushed() override {
    log_ += "flushed;";
    if (lacks_memory_) throw std::bad_alloc();
  }
  void on_shutdown() override {
    log_ += "shutdown;";
    client_.send({503, {}, "stopping"});
  }
  void describe(AccessRecord& record) const override {
    log_ += "described;";
    logged_path_ = record.path;
    record.is_chat = true;
    record.detail = "scripted";
  }

 private:
  ClientStream& client_;
  std::string& log_;
  std::string& logged_path_;
  const bool& lacks_memory_;
};

/// A connection, its owner and its peer. Once the connection is in the state `when`, the peer or the process
/// performs `then`; the loop runs until the connection is destroyed.
class Connections : public testing::Test {
 protected:
  Connections() : connections_(static_cast<size_t>(FcgiState::kCount)) {
    int ends[2] = {};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    peer_ = UniqueFd(ends[0]);
    FcgiConnection& connection = at(FcgiState::kReading).emplace_back(context_, UniqueFd(ends[1]), true);
    connection.set_handle(at(FcgiState::kReading).begin());
  }

  void send(const std::string& bytes) const {
    EXPECT_EQ(::send(peer_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT),
              static_cast<ssize_t>(bytes.size()));
  }
  void hang_up() { peer_ = {}; }
  [[nodiscard]] std::string received() const {
    std::string bytes(1 << 20, '\0');
    const ssize_t size = ::recv(peer_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    return bytes.substr(0, size < 0 ? 0 : static_cast<size_t>(size));
  }
  FcgiConnection& connection() {
    for (auto& in_state : connections_) {
      if (!in_state.empty()) return in_state.front();
    }
    throw std::logic_error("there is no connection");
  }

  /// Brings the connection into the state.
  void reach(FcgiState state) {
    if (state == FcgiState::kReading) return send(wire::begin(1, kKeep));
    if (state == FcgiState::kAnswering) answer_ = [](ClientStream&) {};
    if (state == FcgiState::kFinishing)
      answer_ = [](ClientStream& client) { client.send({200, {}, std::string(size_t{8} << 20, 'x')}); };
    if (state == FcgiState::kParked) answer_ = [](ClientStream& client) { client.send({200, {}, "ok"}); };
    send(request());
  }

  void run(FcgiState when, std::function<void()> then) {
    when_ = when;
    then_ = std::move(then);
    reach(when);
    if (when == FcgiState::kReading) loop_.post(std::exchange(then_, {}));
    run();
  }
  void run() {
    hang_.start(kHang);
    loop_.run();
    EXPECT_FALSE(hangs_);
  }

  /// Calls `then` after enough iterations that all bytes sent before have arrived.
  void after_a_while(std::function<void()> then, int iterations = 20) {
    loop_.post([this, iterations, then = std::move(then)] {
      if (iterations == 0) return then();
      after_a_while(then, iterations - 1);
    });
  }
  /// Counts the iterations of the loop from now on.
  void count_iterations() {
    loop_.post([this] {
      ++iterations_;
      count_iterations();
    });
  }

  /// Calls `then` once `holds` returns true.
  void await(std::function<bool()> holds, std::function<void()> then) {
    loop_.post([this, holds = std::move(holds), then = std::move(then)] {
      if (holds()) return then();
      await(holds, then);
    });
  }
  /// Calls `then` later than any clock's tick, with a moment before the iteration.
  void later(std::function<void(Clock::time_point)> then) {
    const auto start = Clock::now();
    await([start] { return Clock::now() > start + 3 * LoopTimers::kTick; },
          [this, then = std::move(then)] { loop_.post([then, now = Clock::now()] { then(now); }); });
  }

  /// Whether a time limit of the connection runs that is this long.
  [[nodiscard]] bool has_limit(Clock::duration time) const { return timers_.has(time, start_); }
  /// Likewise, and it did not begin again since later() called.
  [[nodiscard]] bool has_kept(Clock::duration time, Clock::time_point since) const {
    return timers_.has(time, start_, since - 2 * LoopTimers::kTick);
  }
  /// Ends that limit, or the test if there is none.
  void end_limit(Clock::duration time) {
    const bool is_there = timers_.end(time, start_);
    EXPECT_TRUE(is_there) << time / milliseconds(1) << " ms";
    if (!is_there) loop_.stop();
  }
  void expect_no_limit() {
    hang_.cancel();
    EXPECT_FALSE(timers_.has_between(seconds(0), std::chrono::hours(24)));
    hang_.start(kHang);
  }

  [[nodiscard]] uint64_t ended(Outcome outcome) const {
    return metrics_.totals().requests.at(static_cast<size_t>(outcome));
  }
  static bool has_request(FcgiState state) {
    return state == FcgiState::kAnswering || state == FcgiState::kFinishing;
  }

  static constexpr seconds kHang{20};

  const Clock::time_point start_ = Clock::now();
  FcgiLimits limits_{1000, 7, milliseconds(50), milliseconds(100)};
  EventLoop loop_{std::chrono::nanoseconds::zero()};
  LoopBoard board_;
  Metrics metrics_;
  std::function<void(ClientStream&)> answer_;
  std::string log_;
  std::string path_ = "/x";  // of the request
  std::string logged_path_;
  std::string log_when_closed_;
  bool lacks_memory_ = true;  // when all was sent
  int iterations_ = 0;

  std::unique_ptr<Exchange> handle(const Request& asked, ClientStream& client) {
    EXPECT_EQ(asked.path, path_);
    auto exchange = std::make_unique<ScriptedExchange>(client, log_, logged_path_, lacks_memory_);
    answer_(client);
    return exchange;
  }
  void before_enter(FcgiConnection& connection, FcgiState next) {
    at(next).splice(at(next).end(), at(connection.state()), connection.handle());
    if (next == FcgiState::kClosed) destroy_.schedule();
    if (next == when_ && then_) loop_.post(std::exchange(then_, {}));
  }
  void destroy() {
    log_when_closed_ = log_;
    at(FcgiState::kClosed).clear();
    loop_.stop();
  }
  void on_hang() {
    hangs_ = true;
    loop_.stop();
  }
  std::list<FcgiConnection>& at(FcgiState state) { return connections_[static_cast<size_t>(state)]; }

  FcgiContext context_{
      .loop = loop_,
      .limits = limits_,
      .handler = {[this](const Request& asked, ClientStream& client) { return handle(asked, client); },
                  [](std::string_view, std::string_view) { return false; }},
      .board = board_,
      .metrics = metrics_,
      .sent_bytes = metrics_.add_tally(Traffic::kToClients),
      .slow_log = SlowLog(loop_),
      .bad_requests = {loop_, 1, milliseconds(1), [](int) {}},
      .before_enter = bind<&Connections::before_enter>(this)};
  EndOfIteration destroy_{loop_, bind<&Connections::destroy>(this)};
  Timer hang_{loop_, bind<&Connections::on_hang>(this)};
  LoopTimers timers_{loop_};
  bool hangs_ = false;
  FcgiState when_ = FcgiState::kCount;
  std::function<void()> then_;
  UniqueFd peer_;
  std::vector<std::list<FcgiConnection>> connections_;
};

class InEachState : public Connections, public testing::WithParamInterface<FcgiState> {};

TEST_P(InEachState, APeerThatHangsUpEndsItAtOnce) {
  run(GetParam(), [this] {
    hang_up();
    count_iterations();
  });
  EXPECT_LE(iterations_, 3) << "the loop ends one iteration after the connection";
  EXPECT_EQ(ended(Outcome::kClientGone), has_request(GetParam()) ? 1U : 0U);
  EXPECT_EQ(ended(Outcome::kDone), GetParam() == FcgiState::kParked ? 1U : 0U);
  EXPECT_EQ(log_, GetParam() == FcgiState::kReading ? "" : "described;destroyed;");
}

// Later in the iteration its transfer might send a request that nobody waits for.
TEST_F(Connections, TheExchangeOfAPeerThatHangsUpEndsBeforeTheIterationDoes) {
  run(FcgiState::kAnswering, [this] { hang_up(); });
  EXPECT_EQ(log_when_closed_, "described;destroyed;");
}

TEST_F(Connections, AnAnswerThatBeginsWhileTheProgramStopsEndsInTheSameIteration) {
  context_.stopping = true;
  run(FcgiState::kAnswering, [this] {  // the next one
    EXPECT_EQ(log_, "shutdown;described;destroyed;");
    hang_up();
  });
}

TEST_P(InEachState, APeerThatBreaksTheProtocolEndsIt) {
  run(GetParam(), [this] { send(std::string(8, '\2')); });
  EXPECT_EQ(ended(Outcome::kClientGone), has_request(GetParam()) ? 1U : 0U);
}

TEST_P(InEachState, ADeadlineEndsIt) {
  if (GetParam() == FcgiState::kAnswering) {  // a stream that the peer does not read
    reach(FcgiState::kAnswering);
    answer_ = [](ClientStream& client) {
      client.begin({200, {}, {}});
      client.write(std::string(8 << 20, 'x'));
    };
    run();
  } else {
    run(GetParam(), [this] {
      context_.draining = true;
      connection().drain();
      if (has_request(GetParam())) return;
      end_limit(seconds(GetParam() == FcgiState::kParked ? 2 : 1));
    });
  }
  EXPECT_EQ(ended(Outcome::kClientGone), has_request(GetParam()) ? 1U : 0U);
  EXPECT_EQ(ended(Outcome::kDone), GetParam() == FcgiState::kParked ? 1U : 0U);
}

TEST_P(InEachState, TheOwnerMayAbortIt) {
  run(GetParam(), [this] { connection().abort(); });
  EXPECT_EQ(ended(Outcome::kError), has_request(GetParam()) ? 1U : 0U);
}

std::string name_of(const testing::TestParamInfo<FcgiState>& state) {
  constexpr std::array kNames = {"Parked", "Reading", "Answering", "Finishing"};
  return kNames.at(static_cast<size_t>(state.param));
}

INSTANTIATE_TEST_SUITE_P(All, InEachState,
                         testing::Values(FcgiState::kParked, FcgiState::kReading, FcgiState::kAnswering,
                                         FcgiState::kFinishing),
                         name_of);

TEST_F(Connections, AnAbortedRequestThatIsIncompleteIsEndedAndTheConnectionKept) {
  run(FcgiState::kReading, [this] {
    answer_ = [this](ClientStream& client) {
      client.send({200, {}, "next"});
      loop_.post([this] {
        EXPECT_NE(received().find("next"), std::string::npos);
        hang_up();
      });
    };
    send(wire::record(FCGI_ABORT_REQUEST, 1, "") + request());
  });
  EXPECT_EQ(ended(Outcome::kDone), 1U);
  EXPECT_EQ(ended(Outcome::kClientGone), 0U);
}

TEST_F(Connections, AnAbortedAnswerIsEndedAndTheConnectionKept) {
  run(FcgiState::kAnswering, [this] {
    when_ = FcgiState::kParked;
    then_ = [this] {
      EXPECT_EQ(log_, "described;destroyed;");
      EXPECT_EQ(received(), wire::end_request(1, FCGI_REQUEST_COMPLETE));
      hang_up();
    };
    send(wire::record(FCGI_ABORT_REQUEST, 1, ""));
  });
  EXPECT_EQ(ended(Outcome::kClientGone), 1U);
}

TEST_F(Connections, ACompleteAnswerIsNotAborted) {
  run(FcgiState::kFinishing, [this] {
    send(wire::record(FCGI_ABORT_REQUEST, 1, ""));
    loop_.post([this] {
      EXPECT_EQ(connection().state(), FcgiState::kFinishing);
      hang_up();
    });
  });
  EXPECT_EQ(ended(Outcome::kClientGone), 1U);
}

TEST_F(Connections, EveryByteIsCounted) {
  run(FcgiState::kParked, [this] {
    const auto bytes = received().size();
    EXPECT_GT(bytes, 0U);
    EXPECT_EQ(connection().sent_bytes(), bytes);
    EXPECT_EQ(context_.sent_bytes.sum(), bytes);
    hang_up();
  });
}

TEST_F(Connections, ALoggedPathHasAtMost256Bytes) {
  path_ = "/" + std::string(5000, 'a');
  answer_ = [](ClientStream& client) { client.send({404, {}, {}}); };
  send(request(0, path_));
  run();
  EXPECT_EQ(logged_path_, path_.substr(0, 256));
}

TEST_F(Connections, AStoppingProcessEndsTheAnswer) {
  run(FcgiState::kAnswering, [this] {
    when_ = FcgiState::kParked;
    then_ = [this] {
      EXPECT_NE(received().find("Status: 503 Service Unavailable\r\nContent-Length: 8\r\n\r\nstopping"),
                std::string::npos);
      hang_up();
    };
    context_.stopping = true;
    connection().stop();
    EXPECT_EQ(log_, "shutdown;described;destroyed;") << "at once: a transfer might send its request next";
  });
  EXPECT_EQ(log_, "shutdown;described;destroyed;");
  EXPECT_EQ(ended(Outcome::kError), 1U);
}

TEST_F(Connections, AnExceptionOfTheExchangeClosesIt) {
  run(FcgiState::kAnswering, [this] {
    connection().begin({200, {}, {}});
    connection().write("data: x\n\n");
  });
  EXPECT_EQ(log_, "flushed;described;destroyed;");
  EXPECT_EQ(ended(Outcome::kError), 1U);
  EXPECT_NE(received().find("data: x\n\n"), std::string::npos);
}

TEST_F(Connections, WithoutKeepConnAnAnswerIsTheLast) {
  answer_ = [](ClientStream& client) { client.send({204, {}, {}}); };
  send(request(0));
  run();
  EXPECT_EQ(ended(Outcome::kDone), 1U);
  EXPECT_NE(received().find("Status: 204 No Content\r\n\r\n"), std::string::npos);
}

// --- time limits ---

TEST_F(Connections, ASilentPeerIsGivenTenSeconds) {
  end_limit(seconds(10));
  run();
  EXPECT_EQ(log_, "");
}

TEST_F(Connections, AByteNowAndThenGainsNoTime) {
  const std::string head = wire::begin(1, kKeep);
  send(head.substr(0, 1));
  later([this, head](Clock::time_point now) {
    send(head.substr(1, 1));
    after_a_while([this, now] {
      EXPECT_TRUE(has_kept(seconds(10), now));
      end_limit(seconds(10));
    });
  });
  run();
}

TEST_F(Connections, TheBodyIsGivenThirtySeconds) {
  send(wire::begin(1, kKeep) + wire::params(1, {{"REQUEST_METHOD", "POST"}, {"REQUEST_URI", "/x"}}));
  after_a_while([this] { end_limit(seconds(30)); });
  run();
}

TEST_F(Connections, AnAnswerHasNoLimitOfItsRequest) {
  run(FcgiState::kAnswering, [this] {
    expect_no_limit();
    hang_up();
  });
}

TEST_F(Connections, AKeptConnectionIsGivenFiveMinutes) {
  run(FcgiState::kParked, [this] { end_limit(seconds(300)); });
}

TEST_F(Connections, AnAnswerGoesOnWhileTheProcessDrains) {
  context_.limits.client_stall_timeout = context_.limits.last_bytes_timeout = std::chrono::hours(1);
  run(FcgiState::kFinishing, [this] {
    context_.draining = true;
    connection().drain();
    EXPECT_EQ(connection().state(), FcgiState::kFinishing);
    EXPECT_FALSE(has_limit(seconds(1)));
    hang_up();
  });
}

/// A stream that is longer than the socket's buffer, of which the peer reads as much as the test says.
class SlowPeers : public Connections {
 protected:
  static constexpr seconds kStall{60};

  SlowPeers() {
    lacks_memory_ = false;
    context_.limits.client_stall_timeout = kStall;
  }
  void stream(std::function<void(Clock::time_point)> then) {
    run(FcgiState::kAnswering, [this, then = std::move(then)] {
      connection().begin({200, {}, {}});
      connection().write(std::string(size_t{1} << 20, 'x'));
      later(then);
    });
  }
};

TEST_F(SlowPeers, ThatReadNothingGainNoTime) {
  stream([this](Clock::time_point now) {
    connection().write("more");
    after_a_while([this, now] {
      EXPECT_TRUE(has_kept(kStall, now));
      end_limit(kStall);
    });
  });
  EXPECT_EQ(ended(Outcome::kClientGone), 1U);
}

TEST_F(SlowPeers, ThatReadALittleAreGivenTheTimeAgain) {
  stream([this](Clock::time_point now) {
    const uint64_t sent = connection().sent_bytes();
    EXPECT_NE(received(), "");
    await([this, sent] { return connection().sent_bytes() > sent; },
          [this, now] {
            EXPECT_TRUE(timers_.has(kStall, now));
            hang_up();
          });
  });
}

TEST_F(SlowPeers, ThatHaveCaughtUpHaveNoLimit) {
  stream([this](Clock::time_point) {
    const auto have_caught_up = [this] {
      static_cast<void>(received());
      return connection().unsent_bytes() == 0;
    };
    await(have_caught_up, [this] {
      after_a_while([this] {
        expect_no_limit();
        hang_up();
      });
    });
  });
}

TEST_F(SlowPeers, GainNoTimeForTheRestOfACompleteAnswer) {
  static constexpr seconds kRest{30};
  context_.limits.last_bytes_timeout = kRest;
  run(FcgiState::kFinishing, [this] {
    later([this](Clock::time_point now) {
      const uint64_t sent = connection().sent_bytes();
      EXPECT_NE(received(), "");
      await([this, sent] { return connection().sent_bytes() > sent; },
            [this, now] {
              EXPECT_TRUE(has_kept(kRest, now));
              end_limit(kRest);
            });
    });
  });
  EXPECT_EQ(ended(Outcome::kClientGone), 1U);
}

}  // namespace
}  // namespace bailian
