// `bailian-fcgi top`, in a terminal and without one.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "harness/answer.h"
#include "harness/deadline.h"
#include "harness/scripted_fcgi.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l";
constexpr std::string_view kLeave = "\x1b[?25h\x1b[?1049l";
constexpr std::string_view kFrameStart = "\x1b[H";
constexpr std::string_view kFrameEnd = "\x1b[J";

bool contains(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

[[noreturn]] void fail(const char* verb) { throw std::system_error(errno, std::generic_category(), verb); }

// The two ends of a terminal.
struct Ends {
  Ends() : outside(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) {
    if (!outside.is_open() || grantpt(outside.get()) < 0 || unlockpt(outside.get()) < 0) fail("posix_openpt");
    char name[64];
    if (ptsname_r(outside.get(), name, sizeof name) != 0) fail("ptsname");
    inside = Fd(open(name, O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!inside.is_open()) fail("open the terminal");
  }
  Fd outside;
  Fd inside;
};

// A terminal that runs the program.
class Terminal {
 public:
  Terminal(Command command, unsigned short columns, unsigned short rows) {
    Ends ends;
    inside_ = std::move(ends.inside);
    if (tcgetattr(inside_.get(), &before_) < 0) fail("tcgetattr");
    keys_ = Fd(fcntl(ends.outside.get(), F_DUPFD_CLOEXEC, 0));
    resize(columns, rows);
    screen_.emplace(std::move(ends.outside));
    command.argv.insert(command.argv.begin(), {"setsid", "--ctty"});
    command.fds = {{inside_.get(), 0}, {inside_.get(), 1}};
    process_.emplace(command);
  }

  void resize(unsigned short columns, unsigned short rows) const {
    winsize window{};
    window.ws_col = columns;
    window.ws_row = rows;
    if (ioctl(keys_.get(), TIOCSWINSZ, &window) < 0) fail("TIOCSWINSZ");
  }
  void press(std::string_view key) const {
    if (write(keys_.get(), key.data(), key.size()) != static_cast<ssize_t>(key.size())) fail("write");
  }
  Process& process() { return *process_; }
  std::string shown() const { return screen_->text(); }

  // The lines of the newest whole frame.
  std::vector<std::string> frame() const {
    const auto all = shown();
    const auto end = all.rfind(kFrameEnd);
    const auto start = end != all.npos ? all.rfind(kFrameStart, end) : all.npos;
    if (start == all.npos) return {};
    std::vector<std::string> lines;
    std::string_view rest = std::string_view(all).substr(start + kFrameStart.size(), end - start - 3);
    while (!rest.empty()) {
      const auto line = rest.substr(0, rest.find("\r\n"));
      rest.remove_prefix(std::min(line.size() + 2, rest.size()));
      lines.emplace_back(line.substr(0, line.find("\x1b[K")));
    }
    return lines;
  }
  bool frame_has(std::string_view part) const {
    const auto lines = frame();
    return std::any_of(lines.begin(), lines.end(), [&](const auto& line) { return contains(line, part); });
  }
  void await(const std::function<bool()>& happens) const {
    for (const Deadline deadline; !happens(); std::this_thread::yield())
      if (deadline.left_ms() == 0)
        throw std::runtime_error("it does not happen; the terminal has\n" + shown());
  }
  void await_frame(std::string_view part) const {
    await([&] { return frame_has(part); });
  }

  void expect_restored() {
    EXPECT_EQ(process_->wait(), 0);
    await([&] { return contains(shown(), kLeave); });
    const auto all = shown();
    EXPECT_TRUE(all.starts_with(kEnter));
    EXPECT_TRUE(all.ends_with(kLeave));
    termios after{};
    ASSERT_EQ(tcgetattr(inside_.get(), &after), 0);
    EXPECT_EQ(after.c_lflag, before_.c_lflag);
    EXPECT_EQ(after.c_iflag, before_.c_iflag);
    EXPECT_EQ(std::memcmp(after.c_cc, before_.c_cc, sizeof after.c_cc), 0);
    EXPECT_EQ(process_->err().text(), "");
  }

 private:
  Fd inside_;
  Fd keys_;
  termios before_{};
  std::optional<Output> screen_;
  std::optional<Process> process_;
};

Command top_command(const Site& site, const std::string& interval = "0.1") {
  return responder_command(site.dir(), {},
                           {"top", "--listen", site.dir().socket("fcgi"), "--interval", interval});
}

TEST(Top, ShowsHowLiveStreamsComeAndGo) {
  Site site({.settings = {{"WORKERS", "2"}}});
  Terminal terminal(top_command(site), 120, 24);
  terminal.await_frame("0 active, 0 at most so far, 10000 allowed, 2 workers");
  auto first = site.stream("[[sim events=3 hold=1]]");
  EXPECT_EQ(read_text(first), "tok1 ");
  terminal.await_frame("0 waiting, 1 streaming, 0 paused, 0 finishing");
  auto second = site.chat("[[sim events=3 hold=0]]");
  terminal.await_frame("1 waiting, 1 streaming, 0 paused, 0 finishing");
  terminal.await_frame(first.headers().get("X-Request-Id"));
  const auto lines = terminal.frame();
  EXPECT_TRUE(lines.front().starts_with("bailian-fcgi " BAILIAN_VERSION "  pid ")) << lines.front();
  ASSERT_EQ(lines.size(), 10U);
  EXPECT_TRUE(contains(lines[8], "streaming stream")) << "the oldest is not the first";
  EXPECT_TRUE(contains(lines[9], "waiting   json"));
  site.simulator().release();
  EXPECT_EQ(read_stream(first).text, "tok2 tok3 ");
  EXPECT_EQ(second.read_all().status, 200);
  terminal.await_frame("0 active, 2 at most so far");
  terminal.press("q");
  terminal.expect_restored();
}

TEST(Top, KeepsToTheWindow) {
  Site site;
  std::vector<Exchange> held;
  held.reserve(30);
  for (int i = 0; i < 30; ++i) {
    held.push_back(site.stream("[[sim events=3 hold=1]]"));
    EXPECT_EQ(read_text(held.back()), "tok1 ");
  }
  Terminal terminal(top_command(site, "3600"), 90, 20);
  terminal.await([&] { return terminal.frame().size() == 20; });
  EXPECT_TRUE(terminal.frame_has("30 active"));
  terminal.resize(40, 12);  // by SIGWINCH: the next refresh is an hour away
  terminal.await([&] { return terminal.frame().size() == 12; });
  for (const auto& line : terminal.frame()) EXPECT_LT(line.size(), 40U);
  terminal.resize(200, 60);
  terminal.await([&] { return terminal.frame().size() == 38; });
  terminal.press("\x03");
  terminal.expect_restored();
}

TEST(Top, LeavesTheTerminalAsItWas) {
  Site site;
  const std::vector<std::function<void(Terminal&)>> ends = {
      [](Terminal& terminal) { terminal.press("q"); },
      [](Terminal& terminal) { terminal.press("x\x1b[AQ"); },
      [](Terminal& terminal) { terminal.press("\x03"); },
      [](Terminal& terminal) { terminal.process().signal(SIGINT); },
      [](Terminal& terminal) { terminal.process().signal(SIGTERM); },
  };
  for (const auto& end : ends) {
    Terminal terminal(top_command(site), 80, 24);
    terminal.await_frame("0 active");
    end(terminal);
    terminal.expect_restored();
  }
}

TEST(Top, OutlivesARestart) {
  const WorkDir dir;
  const Simulator simulator(dir);
  std::optional<Responder> responder(std::in_place, responder_command(dir, site_settings(dir, simulator)));
  auto command = responder_command(dir, {}, {"top", "-l", dir.socket("fcgi"), "--interval", "0.1"});
  Terminal terminal(command, 100, 24);
  terminal.await_frame("pid " + std::to_string(responder->process().pid()) + " ");
  responder.reset();
  terminal.await_frame("cannot connect to " + dir.socket("fcgi"));
  responder.emplace(responder_command(dir, site_settings(dir, simulator)));
  terminal.await_frame("pid " + std::to_string(responder->process().pid()) + " ");
  terminal.press("q");
  terminal.expect_restored();
}

TEST(Top, PrintsOneFrameWithoutATerminal) {
  Site site;
  auto held = site.stream("[[sim events=3 hold=1]]");
  EXPECT_EQ(read_text(held), "tok1 ");
  const auto finished = run(top_command(site));
  EXPECT_EQ(finished.exit_code, 0);
  EXPECT_EQ(finished.err, "");
  EXPECT_TRUE(finished.out.starts_with("bailian-fcgi " BAILIAN_VERSION "  pid "));
  EXPECT_TRUE(contains(finished.out, held.headers().get("X-Request-Id") + " default\n"));
  EXPECT_FALSE(contains(finished.out, "\x1b"));
}

TEST(Top, PrintsOneFrameIntoAPipe) {
  Site site;
  const Ends terminal;
  auto command = top_command(site);
  command.fds = {{terminal.inside.get(), 0}};
  const auto finished = run(command);
  EXPECT_EQ(finished.exit_code, 0);
  EXPECT_TRUE(finished.out.starts_with("bailian-fcgi " BAILIAN_VERSION "  pid "));
  EXPECT_FALSE(contains(finished.out, "\x1b"));
}

TEST(Top, FindsTheSocketInTheSettings) {
  Site site;
  site.dir().write("env", "FCGI_LISTEN=" + site.dir().socket("fcgi") + "\n");
  const auto finished = run(responder_command(site.dir(), {}, {"top", "--env-file", site.dir().file("env")}));
  EXPECT_EQ(finished.exit_code, 0) << finished.err;
  EXPECT_TRUE(contains(finished.out, site.dir().socket("fcgi")));
}

TEST(TopFaults, AreNamed) {
  const WorkDir dir;
  const auto top = [&](const std::string& address) {
    return run(responder_command(dir, {}, {"top", "--listen", address}));
  };
  const auto nobody = top(dir.socket("nobody"));
  EXPECT_EQ(nobody.exit_code, 69);
  EXPECT_EQ(nobody.err,
            "bailian-fcgi: cannot connect to " + dir.socket("nobody") + ": No such file or directory\n");
  const auto refused = top("127.0.0.1:" + std::to_string(unused_port()));
  EXPECT_EQ(refused.exit_code, 69);
  EXPECT_TRUE(contains(refused.err, "Connection refused"));
  EXPECT_EQ(top("nonsense").exit_code, 78);
  EXPECT_EQ(run(responder_command(dir, {}, {"top", "--interval", "0"})).exit_code, 64);
}

TEST(TopFaults, AFullDiskIsNamed) {
  Site site;
  const Fd full(open("/dev/full", O_WRONLY | O_CLOEXEC));
  auto command = top_command(site);
  command.fds = {{full.get(), 1}};
  const auto finished = run(command);
  EXPECT_EQ(finished.exit_code, 71);
  EXPECT_EQ(finished.err, "bailian-fcgi: write: No space left on device\n");
}

TEST(TopFaults, AMissingPermissionIsNamed) {
  Site site;
  if (getuid() != 0) GTEST_SKIP() << "another user is needed";
  ASSERT_EQ(chmod(site.dir().socket("fcgi").c_str(), 0600), 0);
  ASSERT_EQ(chmod(site.dir().socket("").c_str(), 0755), 0);
  auto command = top_command(site);
  command.directory = "/";
  command.argv.insert(command.argv.begin(),
                      {"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"});
  const auto finished = run(command);
  EXPECT_EQ(finished.exit_code, 77) << finished.err;
  EXPECT_TRUE(contains(finished.err, "Permission denied")) << finished.err;
}

TEST(TopFaults, NothingHostileReachesTheTerminal) {
  const WorkDir dir;
  const ScriptedFcgi stranger(listen_on_unix(dir.socket("stranger")));
  const auto command = responder_command(dir, {}, {"top", "-l", dir.socket("stranger")});
  const auto answered = [&](std::string_view body) {
    Process process(command);
    stranger.accept().answer(body);
    const int code = process.wait();
    EXPECT_FALSE(contains(process.out().text(), "\x1b"));
    EXPECT_FALSE(contains(process.err().text(), "\x1b"));
    return code;
  };
  EXPECT_EQ(answered("\x1b[2J"), 76);
  EXPECT_EQ(answered("{\"program\":\"\x1b[2J\"}"), 76);
  EXPECT_EQ(
      answered(R"({"program":"bailian-fcgi","state":"\u001b[2J","streams":[{"state":"\u001b]0;\u0007"}]})"),
      0);
  Process process(command);
  stranger.accept().close();
  EXPECT_EQ(process.wait(), 76);
}

}  // namespace
}  // namespace bailian::e2e
