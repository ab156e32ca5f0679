#pragma once

#include <functional>
#include <latch>
#include <memory>
#include <thread>
#include <vector>

#include "base/event_loop.h"
#include "chat/router.h"
#include "chat/service_state.h"
#include "fastcgi/listener.h"
#include "settings/config.h"

namespace bailian {

/// One event loop and everything that runs on it. Only loop() and request_stop() may be called from other
/// threads while the loop runs.
class Worker {
 public:
  enum class State {
    kAccepting,  // from the socket that all workers share
    kStandby,    // serves its connections; another process accepts
    kDraining,   // waits for its connections to end
    kIdle        // has drained: no connection is left
  };

  /// `state`, `connections` and `listening_fd` must outlive it. Throws std::system_error.
  Worker(const Config& config, ServiceState& state, ConnectionCount& connections, int listening_fd);

  [[nodiscard]] EventLoop& loop() { return loop_; }
  [[nodiscard]] State state() const { return state_; }

  /// Applies the settings to new chats and to the next request of each connection.
  void reload(const Config& config);
  void stand_by();
  void resume_accepting();
  /// Finishes the answers of its connections. With `stop_accepting`, new ones are left to other processes.
  /// Calls `on_idle` once, when no connection is left.
  void drain(bool stop_accepting, std::function<void()> on_idle);
  /// Any thread. Aborts live answers with an error event and stops the loop.
  void request_stop();

 private:
  void on_no_connections();

  EventLoop loop_;
  Router router_;
  FcgiListener listener_;
  State state_ = State::kAccepting;
  std::function<void()> on_idle_;
};

/// The threads of all workers but the first, whose loop runs on the thread of main.
class WorkerThreads {
 public:
  using Workers = std::vector<std::unique_ptr<Worker>>;

  explicit WorkerThreads(const Workers& workers) : workers_(workers) {}
  /// Waits for the loops to stop, if they run.
  ~WorkerThreads();
  WorkerThreads(const WorkerThreads&) = delete;
  WorkerThreads& operator=(const WorkerThreads&) = delete;

  /// The threads wait for run_loops(): no loop serves before all of them can. Throws std::system_error.
  void create();
  void run_loops();

 private:
  const Workers& workers_;
  std::latch decided_{1};
  bool loops_run_ = false;  // written before, and read after, decided_
  std::vector<std::thread> threads_;
};

}  // namespace bailian
