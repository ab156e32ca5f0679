#pragma once

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "simulation/choices.h"

namespace bailian::simulation {

using Time = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;
using namespace std::chrono_literals;

/// Reports that the product has allocated `bytes` more than it has freed.
void note_leak(long bytes);

/// Reports that an invariant is broken and ends the process.
[[noreturn]] void violated(const std::string& what);

/// The simulated kernel's state of one descriptor.
class File {
 public:
  File() = default;
  virtual ~File() = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  [[nodiscard]] virtual bool is_readable() const = 0;
  [[nodiscard]] virtual bool is_writable() const { return false; }
  /// The product has closed the descriptor; the file is destroyed next.
  virtual void on_close() {}

  bool has_edge = false;  // something has happened since epoll last reported the file
  int watchers = 0;       // events of the loop that watch it
};

/// The simulated machine and its clock. One for each schedule; everything in it happens on one thread.
class World {
 public:
  World(Choices& choices, bool is_traced);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  Choices& choices;

  // --- time ---

  [[nodiscard]] Time now() const { return now_; }
  /// Schedules `action`. Actions of the same time run in the order in which they were scheduled.
  void at(Time when, std::function<void()> action);
  void after(Duration delay, std::function<void()> action) { at(now_ + delay, std::move(action)); }
  /// Runs the actions that are due.
  void run_due_actions();
  /// Moves the clock to the next action or to `deadline`, whichever is first, and sometimes further: then the
  /// product is late, and several actions run at once.
  void advance(Time deadline);
  /// The product has received bytes of an answer.
  void note_arrival();
  /// The product sleeps in its loop.
  void sleep(Duration time);
  /// Lets `time` pass in which the product does nothing.
  void pass(Duration time) {
    now_ += time;
    lateness_ += time;
  }
  /// A delay that is often none or tiny, and often ends exactly when a timer of the product is due.
  Duration some_delay();
  /// The deadlines of the product's timers, for some_delay().
  std::function<void(std::vector<Time>&)> list_deadlines = [](std::vector<Time>&) {};
  /// How much time the product has lost so far. Every time limit must allow for it.
  [[nodiscard]] Duration lateness() const { return lateness_; }
  /// lateness() at the start of the loop's iteration, from which timers are measured.
  [[nodiscard]] Duration lateness_before_iteration() const { return lateness_before_; }
  void begin_iteration();
  /// Something has happened that the loop had to wake up for.
  void note_progress() { has_progressed_ = true; }

  // --- descriptors ---

  static constexpr int kFirstDescriptor = 1000;  // the real ones of this process are lower

  /// The lowest free number, as a kernel gives it; -1 and EMFILE if there are too many.
  int open(std::unique_ptr<File> file);
  /// nullptr if it is not open.
  [[nodiscard]] File* file(int descriptor) const;
  void close(int descriptor);
  void limit_descriptors(size_t more) { max_descriptors_ = open_descriptors_ + more; }
  [[nodiscard]] bool has_room() const { return open_descriptors_ < max_descriptors_; }
  void lift_descriptor_limit() { max_descriptors_ = SIZE_MAX; }
  [[nodiscard]] size_t open_descriptors() const { return open_descriptors_; }

  // --- the trace ---

  template <typename... Args>
  void trace(fmt::format_string<Args...> text, Args&&... args) {
    if (is_traced_) print(fmt::format(text, std::forward<Args>(args)...));
  }

 private:
  struct Action {
    Time when;
    uint64_t order;
    std::function<void()> run;
    bool operator<(const Action& other) const {
      return when != other.when ? when > other.when : order > other.order;
    }
  };

  void print(const std::string& line) const;

  const bool is_traced_;
  Time now_;
  Duration lateness_{};
  Duration lateness_before_{};
  uint64_t scheduled_ = 0;
  uint64_t steps_ = 0;
  bool has_progressed_ = false;  // in this iteration of the loop
  int idle_iterations_ = 0;
  std::deque<Time> arrivals_;    // the latest
  std::vector<Action> actions_;  // a heap, the next first
  std::vector<std::unique_ptr<File>> files_;
  size_t open_descriptors_ = 0;
  size_t max_descriptors_ = SIZE_MAX;
};

/// The world of the running schedule.
extern World* world;

/// Whether the schedule makes this allocation fail. For the functions that replace C libraries: they report
/// such a failure by their result.
bool allocation_fails();

/// While it lives, the calling code belongs to the world: its allocations neither fail nor count.
class OutsideProduct {
 public:
  OutsideProduct();
  ~OutsideProduct();
  OutsideProduct(const OutsideProduct&) = delete;
  OutsideProduct& operator=(const OutsideProduct&) = delete;

 private:
  const bool was_inside_;
};

/// While it lives, the calling code is the product.
class InsideProduct {
 public:
  InsideProduct();
  ~InsideProduct();
  InsideProduct(const InsideProduct&) = delete;
  InsideProduct& operator=(const InsideProduct&) = delete;

 private:
  const bool was_inside_;
};

/// What the product has allocated and not freed.
struct Allocated {
  size_t bytes = 0;
  size_t peak_bytes = 0;
};
Allocated allocated();
/// Resets the peak to the bytes allocated now.
void reset_peak();
/// `count` allocations of the product fail, beginning with number `first`. 0: none fails.
void fail_allocations(uint64_t first, uint64_t count);
void stop_allocation_failures();
/// Whether any has failed since the last fail_allocations().
bool has_allocation_failed();

}  // namespace bailian::simulation
