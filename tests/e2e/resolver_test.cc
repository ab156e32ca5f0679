// The lookup of the upstream's name: all waiting requests share one, however long it takes.

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "harness/answer.h"
#include "harness/process.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

class SlowResolver : public testing::Test {
 protected:
  void SetUp() override {
    if (kSanitized) GTEST_SKIP() << "a sanitizer wants to be loaded first";
  }

  void start(const std::string& base_url, Settings settings = {}, const std::string& names = "NAMES=1") {
    settings["DASHSCOPE_BASE_URL"] = base_url;
    settings.try_emplace("UPSTREAM_RETRIES", "0");
    site_ = std::make_unique<Site>(SiteOptions{
        .settings = settings,
        .run_by = {"env", "SLOW_RESOLVER=" + dir_.file("slow"), "NO_THREADS=" + dir_.file("no_threads"),
                   names, "LD_PRELOAD=" + sibling_program("slow_resolver.so")}});
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
  EXPECT_NE(site_->get("/metrics").body.find("\nbailian_upstream_retries_total 1\n"), std::string::npos);
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

// Listens on a port of 127.0.0.2, but its queue of connections is full.
class SilentAddress {
 public:
  explicit SilentAddress(uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
    address.sin_port = htons(port);
    const auto* const where = reinterpret_cast<const sockaddr*>(&address);
    if (::bind(listener_.get(), where, sizeof address) != 0 || ::listen(listener_.get(), 0) != 0)
      throw std::runtime_error("cannot listen on 127.0.0.2");
    for (const Fd& fd : queued_) std::ignore = ::connect(fd.get(), where, sizeof address);
  }

 private:
  static Fd new_socket() { return Fd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)); }

  Fd listener_ = new_socket();
  std::array<Fd, 3> queued_{new_socket(), new_socket(), new_socket()};
};

TEST_F(SlowResolver, AnAddressThatDoesNotAnswerIsPassedOver) {
  const SilentAddress silent(simulator_.port());
  let_it_resolve();
  start(to_simulator("localhost"), {{"CONNECT_TIMEOUT", "3"}}, "TWO_ADDRESSES=1");
  EXPECT_EQ(read_stream(site_->stream("[[sim events=3]]")).text, tokens(3));
  EXPECT_EQ(simulator_.count("requests"), 1);
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
