// Replaces libevent 2.1: the same order of callbacks and the same rules for timers, on a virtual clock.

#include <event2/event.h>
#include <event2/util.h>

#include <algorithm>
#include <cassert>

#include "simulation/loop.h"
#include "simulation/world.h"

using namespace bailian::simulation;

struct event {
  event_base* base;
  int descriptor;
  short what;
  event_callback_fn callback;
  void* argument;
  bool is_watching = false;  // a descriptor
  bool is_timed = false;
  bool is_active = false;  // its callback is due in this iteration
  Time deadline{};
  short ready = 0;
};

struct event_base {
  std::vector<event*> watching;
  std::vector<event*> timed;
  std::vector<event*> active;
  size_t timer_capacity = 0;
  Time cached_now{};  // libevent reads the clock once per iteration
};

namespace {

LoopObserver* observer = nullptr;

void add_to(std::vector<event*>& events, event* one) { events.push_back(one); }
void remove_from(std::vector<event*>& events, event* one) {
  events.erase(std::find(events.begin(), events.end(), one));
}

void activate(event& one, short ready) {
  one.ready = static_cast<short>(one.ready | ready);
  if (std::exchange(one.is_active, true)) return;
  add_to(one.base->active, &one);
}

short readiness(const File& file) {
  return static_cast<short>((file.is_readable() ? EV_READ : 0) | (file.is_writable() ? EV_WRITE : 0));
}

// epoll reports the descriptors in no particular order.
void activate_ready(event_base& base) {
  const size_t count = base.watching.size();
  const size_t first = count > 1 ? world->choices.below(static_cast<uint32_t>(count)) : 0;
  static std::vector<File*> reported;
  reported.clear();
  for (size_t i = 0; i < count; ++i) {
    event& one = *base.watching[(first + i) % count];
    File* const file = world->file(one.descriptor);
    if (file == nullptr) violated("the product watches a closed descriptor");
    const auto ready = static_cast<short>(readiness(*file) & one.what);
    if (ready == 0 || ((one.what & EV_ET) != 0 && !file->has_edge)) continue;
    activate(one, ready);
    reported.push_back(file);
  }
  for (File* const file : reported) file->has_edge = false;
}

void activate_due(event_base& base) {
  std::stable_sort(base.timed.begin(), base.timed.end(),
                   [](const event* a, const event* b) { return a->deadline < b->deadline; });
  while (!base.timed.empty() && base.timed.front()->deadline <= world->now()) {
    event& one = *base.timed.front();
    one.is_timed = false;
    base.timed.erase(base.timed.begin());
    activate(one, EV_TIMEOUT);
    world->note_progress();
  }
}

Time first_deadline(const event_base& base) {
  Time first = Time::max();
  for (const event* const one : base.timed) first = std::min(first, one->deadline);
  return first;
}

// libevent's heap of timers doubles when it is full, and never shrinks.
bool reserve_timer(event_base& base) {
  if (base.timed.size() < base.timer_capacity) return true;
  if (allocation_fails()) return false;
  base.timer_capacity = std::max<size_t>(8, 2 * base.timer_capacity);
  return true;
}

void stop_watching(event& one) {
  one.is_watching = false;
  remove_from(one.base->watching, &one);
  if (File* const file = world->file(one.descriptor)) --file->watchers;
}

}  // namespace

namespace bailian::simulation {
void observe_loop(LoopObserver* the_observer) { observer = the_observer; }
}  // namespace bailian::simulation

extern "C" {

void event_set_log_callback(event_log_cb) {}
void event_set_fatal_callback(event_fatal_cb) {}

event_base* event_base_new() {
  const OutsideProduct outside;
  auto* const base = new event_base;
  world->list_deadlines = [base](std::vector<Time>& deadlines) {
    for (const event* const one : base->timed) deadlines.push_back(one->deadline);
  };
  return base;
}

void event_base_free(event_base* base) {
  const OutsideProduct outside;
  world->list_deadlines = [](std::vector<Time>&) {};
  delete base;
}

int event_base_loop(event_base* base, int) {
  const OutsideProduct outside;
  if (observer != nullptr) observer->on_iteration_end();
  while (true) {
    world->run_due_actions();
    activate_ready(*base);
    activate_due(*base);
    if (!base->active.empty()) break;
    world->advance(first_deadline(*base));
  }
  base->cached_now = world->now();
  world->begin_iteration();
  while (!base->active.empty()) {
    event& one = *base->active.front();
    base->active.erase(base->active.begin());
    one.is_active = false;
    const short ready = std::exchange(one.ready, 0);
    {
      const InsideProduct inside;
      one.callback(one.descriptor, ready, one.argument);
    }
    if (world->choices.one_in(64)) world->pass(world->choices.one_in(8) ? 400ms : 1ms);
  }
  world->pass(1us);
  base->cached_now = {};
  return 0;
}

event* event_new(event_base* base, evutil_socket_t descriptor, short what, event_callback_fn callback,
                 void* argument) {
  const OutsideProduct outside;
  if (allocation_fails()) return nullptr;
  return new event{base, descriptor, what, callback, argument};
}

int event_assign(event* one, event_base* base, evutil_socket_t descriptor, short what,
                 event_callback_fn callback, void* argument) {
  assert(!one->is_watching && !one->is_timed && !one->is_active);
  *one = event{base, descriptor, what, callback, argument};
  return 0;
}

void event_free(event* one) {
  const OutsideProduct outside;
  event_del(one);
  delete one;
}

int event_add(event* one, const timeval* timeout) {
  const OutsideProduct outside;
  if (timeout != nullptr) {
    if (!one->is_timed && !reserve_timer(*one->base)) return -1;
    const Time from = one->base->cached_now != Time() ? one->base->cached_now : world->now();
    one->deadline =
        from + std::chrono::seconds(timeout->tv_sec) + std::chrono::microseconds(timeout->tv_usec);
    if (!std::exchange(one->is_timed, true)) add_to(one->base->timed, one);
    // A timer that has expired but whose callback has not run starts again.
    if (one->is_active && (one->ready & EV_TIMEOUT) != 0) {
      one->is_active = false;
      one->ready = 0;
      remove_from(one->base->active, one);
    }
  } else if (!one->is_watching) {
    if (allocation_fails()) return -1;  // epoll_ctl() too can lack memory
    one->is_watching = true;
    File* const file = world->file(one->descriptor);
    if (file == nullptr) violated("the product starts to watch a closed descriptor");
    add_to(one->base->watching, one);
    ++file->watchers;
    file->has_edge = true;  // epoll reports what is ready already
  }
  return 0;
}

int event_del(event* one) {
  const OutsideProduct outside;
  if (one->is_watching) stop_watching(*one);
  if (std::exchange(one->is_timed, false)) remove_from(one->base->timed, one);
  one->ready = 0;
  if (std::exchange(one->is_active, false)) remove_from(one->base->active, one);
  return 0;
}

void event_active(event* one, int ready, short) {
  const OutsideProduct outside;
  activate(*one, static_cast<short>(ready));
}

evutil_socket_t event_get_fd(const event* one) { return one->descriptor; }

}  // extern "C"
