#pragma once

#include <sys/types.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "fastcgi/listen_socket.h"
#include "ledger/alerts.h"
#include "ledger/ledger.h"
#include "service/service_manager.h"
#include "service/upgrade.h"
#include "service/watchdog.h"
#include "service/worker.h"
#include "settings/settings_source.h"

namespace bailian {

/// The running service: WORKERS event loops that accept from one socket.
///
/// SIGTERM and SIGINT drain it: live answers finish, within DRAIN_TIMEOUT; a second one aborts them. SIGQUIT
/// drains it, even if sent repeatedly. SIGHUP reloads the settings: faulty ones change nothing, and chats in
/// progress keep theirs. SIGUSR1 reopens the log file. SIGUSR2 starts a successor, and drains this process
/// when the successor is ready.
///
/// After the end of its supervisor, the process serves until a successor on the same socket sends SIGQUIT; if
/// a loop hangs, the kernel ends it. A process that was started with faulty settings leaves the socket to a
/// predecessor; without one, it answers every chat with an error.
class Server {
 public:
  /// How the program was started.
  struct Start {
    SettingsSource source;  // which a reload reads again
    std::vector<std::string> argv;
    pid_t supervisor = 0;             // the parent, see supervise(); 0: none
    std::vector<std::string> faults;  // of the settings; with any, every chat gets an error
    std::unique_ptr<Ledger> ledger;   // nullptr: what is spent is not counted
  };

  /// `socket` must outlive it. Throws std::system_error.
  Server(Config config, ListenSocket& socket, Start start);

  /// Serves until a signal ends it. The first loop runs on the calling thread. Returns true if the program
  /// should start again, because the faults of the settings are fixed.
  bool run();

 private:
  [[nodiscard]] EventLoop& first_loop() const { return workers_.front()->loop(); }
  WorkerThreads::Workers make_workers();
  std::vector<EventLoop*> loops() const;

  void on_stop_signal();
  void on_watchdog_check();
  void notify_status();
  [[nodiscard]] std::string status_text() const;

  void upgrade();
  void on_upgraded();
  void take_over();
  void on_predecessor_gone();
  void on_supervisor_gone();
  void on_supervisor_stopped();

  void reload();
  std::vector<std::string> read_settings();
  void apply(LoadedConfig loaded);
  void reopen_log_file();
  void restart();
  void log_faults() const;

  void drain();
  void start_draining();
  void on_worker_stopped_accepting();
  void on_worker_idle();
  void stop();

  Config config_;
  ListenSocket& socket_;
  Start start_;
  ServiceManager service_manager_;
  ServiceState state_;
  std::optional<Alerts> alerts_;  // none: there is no ledger
  ConnectionCount connections_;
  const WorkerThreads::Workers workers_;
  size_t busy_workers_;
  std::atomic<size_t> accepting_workers_;
  bool supervisor_gone_ = false;
  bool restarts_ = false;
  UniqueFd predecessor_;      // accepts in place of this process
  std::string reload_fault_;  // empty: the last reload was good, or there was none
  Watchdog watchdog_;
  Timer drain_timeout_;
  Timer next_status_;
  IoEvent predecessor_end_;
  Upgrade upgrade_;
  SignalEvent sigterm_;
  SignalEvent sigint_;
  SignalEvent sigquit_;
  SignalEvent sighup_;
  SignalEvent sigusr1_;
  SignalEvent sigusr2_;
  std::optional<SignalEvent> supervisor_gone_signal_;
  std::optional<SignalEvent> supervisor_stopped_signal_;
};

/// Logs the warnings of the settings, and that every chat gets an error when key or application is missing.
void log_warnings(const LoadedConfig& loaded);

}  // namespace bailian
