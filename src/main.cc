#include <fmt/format.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/exit_error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "commands/check.h"
#include "commands/pause.h"
#include "commands/ping.h"
#include "commands/top.h"
#include "commands/usage.h"
#include "service/serve.h"

namespace bailian {
namespace {

constexpr const char* kDescription =
    "FastCGI responder that streams answers of an Alibaba Cloud Bailian (DashScope) application to website "
    "chats.\n"
    "Without a command it serves. Settings come from the environment and from a .env file; see .env.example.";

constexpr const char* kServeFooter =
    "Signals:\n"
    "  SIGTERM, SIGINT  drain: finish live answers, then exit; a second one aborts them\n"
    "  SIGQUIT          drain\n"
    "  SIGHUP           reload the settings\n"
    "  SIGUSR1          reopen LOG_FILE\n"
    "  SIGUSR2          start the program on disk, then drain\n"
    "Exit codes: 0 stopped by a signal, 64 bad usage, 69 cannot listen, 71 system error, 73 cannot open\n"
    "LOG_FILE, 78 bad configuration.";

constexpr const char* kCheckFooter =
    "Exit codes: 0 good, 64 bad usage, 71 system error, 78 bad configuration.";

constexpr const char* kPingFooter =
    "Exit codes: 0 answered, 64 bad usage, 69 upstream unavailable, 71 system error, 75 throttled, budget "
    "used\n"
    "up or paused, 77 key refused, 78 bad configuration.";

constexpr const char* kLedgerFooter =
    "Exit codes: 0 done, 64 bad usage, 71 system error, 74 the ledger cannot be used, 77 no right to use it, "
    "78\n"
    "bad configuration.";

constexpr const char* kTopFooter =
    "Exit codes: 0 done, 64 bad usage, 69 no answer, 71 system error, 76 not bailian-fcgi, 77 permission\n"
    "denied, 78 bad configuration.";

struct Options {
  SettingsSource source;
  bool supervise = false;
  bool strict = false;
  std::optional<std::string> print;  // with `check`: this setting only
  std::optional<std::string> bot;    // with `ping`, `usage`, `pause` and `resume`
  UsageOptions usage;
  PauseOptions pause;
  double interval = 1;  // seconds
  // Flags of earlier versions, not listed by --help.
  bool check = false;
  bool ping = false;
  std::optional<std::string> config_php;
  std::optional<std::string> output_dir;
  bool force = false;
};

void add_env_file(CLI::App& app, Options& options) {
  app.add_option("-e,--env-file", options.source.env_file,
                 "Read settings from FILE (default: ./.env, if any)")
      ->type_name("FILE");
}

void add_listen(CLI::App& app, Options& options, const char* help) {
  app.add_option("-l,--listen", options.source.listen, help)->type_name("ADDRESS");
}

CLI::Option* add_serve_options(CLI::App& app, Options& options) {
  add_env_file(app, options);
  add_listen(app, options, "Listen on ADDRESS, not on FCGI_LISTEN: socket path, host:port or [::1]:port");
  app.footer(kServeFooter);
  return app.add_flag("--supervise", options.supervise,
                      "Serve in a child process, so that systemctl restart need not wait for live answers");
}

void add_bot(CLI::App& app, Options& options, const char* help) {
  app.add_option("--bot", options.bot, help)->type_name("NAME");
}

void add_usage(CLI::App& usage, Options& options) {
  constexpr int kMaxDays = 128;  // the ledger keeps no more
  usage.add_flag("--json", options.usage.json, "Print JSON");
  usage.add_option("--days", options.usage.days, "Show the latest N days, 1 to 128 (default: 7)")
      ->type_name("N")
      ->check(CLI::Range(1, kMaxDays).description(""));
  add_bot(usage, options, "Show the bot NAME only");
  usage.add_flag("--open-period", options.usage.open_period,
                 "First begin the day of the clock, which the ledger believes to have jumped");
  usage.footer(kLedgerFooter);
}

void add_pause(CLI::App& pause, CLI::App& resume, Options& options) {
  add_bot(pause, options, "Pause the bot NAME only");
  pause.add_flag("--now", options.pause.at_once, "End the answers in progress too");
  pause.add_option("--message", options.pause.message, "What visitors read")->type_name("TEXT");
  pause.footer(kLedgerFooter);
  add_bot(resume, options, "Resume the bot NAME only");
  resume.footer(kLedgerFooter);
}

void add_commands(CLI::App& app, Options& options) {
  CLI::Option* const supervise = add_serve_options(app, options);
  add_serve_options(*app.add_subcommand("serve", "Serve nginx (the default)"), options);
  CLI::App* const check = app.add_subcommand("check", "Check every setting and file, then exit");
  CLI::App* const ping =
      app.add_subcommand("ping", "Ask the application one short question, which is billed");
  CLI::App* const top = app.add_subcommand("top", "Watch the running service and its chats; q quits");
  CLI::App* const usage =
      app.add_subcommand("usage", "Show the tokens that were used, and what is left of each cap");
  CLI::App* const pause = app.add_subcommand("pause", "Take no more questions until `resume`");
  CLI::App* const resume = app.add_subcommand("resume", "Take questions again after `pause`");
  for (CLI::App* const command : {check, ping, top, usage, pause, resume}) {
    command->excludes(supervise);
    add_env_file(*command, options);
  }
  add_listen(*check, options, "Check ADDRESS in place of FCGI_LISTEN");
  check->add_flag("--strict", options.strict, "Fail on warnings too");
  check->add_option("--print", options.print, "Print the value of SETTING only (exit code 1: it is not set)")
      ->type_name("SETTING");
  check->footer(kCheckFooter);
  add_bot(*ping, options, "Ask the bot NAME of BOTS_DIR (default: default)");
  ping->footer(kPingFooter);
  add_listen(*top, options, "Connect to ADDRESS, not to FCGI_LISTEN");
  top->add_option("--interval", options.interval, "Refresh every SECONDS, 0.1 to 3600 (default: 1)")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.1, 3600.0).description(""));
  top->footer(kTopFooter);
  add_usage(*usage, options);
  add_pause(*pause, *resume, options);
}

void add_former_flags(CLI::App& app, Options& options) {
  constexpr const char* kHidden = "";
  CLI::Option* const check = app.add_flag("-t,--check", options.check)->group(kHidden);
  app.add_flag("--strict", options.strict)->group(kHidden)->needs(check);
  app.add_option("--print", options.print)->group(kHidden)->needs(check);
  app.add_flag("--ping", options.ping)->group(kHidden);
  CLI::Option* const import = app.add_option("--import-config-php", options.config_php)->group(kHidden);
  app.add_option("--output-dir", options.output_dir)->group(kHidden)->needs(import);
  app.add_flag("--force", options.force)->group(kHidden)->needs(import);
}

// Keeps the key, which may be in the environment, out of core files and from other processes of this user. In
// a build with DEBUG=1, gdb attaches and a crash leaves a core file.
void forbid_inspection() {
#ifndef BAILIAN_DEBUG
  ::prctl(PR_SET_DUMPABLE, 0);
#endif
}

// The importer is a separate program, installed beside this one.
[[noreturn]] void exec_import(const Options& options) {
  std::vector<std::string> arguments = {"bailian-import", *options.config_php};
  if (options.output_dir) arguments.insert(arguments.end(), {"--output-dir", *options.output_dir});
  if (options.force) arguments.emplace_back("--force");
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const auto program = std::filesystem::read_symlink("/proc/self/exe").replace_filename("bailian-import");
  ::execv(program.c_str(), argv.data());
  throw_errno(fmt::format("--import-config-php: cannot run {}", program.string()));
}

int run_command(const CLI::App& app, Options& options, std::vector<std::string> argv) {
  forbid_inspection();
  options.usage.bot = options.pause.bot = options.bot;
  if (options.config_php) exec_import(options);
  if (options.print) return print_setting(options.source, *options.print);
  if (options.check || app.got_subcommand("check")) return check(options.source, options.strict);
  if (options.ping || app.got_subcommand("ping"))
    return ping(options.source, options.bot.value_or(std::string(kDefaultBot)));
  if (app.got_subcommand("top")) return top(options.source, Seconds(options.interval));
  if (app.got_subcommand("usage")) return usage(options.source, options.usage);
  if (app.got_subcommand("pause")) return pause(options.source, options.pause);
  if (app.got_subcommand("resume")) return resume(options.source, options.bot);
  return serve({options.source, options.supervise, std::move(argv)});
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app(kDescription, "bailian-fcgi");
  app.set_version_flag("-V,--version", "bailian-fcgi " BAILIAN_VERSION);
  app.require_subcommand(0, 1);
  app.failure_message([](const CLI::App* failed, const CLI::Error& error) {
    return "bailian-fcgi: " + CLI::FailureMessage::simple(failed, error);
  });
  add_commands(app, options);
  add_former_flags(app, options);
  try {
    app.parse(argc, argv);
    if (options.supervise && (options.check || options.ping || options.config_php))
      throw CLI::ExcludesError("--supervise", "--check, --ping and --import-config-php");
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? EX_OK : EX_USAGE;
  }
  return run_command(app, options, {argv, argv + argc});
}

// Prints the error. Returns the exit code.
int report(const std::exception& error) {
  if (const auto* const config_error = dynamic_cast<const ConfigError*>(&error)) {
    for (const std::string& fault : config_error->faults())
      fmt::print(stderr, "bailian-fcgi: {}\n", printable(fault));
    return EX_CONFIG;
  }
  fmt::print(stderr, "bailian-fcgi: {}\n", printable(error.what()));
  const auto* const exit_error = dynamic_cast<const ExitError*>(&error);
  return exit_error != nullptr ? exit_error->exit_code() : EX_OSERR;
}

int run_guarded(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    return report(error);
  }
}

}  // namespace
}  // namespace bailian

int main(int argc, char** argv) {
  int code = EX_OSERR;
  try {
    code = bailian::run_guarded(argc, argv);
  } catch (const std::exception& error) {  // no memory to report the first one
    std::fprintf(stderr, "bailian-fcgi: %s\n", error.what());
  }
  bailian::stop_log(code);
  return code;
}
