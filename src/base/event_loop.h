#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/callback.h"
#include "base/unique_fd.h"

struct event;
struct event_base;

namespace bailian {

class EndOfIteration;
class IoEvent;
class Notifier;

/// Receives an exception that a callback of the loop has thrown. The loop is C underneath, so its dispatcher
/// catches every exception and hands it to the owner of the event, which responds by closing whatever the
/// event served; nothing else is affected:
///
///   readable_(loop, bind<&Connection::receive>(this), bind<&Connection::on_exception>(this))
///   void Connection::on_exception(const std::exception& error) noexcept { log(...); close(); }
///
/// If an event is constructed without one, its exceptions are logged as `internal`.
///
/// So a failed allocation too ends only one visitor's request. Two libraries need more
/// than that: libevent ends the process if it cannot open its own descriptors (new_base() in event_loop.cc),
/// and libcurl 7.88 crashes unless CurlMulti::retire() ends the transfers concerned.
using ExceptionCallback = Callback<void(const std::exception&)>;

/// The event loop of one thread: waits for events, runs their callbacks, then those that were scheduled for
/// the end of the iteration. The events must be destroyed before the loop. While it runs, they are used on
/// its thread only (asserted); only post(), stop() and Notifier::notify() may be called from any thread.
///
/// Watching a descriptor or starting a timer throws if the kernel or the heap refuses it.
class EventLoop {
 public:
  /// `coalesce`: minimum time between two iterations while the loop is busy with answers, so that one wake-up
  /// serves many streams; 0: none. Throws std::system_error.
  explicit EventLoop(std::chrono::nanoseconds coalesce);
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  /// Runs until stop().
  void run();
  void stop();
  /// Runs `task` on the loop's thread, in its next iteration. An exception of it is logged as `internal`.
  void post(std::function<void()> task);
  /// Called by an IoEvent's callback that received bytes of an answer. The rate of these decides whether the
  /// loop is busy; an iteration with any other event is never delayed.
  void count_arrival() { ++arrivals_; }

  /// Also true on any thread while the loop does not run.
  [[nodiscard]] bool in_loop_thread() const {
    return thread_ == std::thread::id() || thread_ == std::this_thread::get_id();
  }
  [[nodiscard]] event_base* base() const { return base_.get(); }

 private:
  friend class EndOfIteration;
  friend class IoEvent;
  friend class Notifier;
  void run_scheduled();
  void run_posted();
  void wake() noexcept;
  void moderate();

  std::unique_ptr<event_base, void (*)(event_base*)> base_;
  std::thread::id thread_;  // none while it does not run
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
  std::mutex posted_mutex_;  // guards posted_ and the list of notifiers
  Notifier* first_notified_ = nullptr;
  std::vector<std::function<void()>> posted_;
  std::vector<std::function<void()>> running_;
  std::unique_ptr<IoEvent> wake_event_;
};

/// Watches a descriptor that it does not own, until it is destroyed.
class IoEvent {
 public:
  enum : short { kRead = 2, kWrite = 4 };  // as libevent's EV_READ and EV_WRITE
  enum class Trigger { kLevel, kEdge };

  /// `callback` gets the events that are ready: kRead, kWrite or both.
  IoEvent(EventLoop& loop, Callback<void(short ready)> callback, ExceptionCallback on_exception = {});
  ~IoEvent();
  IoEvent(const IoEvent&) = delete;
  IoEvent& operator=(const IoEvent&) = delete;

  /// Watches `fd` instead of any earlier one for `interest`: kRead, kWrite or both. Throws std::system_error;
  /// then nothing is watched.
  void watch(int fd, short interest, Trigger trigger = Trigger::kLevel);
  void unwatch() noexcept;
  /// Calls back in the next iteration as if the descriptor had become readable, for a reader that stopped
  /// before it had read everything.
  void again();

 private:
  static void on_event(int fd, short what, void* self) noexcept;

  EventLoop& loop_;
  const Callback<void(short)> callback_;
  const ExceptionCallback on_exception_;
  event* event_;
  short interest_ = 0;
};

/// Calls back once after a time. Starting it again replaces the earlier time.
class Timer {
 public:
  Timer(EventLoop& loop, Callback<void()> callback, ExceptionCallback on_exception = {});
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  /// Throws std::bad_alloc, but never if the timer is running.
  void start(std::chrono::steady_clock::duration after);
  void cancel() noexcept;

 private:
  EventLoop& loop_;
  const Callback<void()> callback_;
  const ExceptionCallback on_exception_;
  event* event_;
};

/// Calls back for each signal of one kind, as an ordinary event. After its destruction the signal is ignored,
/// so that another one does not kill the process while it exits.
class SignalEvent {
 public:
  SignalEvent(EventLoop& loop, int signal, Callback<void()> callback);
  ~SignalEvent();
  SignalEvent(const SignalEvent&) = delete;
  SignalEvent& operator=(const SignalEvent&) = delete;

 private:
  const Callback<void()> callback_;
  event* event_;
};

/// A callback that can be scheduled for the end of the loop's iteration, where it runs once. It may schedule
/// others, which run in the same iteration.
class EndOfIteration {
 public:
  EndOfIteration(EventLoop& loop, Callback<void()> callback, ExceptionCallback on_exception = {})
      : loop_(loop), callback_(callback), on_exception_(on_exception) {}
  ~EndOfIteration();
  EndOfIteration(const EndOfIteration&) = delete;
  EndOfIteration& operator=(const EndOfIteration&) = delete;

  /// Allocates nothing and cannot fail.
  void schedule() noexcept;
  /// Calls back at once. It remains scheduled if it was.
  void run() noexcept;

 private:
  friend class EventLoop;

  void unlink();

  EventLoop& loop_;
  const Callback<void()> callback_;
  const ExceptionCallback on_exception_;
  bool scheduled_ = false;
  EndOfIteration* previous_ = nullptr;
  EndOfIteration* next_ = nullptr;
};

/// Lets other threads call back on the loop's thread, at the end of its next iteration. The caller of
/// notify() makes sure that the notifier still exists. Several calls before the callback runs are one.
class Notifier {
 public:
  Notifier(EventLoop& loop, Callback<void()> callback, ExceptionCallback on_exception = {})
      : loop_(loop), at_end_(loop, callback, on_exception) {}
  ~Notifier();
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;

  /// Any thread. Allocates nothing and cannot fail.
  void notify() noexcept;

 private:
  friend class EventLoop;

  void unlink() noexcept;

  EventLoop& loop_;
  EndOfIteration at_end_;
  // Guarded by the loop's mutex.
  bool notified_ = false;
  Notifier* previous_ = nullptr;
  Notifier* next_ = nullptr;
};

}  // namespace bailian
