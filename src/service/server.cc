#include "service/server.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <csignal>
#include <exception>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "base/log.h"
#include "service/supervisor.h"
#include "settings/missing.h"
#include "settings/restart.h"

namespace bailian {
namespace {

constexpr std::chrono::seconds kStatusInterval{1};
// How long answers may take to finish in a program that restarts with corrected settings.
constexpr std::chrono::seconds kRestartDrain{1};
// Descriptors that belong to no stream: logs, loops, libraries, connections without a stream.
constexpr rlim_t kOtherFiles = 256;

std::vector<std::string> faults_of(const std::exception& error) {
  if (const auto* const config_error = dynamic_cast<const ConfigError*>(&error))
    return config_error->faults();
  return {error.what()};
}

// Raises the limit on open files as MAX_STREAMS requires, or logs how many are missing.
void raise_file_limit(const Config& config) {
  // Per stream, one descriptor for the web server and one for the upstream.
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

// How many connections may be open before idle ones are closed, so that idle peers leave descriptors for the
// upstream connections of all streams. Raises the limit on open files first.
ConnectionCount count_connections(const Config& config) {
  raise_file_limit(config);
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return {SIZE_MAX};
  const rlim_t for_others = static_cast<rlim_t>(config.max_streams) + kOtherFiles / 2;
  const rlim_t soft_max = std::max(limit.rlim_cur / 4, limit.rlim_cur - std::min(limit.rlim_cur, for_others));
  return {soft_max, soft_max + (limit.rlim_cur - soft_max) / 2};
}

}  // namespace

Server::Server(Config config, ListenSocket& socket, Start start)
    : config_(std::move(config)),
      socket_(socket),
      start_(std::move(start)),
      state_(config_),
      connections_(count_connections(config_)),
      workers_(make_workers()),
      busy_workers_(workers_.size()),
      accepting_workers_(workers_.size()),
      watchdog_(loops(), service_manager_, bind<&Server::on_watchdog_check>(this)),
      drain_timeout_(first_loop(), bind<&Server::stop>(this)),
      next_status_(first_loop(), bind<&Server::notify_status>(this)),
      predecessor_end_(first_loop(), bind<&Server::on_predecessor_gone>(this)),
      upgrade_(first_loop(), start_.argv, bind<&Server::on_upgraded>(this)),
      sigterm_(first_loop(), SIGTERM, bind<&Server::on_stop_signal>(this)),
      sigint_(first_loop(), SIGINT, bind<&Server::on_stop_signal>(this)),
      sigquit_(first_loop(), SIGQUIT, bind<&Server::drain>(this)),
      sighup_(first_loop(), SIGHUP, bind<&Server::reload>(this)),
      sigusr1_(first_loop(), SIGUSR1, bind<&Server::reopen_log_file>(this)),
      sigusr2_(first_loop(), SIGUSR2, bind<&Server::upgrade>(this)) {
  state_.misconfigured = !start_.faults.empty();
  state_.ledger = start_.ledger.get();
  if (state_.ledger != nullptr) {
    state_.ledger->apply(config_);
    alerts_.emplace(*state_.ledger, config_);
  }
  if (start_.supervisor == 0) return;
  supervisor_gone_signal_.emplace(first_loop(), hand_over_signal(), bind<&Server::on_supervisor_gone>(this));
  supervisor_stopped_signal_.emplace(first_loop(), stop_signal(), bind<&Server::on_supervisor_stopped>(this));
}

WorkerThreads::Workers Server::make_workers() {
  WorkerThreads::Workers workers;
  workers.reserve(static_cast<size_t>(config_.workers));
  for (int i = 0; i < config_.workers; ++i)
    workers.push_back(std::make_unique<Worker>(config_, state_, connections_, socket_.fd()));
  return workers;
}

std::vector<EventLoop*> Server::loops() const {
  std::vector<EventLoop*> loops;
  loops.reserve(workers_.size());
  for (const auto& worker : workers_) loops.push_back(&worker->loop());
  return loops;
}

bool Server::run() {
  state_.board.address = socket_.name();
  WorkerThreads threads(workers_);
  threads.create();
  if (start_.supervisor != 0) take_over();
  if (!predecessor_)
    log(LogLevel::kInfo, "listening", "", {{"address", socket_.name()}, {"version", BAILIAN_VERSION}});
  if (state_.misconfigured) log_faults();
  service_manager_.notify_ready();
  socket_.take_ownership_of_file();
  if (service_manager_.present()) notify_status();
  watchdog_.start();
  threads.run_loops();
  return restarts_;
}

void Server::on_stop_signal() {
  if (state_.draining) return stop();
  drain();
}

void Server::on_watchdog_check() {
  // No client can connect any more, and no successor can come.
  if (supervisor_gone_ && !state_.draining && !socket_.is_reachable()) drain();
}

void Server::notify_status() {
  next_status_.start(kStatusInterval);
  service_manager_.notify_status(status_text());
}

std::string Server::status_text() const {
  if (start_.faults.empty()) {
    const std::string text = fmt::format("{} streams, {} requests", state_.streams.taken(),
                                         state_.board.sum(&LoopBoard::requests));
    return reload_fault_.empty() ? text : fmt::format("{}; reload failed: {}", text, reload_fault_);
  }
  const size_t count = start_.faults.size();
  return fmt::format("misconfigured ({} fault{}), {}: {}", count, count > 1 ? "s" : "",
                     predecessor_ ? "the previous settings stay in use" : "every chat gets an error",
                     start_.faults.front());
}

void Server::upgrade() {
  if (state_.draining) return;
  const bool is_managed = start_.supervisor != 0 || service_manager_.present();
  if (!is_managed && ::getpid() != 1) return upgrade_.start(socket_);
  log(LogLevel::kWarning, "upgrade_ignored",
      is_managed ? "SIGUSR2 ignored under a service manager; use systemctl restart"
                 : "SIGUSR2 ignored in the first process of a container; replace the container");
}

void Server::on_upgraded() {
  socket_.hand_over();
  drain();
}

// A predecessor with good settings is better than this process with faulty ones.
void Server::take_over() {
  UniqueFd predecessor = other_serving_process(socket_.fd());
  if (predecessor && state_.misconfigured) {
    for (const auto& worker : workers_) worker->stand_by();
    predecessor_ = std::move(predecessor);
    predecessor_end_.watch(predecessor_.get(), IoEvent::kRead);
    return;
  }
  record_serving(socket_.fd());
  if (predecessor) drain_process(predecessor);
}

void Server::on_predecessor_gone() {
  predecessor_end_.unwatch();
  predecessor_ = {};
  if (state_.draining) return;
  record_serving(socket_.fd());
  for (const auto& worker : workers_) worker->loop().post([&own = *worker] { own.resume_accepting(); });
  log(LogLevel::kError, "misconfigured", "the earlier process has ended: every chat gets an error");
}

// The supervisor has crashed, or has exited because of a restart.
void Server::on_supervisor_gone() {
  service_manager_.mute();
  if (std::exchange(supervisor_gone_, true)) return;
  watchdog_.switch_to_alarm();
  if (state_.draining) return;
  if (state_.misconfigured) return drain();
  log(LogLevel::kInfo, "handing_over", "serves until a successor is ready");
}

void Server::on_supervisor_stopped() {
  service_manager_.mute();
  if (!std::exchange(supervisor_gone_, true)) watchdog_.switch_to_alarm();
  drain();
}

void Server::reload() {
  if (state_.draining) return;
  service_manager_.notify_reloading();
  const std::vector<std::string> faults = read_settings();
  state_.metrics.count_reload(faults.empty());
  if (state_.misconfigured) {
    if (faults.empty()) return restart();
    start_.faults = faults;
    log_faults();
  } else if (!faults.empty()) {
    for (const std::string& fault : faults) log(LogLevel::kError, "setting", fault);
    log(LogLevel::kError, "reload_failed", "the settings have faults: nothing changes");
  }
  reload_fault_ = faults.empty() ? "" : faults.front();
  service_manager_.notify_ready();
  if (state_.misconfigured) notify_status();
}

// Puts good settings into use, unless this process has to restart for that. Returns their faults.
std::vector<std::string> Server::read_settings() {
  try {
    LoadedConfig loaded = load_settings(start_.source);
    if (!state_.misconfigured) apply(std::move(loaded));
    return {};
  } catch (const std::exception& error) {
    return faults_of(error);
  }
}

void Server::apply(LoadedConfig loaded) {
  log_warnings(loaded);
  for (const std::string_view key : keep_what_needs_a_restart(config_, loaded.config)) {
    log(LogLevel::kWarning, "setting", fmt::format("{} has changed, which needs a restart", key));
  }
  // What may fail comes first, so that a reload that fails changes nothing.
  const auto config = std::make_shared<const Config>(loaded.config);
  const auto workers_left = std::make_shared<std::atomic<size_t>>(workers_.size());
  std::vector<std::function<void()>> tasks;
  for (const auto& worker : workers_) {
    tasks.emplace_back([config, workers_left, &own = *worker] {
      own.reload(*config);
      if (--*workers_left == 0) log(LogLevel::kInfo, "reloaded", "chats under way keep their settings");
    });
  }
  state_.answers.retain(*config);
  if (state_.ledger != nullptr) {
    state_.ledger->apply(*config);
    alerts_->apply(*config);
  }
  config_ = std::move(loaded.config);
  set_log_level(effective_log_level(config_));
  state_.targets.forget();
  for (size_t i = 0; i < tasks.size(); ++i) workers_[i]->loop().post(std::move(tasks[i]));
}

void Server::restart() {
  restarts_ = true;
  log(LogLevel::kInfo, "mended", "the settings are good: the program starts again with them");
  service_manager_.mute();
  drain();
}

void Server::log_faults() const {
  for (const std::string& fault : start_.faults) log(LogLevel::kError, "setting", fault);
  log(LogLevel::kError, "misconfigured",
      predecessor_ ? "an earlier process keeps serving with the previous settings; SIGHUP reloads them"
                   : "every chat gets an error; SIGHUP reloads the settings");
}

void Server::reopen_log_file() { reopen_log(); }

void Server::drain() {
  if (state_.draining) return;
  state_.draining = true;
  try {
    start_draining();
  } catch (const std::exception& error) {
    log(LogLevel::kError, "drain_failed", error.what());
    stop();
  }
}

void Server::start_draining() {
  assert(first_loop().in_loop_thread());
  upgrade_.cancel();
  // New chats wait in a shared socket for the successor; its own socket would refuse them the connection.
  state_.refusing = !socket_.is_shared();
  next_status_.cancel();
  if (start_.supervisor != 0) record_not_serving(socket_.fd());
  // A signal to this process alone is meant for the predecessor too.
  if (predecessor_ && !supervisor_gone_ && !restarts_) drain_process(predecessor_);
  // A supervisor that ends has sent STOPPING=1 itself; while it lives, silence would be taken for a hang.
  if (start_.supervisor == 0 || ::getppid() == start_.supervisor) service_manager_.notify_stopping();
  service_manager_.mute();
  log(LogLevel::kInfo, "draining", "live answers may finish; a second signal ends them",
      {{"seconds", config_.drain_timeout.count()}});
  const Clock::duration limit = to_duration(config_.drain_timeout);
  drain_timeout_.start(restarts_ ? std::min<Clock::duration>(limit, kRestartDrain) : limit);
  for (const auto& worker : workers_) {
    worker->loop().post([this, &own = *worker] {
      own.drain(socket_.is_shared(), [this] { first_loop().post([this] { on_worker_idle(); }); });
      on_worker_stopped_accepting();
    });
  }
}

// On the worker's thread. The socket of a process that accepts no more keeps others from its address.
void Server::on_worker_stopped_accepting() {
  if (--accepting_workers_ == 0 && socket_.is_shared()) socket_.close();
}

void Server::on_worker_idle() {
  assert(busy_workers_ > 0 && first_loop().in_loop_thread());
  if (--busy_workers_ == 0) stop();
}

void Server::stop() {
  for (const auto& worker : workers_) worker->request_stop();
}

void log_warnings(const LoadedConfig& loaded) {
  for (const std::string& warning : loaded.warnings) log(LogLevel::kWarning, "setting", warning);
  const auto warn = [](const std::string& text) { log(LogLevel::kWarning, "not_configured", text); };
  if (const std::string missing = missing_for_chats(loaded.config); !missing.empty())
    warn(missing + " not set: every chat gets an error");
  for (const Config& bot : loaded.config.bots) {
    if (const std::string missing = missing_for_chats(bot); !missing.empty())
      warn(fmt::format("{} not set for the bot {}: its chats get an error", missing, bot.name));
  }
  for (const std::string& sentence : targets_not_asked(loaded.config)) warn(sentence);
}

}  // namespace bailian
