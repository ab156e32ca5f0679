#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "chat/router.h"
#include "fastcgi/listen_socket.h"
#include "fastcgi/listener.h"
#include "service/service_manager.h"
#include "service/upgrade.h"
#include "settings/config.h"

namespace bailian {

/// The running program: one loop for each of WORKERS, all accepting from one socket. SIGTERM or SIGINT drains
/// it: live answers finish, up to DRAIN_TIMEOUT; a second signal ends it at once. SIGQUIT drains it, however
/// often it comes. SIGHUP reads the settings again: faulty ones change nothing, and chats under way keep
/// those they began with. SIGUSR1 opens the log file again. SIGUSR2 starts a successor, and drains this one
/// when that serves.
///
/// Under a supervisor: when that is gone, this goes on serving until a successor on the same socket sends
/// SIGQUIT, and ends itself should a loop hang. With faults in its settings it leaves the socket to a process
/// of an earlier start; without one it answers chats with an error.
class Server {
 public:
  /// Reads the settings again, or throws ConfigError.
  using Load = std::function<LoadedConfig()>;

  /// How the program was started.
  struct Start {
    std::vector<std::string> argv;
    pid_t supervisor = 0;             // stands before the service manager, see supervise(); 0: none
    std::vector<std::string> faults;  // of the settings; with some, `config` has the defaults
  };

  /// Throws std::system_error. `socket` must outlive it.
  Server(Config config, ListenSocket& socket, Load load, Start start);
  ~Server();

  /// Serves until it was told to end. The first loop runs on the calling thread. True: the settings that had
  /// faults are mended and the program should start again.
  bool run();

 private:
  struct Worker {
    Worker(const Config& config, ServiceState& shared, ConnectionCount& connections, int listening_fd);
    EventLoop loop;
    Router router;
    FcgiListener listener;
    bool idle = false;
  };

  void on_signal();
  void on_sigusr1();
  void upgrade();
  void on_upgraded();
  void take_over();
  void on_predecessor_gone();
  void hand_over();
  void stop_serving();
  void tell_status();
  [[nodiscard]] std::string status_text() const;
  void watch();
  void watch_alone();
  void ask_loops();
  void show_life();
  void reload();
  void reload_faulty();
  void log_faults() const;
  void use(LoadedConfig loaded);
  void drain();
  void on_idle();
  void stop();
  void join();

  Config config_;
  ListenSocket& socket_;
  Load load_;
  Start start_;
  ServiceManager service_manager_;
  ServiceState shared_;
  ConnectionCount connections_;
  std::vector<std::unique_ptr<Worker>> workers_;
  size_t busy_workers_;  // first loop only
  std::atomic<size_t> accepting_workers_;
  std::atomic<size_t> silent_loops_{0};
  std::atomic<bool> alone_{false};  // nobody else would end it should a loop hang
  bool mended_ = false;
  UniqueFd predecessor_;  // serves in place of this one
  std::string told_status_;
  std::string reload_fault_;  // empty: the last one was good, or there was none
  Timer drain_timeout_;
  Timer status_;
  Timer watch_;
  IoEvent predecessor_end_;
  Upgrade upgrade_;
  SignalEvent sigterm_;
  SignalEvent sigint_;
  SignalEvent sigquit_;
  SignalEvent sighup_;
  SignalEvent sigusr1_;
  SignalEvent sigusr2_;
  std::optional<SignalEvent> hand_over_;
  std::optional<SignalEvent> stop_;
  std::vector<std::thread> threads_;
};

/// Logs the warnings of settings that were read, and that chats get errors when key or application is
/// missing.
void log_warnings(const LoadedConfig& loaded);

/// Raises the limit on open files to what MAX_STREAMS needs, or warns by how much it falls short.
void raise_file_limit(const Config& config);

}  // namespace bailian
