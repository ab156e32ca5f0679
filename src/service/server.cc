#include "service/server.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <latch>

#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "service/serving_process.h"
#include "service/supervisor.h"

namespace bailian {
namespace {

constexpr std::chrono::seconds kStatusInterval{1};
constexpr size_t kMaxStatusBytes = 400;
// For a process without a service manager's watchdog: how long a loop may hang before the process ends.
constexpr std::chrono::microseconds kOwnWatchdog = std::chrono::seconds(30);
// What answers of a misconfigured program may take to finish once the settings are mended.
constexpr std::chrono::seconds kMendedDrain{1};

// What a stream does not need: for logs, loops and libraries, and for connections that have no stream.
constexpr rlim_t kOtherFiles = 256;

// Silent peers must leave descriptors for the upstream connections of all streams.
size_t soft_max_connections(const Config& config) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return SIZE_MAX;
  const rlim_t for_others = static_cast<rlim_t>(config.max_streams) + kOtherFiles / 2;
  return std::max(limit.rlim_cur / 4, limit.rlim_cur - std::min(limit.rlim_cur, for_others));
}

FcgiLimits fcgi_limits(const Config& config) {
  return {config.max_body_bytes, config.max_streams, to_duration(config.client_stall_timeout),
          to_duration(config.timeout)};
}

// As a service manager takes it: one line of valid UTF-8.
std::string one_line(std::string text) {
  const bool is_text = is_utf8(text);
  for (char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !is_text)) c = '?';
  }
  text.resize(utf8_prefix(text, kMaxStatusBytes).size());
  return text;
}

}  // namespace

Server::Worker::Worker(const Config& config, ServiceState& shared, ConnectionCount& connections,
                       int listening_fd)
    : loop(std::chrono::duration_cast<std::chrono::nanoseconds>(config.token_coalesce)),
      router(loop, config, shared),
      listener(
          loop, listening_fd, fcgi_limits(config), connections, router.board(), shared.metrics,
          {[this](const Request& request, ClientStream& client) { return router.handle(request, client); },
           &Router::takes_body}) {}

Server::Server(Config config, ListenSocket& socket, Load load, Start start)
    : config_(std::move(config)),
      socket_(socket),
      load_(std::move(load)),
      start_(std::move(start)),
      shared_(config_),
      connections_{soft_max_connections(config_)},
      workers_([&] {
        std::vector<std::unique_ptr<Worker>> workers;
        workers.reserve(static_cast<size_t>(config_.workers));
        for (int i = 0; i < config_.workers; ++i) {
          workers.push_back(std::make_unique<Worker>(config_, shared_, connections_, socket.fd()));
        }
        return workers;
      }()),
      busy_workers_(workers_.size()),
      accepting_workers_(workers_.size()),
      drain_timeout_(workers_.front()->loop, bind<&Server::stop>(this)),
      status_(workers_.front()->loop, bind<&Server::tell_status>(this)),
      watch_(workers_.front()->loop, bind<&Server::watch>(this)),
      predecessor_end_(workers_.front()->loop, bind<&Server::on_predecessor_gone>(this)),
      upgrade_(workers_.front()->loop, start_.argv, [this] { on_upgraded(); }),
      sigterm_(workers_.front()->loop, SIGTERM, bind<&Server::on_signal>(this)),
      sigint_(workers_.front()->loop, SIGINT, bind<&Server::on_signal>(this)),
      sigquit_(workers_.front()->loop, SIGQUIT, bind<&Server::drain>(this)),
      sighup_(workers_.front()->loop, SIGHUP, bind<&Server::reload>(this)),
      sigusr1_(workers_.front()->loop, SIGUSR1, bind<&Server::on_sigusr1>(this)),
      sigusr2_(workers_.front()->loop, SIGUSR2, bind<&Server::upgrade>(this)) {
  shared_.misconfigured = !start_.faults.empty();
  if (start_.supervisor == 0) return;
  hand_over_.emplace(workers_.front()->loop, hand_over_signal(), bind<&Server::hand_over>(this));
  stop_.emplace(workers_.front()->loop, stop_signal(), bind<&Server::stop_serving>(this));
}

Server::~Server() = default;

bool Server::run() {
  shared_.board.address = socket_.name();
  // No loop serves anybody before it is sure that all will.
  std::latch decided(1);
  bool starts = false;
  try {
    for (size_t i = 1; i < workers_.size(); ++i) {
      threads_.emplace_back([&decided, &starts, &worker = *workers_[i]] {
        decided.wait();
        if (starts) worker.loop.run();
      });
    }
    if (start_.supervisor != 0) take_over();
    if (!predecessor_)
      log(LogLevel::kInfo, "listening", "", {{"address", socket_.name()}, {"version", BAILIAN_VERSION}});
    if (shared_.misconfigured) log_faults();
    service_manager_.ready();
    socket_.take_ownership_of_file();
    starts = true;
    decided.count_down();
    if (service_manager_.is_there()) tell_status();
    if (service_manager_.watchdog()) watch();
    workers_.front()->loop.run();
  } catch (const std::exception&) {
    if (starts) {
      stop();
    } else {
      decided.count_down();
    }
    join();
    throw;
  }
  join();
  return mended_;
}

void Server::join() {
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Server::on_signal() {
  if (shared_.draining) return stop();
  drain();
}

void Server::on_sigusr1() { reopen_log(); }

void Server::upgrade() {
  if (shared_.draining) return;
  const char* const instead = start_.supervisor != 0 || service_manager_.is_there()
                                  ? "the service manager would lose sight of it: systemctl restart"
                              : ::getpid() == 1 ? "this is the first process of a container: replace that"
                                                : nullptr;
  if (instead == nullptr) return upgrade_.start(socket_);
  log(LogLevel::kWarning, "upgrade_ignored", instead);
}

void Server::on_upgraded() {
  socket_.hand_over();
  drain();
}

// With faulty settings the earlier one is the better: it has those of before.
void Server::take_over() {
  UniqueFd earlier = other_serving_process(socket_.fd());
  if (earlier && shared_.misconfigured) {
    for (const auto& worker : workers_) worker->listener.stop_accepting();
    predecessor_ = std::move(earlier);
    predecessor_end_.watch(predecessor_.get(), IoEvent::kRead);
    return;
  }
  note_serving(socket_.fd());
  if (earlier) drain_process(earlier);
}

void Server::on_predecessor_gone() {
  predecessor_end_.unwatch();
  predecessor_ = {};
  if (shared_.draining) return;
  note_serving(socket_.fd());
  for (const auto& worker : workers_) {
    worker->loop.post([&own = *worker] { own.listener.accept_again(); });
  }
  log(LogLevel::kError, "misconfigured", "the earlier process has ended: every chat gets an error");
}

// The supervisor is gone and has not been told to stop.
void Server::hand_over() {
  // What it said would be taken for the word of whoever comes next.
  service_manager_.fall_silent();
  watch_alone();
  if (shared_.draining) return;
  if (shared_.misconfigured) return drain();
  log(LogLevel::kInfo, "handing_over", "serves until a successor is ready");
}

// The supervisor is told to stop, and so gone.
void Server::stop_serving() {
  service_manager_.fall_silent();
  watch_alone();
  drain();
}

void Server::tell_status() {
  status_.start(kStatusInterval);
  std::string text = status_text();
  if (text == told_status_) return;
  service_manager_.status(text);
  told_status_ = std::move(text);
}

std::string Server::status_text() const {
  if (start_.faults.empty()) {
    const std::string text = fmt::format("{} streams, {} requests", shared_.streams.taken(),
                                         shared_.board.sum(&LoopBoard::requests));
    return reload_fault_.empty() ? text : one_line(fmt::format("{}; reload failed: {}", text, reload_fault_));
  }
  const size_t count = start_.faults.size();
  return one_line(fmt::format("misconfigured ({} fault{}), {}: {}", count, count > 1 ? "s" : "",
                              predecessor_ ? "the previous settings stay in use" : "every chat gets an error",
                              start_.faults.front()));
}

void Server::log_faults() const {
  for (const std::string& fault : start_.faults) log(LogLevel::kError, "setting", fault);
  log(LogLevel::kError, "misconfigured",
      predecessor_ ? "an earlier process keeps serving with the previous settings; SIGHUP reads them again"
                   : "every chat gets an error; SIGHUP reads the settings again");
}

// Every loop must turn for a sign of life: a silent one is seen by its missing answer.
void Server::watch() {
  watch_.start(service_manager_.watchdog().value_or(kOwnWatchdog) / 2);
  ask_loops();
  if (alone_ && !shared_.draining && !socket_.is_reachable()) drain();
}

// Its supervisor is gone, and with it the service manager's watchdog.
void Server::watch_alone() {
  if (alone_.exchange(true)) return;
  show_life();
  if (!service_manager_.watchdog()) watch();
}

void Server::show_life() {
  if (!alone_) return service_manager_.alive();
  // SIGALRM ends a process that has not got this far again by then.
  const std::chrono::microseconds limit = service_manager_.watchdog().value_or(kOwnWatchdog);
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limit);
  const itimerval alarm = {{0, 0}, {seconds.count(), (limit - seconds).count()}};
  ::setitimer(ITIMER_REAL, &alarm, nullptr);
}

void Server::ask_loops() {
  if (silent_loops_ > 0) return log(LogLevel::kError, "loop_hangs", "the watchdog is told nothing");
  silent_loops_ = workers_.size();
  size_t asked = 0;
  try {
    for (const auto& worker : workers_) {
      worker->loop.post([this] {
        if (--silent_loops_ == 0) show_life();
      });
      ++asked;
    }
  } catch (const std::exception&) {
    silent_loops_ -= workers_.size() - asked;  // these will not answer
    throw;
  }
}

void Server::reload() {
  if (shared_.draining) return;
  if (shared_.misconfigured) return reload_faulty();
  bool good = false;
  try {
    service_manager_.reloading();
    use(load_());
    good = true;
    reload_fault_.clear();
  } catch (const ConfigError& error) {
    reload_fault_ = error.faults().front();
    for (const std::string& fault : error.faults()) log(LogLevel::kError, "setting", fault);
    log(LogLevel::kError, "reload_failed", "the settings have faults: nothing changes");
  } catch (const std::exception& error) {
    reload_fault_ = error.what();
    log(LogLevel::kError, "reload_failed", error.what());
  }
  shared_.metrics.count_reload(good);
  service_manager_.ready();
}

// Good settings are for a process that starts with them.
void Server::reload_faulty() {
  service_manager_.reloading();
  try {
    load_();
    mended_ = true;
  } catch (const ConfigError& error) {
    start_.faults = error.faults();
  } catch (const std::exception& error) {
    start_.faults = {error.what()};
  }
  shared_.metrics.count_reload(mended_);
  if (mended_) {
    log(LogLevel::kInfo, "mended", "the settings are good: the program starts again with them");
    service_manager_.fall_silent();
    return drain();
  }
  log_faults();
  service_manager_.ready();
  tell_status();
}

void Server::use(LoadedConfig loaded) {
  log_warnings(loaded);
  for (const std::string_view key : keep_what_needs_a_restart(config_, loaded.config)) {
    log(LogLevel::kWarning, "setting", fmt::format("{} has changed, which needs a restart", key));
  }
  config_ = std::move(loaded.config);
  set_log_level(effective_log_level(config_));
  const auto workers_left = std::make_shared<std::atomic<size_t>>(workers_.size());
  for (const auto& worker : workers_) {
    worker->loop.post([config = config_, workers_left, &own = *worker] {
      try {
        own.router.reload(config);
        own.listener.set_limits(fcgi_limits(config));
        if (--*workers_left == 0) log(LogLevel::kInfo, "reloaded", "chats under way keep their settings");
      } catch (const std::exception& error) {
        log(LogLevel::kError, "reload_failed", error.what());
      }
    });
  }
}

void Server::drain() {
  if (shared_.draining) return;
  shared_.draining = true;
  try {
    upgrade_.cancel();
    // An own socket would refuse connections; a shared one keeps them for our successor.
    shared_.refusing = !socket_.is_shared();
    status_.cancel();
    if (start_.supervisor != 0) note_not_serving(socket_.fd());
    // Told to end by itself, it is told for both.
    if (predecessor_ && !alone_ && !mended_) drain_process(predecessor_);
    // A supervisor's end has told it already; while that one lives, the silence would be taken for a hang.
    if (start_.supervisor == 0 || ::getppid() == start_.supervisor) service_manager_.stopping();
    service_manager_.fall_silent();
    log(LogLevel::kInfo, "draining", "live answers may finish; a second signal ends them",
        {{"seconds", config_.drain_timeout.count()}});
    const Clock::duration limit = to_duration(config_.drain_timeout);
    drain_timeout_.start(mended_ ? std::min<Clock::duration>(limit, kMendedDrain) : limit);
    for (const auto& worker : workers_) {
      worker->loop.post([this, &own = *worker] {
        if (socket_.is_shared()) {
          own.listener.stop_accepting();
          if (--accepting_workers_ == 0) socket_.close();
        }
        own.listener.drain([this, &own] {
          if (std::exchange(own.idle, true)) return;
          workers_.front()->loop.post([this] { on_idle(); });
        });
      });
    }
  } catch (const std::exception& error) {
    log(LogLevel::kError, "drain_failed", error.what());
    stop();
  }
}

void Server::on_idle() {
  if (--busy_workers_ == 0) stop();
}

void Server::stop() {
  for (const auto& worker : workers_) {
    // What is told here leaves at the end of the iteration, and stop() takes effect in the next.
    worker->loop.post([&own = *worker] {
      own.listener.abort_exchanges();
      own.loop.stop();
    });
  }
}

void log_warnings(const LoadedConfig& loaded) {
  for (const std::string& warning : loaded.warnings) log(LogLevel::kWarning, "setting", warning);
  if (loaded.config.api_key.empty() || loaded.config.app_id.empty()) {
    log(LogLevel::kWarning, "not_configured",
        "DASHSCOPE_API_KEY or APP_ID is not set: every chat gets an error");
  }
}

void raise_file_limit(const Config& config) {
  // A stream has the web server's connection and the upstream's.
  const rlim_t wanted = static_cast<rlim_t>(config.max_streams) * 2 + kOtherFiles;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return;
  rlimit raised = {wanted, std::max(wanted, limit.rlim_max)};
  if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) return;
  raised = {std::min(wanted, limit.rlim_max), limit.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &raised);
  if (raised.rlim_cur >= wanted) return;
  log(LogLevel::kWarning, "file_limit",
      fmt::format("MAX_STREAMS={} needs {} open files, {} more than allowed; raise LimitNOFILE (ulimit -n)",
                  config.max_streams, wanted, wanted - raised.rlim_cur));
}

}  // namespace bailian
