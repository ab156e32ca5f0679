// Runs the product in a simulated world, schedule after schedule. tests/README.md explains the output.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "fastcgi/request_reader.h"
#include "simulation/coverage.h"
#include "simulation/schedule.h"
#include "simulation/shrink.h"
#include "simulation/world.h"

namespace bailian::simulation {
namespace {

constexpr int kViolated = 3;  // exit code
constexpr unsigned kMaxSecondsPerSchedule = 30;
constexpr int kMaxShrinkRuns = 4000;
constexpr size_t kMaxWorkers = 64;
constexpr size_t kMaxScript = size_t{1} << 20;

/// Memory that all processes share.
struct Shared {
  struct Worker {
    std::atomic<uint64_t> seed;
    std::atomic<uint64_t> schedules;
    std::atomic<uint64_t> chats;
    Coverage coverage;
    std::array<char, 2048> violation;
  };
  std::array<Worker, kMaxWorkers> workers;
  std::atomic<bool> stops;
  size_t choices;  // how many are in `script`
  std::array<uint32_t, kMaxScript> script;
};

Shared* shared = nullptr;
Shared::Worker* own = nullptr;  // of this process
bool is_traced = false;
bool has_leaked = false;

struct Options {
  double seconds = 60;
  uint64_t schedules = 0;
  uint64_t seed = 0;
  unsigned jobs = std::max(1U, std::thread::hardware_concurrency());
  std::string replay;
};

struct Ending {
  bool failed = false;
  std::string what;
};

void copy_to(std::array<char, 2048>& out, const std::string& text) {
  std::snprintf(out.data(), out.size(), "%s", text.c_str());
}

// --- in a child ---

// A schedule that leaks runs again, because memory that is allocated once and kept is no leak.
void run_checked(Choices& choices, const Config& base, const std::function<Choices()>& again) {
  has_leaked = false;
  own->chats += static_cast<uint64_t>(run_schedule(choices, base, is_traced));
  if (!has_leaked) return;
  has_leaked = false;
  Choices same = again();
  run_schedule(same, base, false);
  if (has_leaked) violated("leaks memory");
}

void run_seed(uint64_t seed, const Config& base) {
  ::alarm(kMaxSecondsPerSchedule);
  own->seed = seed;
  Choices choices(seed);
  run_checked(choices, base, [seed] { return Choices(seed); });
  own->schedules += 1;
}

void run_script(const Script& script, const Config& base) {
  ::alarm(kMaxSecondsPerSchedule);
  Choices choices(script);
  run_checked(choices, base, [&script] { return Choices(script); });
}

void record_choices(Choices& choices) {
  shared->choices = 0;
  choices.on_choice = [](uint32_t value) {
    if (shared->choices < kMaxScript) shared->script.at(shared->choices++) = value;
  };
}

// --- in the parent ---

pid_t start(const std::function<void()>& run, Shared::Worker& worker) {
  std::fflush(nullptr);
  worker.violation[0] = '\0';
  const pid_t pid = ::fork();
  if (pid < 0) {
    std::perror("fork");
    std::exit(EXIT_FAILURE);
  }
  if (pid > 0) return pid;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  own = &worker;
  count_transitions(worker.coverage);
  run();
  std::exit(0);
}

Ending ending_of(int status, const Shared::Worker& worker) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  if (worker.violation[0] != '\0') return {true, worker.violation.data()};
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) return {true, "the product hangs"};
  if (WIFSIGNALED(status)) return {true, fmt::format("the product crashes: {}", strsignal(WTERMSIG(status)))};
  return {true, fmt::format("the product ends with exit code {}", WEXITSTATUS(status))};
}

Ending run_in_child(const std::function<void()>& run, bool is_quiet) {
  Shared::Worker& worker = shared->workers.back();
  const pid_t pid = start(
      [&] {
        if (is_quiet) ::dup2(::open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
        run();
      },
      worker);
  int status = 0;
  ::waitpid(pid, &status, 0);
  return ending_of(status, worker);
}

// Violations of one kind differ only in their numbers.
std::string kind_of(std::string text) {
  std::erase_if(text, [](char c) { return c >= '0' && c <= '9'; });
  return text.substr(0, 60);
}

std::string to_text(const Script& script) { return fmt::format("{}", fmt::join(script, ",")); }

Script to_script(const std::string& text) {
  Script script;
  for (size_t at = 0; at < text.size();) {
    size_t end = 0;
    script.push_back(static_cast<uint32_t>(std::stoul(text.substr(at), &end)));
    at += end + 1;
  }
  return script;
}

void report(uint64_t seed, const Ending& ending, const Config& base) {
  std::printf("\nseed %lu: %s\n  (replay: --replay %lu)\n", seed, ending.what.c_str(), seed);
  const Ending again = run_in_child(
      [&] {
        Choices choices(seed);
        record_choices(choices);
        run_checked(choices, base, [seed] { return Choices(seed); });
      },
      true);
  if (!again.failed) return static_cast<void>(std::printf("  it does not fail when run alone\n"));
  const Script whole(shared->script.begin(),
                     shared->script.begin() + static_cast<ptrdiff_t>(shared->choices));
  const auto fails = [&](const Script& script) {
    const Ending one = run_in_child([&] { run_script(script, base); }, true);
    return one.failed && kind_of(one.what) == kind_of(again.what);
  };
  const Script script = shrink(whole, fails, kMaxShrinkRuns);
  std::printf("shrunk from %zu to %zu choices: --replay %s,\n", whole.size(), script.size(),
              to_text(script).c_str());
  std::fflush(stdout);
  is_traced = true;
  const Ending last = run_in_child([&] { run_script(script, base); }, false);
  std::printf("%s\n", last.what.c_str());
}

int replay(const std::string& what, const Config& base) {
  is_traced = true;
  const bool is_seed = what.find(',') == what.npos;
  const Ending ending = run_in_child(
      [&] { is_seed ? run_seed(std::stoull(what), base) : run_script(to_script(what), base); }, false);
  std::printf("%s\n", ending.failed ? ending.what.c_str() : "no violation");
  return ending.failed ? 1 : 0;
}

double cpu_seconds_of_children() {
  rusage usage{};
  ::getrusage(RUSAGE_CHILDREN, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

struct Totals {
  uint64_t schedules = 0;
  uint64_t chats = 0;
};

Totals totals() {
  Totals sum;
  for (const auto& worker : shared->workers) {
    sum.schedules += worker.schedules;
    sum.chats += worker.chats;
  }
  return sum;
}

Coverage whole_coverage() {
  Coverage sum{};
  for (const auto& worker : shared->workers) {
    for (size_t from = 0; from < Coverage::kMaxStates; ++from) {
      for (size_t to = 0; to < Coverage::kMaxStates; ++to) {
        sum.chat[from][to] += worker.coverage.chat[from][to];
        sum.completion[from][to] += worker.coverage.completion[from][to];
      }
    }
  }
  return sum;
}

int simulate(const Options& options, const Config& base) {
  using RealClock = std::chrono::system_clock;
  const auto started = RealClock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(RealClock::now() - started).count(); };
  std::printf("seeds from %lu on, %u processes\n", options.seed, options.jobs);
  std::vector<pid_t> children;
  for (unsigned i = 0; i < options.jobs; ++i) {
    children.push_back(start(
        [&, i] {
          for (uint64_t n = i; !shared->stops && (options.schedules == 0 || n < options.schedules);
               n += options.jobs)
            run_seed(options.seed + n, base);
        },
        shared->workers.at(i)));
  }
  Ending ending;
  uint64_t seed = 0;
  double next_line = 10;
  for (size_t running = children.size(); running > 0;) {
    int status = 0;
    const pid_t ended = ::waitpid(-1, &status, WNOHANG);
    if (ended > 0) {
      --running;
      const auto index =
          static_cast<size_t>(std::find(children.begin(), children.end(), ended) - children.begin());
      const Ending its = ending_of(status, shared->workers.at(index));
      if (its.failed && !ending.failed) {
        ending = its;
        seed = shared->workers.at(index).seed;
      }
      if (its.failed) shared->stops = true;
      continue;
    }
    if (options.schedules == 0 && elapsed() >= options.seconds) shared->stops = true;
    if (elapsed() >= next_line) {
      std::printf("%6.0f s  %10lu schedules  %10lu requests\n", elapsed(), totals().schedules,
                  totals().chats);
      std::fflush(stdout);
      next_line += 10;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  const Totals sum = totals();
  std::printf("%lu schedules with %lu requests in %.0f s: %.0f requests per second of CPU time\n",
              sum.schedules, sum.chats, elapsed(),
              static_cast<double>(sum.chats) / cpu_seconds_of_children());
  const bool is_covered = print_coverage(whole_coverage());
  if (ending.failed) report(seed, ending, base);
  std::printf("%d passed, %d failed\n", !ending.failed + is_covered, ending.failed + !is_covered);
  return ending.failed || !is_covered ? 1 : 0;
}

}  // namespace

void note_leak(long) { has_leaked = true; }

void violated(const std::string& what) {
  copy_to(own->violation, what);
  ::_exit(kViolated);
}

int run(int argc, char** argv) {
  CLI::App app("Runs the product in a simulated world: each seed is a schedule of events and failures.");
  Options options;
  options.seed = (uint64_t{std::random_device{}()} << 16);
  app.add_option("--seconds", options.seconds, "how long to run")->capture_default_str();
  app.add_option("--schedules", options.schedules, "run this many schedules instead of --seconds");
  app.add_option("--seed", options.seed, "the first seed (default: random)");
  app.add_option("--jobs", options.jobs, "number of processes")
      ->check(CLI::Range(1U, unsigned{kMaxWorkers} - 1))
      ->capture_default_str();
  app.add_option("--replay", options.replay, "trace one schedule: a seed, or a script with commas");
  CLI11_PARSE(app, argc, argv);
  void* const memory =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    std::perror("mmap");
    return EXIT_FAILURE;
  }
  shared = static_cast<Shared*>(memory);  // all zero
  const Config base = base_settings();
  return options.replay.empty() ? simulate(options, base) : replay(options.replay, base);
}

}  // namespace bailian::simulation

int main(int argc, char** argv) {
  bailian::init_libfcgi();
  std::signal(SIGTERM, SIG_DFL);  // libfcgi handles it
  return bailian::simulation::run(argc, argv);
}
