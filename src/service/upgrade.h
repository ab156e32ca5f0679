#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "fastcgi/listen_socket.h"

namespace bailian {

/// Starts the program on disk once more, with the same arguments, environment and listening socket, and waits
/// for it to say READY=1. Until then nothing has changed: a successor that fails, or is not ready in 10 s, is
/// logged and gone. Loop thread only.
class Upgrade {
 public:
  /// `on_ready` is called when a successor serves.
  Upgrade(EventLoop& loop, std::vector<std::string> argv, std::function<void()> on_ready);
  ~Upgrade();
  Upgrade(const Upgrade&) = delete;
  Upgrade& operator=(const Upgrade&) = delete;

  /// Does nothing while one is under way.
  void start(const ListenSocket& socket);
  /// Ends the successor that is not ready yet, if there is one. One that has said READY=1 serves: then
  /// `on_ready` is called.
  void cancel();

 private:
  void on_message();
  void on_ready();
  void on_timeout();
  [[nodiscard]] bool is_ready() const;
  [[nodiscard]] bool read_last_message() const;
  void give_up(std::string_view why);
  void on_end();
  void fail(std::string_view why);
  void kill_successor();
  void forget();

  std::vector<std::string> argv_;
  std::function<void()> on_ready_;
  pid_t successor_ = 0;  // 0: none is on its way
  UniqueFd notifications_;
  UniqueFd successor_fd_;
  IoEvent message_;
  IoEvent end_;
  Timer patience_;
};

}  // namespace bailian
