#include "simulation/world.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

namespace bailian::simulation {

World* world = nullptr;

namespace {

// The loop may sleep from 6000 arrivals a second on, which it counts in windows of 50 ms.
constexpr size_t kBusyArrivals = 300;
constexpr Duration kBusyTime = 200ms;  // so much later the loop has noticed that it is quiet
constexpr int kMaxIdleIterations = 200;
constexpr uint64_t kMaxSteps = 400'000;  // the busiest schedules take a tenth of them

}  // namespace

World::World(Choices& its_choices, bool is_traced)
    : choices(its_choices), is_traced_(is_traced), now_(Time() + 1000s) {
  world = this;
}

World::~World() { world = nullptr; }

void World::at(Time when, std::function<void()> action) {
  actions_.push_back({std::max(when, now_), scheduled_++, std::move(action)});
  std::push_heap(actions_.begin(), actions_.end());
}

void World::run_due_actions() {
  while (!actions_.empty() && actions_.front().when <= now_) {
    std::pop_heap(actions_.begin(), actions_.end());
    const auto run = std::move(actions_.back().run);
    actions_.pop_back();
    note_progress();
    run();
  }
}

void World::advance(Time deadline) {
  if (++steps_ > kMaxSteps) violated("the product spins, or never ends");
  const Time next = actions_.empty() ? deadline : std::min(actions_.front().when, deadline);
  if (next == Time::max()) violated("the product waits for an event that never comes");
  now_ = std::max(now_ + 1us, next);
  if (choices.one_in(16)) {
    static constexpr Duration kStalls[] = {10us, 1ms, 20ms, 300ms, 2s};
    pass(choices.of(kStalls));
  }
  run_due_actions();
}

void World::begin_iteration() {
  idle_iterations_ = std::exchange(has_progressed_, false) ? 0 : idle_iterations_ + 1;
  // Without memory even the pause cannot be started that keeps it from spinning.
  if (idle_iterations_ > kMaxIdleIterations && !has_allocation_failed()) violated("the loop spins");
  lateness_before_ = lateness_;
}

void World::note_arrival() {
  arrivals_.push_back(now_);
  if (arrivals_.size() > kBusyArrivals) arrivals_.pop_front();
}

// Only a loop that is busy with answers may sleep, to handle several tokens at once.
void World::sleep(Duration time) {
  if (arrivals_.size() < kBusyArrivals || arrivals_.front() < now_ - kBusyTime)
    violated("the loop sleeps although few bytes arrive");
  pass(time);
}

Duration World::some_delay() {
  static constexpr Duration kDelays[] = {0s, 0s, 10us,   1ms, 1ms, 5ms, 40ms, 240ms,
                                         1s, 3s, 9999ms, 15s, 29s, 59s, 61s,  290s};
  const uint32_t kind = choices.below(4);
  if (kind == 0) return 0s;
  if (kind == 1) return std::chrono::microseconds(choices.below(3000));
  if (kind == 2) return choices.of(kDelays);
  std::vector<Time> deadlines;
  list_deadlines(deadlines);
  std::erase_if(deadlines, [this](Time one) { return one < now_ || one > now_ + 400s; });
  if (deadlines.empty()) return 1ms;
  static constexpr Duration kOffsets[] = {0us, 0us, -1us, 1us, -1ms, 1ms};
  const Time aim = deadlines[choices.below(static_cast<uint32_t>(deadlines.size()))] + choices.of(kOffsets);
  return std::max<Duration>(0s, aim - now_);
}

int World::open(std::unique_ptr<File> file) {
  if (open_descriptors_ >= max_descriptors_) {
    errno = EMFILE;
    return -1;
  }
  ++open_descriptors_;
  const auto free = std::find(files_.begin(), files_.end(), nullptr);
  const auto at = free - files_.begin();
  if (free == files_.end()) {
    files_.push_back(std::move(file));
  } else {
    *free = std::move(file);
  }
  return kFirstDescriptor + static_cast<int>(at);
}

File* World::file(int descriptor) const {
  const auto at = static_cast<size_t>(descriptor - kFirstDescriptor);
  return descriptor >= kFirstDescriptor && at < files_.size() ? files_[at].get() : nullptr;
}

void World::close(int descriptor) {
  File* const closed = file(descriptor);
  if (closed == nullptr) violated(fmt::format("closes descriptor {}, which is not open", descriptor));
  if (closed->watchers > 0) violated(fmt::format("closes descriptor {}, which is watched", descriptor));
  closed->on_close();
  files_[static_cast<size_t>(descriptor - kFirstDescriptor)].reset();
  --open_descriptors_;
}

void World::print(const std::string& line) const {
  std::fprintf(stderr, "%12.6f  %s\n", std::chrono::duration<double>(now_ - (Time() + 1000s)).count(),
               line.c_str());
}

}  // namespace bailian::simulation
