#include "service/serve.h"

#include <fmt/format.h>
#include <sysexits.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <utility>

#include "base/log.h"
#include "fastcgi/listen_socket.h"
#include "fastcgi/request_reader.h"
#include "ledger/ledger.h"
#include "service/server.h"
#include "service/supervisor.h"

namespace bailian {
namespace {

// Until the server handles them.
void prepare_signals() {
  for (const int ignored : {SIGPIPE, SIGUSR1, SIGHUP, SIGUSR2}) std::signal(ignored, SIG_IGN);
  // Some parents leave these ignored. SIGALRM is the watchdog of a process without a supervisor, and SIGCHLD
  // reports how a successor ended.
  for (const int restored : {SIGTERM, SIGALRM, SIGCHLD}) std::signal(restored, SIG_DFL);
}

void start_log_for(const Config& config) {
  const bool on_terminal = config.log_file.empty() && ::isatty(STDERR_FILENO) != 0;
  start_log(config.log_format.value_or(on_terminal ? LogFormat::kText : LogFormat::kJson),
            effective_log_level(config), config.log_file);
}

struct Settings {
  LoadedConfig loaded;
  std::vector<std::string> faults;  // with any, `loaded` has the defaults
};

// Ending would leave visitors waiting in the socket that the service manager keeps open.
Settings start_with_defaults(std::vector<std::string> faults) {
  Settings settings{load_config({}, "/dev/null"), std::move(faults)};
  start_log_for(settings.loaded.config);
  return settings;
}

Settings read_settings_and_start_log(const ServeOptions& options) {
  try {
    Settings settings{load_settings(options.source), {}};
    start_log_for(settings.loaded.config);
    log_warnings(settings.loaded);
    return settings;
  } catch (const ConfigError& error) {
    if (!options.supervise) throw;
    return start_with_defaults(error.faults());
  } catch (const LogFileError& error) {
    if (!options.supervise) throw;
    return start_with_defaults({error.what()});
  }
}

// What is not a ledger is a fault of the settings, and stays as it is.
std::unique_ptr<Ledger> open_ledger(const ServeOptions& options, Settings& settings) {
  try {
    return settings.faults.empty() ? open_ledger(settings.loaded.config) : nullptr;
  } catch (const ConfigError& error) {
    if (!options.supervise) throw;
    settings.faults = error.faults();
    return nullptr;
  }
}

void warn_of_unused_address(const Config& config, const ListenSocket& socket) {
  const std::string address = to_string(config.listen);
  if (address == socket.name() || address == kDefaultListen) return;
  log(LogLevel::kWarning, "setting",
      fmt::format("FCGI_LISTEN={} has no effect: the inherited socket {} is used", address, socket.name()));
}

ListenSocket take_socket(const Config& config, bool supervised) {
  if (auto inherited = ListenSocket::inherited()) {
    warn_of_unused_address(config, *inherited);
    return std::move(*inherited);
  }
  if (supervised) {
    throw ListenError(
        "--supervise requires an inherited listening socket (systemd socket unit, LISTEN_FDS); with its own "
        "socket the next instance could not start");
  }
  return ListenSocket::open(config.listen, config.socket_mode);
}

int run_server(const ServeOptions& options, pid_t supervisor) {
  init_libfcgi();
  prepare_signals();
  Settings settings = read_settings_and_start_log(options);
  std::unique_ptr<Ledger> ledger = open_ledger(options, settings);
  const Config& config = settings.loaded.config;
  ListenSocket socket = take_socket(config, options.supervise);
  Server server(config, socket,
                {options.source, options.argv, supervisor, std::move(settings.faults), std::move(ledger)});
  const bool restarts = server.run();
  log(LogLevel::kInfo, "stopped", "");
  return restarts ? kStartAgain : EX_OK;
}

}  // namespace

int serve(const ServeOptions& options) {
  if (!options.supervise) return run_server(options, 0);
  const pid_t supervisor = ::getpid();
  if (const auto code = supervise()) return *code;
  return run_server(options, supervisor);
}

}  // namespace bailian
