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

namespace bailian {
namespace {

using std::chrono::milliseconds;
constexpr char kKeep = FCGI_KEEP_CONN;

std::string request(char flags = kKeep) {
  return wire::begin(1, flags) + wire::params(1, {{"REQUEST_METHOD", "GET"}, {"REQUEST_URI", "/x"}}) +
         wire::stdin_stream(1, "");
}

/// Does nothing by itself; records the calls it receives.
class ScriptedExchange final : public Exchange {
 public:
  ScriptedExchange(ClientStream& client, std::string& log) : client_(client), log_(log) {}
  ~ScriptedExchange() override { log_ += "destroyed;"; }
  void on_flushed() override {
    log_ += "flushed;";
    throw std::bad_alloc();
  }
  void on_shutdown() override {
    log_ += "shutdown;";
    client_.send({503, {}, "stopping"});
  }
  void describe(AccessRecord& record) const override {
    log_ += "described;";
    record.is_chat = true;
    record.detail = "scripted";
  }

 private:
  ClientStream& client_;
  std::string& log_;
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
    hang_.start(std::chrono::seconds(10));
    loop_.run();
    EXPECT_FALSE(hangs_);
  }

  [[nodiscard]] uint64_t ended(Outcome outcome) const {
    return metrics_.totals().requests.at(static_cast<size_t>(outcome));
  }
  static bool has_request(FcgiState state) {
    return state == FcgiState::kAnswering || state == FcgiState::kFinishing;
  }

  FcgiLimits limits_{1000, 7, milliseconds(50), milliseconds(100)};
  EventLoop loop_{std::chrono::nanoseconds::zero()};
  LoopBoard board_;
  Metrics metrics_;
  std::function<void(ClientStream&)> answer_;
  std::string log_;

  std::unique_ptr<Exchange> handle(const Request& asked, ClientStream& client) {
    EXPECT_EQ(asked.path, "/x");
    auto exchange = std::make_unique<ScriptedExchange>(client, log_);
    answer_(client);
    return exchange;
  }
  void before_enter(FcgiConnection& connection, FcgiState next) {
    at(next).splice(at(next).end(), at(connection.state()), connection.handle());
    if (next == FcgiState::kClosed) destroy_.schedule();
    if (next == when_ && then_) loop_.post(std::exchange(then_, {}));
  }
  void destroy() {
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
  bool hangs_ = false;
  FcgiState when_ = FcgiState::kCount;
  std::function<void()> then_;
  UniqueFd peer_;
  std::vector<std::list<FcgiConnection>> connections_;
};

class InEachState : public Connections, public testing::WithParamInterface<FcgiState> {};

TEST_P(InEachState, APeerThatHangsUpEndsIt) {
  run(GetParam(), [this] { hang_up(); });
  EXPECT_EQ(ended(Outcome::kClientGone), has_request(GetParam()) ? 1U : 0U);
  EXPECT_EQ(ended(Outcome::kDone), GetParam() == FcgiState::kParked ? 1U : 0U);
  EXPECT_EQ(log_, GetParam() == FcgiState::kReading ? "" : "described;destroyed;");
}

TEST_P(InEachState, APeerThatBreaksTheProtocolEndsIt) {
  run(GetParam(), [this] { send(std::string(8, '\2')); });
  EXPECT_EQ(ended(Outcome::kClientGone), has_request(GetParam()) ? 1U : 0U);
}

TEST_P(InEachState, ADeadlineEndsIt) {
  context_.draining = true;
  if (GetParam() == FcgiState::kAnswering) {  // a stream that the peer does not read
    reach(FcgiState::kAnswering);
    answer_ = [](ClientStream& client) {
      client.begin({200, {}, {}});
      client.write(std::string(8 << 20, 'x'));
    };
    hang_.start(std::chrono::seconds(10));
    loop_.run();
    EXPECT_FALSE(hangs_);
  } else {
    run(GetParam(), [this] { connection().drain(); });
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
  hang_.start(std::chrono::seconds(10));
  loop_.run();
  EXPECT_EQ(ended(Outcome::kDone), 1U);
  EXPECT_NE(received().find("Status: 204 No Content\r\n\r\n"), std::string::npos);
}

}  // namespace
}  // namespace bailian
