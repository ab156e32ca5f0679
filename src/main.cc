#include <curl/curl.h>
#include <fmt/format.h>
#include <sysexits.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "commands/check.h"
#include "commands/ping.h"
#include "commands/top.h"
#include "fastcgi/listen_socket.h"
#include "fastcgi/request_reader.h"
#include "service/server.h"
#include "service/supervisor.h"
#include "settings/config.h"

namespace bailian {
namespace {

struct Options {
  std::optional<std::string> env_file;
  std::optional<std::string> listen;
  std::vector<std::string> import_arguments;  // of bailian-import; empty: not asked for
  bool check = false;
  bool strict = false;
  std::optional<std::string> print;  // with `check`: this setting only
  bool ping = false;
  bool supervise = false;
  pid_t supervisor = 0;
  std::vector<std::string> argv;
  bool top = false;
  double top_interval = 1;
};

std::vector<std::string> environment() {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) variables.emplace_back(*variable);
  return variables;
}

ListenAddress listen_option(const std::string& text) {
  const auto address = parse_listen_address(text);
  const ValueFault* const fault = fault_in(address);
  if (fault == nullptr) return std::get<ListenAddress>(address);
  throw ConfigError(
      {fmt::format("--listen: {}", !fault->sentence.empty()
                                       ? fault->sentence
                                       : fmt::format("expected a socket path with a slash, host:port or "
                                                     "[::1]:port, found \"{}\"",
                                                     text))});
}

void warn_of_open_address(const Options& options, LoadedConfig& loaded) {
  const auto* const tcp = std::get_if<TcpAddress>(&loaded.config.listen);
  if (tcp == nullptr || is_loopback(tcp->host)) return;
  loaded.warnings.push_back(fmt::format(
      "{}: {} is open to other machines, and FastCGI has no passwords: whoever reaches it can chat on your "
      "bill. Use a socket path or 127.0.0.1, or let only nginx's machine in",
      options.listen ? "--listen" : "FCGI_LISTEN", to_string(loaded.config.listen)));
}

LoadedConfig load(const Options& options) {
  const bool is_of_service = options.check && is_read_for_service(options.env_file);
  LoadedConfig loaded =
      load_config(environment(), options.env_file,
                  is_of_service ? KeyFileReader::kServiceManager : KeyFileReader::kThisProcess);
  if (options.listen) loaded.config.listen = listen_option(*options.listen);
  warn_of_open_address(options, loaded);
  return loaded;
}

// What the program runs with while its own settings have faults.
LoadedConfig default_settings() { return load_config({}, "/dev/null"); }

void begin_log(const Config& config) {
  const bool on_terminal = config.log_file.empty() && ::isatty(STDERR_FILENO) != 0;
  start_log(config.log_format.value_or(on_terminal ? LogFormat::kText : LogFormat::kJson),
            effective_log_level(config), config.log_file);
}

// What was set on purpose, and is not what is served.
void warn_of_inherited(const Config& config, const ListenSocket& socket) {
  const std::string address = to_string(config.listen);
  if (address == socket.name() || address == kDefaultListen) return;
  log(LogLevel::kWarning, "setting",
      fmt::format("FCGI_LISTEN is {}, but the socket that is passed on is served: {}", address,
                  socket.name()));
}

// With `faults` in the settings, `loaded` has the defaults: chats get an error.
int serve(LoadedConfig loaded, std::vector<std::string> faults, const Options& options) {
  init_libfcgi();
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGUSR1, SIG_IGN);  // these until the server listens to them
  std::signal(SIGHUP, SIG_IGN);
  std::signal(SIGUSR2, SIG_IGN);
  std::signal(SIGTERM, SIG_DFL);
  std::signal(SIGALRM, SIG_DFL);  // the watchdog of a process whose supervisor has ended
  std::signal(SIGCHLD, SIG_DFL);  // ignored, as some parents leave it, it would hide how a successor ended
  try {
    begin_log(loaded.config);
  } catch (const LogFileError& error) {
    if (!options.supervise) throw;
    faults = {error.what()};
    loaded = default_settings();
    begin_log(loaded.config);
  }
  const Config& config = loaded.config;
  if (faults.empty()) log_warnings(loaded);
  raise_file_limit(config);

  auto socket = ListenSocket::inherited();
  if (!socket && options.supervise) {
    throw ListenError(
        "--supervise needs a listening socket that is passed on (systemd's socket unit, LISTEN_FDS): one of "
        "its own would be in the way of the next start");
  }
  if (socket) warn_of_inherited(config, *socket);
  if (!socket) socket.emplace(ListenSocket::open(config.listen, config.socket_mode));
  const bool again = Server(config, *socket, [&options] { return load(options); },
                            {options.argv, options.supervisor, std::move(faults)})
                         .run();
  log(LogLevel::kInfo, "stopped", "");
  return again ? kStartAgain : EX_OK;
}

// Replaces this process by bailian-import, which is installed beside it. Returns only when that fails.
int exec_import(std::vector<std::string> arguments) {
  const auto program = std::filesystem::read_symlink("/proc/self/exe").replace_filename("bailian-import");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  ::execv(program.c_str(), argv.data());
  throw_errno(fmt::format("--import-config-php: cannot run {}", program.string()));
}

int run(Options options) {
  if (!options.import_arguments.empty()) return exec_import(std::move(options.import_arguments));
  if (options.supervise) {
    options.supervisor = ::getpid();
    if (const auto code = supervise()) return *code;
  }
  forbid_inspection();
  if (options.top) {
    // Whoever may connect need not be able to read the settings.
    return top(options.listen ? listen_option(*options.listen) : load(options).config.listen,
               Seconds(options.top_interval));
  }
  LoadedConfig loaded;
  std::vector<std::string> faults;
  try {
    loaded = load(options);
  } catch (const ConfigError& error) {
    if (!options.supervise) throw;
    // To end would leave visitors waiting in the socket that the service manager keeps open.
    faults = error.faults();
    loaded = default_settings();
  }
  if (options.print) return print_setting(loaded, *options.print);
  if (options.check) return check(loaded, options.env_file, options.strict);
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
    throw std::runtime_error("cannot initialise libcurl");
  const int code = options.ping ? ping(loaded.config, options.env_file.value_or(".env"))
                                : serve(std::move(loaded), std::move(faults), options);
  curl_global_cleanup();
  return code;
}

int run_guarded(const Options& options) {
  try {
    return run(options);
  } catch (const ConfigError& error) {
    for (const std::string& fault : error.faults())
      fmt::print(stderr, "bailian-fcgi: {}\n", printable(fault));
    return EX_CONFIG;
  } catch (const ListenError& error) {
    fmt::print(stderr, "bailian-fcgi: {}\n", printable(error.what()));
    return EX_UNAVAILABLE;
  } catch (const LogFileError& error) {
    fmt::print(stderr, "bailian-fcgi: {}\n", printable(error.what()));
    return EX_CANTCREAT;
  } catch (const std::exception& error) {
    fmt::print(stderr, "bailian-fcgi: {}\n", printable(error.what()));
    return EX_OSERR;
  }
}

int run_command(int argc, char** argv) {
  Options options;
  CLI::App app(
      "FastCGI responder that streams answers of an Alibaba Cloud Bailian (DashScope) application to website "
      "chats.\n"
      "Settings come from the environment and from a .env file; see .env.example.\n"
      "Signals: SIGTERM, SIGINT let live answers finish; a second one ends them. SIGQUIT lets them "
      "finish.\n"
      "SIGHUP reads the settings again. SIGUSR1 opens LOG_FILE again. SIGUSR2 has the program on disk take "
      "over.",
      "bailian-fcgi");
  app.set_version_flag("-V,--version", "bailian-fcgi " BAILIAN_VERSION);
  app.add_option("-e,--env-file", options.env_file,
                 "read settings from FILE (else from ./.env when it is there)")
      ->type_name("FILE");
  app.add_option("-l,--listen", options.listen,
                 "listen on ADDRESS, or let top ask there: socket path, host:port or [::1]:port")
      ->type_name("ADDRESS");
  auto* const supervise =
      app.add_flag("--supervise", options.supervise,
                   "serve in a child process, so that systemctl restart need not wait for live answers");
  auto* const check = app.add_flag("-t,--check", options.check, "check every setting and file, then exit");
  app.add_flag("--strict", options.strict, "let --check fail on a warning too")->needs(check);
  app.add_option("--print", options.print,
                 "with --check: print the value of SETTING and nothing else; exit code 1 when it is not set")
      ->type_name("SETTING")
      ->needs(check);
  auto* const ping =
      app.add_flag("--ping", options.ping, "ask the upstream one short question and tell what came of it");
  // bailian-import's former name; hidden.
  std::optional<std::string> config_php;
  std::optional<std::string> output_dir;
  bool force = false;
  auto* const import = app.add_option("--import-config-php", config_php)->group("");
  app.add_option("--output-dir", output_dir)->needs(import)->group("");
  app.add_flag("--force", force)->needs(import)->group("");
  // Not by their names, which CLI11 copies where nothing may be thrown.
  for (auto* const other : {check, ping, import}) supervise->excludes(other);
  auto* const top = app.add_subcommand(
      "top", "watch the running program in the terminal: what it does and the chats under way; q ends it");
  top->fallthrough()->excludes(supervise);
  top->add_option("--interval", options.top_interval, "SECONDS between two looks (1)")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.1, 3600.0));
  app.footer(
      "Exit codes: 0 done, 64 bad usage, 69 cannot listen or upstream unavailable, 71 system error, 73 "
      "cannot open\n"
      "LOG_FILE, 75 throttled (--ping), 77 key refused (--ping), 78 bad configuration; top: 69 nothing "
      "answers, 76 it is\n"
      "something else, 77 may not connect.");
  app.failure_message([](const CLI::App* failed, const CLI::Error& error) {
    return "bailian-fcgi: " + CLI::FailureMessage::simple(failed, error);
  });
  try {
    app.parse(argc, argv);
    options.top = top->parsed();
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? EX_OK : EX_USAGE;
  }
  if (config_php) {
    options.import_arguments = {"bailian-import", *config_php};
    if (output_dir)
      options.import_arguments.insert(options.import_arguments.end(), {"--output-dir", *output_dir});
    if (force) options.import_arguments.emplace_back("--force");
  }
  options.argv.assign(argv, argv + argc);
  return run_guarded(options);
}

}  // namespace
}  // namespace bailian

int main(int argc, char** argv) {
  int code = EX_OSERR;
  try {
    code = bailian::run_command(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bailian-fcgi: %s\n", error.what());
  }
  bailian::stop_log(code);
  return code;
}
