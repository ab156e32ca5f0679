#include "server.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <latch>

#include "log.h"

namespace bailian {
namespace {

constexpr std::chrono::seconds kStatusInterval{5};

FcgiLimits fcgi_limits(const Config& config) {
  return {config.max_body_bytes, to_duration(config.client_stall_timeout)};
}

}  // namespace

Server::Worker::Worker(const Config& config, Shared& shared, int listening_fd)
    : loop(std::chrono::duration_cast<std::chrono::nanoseconds>(config.token_coalesce)),
      router(loop, config, shared),
      listener(
          loop, listening_fd, fcgi_limits(config), router.board(), shared.metrics,
          [this](const Request& request, ClientStream& client) { return router.handle(request, client); }) {}

Server::Server(Config config, ListenSocket& socket, Load load, Start start)
    : config_(std::move(config)),
      socket_(socket),
      load_(std::move(load)),
      start_(std::move(start)),
      shared_(config_),
      workers_([&] {
        std::vector<std::unique_ptr<Worker>> workers;
        workers.reserve(static_cast<size_t>(config_.workers));
        for (int i = 0; i < config_.workers; ++i) {
          workers.push_back(std::make_unique<Worker>(config_, shared_, socket.fd()));
        }
        return workers;
      }()),
      busy_workers_(workers_.size()),
      drain_timeout_(workers_.front()->loop, [this] { stop(); }),
      report_(workers_.front()->loop, [this] { report(); }),
      upgrade_(workers_.front()->loop, start_.argv, [this] { on_upgraded(); }),
      sigterm_(workers_.front()->loop, SIGTERM, [this] { on_signal(); }),
      sigint_(workers_.front()->loop, SIGINT, [this] { on_signal(); }),
      sigquit_(workers_.front()->loop, SIGQUIT, [this] { drain(); }),
      sighup_(workers_.front()->loop, SIGHUP, [this] { reload(); }),
      sigusr1_(workers_.front()->loop, SIGUSR1, [] { reopen_log(); }),
      sigusr2_(workers_.front()->loop, SIGUSR2, [this] { upgrade(); }) {}

Server::~Server() = default;

void Server::run() {
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
    log(LogLevel::kInfo, "listening", "", {{"address", socket_.name()}, {"version", BAILIAN_VERSION}});
    service_manager_.ready();
    socket_.own_file();
    starts = true;
    decided.count_down();
    if (service_manager_.is_there()) report();
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
}

void Server::join() {
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Server::on_signal() {
  if (shared_.draining) return stop();
  drain();
}

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

// Every loop must turn for the watchdog to be told so: a silent one is seen by its missing answer.
void Server::report() {
  const auto watchdog = service_manager_.watchdog();
  report_.start(watchdog ? *watchdog / 2 : kStatusInterval);
  // First, and whatever becomes of the rest: without memory for a sentence the program is still alive.
  if (watchdog) ask_loops();
  service_manager_.status(fmt::format("{} streams, {} requests", shared_.streams.taken(),
                                      shared_.board.sum(&LoopBoard::requests)));
}

void Server::ask_loops() {
  if (silent_loops_ > 0) return log(LogLevel::kError, "loop_hangs", "the watchdog is told nothing");
  silent_loops_ = workers_.size();
  size_t asked = 0;
  try {
    for (const auto& worker : workers_) {
      worker->loop.post([this] {
        if (--silent_loops_ == 0) service_manager_.alive();
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
  bool good = false;
  try {
    service_manager_.reloading();
    use(load_());
    good = true;
  } catch (const ConfigError& error) {
    for (const std::string& fault : error.faults()) log(LogLevel::kError, "setting", fault);
    log(LogLevel::kError, "reload_failed", "the settings have faults: nothing changes");
  } catch (const std::exception& error) {
    log(LogLevel::kError, "reload_failed", error.what());
  }
  shared_.metrics.count_reload(good);
  service_manager_.ready();
}

void Server::use(LoadedConfig loaded) {
  log_warnings(loaded);
  for (const std::string_view key : keep_what_needs_a_restart(config_, loaded.config)) {
    log(LogLevel::kWarning, "setting", fmt::format("{} has changed, which needs a restart", key));
  }
  config_ = std::move(loaded.config);
  set_log_level(least_log_level(config_));
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
  // An own socket would refuse connections; a shared one keeps them for our successor.
  shared_.refusing = !socket_.is_shared();
  try {
    upgrade_.cancel();
    report_.cancel();
    // A supervisor's end has told it already; while that one lives, the silence would be taken for a hang.
    if (start_.supervisor == 0 || ::getppid() == start_.supervisor) service_manager_.stopping();
    service_manager_.fall_silent();
    log(LogLevel::kInfo, "draining", "live answers may finish; a second signal ends them",
        {{"seconds", config_.drain_timeout.count()}});
    drain_timeout_.start(to_duration(config_.drain_timeout));
    for (const auto& worker : workers_) {
      worker->loop.post([this, &own = *worker] {
        if (socket_.is_shared()) own.listener.stop_accepting();
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
      own.listener.cut();
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
  // A stream has the web server's connection and the upstream's; the rest is for logs, loops and libraries.
  constexpr rlim_t kOthers = 256;
  const rlim_t wanted = static_cast<rlim_t>(config.max_streams) * 2 + kOthers;
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
