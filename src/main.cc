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
#include <vector>

#include "base/exit_error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "commands/check.h"
#include "commands/ping.h"
#include "commands/serve.h"
#include "commands/settings_source.h"
#include "commands/top.h"

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

/// The command line. Each command has its own options; without a command, those of `serve` apply.
class CommandLine {
 public:
  CommandLine();
  /// Parses the command line and runs its command. Returns the exit code.
  int run(int argc, char** argv);

 private:
  int run_command();
  [[noreturn]] void exec_import();
  void add_env_file(CLI::App& app);
  void add_listen(CLI::App& app, const char* help);
  CLI::Option* add_serve_options(CLI::App& app);
  void add_check();
  void add_ping();
  void add_top();
  void add_aliases();

  CLI::App app_{kDescription, "bailian-fcgi"};
  CLI::App* check_command_ = nullptr;
  CLI::App* ping_command_ = nullptr;
  CLI::App* top_command_ = nullptr;
  ServeOptions serve_;
  bool is_strict_ = false;
  double top_interval_ = 1;  // seconds
  // Flags of earlier versions, not listed by --help.
  bool is_check_ = false;
  bool is_ping_ = false;
  std::optional<std::string> config_php_;
  std::optional<std::string> output_dir_;
  bool is_forced_ = false;
};

// Keeps the key, which may be in the environment, out of core files and from other processes of this user. In
// a build with DEBUG=1, gdb attaches and a crash leaves a core file.
void forbid_inspection() {
#ifndef BAILIAN_DEBUG
  ::prctl(PR_SET_DUMPABLE, 0);
#endif
}

CommandLine::CommandLine() {
  app_.set_version_flag("-V,--version", "bailian-fcgi " BAILIAN_VERSION);
  app_.require_subcommand(0, 1);
  app_.failure_message([](const CLI::App* failed, const CLI::Error& error) {
    return "bailian-fcgi: " + CLI::FailureMessage::simple(failed, error);
  });
  CLI::Option* const supervise = add_serve_options(app_);
  add_serve_options(*app_.add_subcommand("serve", "Serve nginx (the default)"));
  add_check();
  add_ping();
  add_top();
  for (CLI::App* const other : {check_command_, ping_command_, top_command_}) other->excludes(supervise);
  add_aliases();
}

void CommandLine::add_env_file(CLI::App& app) {
  app.add_option("-e,--env-file", serve_.source.env_file, "Read settings from FILE (default: ./.env, if any)")
      ->type_name("FILE");
}

void CommandLine::add_listen(CLI::App& app, const char* help) {
  app.add_option("-l,--listen", serve_.source.listen, help)->type_name("ADDRESS");
}

CLI::Option* CommandLine::add_serve_options(CLI::App& app) {
  add_env_file(app);
  add_listen(app, "Listen on ADDRESS, not on FCGI_LISTEN: socket path, host:port or [::1]:port");
  app.footer(kServeFooter);
  return app.add_flag("--supervise", serve_.supervise,
                      "Serve in a child process, so that systemctl restart need not wait for live answers");
}

void CommandLine::add_check() {
  check_command_ = app_.add_subcommand("check", "Check every setting and file, then exit");
  add_env_file(*check_command_);
  add_listen(*check_command_, "Check ADDRESS in place of FCGI_LISTEN");
  check_command_->add_flag("--strict", is_strict_, "Fail on warnings too");
  check_command_->footer("Exit codes: 0 good, 64 bad usage, 71 system error, 78 bad configuration.");
}

void CommandLine::add_ping() {
  ping_command_ = app_.add_subcommand("ping", "Ask the application one short question, which is billed");
  add_env_file(*ping_command_);
  ping_command_->footer(
      "Exit codes: 0 answered, 64 bad usage, 69 upstream unavailable, 71 system error, 75 throttled, 77 key\n"
      "refused, 78 bad configuration.");
}

void CommandLine::add_top() {
  top_command_ = app_.add_subcommand("top", "Watch the running service and its chats; q quits");
  add_env_file(*top_command_);
  add_listen(*top_command_, "Connect to ADDRESS, not to FCGI_LISTEN");
  top_command_->add_option("--interval", top_interval_, "Refresh every SECONDS, 0.1 to 3600 (default: 1)")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.1, 3600.0).description(""));
  top_command_->footer(
      "Exit codes: 0 done, 64 bad usage, 69 no answer, 71 system error, 76 not bailian-fcgi, 77 permission\n"
      "denied, 78 bad configuration.");
}

void CommandLine::add_aliases() {
  constexpr const char* kHidden = "";
  CLI::Option* const check = app_.add_flag("-t,--check", is_check_)->group(kHidden);
  app_.add_flag("--strict", is_strict_)->group(kHidden)->needs(check);
  app_.add_flag("--ping", is_ping_)->group(kHidden);
  CLI::Option* const import = app_.add_option("--import-config-php", config_php_)->group(kHidden);
  app_.add_option("--output-dir", output_dir_)->group(kHidden)->needs(import);
  app_.add_flag("--force", is_forced_)->group(kHidden)->needs(import);
}

int CommandLine::run(int argc, char** argv) {
  try {
    app_.parse(argc, argv);
    const bool has_alias = is_check_ || is_ping_ || config_php_.has_value();
    if (serve_.supervise && has_alias)
      throw CLI::ExcludesError("--supervise", "--check, --ping and --import-config-php");
  } catch (const CLI::ParseError& error) {
    return app_.exit(error) == 0 ? EX_OK : EX_USAGE;
  }
  serve_.argv.assign(argv, argv + argc);
  return run_command();
}

int CommandLine::run_command() {
  forbid_inspection();
  if (config_php_) exec_import();
  if (is_check_ || check_command_->parsed()) return check(serve_.source, is_strict_);
  if (is_ping_ || ping_command_->parsed()) return ping(serve_.source);
  if (top_command_->parsed()) return top(serve_.source, Seconds(top_interval_));
  return serve(serve_);
}

// The importer became a program of its own, which is installed beside this one.
void CommandLine::exec_import() {
  std::vector<std::string> arguments = {"bailian-import", *config_php_};
  if (output_dir_) arguments.insert(arguments.end(), {"--output-dir", *output_dir_});
  if (is_forced_) arguments.emplace_back("--force");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const auto program = std::filesystem::read_symlink("/proc/self/exe").replace_filename("bailian-import");
  ::execv(program.c_str(), argv.data());
  throw_errno(fmt::format("--import-config-php: cannot run {}", program.string()));
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
    return CommandLine().run(argc, argv);
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
