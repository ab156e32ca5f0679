#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/text.h"
#include "base/unique_fd.h"
#include "import/config_mapper.h"
#include "settings/bots.h"
#include "settings/dotenv.h"
#include "settings/settings_table.h"

namespace bailian {
namespace {

struct Options {
  std::string path;
  std::string output_dir = ".";
  std::string bot;  // for which the settings are; empty: for the whole service
  bool force = false;
};

/// A file that appears complete or not at all: it is written under a temporary name in the same directory.
/// Throws std::system_error.
class NewFile {
 public:
  NewFile(std::string path, std::string_view content, mode_t mode) : NewFile(std::move(path)) {
    if (::fchmod(fd_.get(), mode) != 0) throw_errno(path_);
    while (!content.empty()) {
      const ssize_t written = ::write(fd_.get(), content.data(), content.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) throw_errno(path_);
      content.remove_prefix(static_cast<size_t>(written));
    }
    if (::fsync(fd_.get()) != 0) throw_errno(path_);
  }
  ~NewFile() {
    if (is_temporary_) ::unlink(temporary_.c_str());
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  void publish(bool may_replace) {
    if (may_replace) {
      if (::rename(temporary_.c_str(), path_.c_str()) != 0) throw_errno(path_);
      is_temporary_ = false;
    } else if (::link(temporary_.c_str(), path_.c_str()) != 0) {
      throw_errno(path_);
    }
  }

 private:
  // Creates the empty file. When the public constructor throws after that, the destructor runs and removes
  // it.
  explicit NewFile(std::string path)
      : path_(std::move(path)), temporary_(path_ + ".XXXXXX"), fd_(::mkostemp(temporary_.data(), O_CLOEXEC)) {
    if (!fd_) throw_errno(path_);
  }

  std::string path_;
  std::string temporary_;
  UniqueFd fd_;
  bool is_temporary_ = true;
};

std::string env_text(const ConfigPhp& php, const std::string& profile_path) {
  std::string text =
      "# Settings of bailian-fcgi, imported from an old config.php. .env.example describes every setting.\n";
  for (const auto& [key, value] : php.settings) text += dotenv_line(key, value);
  return text + "# Details of failures go to the log, not to visitors.\n" + dotenv_line("DEBUG", "False") +
         dotenv_line("BOT_CONFIG_FILE", profile_path);
}

// Only what the old file sets, so that the bot has the rest from .env.
std::string bot_env_text(const ConfigPhp& php, const std::string& profile_path) {
  std::string text =
      "# A bot of bailian-fcgi, imported from an old config.php. What is not here is as in .env.\n";
  for (const auto& [key, value] : php.settings) {
    const Setting* const setting = find_setting(key);
    if (setting != nullptr && setting->scope != Scope::kService && !value.empty())
      text += dotenv_line(key, value);
  }
  return text + dotenv_line("BOT_CONFIG_FILE", profile_path);
}

std::string setting(const ConfigPhp& php, std::string_view key, std::string_view fallback) {
  for (const auto& [name, value] : php.settings) {
    if (name == key && !value.empty()) return value;
  }
  return std::string(fallback);
}

// Of those that every chat needs.
std::vector<std::string> settings_left_out(const ConfigPhp& php) {
  std::vector<std::string> keys;
  for (const char* key : {"DASHSCOPE_API_KEY", "APP_ID"}) {
    if (setting(php, key, "").empty()) keys.emplace_back(key);
  }
  return keys;
}

void print_list(std::string_view title, const std::vector<std::string>& items) {
  if (!items.empty()) fmt::print("{}\n", title);
  for (const std::string& item : items) fmt::print("  {}\n", item);
}

void report(const ConfigPhp& php, const Options& options, const std::string& env_path,
            const std::string& profile_path) {
  print_list("taken:", php.taken);
  print_list("not taken:", php.not_taken);
  print_list("the old file would have called:", php.called);
  print_list("written:", {env_path, profile_path});
  if (!options.bot.empty()) {
    print_list("as in .env, unless you add it:", settings_left_out(php));
    print_list("then, with both files in BOTS_DIR:",
               {"bailian-fcgi check --env-file .env",
                fmt::format("data-endpoint=\"/myapi/bots/{}/v1\" for the widget", options.bot)});
    return;
  }
  print_list("bailian-fcgi calls:",
             {fmt::format("{}/apps/{}/completion",
                          setting(php, "DASHSCOPE_BASE_URL", "https://dashscope.aliyuncs.com/api/v1"),
                          setting(php, "APP_ID", "APP_ID"))});
  std::vector<std::string> to_fill_in;
  if (setting(php, "DASHSCOPE_API_KEY", "").empty())
    to_fill_in.emplace_back("DASHSCOPE_API_KEY=, a key from the console");
  if (setting(php, "APP_ID", "").empty())
    to_fill_in.emplace_back("APP_ID=, the id on the application's card in the console");
  print_list(fmt::format("fill in, in {}:", env_path), to_fill_in);
  print_list("then:", {fmt::format("bailian-fcgi check --env-file {}", env_path),
                       fmt::format("bailian-fcgi ping --env-file {}", env_path)});
}

int complain(int exit_code, std::string_view what) {
  fmt::print(stderr, "bailian-import: {}\n", what);
  return exit_code;
}

int write_files(const ConfigPhp& php, const Options& options) {
  namespace fs = std::filesystem;
  std::error_code error;
  const std::string directory = fs::canonical(options.output_dir, error);
  if (error) throw std::system_error(error, options.output_dir);
  const bool is_bot = !options.bot.empty();
  const std::string env_path = fmt::format("{}/{}.env", directory, options.bot);
  const std::string profile_path = fmt::format("{}/{}.json", directory, is_bot ? options.bot : "bot");
  for (const std::string& path : {env_path, profile_path}) {
    if (!options.force && fs::exists(fs::symlink_status(path, error)))
      return complain(EX_CANTCREAT, path + " already exists; --force replaces it");
  }
  constexpr mode_t kSecret = 0600;
  constexpr mode_t kPublic = 0644;
  NewFile env(env_path, is_bot ? bot_env_text(php, profile_path) : env_text(php, profile_path), kSecret);
  NewFile profile(profile_path, php.bot_profile, kPublic);
  profile.publish(options.force);
  env.publish(options.force);
  report(php, options, env_path, profile_path);
  return EX_OK;
}

int import(const Options& options) {
  const auto text = read_file(options.path, kMaxPhpBytes + 1);  // one byte more shows that the file is longer
  if (!text) return complain(EX_NOINPUT, fmt::format("{}: {}", options.path, std::strerror(errno)));
  if (is_utf16(*text)) return complain(EX_DATAERR, options.path + ": the file is UTF-16: save it as UTF-8");
  return write_files(read_config_php(without_bom(*text)), options);
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app(
      "Creates .env and bot.json for bailian-fcgi from an old config.php, which is read but never run.",
      "bailian-import");
  app.set_version_flag("-V,--version", "bailian-import " BAILIAN_VERSION);
  app.add_option("FILE", options.path, "the old config.php, or a functions.php with the chat's code in it")
      ->required();
  app.add_option("--output-dir", options.output_dir, "write to DIR (default: the working directory)")
      ->type_name("DIR");
  app.add_option("--bot", options.bot, "write NAME.env and NAME.json, for the folder BOTS_DIR")
      ->type_name("NAME");
  app.add_flag("--force", options.force, "replace existing files");
  app.footer(
      "Exit codes: 0 done, 64 bad usage, 65 nothing usable in the file, 66 the file cannot be read, 71 "
      "system "
      "error,\n73 a file exists already or cannot be written.");
  app.failure_message([](const CLI::App* failed, const CLI::Error& error) {
    return "bailian-import: " + CLI::FailureMessage::simple(failed, error);
  });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? EX_OK : EX_USAGE;
  }
  if (!options.bot.empty() && (!is_bot_name(options.bot) || options.bot == kDefaultBot))
    return complain(EX_USAGE,
                    "--bot: a name has 1 to 32 characters of a-z, 0-9 and -, and is not \"default\"");
  try {
    return import(options);
  } catch (const PhpError& error) {
    return complain(EX_DATAERR, fmt::format("{}: {}", options.path, error.what()));
  } catch (const std::system_error& error) {
    return complain(EX_CANTCREAT, fmt::format("cannot write: {}", error.what()));
  }
}

}  // namespace
}  // namespace bailian

int main(int argc, char** argv) {
  try {
    return bailian::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bailian-import: %s\n", error.what());
    return EX_OSERR;
  }
}
