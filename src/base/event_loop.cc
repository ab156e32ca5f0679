#include "base/event_loop.h"

#include <event2/event.h>
#include <sys/eventfd.h>
#include <sysexits.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <new>
#include <system_error>

#include "base/file.h"
#include "base/log.h"

namespace bailian {
namespace {

// 6000 arrivals a second are 120 streams of 50 tokens a second. Below this rate each is handled as it
// arrives.
constexpr double kBusyArrivalsPerSecond = 6000;
constexpr std::chrono::milliseconds kRateWindow{50};

constexpr size_t kMaxPosted = 16;  // tasks for which post() does not allocate

timeval to_timeval(std::chrono::steady_clock::duration duration) {
  const auto us = std::max<int64_t>(0, std::chrono::ceil<std::chrono::microseconds>(duration).count());
  return {us / 1000000, us % 1000000};
}

event* checked(event* made) {
  if (made == nullptr) throw std::bad_alloc();
  return made;
}

static_assert(short{IoEvent::kRead} == EV_READ && short{IoEvent::kWrite} == EV_WRITE);

// The boundary described at ExceptionCallback: every callback of the loop is called through this function.
template <typename Function, typename... Args>
void dispatch(const Function& callback, ExceptionCallback on_exception, const Args&... args) noexcept {
  try {
    callback(args...);
  } catch (const std::exception& error) {
    if (on_exception) return dispatch(on_exception, {}, error);
    log(LogLevel::kError, "internal", error.what());
  }
}

// If libevent cannot open a descriptor, it calls the fatal callback, which must not return.
event_base* new_base() {
  event_set_log_callback([](int severity, const char* message) {
    if (severity == EVENT_LOG_ERR) std::fprintf(stderr, "bailian-fcgi: libevent: %s\n", message);
    if (severity == EVENT_LOG_WARN) log(LogLevel::kWarning, "libevent", message);
  });
  event_set_fatal_callback([](int) {
    stop_log(EX_OSERR);
    ::_exit(EX_OSERR);
  });
  return event_base_new();
}

}  // namespace

EventLoop::EventLoop(std::chrono::nanoseconds coalesce)
    : base_(new_base(), &event_base_free),
      coalesce_(coalesce),
      window_start_(std::chrono::steady_clock::now()),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!base_) throw std::bad_alloc();
  if (!wake_) throw_errno("eventfd");
  posted_.reserve(kMaxPosted);
  running_.reserve(kMaxPosted);
  wake_event_ = std::make_unique<IoEvent>(*this, bind<&EventLoop::run_posted>(this));
  wake_event_->watch(wake_.get(), IoEvent::kRead);
}

EventLoop::~EventLoop() { wake_event_.reset(); }

void EventLoop::run() {
  assert(thread_ == std::thread::id());
  thread_ = std::this_thread::get_id();
  LogBatch log;
  while (!stopping_) {
    event_base_loop(base_.get(), EVLOOP_ONCE);
    run_scheduled();
    log.flush();
    moderate();
  }
  thread_ = {};
}

void EventLoop::stop() {
  post([this] { stopping_ = true; });
}

void EventLoop::post(std::function<void()> task) {
  {
    const std::lock_guard lock(posted_mutex_);
    posted_.push_back(std::move(task));
  }
  wake();
}

void EventLoop::wake() noexcept {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof one);
}

void EventLoop::run_posted() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t taken = ::read(wake_.get(), &count, sizeof count);
  {
    const std::lock_guard lock(posted_mutex_);
    running_.swap(posted_);
    while (Notifier* const notified = first_notified_) {
      notified->unlink();
      notified->at_end_.schedule();
    }
  }
  for (const auto& task : running_) dispatch(task, {});
  running_.clear();
}

void EventLoop::run_scheduled() {
  while (EndOfIteration* const task = first_scheduled_) {
    task->unlink();
    dispatch(task->callback_, task->on_exception_);
  }
}

// Interrupt moderation, as network cards do it. On a busy loop most of a token's cost is wake-ups, here and
// in the web server; so iterations start at least `coalesce_` apart, and more tokens share one. The loop does
// not sleep if it is not busy, if the iteration took longer than that, or if a request is coming in.
void EventLoop::moderate() {
  const bool only_answers = events_ == arrivals_;
  window_arrivals_ += arrivals_;
  events_ = arrivals_ = 0;
  if (coalesce_ <= std::chrono::nanoseconds::zero()) return;
  auto now = std::chrono::steady_clock::now();
  const std::chrono::duration<double> window = now - window_start_;
  if (window >= kRateWindow) {
    busy_ = static_cast<double>(window_arrivals_) > kBusyArrivalsPerSecond * window.count();
    window_start_ = now;
    window_arrivals_ = 0;
  }
  const auto next = iteration_start_ + coalesce_;
  if (busy_ && only_answers && now < next) {
    std::this_thread::sleep_for(next - now);
    now = std::chrono::steady_clock::now();
  }
  iteration_start_ = now;
}

IoEvent::IoEvent(EventLoop& loop, Callback<void(short)> callback, ExceptionCallback on_exception)
    : loop_(loop),
      callback_(callback),
      on_exception_(on_exception),
      event_(checked(event_new(loop.base(), -1, 0, &IoEvent::on_event, this))) {}

IoEvent::~IoEvent() {
  assert(loop_.in_loop_thread());
  event_free(event_);
}

void IoEvent::watch(int fd, short interest, Trigger trigger) {
  assert(loop_.in_loop_thread());
  assert(fd >= 0 && interest != 0);
  if (interest == interest_ && fd == event_get_fd(event_)) return;
  unwatch();
  const auto what = static_cast<short>(interest | EV_PERSIST | (trigger == Trigger::kEdge ? EV_ET : 0));
  event_assign(event_, loop_.base(), fd, what, &IoEvent::on_event, this);
  if (event_add(event_, nullptr) != 0) throw_errno("watch a descriptor");
  interest_ = interest;
}

void IoEvent::unwatch() noexcept {
  assert(loop_.in_loop_thread());
  interest_ = 0;
  event_del(event_);
}

void IoEvent::again() {
  assert(loop_.in_loop_thread());
  event_active(event_, EV_READ, 1);
}

void IoEvent::on_event(int, short what, void* self) noexcept {
  const auto& io = *static_cast<IoEvent*>(self);
  ++io.loop_.events_;
  dispatch(io.callback_, io.on_exception_, static_cast<short>(what & (kRead | kWrite)));
}

Timer::Timer(EventLoop& loop, Callback<void()> callback, ExceptionCallback on_exception)
    : loop_(loop),
      callback_(callback),
      on_exception_(on_exception),
      event_(checked(evtimer_new(
          loop.base(),
          [](int, short, void* self) {
            const auto& timer = *static_cast<Timer*>(self);
            dispatch(timer.callback_, timer.on_exception_);
          },
          this))) {}

Timer::~Timer() {
  assert(loop_.in_loop_thread());
  event_free(event_);
}

void Timer::start(std::chrono::steady_clock::duration after) {
  assert(loop_.in_loop_thread());
  const timeval when = to_timeval(after);
  if (event_add(event_, &when) != 0) throw std::bad_alloc();
}

void Timer::cancel() noexcept {
  assert(loop_.in_loop_thread());
  event_del(event_);
}

SignalEvent::SignalEvent(EventLoop& loop, int signal, Callback<void()> callback)
    : callback_(callback),
      event_(checked(evsignal_new(
          loop.base(), signal,
          [](int, short, void* self) { dispatch(static_cast<SignalEvent*>(self)->callback_, {}); }, this))) {
  std::signal(signal, SIG_IGN);  // libevent restores this when the event is freed
  if (event_add(event_, nullptr) == 0) return;
  const int error = errno;
  event_free(event_);
  throw std::system_error(error, std::generic_category(), "watch a signal");
}

SignalEvent::~SignalEvent() { event_free(event_); }

EndOfIteration::~EndOfIteration() {
  if (scheduled_) unlink();
}

void EndOfIteration::schedule() noexcept {
  assert(loop_.in_loop_thread());
  if (std::exchange(scheduled_, true)) return;
  previous_ = std::exchange(loop_.last_scheduled_, this);
  (previous_ != nullptr ? previous_->next_ : loop_.first_scheduled_) = this;
}

void EndOfIteration::run() noexcept {
  assert(loop_.in_loop_thread());
  dispatch(callback_, on_exception_);
}

void EndOfIteration::unlink() {
  (previous_ != nullptr ? previous_->next_ : loop_.first_scheduled_) = next_;
  (next_ != nullptr ? next_->previous_ : loop_.last_scheduled_) = previous_;
  previous_ = next_ = nullptr;
  scheduled_ = false;
}

Notifier::~Notifier() {
  assert(loop_.in_loop_thread());
  const std::lock_guard lock(loop_.posted_mutex_);
  if (notified_) unlink();
}

void Notifier::notify() noexcept {
  {
    const std::lock_guard lock(loop_.posted_mutex_);
    if (std::exchange(notified_, true)) return;
    next_ = std::exchange(loop_.first_notified_, this);
    if (next_ != nullptr) next_->previous_ = this;
  }
  loop_.wake();
}

void Notifier::unlink() noexcept {
  (previous_ != nullptr ? previous_->next_ : loop_.first_notified_) = next_;
  if (next_ != nullptr) next_->previous_ = previous_;
  previous_ = next_ = nullptr;
  notified_ = false;
}

}  // namespace bailian
