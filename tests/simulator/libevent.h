#pragma once

#include <event2/event.h>
#include <event2/http.h>

#include <chrono>
#include <memory>
#include <stdexcept>

namespace bailian::simulator {

using std::chrono::milliseconds;

template <auto kFree>
struct FreeWith {
  template <typename T>
  void operator()(T* handle) const {
    kFree(handle);
  }
};

using EventBase = std::unique_ptr<event_base, FreeWith<event_base_free>>;
using Event = std::unique_ptr<event, FreeWith<event_free>>;
using EventHttp = std::unique_ptr<evhttp, FreeWith<evhttp_free>>;

template <typename T>
T* check_allocated(T* handle) {
  if (handle == nullptr) throw std::runtime_error("libevent is out of memory");
  return handle;
}

// Calls back at a steady rate until stopped; the callback may destroy the timer.
class Timer {
 public:
  Timer(event_base* base, event_callback_fn callback, void* owner)
      : event_(check_allocated(event_new(base, -1, EV_PERSIST, callback, owner))) {}

  void start(milliseconds interval) {
    const timeval time{interval.count() / 1000, (interval.count() % 1000) * 1000};
    event_add(event_.get(), &time);
  }
  void stop() { event_del(event_.get()); }
  // Calls back from the loop as soon as it can, once.
  void fire() { event_active(event_.get(), EV_TIMEOUT, 1); }

 private:
  Event event_;
};

}  // namespace bailian::simulator
