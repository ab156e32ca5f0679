// The lookup of the upstream's name: all waiting requests share one, however long it takes.

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <filesystem>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "harness/answer.h"
#include "harness/process.h"
#include "harness/site.h"
#include "harness/work_dir.h"

namespace bailian::e2e {
namespace {

class SlowResolver : public testing::Test {
 protected:
  void SetUp() override {
    if (is_sanitized()) GTEST_SKIP() << "a sanitizer wants to be loaded first";
  }

  void start(const std::string& base_url, Settings settings = {}, const std::string& names = "NAMES=1") {
    settings["DASHSCOPE_BASE_URL"] = base_url;
    settings.try_emplace("UPSTREAM_RETRIES", "0");
    site_ = std::make_unique<Site>(
        SiteOptions{.settings = settings,
                    .run_by = {"env", "SLOW_RESOLVER=" + dir_.file("slow"),
                               "NO_THREADS=" + dir_.file("no_threads"), "LATER=" + dir_.file("later"), names,
                               "LD_PRELOAD=" + sibling_program("slow_resolver.so")}});
  }
  // From now on the name resolves, also for lookups already waiting.
  void let_it_resolve() { std::filesystem::remove(dir_.file("slow")); }
  std::string to_simulator(const std::string& host) {
    return "http://" + host + ":" + std::to_string(simulator_.port()) + "/api/v1";
  }
  int threads() const {
    const auto page = site_->get("/metrics").body;
    return std::stoi(page.substr(page.find("\nprocess_threads ") + 17));
  }
  double active() const {
    const auto page = site_->get("/metrics").body;
    return std::stod(page.substr(page.find("\nbailian_streams_active ") + 24));
  }

  WorkDir dir_;
  Simulator simulator_{dir_};
  const std::string slow_ = dir_.write("slow", "");
  std::unique_ptr<Site> site_;
};

TEST_F(SlowResolver, TakesOneThreadHoweverManyVisitorsComeAndGo) {
  start("https://slow.test/api/v1");
  const int before = threads();
  for (int round = 0; round < 4; ++round) {
    std::vector<Exchange> visitors;
    visitors.reserve(50);
    for (int i = 0; i < 50; ++i) visitors.push_back(site_->stream("hello"));
    for (const Deadline deadline; active() < 50; std::this_thread::yield()) ASSERT_NE(deadline.left_ms(), 0);
    EXPECT_LE(threads(), before + 1);
    for (auto& visitor : visitors) visitor.close();
    for (const Deadline deadline; active() > 0; std::this_thread::yield()) ASSERT_NE(deadline.left_ms(), 0);
  }
  EXPECT_LE(threads(), before + 1);
}  // and the program exits although the lookup continues

TEST_F(SlowResolver, AllWhoWaitAreAnsweredWhenItIsDone) {
  start(to_simulator("localhost"));
  std::vector<Exchange> visitors;
  for (int i = 0; i < 5; ++i) visitors.push_back(site_->stream("[[sim events=3]]"));
  for (const Deadline deadline; active() < 5; std::this_thread::yield()) ASSERT_NE(deadline.left_ms(), 0);
  EXPECT_EQ(simulator_.count("requests"), 0);
  let_it_resolve();
  for (auto& visitor : visitors) EXPECT_EQ(read_stream(visitor).text, tokens(3));
  EXPECT_EQ(read_stream(site_->stream("[[sim events=3]]")).text, tokens(3));
}

TEST_F(SlowResolver, IsWaitedForAsLongAsForAConnection) {
  start("https://slow.test/api/v1", {{"CONNECT_TIMEOUT", "0.2"}, {"UPSTREAM_RETRIES", "1"}});
  const auto answer = site_->ask("hello");
  expect_error(answer, 504, "upstream_timeout", "Connection timeout");
  const auto line = site_->responder().request_line(answer.headers.get("X-Request-Id"));
  EXPECT_EQ(text_at(line, "/upstream_code"), "connect_timeout");
  EXPECT_NE(
      site_->get("/metrics").body.find("\nbailian_upstream_retries_total{bot=\"default\",target=\"1\"} 1\n"),
      std::string::npos);
}

TEST_F(SlowResolver, ANameThatIsNotFoundIsToldToEveryVisitor) {
  start("https://none.test/api/v1");
  for (int i = 0; i < 2; ++i) {
    const auto answer = site_->ask("hello");
    expect_error(answer, 502, "upstream_error", "Connection failed");
    const auto line = site_->responder().request_line(answer.headers.get("X-Request-Id"));
    EXPECT_EQ(text_at(line, "/upstream_code"), "connect_failed");
    EXPECT_NE(text_at(line, "/detail").find("Could not resolve host: none.test"), std::string::npos);
  }
}

TEST_F(SlowResolver, AnAddressOfALinkHidesNoOther) {
  let_it_resolve();
  start(to_simulator("localhost"));
  EXPECT_EQ(read_stream(site_->stream("[[sim events=3]]")).text, tokens(3));
}

// Listens on a port of 127.0.0.2 or ::1, but its queue of connections is full.
class SilentAddress {
 public:
  explicit SilentAddress(uint16_t port, int family = AF_INET) : family_(family) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
    v4.sin_port = htons(port);
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_addr = in6addr_loopback;
    v6.sin6_port = htons(port);
    const bool is_v6 = family == AF_INET6;
    const auto* const where =
        is_v6 ? reinterpret_cast<const sockaddr*>(&v6) : reinterpret_cast<sockaddr*>(&v4);
    const auto size = static_cast<socklen_t>(is_v6 ? sizeof v6 : sizeof v4);
    listens_ = ::bind(listener_.get(), where, size) == 0 && ::listen(listener_.get(), 0) == 0;
    for (const Fd& fd : queued_) std::ignore = ::connect(fd.get(), where, size);
  }
  bool listens() const { return listens_; }

 private:
  Fd new_socket() const { return Fd(::socket(family_, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)); }

  const int family_;
  bool listens_ = false;
  Fd listener_ = new_socket();
  std::array<Fd, 3> queued_{new_socket(), new_socket(), new_socket()};
};

TEST_F(SlowResolver, AnAddressThatDoesNotAnswerIsPassedOver) {
  const SilentAddress silent(simulator_.port());
  ASSERT_TRUE(silent.listens());
  let_it_resolve();
  start(to_simulator("localhost"), {{"CONNECT_TIMEOUT", "3"}}, "TWO_ADDRESSES=1");
  EXPECT_EQ(read_stream(site_->stream("[[sim events=3]]")).text, tokens(3));
  EXPECT_EQ(simulator_.count("requests"), 1);
}

// The kernel sends a SYN again after a second at the earliest, and half of CONNECT_TIMEOUT is longer than
// this test: only trying both families at once connects in time.
TEST_F(SlowResolver, AFamilyThatDoesNotAnswerIsOvertakenByTheOther) {
  const SilentAddress silent(simulator_.port(), AF_INET6);
  if (!silent.listens()) GTEST_SKIP() << "no IPv6 here";
  let_it_resolve();
  start(to_simulator("localhost"), {{"CONNECT_TIMEOUT", "3600"}}, "BOTH_FAMILIES=1");
  EXPECT_EQ(read_stream(site_->stream("[[sim events=3]]")).text, tokens(3));
}

// libcurl has a limit of its own, 300 s, which it looks at whenever bytes arrive.
TEST_F(SlowResolver, AConnectionMayTakeLongerThanLibcurlsOwnLimit) {
  const auto listener = listen_on_loopback();
  start("https://127.0.0.1:" + std::to_string(listener.port) + "/api/v1",
        {{"CONNECT_TIMEOUT", "3600"}, {"TIMEOUT", "3600"}});
  auto exchange = site_->chat("hello");
  const Fd peer = accept_from(listener.fd);
  char hello[1];
  ASSERT_EQ(::recv(peer.get(), hello, sizeof hello, MSG_PEEK), 1);
  dir_.write("later", "");
  EXPECT_EQ(site_->get(kHealthPath).status, 200);  // the iteration that sent the hello is over
  send_all(peer, "no TLS\n");
  const auto answer = exchange.read_all();
  expect_error(answer, 502, "upstream_error", "Connection failed");
  const auto line = site_->responder().request_line(answer.headers.get("X-Request-Id"));
  EXPECT_EQ(text_at(line, "/upstream_code"), "tls_failed");
}

// The lookup that is under way does not end.
TEST_F(SlowResolver, AddressesOfTheLastTenMinutesAreUsedWithoutWaiting) {
  let_it_resolve();
  start(to_simulator("localhost"));
  EXPECT_EQ(read_stream(site_->stream("[[sim events=3]]")).text, tokens(3));
  const int before = threads();
  dir_.write("slow", "");
  dir_.write("later", "");
  EXPECT_EQ(read_stream(site_->stream("[[sim events=3]]")).text, tokens(3));
  EXPECT_EQ(threads(), before + 1) << "they are looked up again";
}

TEST_F(SlowResolver, APageThatLoadsTheProfileHasTheNameLookedUp) {
  start(to_simulator("localhost"));
  const int before = threads();
  EXPECT_EQ(site_->get(kConfigPath).status, 200);
  EXPECT_EQ(threads(), before + 1);
  let_it_resolve();
  EXPECT_TRUE(simulator_.reaches("warm_ups", 1));
}

TEST_F(SlowResolver, LocalhostIsFoundWhereNoHostsFileNamesIt) {
  start(to_simulator("localhost"), {}, "NO_NAMES=1");
  EXPECT_EQ(read_stream(site_->stream("[[sim events=3]]")).text, tokens(3));
}

TEST_F(SlowResolver, OldAddressesDoWhereNoThreadIsToBeHad) {
  let_it_resolve();
  start(to_simulator("localhost"));
  EXPECT_EQ(read_stream(site_->stream("[[sim events=3]]")).text, tokens(3));
  dir_.write("no_threads", "");
  for (int i = 0; i < 2; ++i) EXPECT_EQ(read_stream(site_->stream("[[sim events=3]]")).text, tokens(3));
}

}  // namespace
}  // namespace bailian::e2e
