#include "dashscope/http_client.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <functional>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "harness/scripted_upstream.h"
#include "unit/loop_timers.h"

namespace bailian {
namespace {

using e2e::ScriptedUpstream;
using e2e::UpstreamCall;

constexpr std::string_view kWholeResponse =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";
constexpr std::string_view kChunkedHead = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Records a transfer's reports, and throws where the test requests it.
struct Receiver : TransferHandler {
  void on_request() noexcept override { ++requests; }
  bool on_data(const ResponseHead& head, std::string_view bytes) override {
    content_type = head.content_type;
    body += bytes;
    if (throws_on_data) throw std::runtime_error("on_data");
    if (pauses) transfer->pause();
    if (on_bytes) on_bytes();
    return !refuses;
  }
  void on_done(const TransferResult& result) override {
    status = result.head.status;
    fault = result.fault;
    detail = result.detail;
    ++ends;
    if (throws_on_done) throw std::runtime_error("on_done");
    on_end();
  }
  void on_exception(const std::exception& error) noexcept override {
    exception = error.what();
    on_end();
  }

  std::unique_ptr<Transfer> transfer;
  std::function<void()> on_bytes;
  std::function<void()> on_end;
  bool throws_on_data = false;
  bool throws_on_done = false;
  bool pauses = false;
  bool refuses = false;
  int requests = 0;
  int ends = 0;
  int status = 0;
  TransferFault fault = TransferFault::kNone;
  std::string content_type;
  std::string body;
  std::string detail;
  std::string exception;
};

class HttpClients : public testing::Test {
 protected:
  HttpClients() {
    for (Receiver* receiver : {&first_, &second_}) {
      receiver->on_end = [this] {
        if (--left_ == 0) loop_.stop();
      };
    }
  }

  void post(Receiver& receiver, const char* body) {
    ++left_;
    receiver.transfer = client_.post(template_, std::make_shared<const std::string>(body),
                                     std::chrono::seconds(10), receiver);
  }

  // Runs the loop while `peer` plays the upstream.
  template <typename Peer>
  void run_with(Peer peer) {
    auto script = std::async(std::launch::async, [&] {
      try {
        peer();
      } catch (...) {
        loop_.stop();
        throw;
      }
    });
    loop_.run();
    script.get();
  }

  ScriptedUpstream upstream_;
  EventLoop loop_{std::chrono::nanoseconds::zero()};
  HttpClient client_{loop_, upstream_.base_url()};
  RequestTemplate template_{upstream_.base_url(), {"Content-Type: text/plain", "Expect:"}};
  int left_ = 0;
  Receiver first_;
  Receiver second_;
};

TEST_F(HttpClients, DeliversAResponse) {
  post(first_, "question");
  run_with([&] {
    const UpstreamCall call = upstream_.accept();
    EXPECT_EQ(call.body(), "question");
    call.send(kWholeResponse);
  });
  EXPECT_EQ(first_.requests, 1);
  EXPECT_EQ(first_.status, 200);
  EXPECT_EQ(first_.content_type, "text/plain");
  EXPECT_EQ(first_.body, "ok");
  EXPECT_EQ(first_.fault, TransferFault::kNone);
  EXPECT_EQ(first_.detail, "");
}

TEST_F(HttpClients, SaysThatNobodyListens) {
  const std::string url = "http://127.0.0.1:" + std::to_string(e2e::unused_port());
  HttpClient client(loop_, url);
  const RequestTemplate request(url, {});
  ++left_;
  first_.transfer =
      client.post(request, std::make_shared<const std::string>("q"), std::chrono::seconds(10), first_);
  loop_.run();
  EXPECT_EQ(first_.requests, 0);
  EXPECT_EQ(first_.status, 0);
  EXPECT_EQ(first_.fault, TransferFault::kConnect);
  EXPECT_NE(first_.detail.find("Connection refused"), std::string::npos) << first_.detail;
  first_.transfer.reset();
}

TEST_F(HttpClients, AnExceptionInOnDataEndsThatTransferAndNoOther) {
  first_.throws_on_data = true;
  post(first_, "1");
  post(second_, "2");
  run_with([&] {
    std::array<UpstreamCall, 2> calls = {upstream_.accept(), upstream_.accept()};
    if (calls[0].body() != "1") std::swap(calls[0], calls[1]);
    calls[0].send(kChunkedHead);
    calls[0].send_chunk("text");
    EXPECT_TRUE(calls[0].is_dropped());
    calls[1].send(kWholeResponse);
  });
  EXPECT_EQ(first_.exception, "on_data");
  EXPECT_EQ(first_.body, "text") << "on_data was called once";
  EXPECT_EQ(first_.ends, 0) << "on_exception takes the place of on_done";
  EXPECT_EQ(second_.exception, "");
  EXPECT_EQ(second_.body, "ok");
}

TEST_F(HttpClients, AnExceptionOfDataThatResumeHandsOverEndsTheTransfer) {
  first_.pauses = true;
  first_.on_bytes = [&] {
    // The data that libcurl received while paused arrives during resume().
    loop_.post([&] {
      first_.pauses = false;
      first_.throws_on_data = true;
      first_.transfer->resume();
      EXPECT_EQ(first_.exception, "") << "not while libcurl is on the stack";
    });
  };
  post(first_, "1");
  run_with([&] {
    const UpstreamCall call = upstream_.accept();
    call.send(std::string(kChunkedHead) + e2e::chunk("one") + e2e::chunk("two"));
    EXPECT_TRUE(call.is_dropped());
  });
  EXPECT_EQ(first_.exception, "on_data");
  EXPECT_EQ(first_.body, "onetwo");
  EXPECT_EQ(first_.ends, 0);
}

TEST_F(HttpClients, AnExceptionInOnDoneIsHandedBack) {
  first_.throws_on_done = true;
  post(first_, "1");
  run_with([&] { upstream_.accept().send(kWholeResponse); });
  EXPECT_EQ(first_.ends, 1);
  EXPECT_EQ(first_.exception, "on_done");
}

TEST_F(HttpClients, DataThatIsRefusedEndsTheTransfer) {
  first_.refuses = true;
  post(first_, "1");
  run_with([&] {
    const UpstreamCall call = upstream_.accept();
    call.send(kChunkedHead);
    call.send_chunk("text");
    EXPECT_TRUE(call.is_dropped());
  });
  EXPECT_EQ(first_.ends, 1);
  EXPECT_EQ(first_.fault, TransferFault::kBroken);
  EXPECT_EQ(first_.exception, "");
}

TEST_F(HttpClients, ADrainedTransferReportsNothingAndReadsALimitedNumberOfBytes) {
  std::promise<void> drained;
  first_.on_bytes = [&] {
    loop_.post([&] {
      Transfer::drain(std::move(first_.transfer));
      drained.set_value();
    });
  };
  post(first_, "1");
  run_with([&] {
    const UpstreamCall call = upstream_.accept();
    call.send(kChunkedHead);
    call.send_chunk("text");
    drained.get_future().wait();
    const auto send_10_mib = [&] {
      for (int i = 0; i < 10240; ++i) call.send_chunk(std::string(1024, 'x'));
    };
    EXPECT_THROW(send_10_mib(), std::runtime_error);
    loop_.stop();
  });
  EXPECT_EQ(first_.body, "text");
  EXPECT_EQ(first_.ends, 0);
  EXPECT_EQ(first_.exception, "");
}

TEST_F(HttpClients, DestroyingATransferClosesItsConnection) {
  first_.on_bytes = [&] { loop_.post([&] { first_.transfer.reset(); }); };
  post(first_, "1");
  run_with([&] {
    const UpstreamCall call = upstream_.accept();
    call.send(kChunkedHead);
    call.send_chunk("text");
    EXPECT_TRUE(call.is_dropped());
    loop_.stop();
  });
  EXPECT_EQ(first_.body, "text");
  EXPECT_EQ(first_.ends, 0);
}

TEST_F(HttpClients, EachDrainedTransferIsGivenASecond) {
  const LoopTimers timers(loop_);
  std::promise<void> checked;
  Clock::time_point drained_at;  // or before
  const auto drain = [&] {
    Transfer::drain(std::move(first_.transfer));
    EXPECT_TRUE(timers.end(std::chrono::seconds(1), drained_at)) << "too early: it is not over";
    loop_.post([&] {
      EXPECT_TRUE(timers.has(std::chrono::seconds(1), drained_at));
      checked.set_value();
      loop_.stop();
    });
  };
  first_.on_bytes = [&] {
    drained_at = Clock::now();
    loop_.post(drain);
  };
  post(first_, "1");
  run_with([&] {
    const UpstreamCall call = upstream_.accept();
    call.send(kChunkedHead);
    call.send_chunk("text");
    checked.get_future().wait();
  });
}

TEST_F(HttpClients, AConnectionThatNobodyUsesIsClosed) {
  const LoopTimers timers(loop_);
  Clock::time_point since = Clock::now();
  const auto in_loop = [this](const auto& task) {
    std::promise<void> done;
    loop_.post([&] {
      task();
      done.set_value();
    });
    done.get_future().wait();
  };
  const auto end_of = [&](Receiver& receiver) {
    auto ended = std::make_shared<std::promise<void>>();
    receiver.on_end = [&receiver, ended] {
      receiver.transfer.reset();
      ended->set_value();
    };
    return ended->get_future();
  };
  const auto check_for_idle = [&] {
    in_loop([&] { EXPECT_TRUE(timers.end(std::chrono::seconds(15), since)); });
    in_loop([&] { since = Clock::now(); });
  };
  auto first_end = end_of(first_);
  auto second_end = end_of(second_);
  post(first_, "1");
  run_with([&] {
    UpstreamCall call = upstream_.accept();
    call.send(kWholeResponse);
    first_end.wait();
    check_for_idle();
    in_loop([&] { post(second_, "2"); });
    call.await_request();
    call.send(kWholeResponse);
    second_end.wait();
    check_for_idle();
    EXPECT_FALSE(call.has_ended()) << "it was used since the last check";
    check_for_idle();
    EXPECT_TRUE(call.has_ended());
    in_loop(
        [&] { EXPECT_FALSE(timers.has_between({}, std::chrono::minutes(1))) << "nothing is left to do"; });
    loop_.stop();
  });
}

TEST_F(HttpClients, AResponseThatHasBegunFreesItsQuestion) {
  auto question = std::make_shared<const std::string>("question");
  const std::weak_ptr<const std::string> kept = question;
  ++left_;
  first_.transfer = client_.post(template_, std::move(question), std::chrono::seconds(10), first_);
  first_.on_bytes = [&] { EXPECT_TRUE(kept.expired()); };
  run_with([&] { upstream_.accept().send(kWholeResponse); });
  EXPECT_EQ(first_.body, "ok");
}

TEST_F(HttpClients, UseNoProxyOfTheEnvironment) {
  const std::string nobody = "http://127.0.0.1:" + std::to_string(e2e::unused_port());
  for (const char* name : {"http_proxy", "all_proxy", "ALL_PROXY"}) ::setenv(name, nobody.c_str(), 1);
  post(first_, "question");
  run_with([&] { upstream_.accept().send(kWholeResponse); });
  for (const char* name : {"http_proxy", "all_proxy", "ALL_PROXY"}) ::unsetenv(name);
  EXPECT_EQ(first_.body, "ok");
}

// Asks a URL that is not the upstream's.
class OtherUrls : public HttpClients {
 protected:
  void ask(const std::string& url) {
    const RequestTemplate request(url, {});
    ++left_;
    first_.transfer =
        client_.post(request, std::make_shared<const std::string>("q"), std::chrono::seconds(10), first_);
  }
};

TEST_F(OtherUrls, OfOtherProtocolsAreNotConnectedTo) {
  const std::string place = "://127.0.0.1:" + std::to_string(upstream_.port()) + "/";
  for (const char* protocol : {"ftp", "gopher", "telnet", "dict", "imap", "smtp"}) {
    SCOPED_TRACE(protocol);
    ask(protocol + place);
    loop_.run();
    EXPECT_EQ(first_.requests, 0);
    EXPECT_NE(first_.detail.find("rotocol"), std::string::npos) << first_.detail;
    EXPECT_FALSE(upstream_.is_called());
    first_.transfer.reset();
  }
}

// Section 3.1 of RFC 7301: the names of the protocols are in the first message as they are.
TEST_F(OtherUrls, AreOfferedHttp1OverTls) {
  const auto server = e2e::listen_on_loopback();
  ask("https://127.0.0.1:" + std::to_string(server.port));
  std::string hello;
  run_with([&] {
    const auto connection = e2e::accept_from(server.fd);
    while (hello.find("http/1.1") == std::string::npos && hello.find("h2") == std::string::npos)
      hello += e2e::receive_some(connection);
  });
  EXPECT_NE(hello.find("\x08http/1.1"), std::string::npos);
  EXPECT_EQ(hello.find("\x02h2"), std::string::npos);
  first_.transfer.reset();
}

}  // namespace
}  // namespace bailian
