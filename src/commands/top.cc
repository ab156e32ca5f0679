#include "commands/top.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sysexits.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <limits>
#include <optional>
#include <string>

#include "base/event_loop.h"
#include "base/exit_error.h"
#include "base/file.h"
#include "commands/top_frame.h"
#include "fastcgi/client.h"

namespace bailian {
namespace {

constexpr std::string_view kStatusUri = "/status?full&json";
constexpr size_t kMaxFault = 400;  // reserved, so that it can be shown without memory

bool write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

/// Switches the terminal to its alternate screen and reads keys as they are pressed. Its destruction restores
/// the terminal.
class Screen {
 public:
  Screen() {
    if (::tcgetattr(STDIN_FILENO, &before_) != 0) throw_errno("tcgetattr");
    termios keys = before_;
    keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    keys.c_iflag &= ~static_cast<tcflag_t>(IXON);  // Ctrl-S would stop our output
    keys.c_cc[VSUSP] = _POSIX_VDISABLE;            // a suspended program would leave its screen behind
    keys.c_cc[VMIN] = 1;
    keys.c_cc[VTIME] = 0;
    ::tcsetattr(STDIN_FILENO, TCSADRAIN, &keys);
    write_all("\x1b[?1049h\x1b[?25l");
  }
  ~Screen() {
    write_all("\x1b[?25h\x1b[?1049l");
    ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
  }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  [[nodiscard]] static ScreenSize size() {
    constexpr ScreenSize kUsual = {80, 24};
    winsize window{};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_col == 0 || window.ws_row == 0) {
      return kUsual;
    }
    // After a character in the last column, terminals differ in where the cursor is.
    return {window.ws_col - size_t{1}, window.ws_row};
  }

  static void draw(const std::vector<std::string>& lines) {
    std::string frame = "\x1b[H";
    for (size_t i = 0; i < lines.size(); ++i) frame += (i > 0 ? "\r\n" : "") + lines[i] + "\x1b[K";
    write_all(frame + "\x1b[J");
  }

 private:
  termios before_{};
};

class Top {
 public:
  Top(const ListenAddress& address, Seconds interval)
      : address_(address),
        interval_(to_duration(interval)),
        loop_(std::chrono::nanoseconds::zero()),
        next_(loop_, bind<&Top::ask>(this)) {
    fault_.reserve(kMaxFault);
  }

  int run() {
    once_ = ::isatty(STDIN_FILENO) == 0 || ::isatty(STDOUT_FILENO) == 0;
    if (!once_) watch_terminal();
    ask();
    loop_.run();
    screen_.reset();
    if (!fault_.empty()) fmt::print(stderr, "bailian-fcgi: {}\n", fault_);
    return exit_code_;
  }

 private:
  void watch_terminal() {
    keys_.emplace(loop_, bind<&Top::on_key>(this));
    keys_->watch(STDIN_FILENO, IoEvent::kRead);
    sigint_.emplace(loop_, SIGINT, bind<&EventLoop::stop>(&loop_));
    sigterm_.emplace(loop_, SIGTERM, bind<&EventLoop::stop>(&loop_));
    sigwinch_.emplace(loop_, SIGWINCH, bind<&Top::draw>(this));
  }

  void on_key() {
    char key = 0;
    const ssize_t got = ::read(STDIN_FILENO, &key, 1);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (got <= 0 || key == 'q' || key == 'Q') loop_.stop();
  }

  void ask() {
    get_.emplace(
        loop_, address_, kStatusUri, [this](const FcgiAnswer& answer) { on_answer(answer); },
        [this](const std::exception& error) { on_error(error); });
  }

  void on_answer(const FcgiAnswer& answer) {
    if (answer.status() != 200) {
      throw ExitError(EX_PROTOCOL, fmt::format("{} answers with status {}: is it bailian-fcgi {}?",
                                               to_string(address_), answer.status(), BAILIAN_VERSION));
    }
    auto sample = parse_top_sample(answer.body(), Clock::now());
    if (!sample)
      throw ExitError(EX_PROTOCOL, fmt::format("{} does not show a status page", to_string(address_)));
    before_ = std::move(now_);
    now_ = std::move(sample);
    fault_.clear();
    show();
  }

  void on_error(const std::exception& error) {
    fault_.assign(error.what(), std::min(std::strlen(error.what()), kMaxFault));
    // The service may be restarted while this program shows it.
    if (now_ && !once_) return show();
    const auto* named = dynamic_cast<const ExitError*>(&error);
    exit_code_ = named != nullptr ? named->exit_code() : EX_OSERR;
    loop_.stop();
  }

  void show() {
    if (once_) {
      constexpr size_t kAll = std::numeric_limits<size_t>::max();
      std::string frame;
      for (const std::string& line : top_frame(*now_, nullptr, {kAll, kAll})) frame += line + '\n';
      if (!write_all(frame)) throw_errno("write");
      return loop_.stop();
    }
    next_.start(interval_);
    draw();
  }

  void draw() {
    if (!now_) return;
    if (!screen_) screen_.emplace();
    const ScreenSize size = Screen::size();
    auto lines = top_frame(*now_, before_ ? &*before_ : nullptr, size);
    if (!fault_.empty()) lines.front() = fault_.substr(0, size.columns);
    Screen::draw(lines);
  }

  const ListenAddress address_;
  const Clock::duration interval_;
  EventLoop loop_;
  Timer next_;
  std::optional<FcgiGet> get_;
  std::optional<IoEvent> keys_;
  std::optional<SignalEvent> sigint_;
  std::optional<SignalEvent> sigterm_;
  std::optional<SignalEvent> sigwinch_;
  std::optional<Screen> screen_;
  std::optional<TopSample> before_;
  std::optional<TopSample> now_;
  bool once_ = false;
  std::string fault_;
  int exit_code_ = EX_OK;
};

}  // namespace

int top(const SettingsSource& source, Seconds interval) {
  return Top(service_address(source), interval).run();
}

}  // namespace bailian
