#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/unique_fd.h"

struct event;
struct event_base;

namespace bailian {

class EndOfIteration;

/// One thread's event loop: waits for events, runs their callbacks, then what was put off to the end of the
/// iteration. Everything that hangs on it is used on its thread only and must die before it; post() and
/// stop() may be called from any thread.
class EventLoop {
 public:
  /// `coalesce`: how far apart the iterations of a loop start that is busy with answers, so that one wake-up
  /// serves many streams; 0: as they come. Throws std::system_error.
  explicit EventLoop(std::chrono::nanoseconds coalesce);
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  /// Runs until stop().
  void run();
  void stop();
  /// Has the loop's thread call `task` soon.
  void post(std::function<void()> task);
  /// To be called by the callback of an IoEvent that brought bytes of an answer. How many do in a second
  /// tells whether the loop is busy; everything else is too urgent to be gathered.
  void count_arrival() { ++arrivals_; }

  [[nodiscard]] bool in_loop_thread() const { return thread_ == std::this_thread::get_id(); }
  [[nodiscard]] event_base* base() const { return base_.get(); }

 private:
  friend class EndOfIteration;
  struct FreeBase {
    void operator()(event_base* base) const;
  };

  void run_scheduled();
  void run_posted();
  void moderate();

  std::unique_ptr<event_base, FreeBase> base_;
  std::thread::id thread_ = std::this_thread::get_id();
  std::chrono::nanoseconds coalesce_;
  EndOfIteration* first_scheduled_ = nullptr;
  EndOfIteration* last_scheduled_ = nullptr;
  bool stopping_ = false;

  uint64_t events_ = 0;  // of this iteration
  uint64_t arrivals_ = 0;
  std::chrono::steady_clock::time_point window_start_;
  uint64_t window_arrivals_ = 0;
  std::chrono::steady_clock::time_point iteration_start_;
  bool busy_ = false;

  UniqueFd wake_;
  std::mutex posted_mutex_;
  std::vector<std::function<void()>> posted_;
  std::vector<std::function<void()>> running_;
  std::unique_ptr<class IoEvent> wake_event_;

  friend class IoEvent;
};

/// Watches a descriptor it does not own. Watching ends with the object.
class IoEvent {
 public:
  enum : short { kNothing = 0, kRead = 1, kWrite = 2 };
  enum class Trigger { kLevel, kEdge };

  /// `callback` gets what is ready, kRead | kWrite.
  IoEvent(EventLoop& loop, std::function<void(short ready)> callback);
  ~IoEvent();
  IoEvent(const IoEvent&) = delete;
  IoEvent& operator=(const IoEvent&) = delete;

  /// Watches `fd` from now on for `interest`; kNothing ends it.
  void watch(int fd, short interest, Trigger trigger = Trigger::kLevel);
  /// Calls back in the next iteration as if the descriptor had become ready to read: for a reader that
  /// stopped before the end.
  void again();

 private:
  static void on_event(int fd, short what, void* self);

  EventLoop& loop_;
  std::function<void(short)> callback_;
  event* event_;
  short interest_ = 0;
};

/// Calls back once after a time. It may be started again at any moment, which forgets the earlier time.
class Timer {
 public:
  Timer(EventLoop& loop, std::function<void()> callback);
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  void start(std::chrono::steady_clock::duration after);
  void cancel();

 private:
  std::function<void()> callback_;
  event* event_;
};

/// Calls back for every signal of one kind, as an ordinary event. Once it is gone the signal is ignored:
/// whoever ends the program may say so again while it ends.
class SignalEvent {
 public:
  SignalEvent(EventLoop& loop, int signal, std::function<void()> callback);
  ~SignalEvent();
  SignalEvent(const SignalEvent&) = delete;
  SignalEvent& operator=(const SignalEvent&) = delete;

 private:
  std::function<void()> callback_;
  event* event_;
};

/// A call put off to the end of the loop iteration, however often it was asked for. What runs there may
/// schedule others, which run in the same iteration. To schedule takes no memory: it can't fail.
class EndOfIteration {
 public:
  EndOfIteration(EventLoop& loop, std::function<void()> callback)
      : loop_(loop), callback_(std::move(callback)) {}
  ~EndOfIteration();
  EndOfIteration(const EndOfIteration&) = delete;
  EndOfIteration& operator=(const EndOfIteration&) = delete;

  void schedule() noexcept;

 private:
  friend class EventLoop;

  void unlink();

  EventLoop& loop_;
  std::function<void()> callback_;
  bool scheduled_ = false;
  EndOfIteration* previous_ = nullptr;
  EndOfIteration* next_ = nullptr;
};

}  // namespace bailian
