#include <curl/curl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>

#include "config.h"
#include "fcgi_request.h"
#include "import.h"
#include "listen_socket.h"
#include "log.h"
#include "ping.h"
#include "server.h"

namespace bailian {
namespace {

struct Options {
  std::optional<std::string> env_file;
  std::optional<std::string> listen;
  std::optional<std::string> import_config_php;
  ImportOptions import;
  bool check = false;
  bool ping = false;
};

std::vector<std::string> environment() {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) variables.emplace_back(*variable);
  return variables;
}

LoadedConfig load(const Options& options) {
  LoadedConfig loaded = load_config(environment(), options.env_file);
  if (!options.listen) return loaded;
  try {
    loaded.config.listen = parse_listen_address(*options.listen);
  } catch (const std::invalid_argument&) {
    throw ConfigError(
        {fmt::format("--listen: expected a socket path with a slash, host:port or [::1]:port, found "
                     "\"{}\"",
                     *options.listen)});
  }
  return loaded;
}

int check(const LoadedConfig& loaded) {
  for (const std::string& warning : loaded.warnings) fmt::print(stderr, "warning: {}\n", warning);
  const Config& config = loaded.config;
  fmt::print("key: {}\napplication: {}\nupstream: {}\nlistens on: {}\nthe configuration is good\n",
             config.api_key.empty() ? "not set, chats will get an error" : "set",
             config.app_id.empty() ? "not set, chats will get an error" : config.app_id, config.base_url,
             to_string(config.listen));
  return EX_OK;
}

int serve(const LoadedConfig& loaded, const Options& options) {
  const Config& config = loaded.config;
  init_libfcgi();
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGUSR1, SIG_IGN);  // these two until the server listens to them
  std::signal(SIGHUP, SIG_IGN);
  std::signal(SIGTERM, SIG_DFL);
  const bool on_terminal = config.log_file.empty() && ::isatty(STDERR_FILENO) != 0;
  start_log(config.log_format.value_or(on_terminal ? LogFormat::kText : LogFormat::kJson),
            least_log_level(config), config.log_file);
  log_warnings(loaded);
  raise_file_limit(config);

  auto socket = ListenSocket::inherited();
  if (!socket) socket.emplace(ListenSocket::open(config.listen, config.socket_mode));
  Server(config, *socket, [&options] { return load(options); }).run();
  log(LogLevel::kInfo, "stopped", "");
  return EX_OK;
}

int run(const Options& options) {
  if (options.import_config_php) return import_config_php(*options.import_config_php, options.import);
  // The key is kept out of core files and from other processes of this user.
  ::prctl(PR_SET_DUMPABLE, 0);
  const LoadedConfig loaded = load(options);
  if (options.check) return check(loaded);
  curl_global_init(CURL_GLOBAL_DEFAULT);
  const int code = options.ping ? ping(loaded.config) : serve(loaded, options);
  curl_global_cleanup();
  return code;
}

int run_guarded(const Options& options) {
  try {
    return run(options);
  } catch (const ConfigError& error) {
    for (const std::string& fault : error.faults()) fmt::print(stderr, "bailian-fcgi: {}\n", fault);
    return EX_CONFIG;
  } catch (const ListenError& error) {
    fmt::print(stderr, "bailian-fcgi: {}\n", error.what());
    return EX_UNAVAILABLE;
  } catch (const LogFileError& error) {
    fmt::print(stderr, "bailian-fcgi: {}\n", error.what());
    return EX_CANTCREAT;
  } catch (const std::exception& error) {
    fmt::print(stderr, "bailian-fcgi: {}\n", error.what());
    return EX_OSERR;
  }
}

}  // namespace
}  // namespace bailian

int main(int argc, char** argv) {
  using bailian::Options;
  Options options;
  CLI::App app(
      "FastCGI responder that streams answers of an Alibaba Cloud Bailian (DashScope) application to website "
      "chats.\n"
      "Settings come from the environment and from a .env file; see .env.example.\n"
      "Signals: SIGTERM, SIGINT let live answers finish; a second one ends them. SIGHUP reads the settings "
      "again. SIGUSR1 opens LOG_FILE again.",
      "bailian-fcgi");
  app.set_version_flag("-V,--version", "bailian-fcgi " BAILIAN_VERSION);
  app.add_option("-e,--env-file", options.env_file,
                 "read settings from FILE (else from ./.env when it is there)")
      ->type_name("FILE");
  app.add_option("-l,--listen", options.listen, "listen on ADDRESS: socket path, host:port or [::1]:port")
      ->type_name("ADDRESS");
  app.add_flag("-t,--check", options.check, "check every setting and file, then exit");
  app.add_flag("--ping", options.ping, "ask the upstream one short question and tell what came of it");
  auto* const import = app.add_option("--import-config-php", options.import_config_php,
                                      "make .env and bot.json of an old config.php, which is read, not run");
  import->type_name("FILE");
  app.add_option("--output-dir", options.import.output_dir, "where --import-config-php writes (else here)")
      ->type_name("DIR")
      ->needs(import);
  app.add_flag("--force", options.import.force, "let --import-config-php replace files")->needs(import);
  app.footer(
      "Exit codes: 0 done, 64 bad usage, 69 cannot listen or upstream unavailable, 71 system error,\n"
      "73 cannot open LOG_FILE, 75 throttled (--ping), 77 key refused (--ping), 78 bad configuration; "
      "--import-config-php: 65 nothing "
      "in\n"
      "the file is of use, 66 it cannot be read, 73 a file exists or cannot be written.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? EX_OK : EX_USAGE;
  }
  const int code = bailian::run_guarded(options);
  bailian::stop_log();
  return code;
}
