// A log file: rotation, full disks, files that cannot be opened; and how much is logged.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <functional>
#include <map>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "harness/answer.h"
#include "harness/deadline.h"
#include "harness/fcgi_peer.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

bool contains(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

class LogFile : public testing::Test {
 protected:
  void start(const std::string& file, Settings more = {}) {
    more.merge(site_settings(dir_, simulator_));
    more.emplace("LOG_FILE", file);
    process_.emplace(responder_command(dir_, more));
    await([&] { return is_healthy("start"); });
  }
  void start() { start(log_); }

  static void await(const std::function<bool()>& happens) {
    for (const Deadline deadline; !happens(); std::this_thread::yield())
      if (deadline.left_ms() == 0) throw std::runtime_error("timed out");
  }
  void await_logged(std::string_view part) const {
    await([&] { return contains(read_file(log_), part); });
  }

  // One request whose log line has this id.
  void ask(const std::string& id) const {
    auto params = fcgi::params_for("GET", kHealthPath);
    params.emplace_back("REQUEST_ID", id);
    FcgiPeer peer({.unix_path = dir_.socket("fcgi")});
    peer.send(fcgi::begin() + fcgi::params_records(params) + fcgi::stdin_records(""));
    EXPECT_EQ(peer.read_reply().response.status, 200);
  }
  bool is_healthy(const std::string& id) const {
    try {
      ask(id);
      return true;
    } catch (const std::exception&) {
      return false;
    }
  }

  int end() {
    process_->signal(SIGTERM);
    return process_->wait();
  }
  Finished run_with_log(const std::string& file) const {
    auto settings = site_settings(dir_, simulator_);
    settings.emplace("LOG_FILE", file);
    return run(responder_command(dir_, settings));
  }

  WorkDir dir_;
  Simulator simulator_{dir_};
  const std::string log_ = dir_.file("the.log");
  std::optional<Process> process_;
};

// How many log lines each request has. Every line must be whole.
std::map<std::string, int> requests_in(const std::string& log) {
  std::map<std::string, int> counts;
  EXPECT_TRUE(log.empty() || log.ends_with('\n'));
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);) {
    const auto json = parse_json(line);
    if (text_at(json, "/event") == "request") ++counts[text_at(json, "/request_id")];
  }
  return counts;
}

TEST_F(LogFile, IsJsonAndAddedTo) {
  dir_.write("the.log", "{\"event\":\"of an earlier run\"}\n");
  start();
  EXPECT_EQ(end(), 0);
  const auto log = read_file(log_);
  EXPECT_TRUE(log.starts_with("{\"event\":\"of an earlier run\"}\n"));
  for (const char* event : {R"("event":"listening")", R"("event":"request")", R"("event":"stopped")"})
    EXPECT_TRUE(contains(log, event)) << event;
  check_log(log);
  EXPECT_EQ(process_->err().text(), "");
}

TEST_F(LogFile, IsTextWhenThatIsAskedFor) {
  start(log_, {{"LOG_FORMAT", "text"}});
  EXPECT_EQ(end(), 0);
  EXPECT_TRUE(contains(read_file(log_), " info    listening address="));
}

TEST_F(LogFile, IsNobodyElsesToRead) {
  const mode_t before = umask(0);
  start();
  umask(before);
  struct stat status {};
  ASSERT_EQ(stat(log_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0640U);
}

TEST_F(LogFile, IsRotatedUnderLoadWithEveryLineOnceAndWhole) {
  constexpr int kRotations = 20;
  start();
  std::atomic<bool> stop{false};
  std::atomic<int> asked{0};
  std::vector<std::jthread> visitors;
  visitors.reserve(4);
  for (int visitor = 0; visitor < 4; ++visitor)
    visitors.emplace_back([&, visitor] {
      while (!stop) ask("visitor-" + std::to_string(visitor) + "-" + std::to_string(asked++));
    });
  for (int i = 1; i <= kRotations; ++i) {
    ASSERT_EQ(rename(log_.c_str(), (log_ + std::to_string(i)).c_str()), 0);
    process_->signal(SIGUSR1);
    await([&] { return access(log_.c_str(), F_OK) == 0; });
    await_logged("log_reopened");
    ask("after-" + std::to_string(i));
    await_logged("\"after-" + std::to_string(i) + '"');
  }
  stop = true;
  visitors.clear();
  EXPECT_EQ(end(), 0);

  std::map<std::string, int> all;
  for (int i = 1; i <= kRotations + 1; ++i) {
    const auto log = read_file(i <= kRotations ? log_ + std::to_string(i) : log_);
    EXPECT_EQ(contains(log, "\"log_reopened\""), i > 1) << i;
    const auto requests = requests_in(log);
    EXPECT_EQ(requests.count("after-" + std::to_string(i - 1)), i > 1 ? 1U : 0U)
        << "in the wrong file: " << i;
    for (const auto& [id, count] : requests) all[id] += count;
  }
  all.erase("start");
  EXPECT_EQ(all.size(), static_cast<size_t>(asked + kRotations));
  for (const auto& [id, count] : all) EXPECT_EQ(count, 1) << id;
}

TEST_F(LogFile, ThatCannotBeOpenedAgainStaysTheOldOne) {
  start();
  const auto old = dir_.file("old.log");
  ASSERT_EQ(rename(log_.c_str(), old.c_str()), 0);
  ASSERT_EQ(mkdir(log_.c_str(), 0755), 0);
  process_->signal(SIGUSR1);
  await([&] { return contains(read_file(old), "\"log_reopen_failed\""); });
  EXPECT_TRUE(contains(read_file(old), "Is a directory"));
  ask("meanwhile");
  await([&] { return contains(read_file(old), "\"meanwhile\""); });

  ASSERT_EQ(rmdir(log_.c_str()), 0);
  process_->signal(SIGUSR1);
  await([&] { return access(log_.c_str(), F_OK) == 0; });
  ask("afterwards");
  await_logged("\"afterwards\"");
  EXPECT_FALSE(contains(read_file(old), "\"afterwards\""));
  EXPECT_EQ(end(), 0);
}

TEST_F(LogFile, OnAFullDiskHoldsNobodyUp) {
  start("/dev/full");
  for (int i = 0; i < 3000; ++i) ask("id");
  process_->signal(SIGUSR1);
  ask("id");
  EXPECT_EQ(end(), 0);
}

TEST_F(LogFile, ThatNobodyReadsHoldsNobodyUp) {
  ASSERT_EQ(mkfifo(log_.c_str(), 0600), 0);
  const Fd reader(open(log_.c_str(), O_RDWR | O_CLOEXEC));
  start();
  for (int i = 0; i < 3000; ++i) ask("id");
  process_->signal(SIGUSR1);
  ask("id");
  EXPECT_EQ(end(), 0);
}

TEST_F(LogFile, ThatNobodyReadsLeavesTheExitCode) {
  ASSERT_EQ(mkfifo(log_.c_str(), 0600), 0);
  const Fd reader(open(log_.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  const std::string full(65536, '.');
  while (write(reader.get(), full.data(), full.size()) > 0) {
  }
  Settings settings = {{"LOG_FILE", log_}, {"APP_ID", ""}, {"FCGI_LISTEN", dir_.file("nowhere/fcgi")}};
  settings.merge(site_settings(dir_, simulator_));
  EXPECT_EQ(run(responder_command(dir_, settings)).exit_code, 69);
}

TEST_F(LogFile, ThatCannotBeHadStopsTheStart) {
  ASSERT_EQ(mkfifo(dir_.file("fifo").c_str(), 0600), 0);
  for (const auto& [file, why] :
       std::map<std::string, std::string>{{dir_.file("nowhere/the.log"), "No such file or directory"},
                                          {dir_.path(), "Is a directory"},
                                          {dir_.file("fifo"), "No such device or address"}}) {
    const auto finished = run_with_log(file);
    EXPECT_EQ(finished.exit_code, 73) << file;
    EXPECT_EQ(finished.err, "bailian-fcgi: cannot open the log file " + file + ": " + why + "\n");
  }
  EXPECT_EQ(run_with_log(dir_.path() + "/").exit_code, 78);
}

std::string profile(std::string_view greeting) {
  return R"({"botStatus":1,"StartUpMessage":)" + json_string(greeting) +
         R"(,"fontSize":"16","userAvatarURL":"u","botImageURL":"b","commonButtons":[]})";
}

TEST(LogLevels, AreChangedByAReload) {
  Site site({.unset = {"DEBUG"}});
  const auto reload = [&](const std::string& level, const std::string& greeting) {
    site.dir().write("bot.json", profile(greeting));
    site.dir().write(".env", "DEBUG=False\nBOT_CONFIG_FILE=bot.json\nLOG_LEVEL=" + level + "\n");
    site.responder().process().signal(SIGHUP);
    for (const Deadline deadline; !contains(site.get(kConfigPath).body, greeting);)
      if (deadline.left_ms() == 0) throw std::runtime_error("it is not reloaded");
  };
  const auto failing = [&] {
    return site.ask("[[sim status=400 code=InvalidParameter]]").headers.get("X-Request-Id");
  };
  const auto scrape = [&] {  // a line of level debug
    FcgiPeer peer(site.fastcgi());
    peer.send(fcgi::request("GET", "/metrics"));
    EXPECT_EQ(peer.read_reply().response.status, 200);
  };

  reload("warning", "only warnings");
  const auto unlogged = site.get(kHealthPath).headers.get("X-Request-Id");
  const auto logged = failing();
  EXPECT_EQ(text_at(site.responder().request_line(logged), "/level"), "warning");
  reload("error", "only errors");
  const auto unlogged_failure = failing();
  scrape();
  reload("debug", "everything");
  scrape();
  EXPECT_TRUE(site.responder().logs(R"("level":"debug","event":"request")"));
  const auto log = site.responder().log();
  EXPECT_FALSE(contains(log, unlogged));
  EXPECT_FALSE(contains(log, unlogged_failure));
}

TEST(RequestLog, HasTheLineOfARequestBeforeThoseOfWhatWasSlow) {
  Site site({.settings = {{"SLOW_FIRST_TOKEN", "0.000001"}, {"SLOW_ANSWER", "0.000001"}}});
  const auto expect_order = [&](const std::string& id) {
    const std::string slow = R"("event":"slow","request_id":")" + id + R"(","what":)";
    EXPECT_TRUE(site.responder().logs(slow + R"("answer")"));
    const std::string log = site.responder().log();
    const size_t request = log.find(R"("event":"request","request_id":")" + id);
    EXPECT_LT(request, log.find(slow));
    return contains(log, slow + R"("first_token")");
  };
  auto complete = site.stream("[[sim events=1]]");
  EXPECT_TRUE(expect_order(complete.read_all().headers.get("X-Request-Id")));
  EXPECT_FALSE(expect_order(site.ask("[[sim events=1]]").headers.get("X-Request-Id")))
      << "a whole answer has no first token";
  auto left = site.stream("[[sim fault=stall]]");
  const std::string id = left.headers().get("X-Request-Id");
  left.close();
  EXPECT_TRUE(expect_order(id));
}

}  // namespace
}  // namespace bailian::e2e
