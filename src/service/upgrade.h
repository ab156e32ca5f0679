#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "fastcgi/listen_socket.h"

namespace bailian {

/// Starts the program on disk as a successor, with the same arguments, environment and listening socket, and
/// waits for its READY=1. Until then nothing changes: a successor that fails, or is not ready within 10 s, is
/// logged and killed. Loop thread only.
class Upgrade {
 public:
  /// `on_ready` is called when a successor is ready: from now on it serves.
  Upgrade(EventLoop& loop, std::vector<std::string> argv, Callback<void()> on_ready);
  ~Upgrade();
  Upgrade(const Upgrade&) = delete;
  Upgrade& operator=(const Upgrade&) = delete;

  /// Does nothing while a successor starts.
  void start(const ListenSocket& socket);
  /// Kills a successor that is still starting. One that has sent READY=1 already serves: then `on_ready` is
  /// called.
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
  void reset();

  std::vector<std::string> argv_;
  Callback<void()> on_ready_;
  pid_t successor_ = 0;  // that is starting; 0: none
  UniqueFd notifications_;
  UniqueFd successor_fd_;
  IoEvent message_;
  IoEvent end_;
  Timer timeout_;
};

}  // namespace bailian
