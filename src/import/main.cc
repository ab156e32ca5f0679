#include "import/import_command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <system_error>

#include "base/unique_fd.h"
#include "base/utf8.h"
#include "import/config_mapper.h"
#include "settings/dotenv.h"

namespace bailian {
namespace {

[[noreturn]] void fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

// One byte more than is read as PHP, so that a longer file is known to be one.
std::string read_file(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) fail(path);
  std::string text(kMaxPhpBytes + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = ::read(fd.get(), text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(path);
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  text.resize(size);
  return text;
}

/// A file that comes to be whole or not at all: written beside its place under another name.
class NewFile {
 public:
  NewFile(std::string path, std::string_view content, mode_t mode) : NewFile(std::move(path)) {
    if (::fchmod(fd_.get(), mode) != 0) fail(path_);
    while (!content.empty()) {
      const ssize_t put = ::write(fd_.get(), content.data(), content.size());
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) fail(path_);
      content.remove_prefix(static_cast<size_t>(put));
    }
    if (::fsync(fd_.get()) != 0) fail(path_);
  }
  ~NewFile() {
    if (is_beside_) ::unlink(temporary_.c_str());
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  void put_in_place(bool may_replace) {
    if (may_replace) {
      if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail(path_);
      is_beside_ = false;
    } else if (::link(temporary_.c_str(), path_.c_str()) != 0) {
      fail(path_);
    }
  }

 private:
  // The empty file. Whatever throws later, the destructor removes it.
  explicit NewFile(std::string path)
      : path_(std::move(path)), temporary_(path_ + ".XXXXXX"), fd_(::mkostemp(temporary_.data(), O_CLOEXEC)) {
    if (!fd_) fail(path_);
  }

  std::string path_;
  std::string temporary_;
  UniqueFd fd_;
  bool is_beside_ = true;
};

std::string absolute(const std::string& directory) {
  const std::unique_ptr<char, decltype(&std::free)> path(::realpath(directory.c_str(), nullptr), &std::free);
  if (!path) fail(directory);
  return path.get();
}

bool exists(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0;
}

std::string env_text(const ConfigPhp& php, const std::string& profile_path) {
  std::string text =
      "# Settings of bailian-fcgi, made of an old config.php. .env.example tells of each and of the "
      "others.\n";
  for (const auto& [key, value] : php.settings) text += dotenv_line(key, value);
  return text + "# Details of failures go to the log, not to visitors.\n" + dotenv_line("DEBUG", "False") +
         dotenv_line("BOT_CONFIG_FILE", profile_path);
}

std::string setting(const ConfigPhp& php, std::string_view key, std::string_view otherwise) {
  for (const auto& [name, value] : php.settings) {
    if (name == key && !value.empty()) return value;
  }
  return std::string(otherwise);
}

void print_list(std::string_view title, const std::vector<std::string>& items) {
  if (!items.empty()) fmt::print("{}\n", title);
  for (const std::string& item : items) fmt::print("  {}\n", item);
}

void report(const ConfigPhp& php, const std::string& env_path, const std::string& profile_path) {
  print_list("taken:", php.taken);
  print_list("not taken:", php.not_taken);
  print_list("the old file would have called:", php.called);
  fmt::print("bailian-fcgi calls:\n  {}/apps/{}/completion\n",
             setting(php, "DASHSCOPE_BASE_URL", "https://dashscope.aliyuncs.com/api/v1"),
             setting(php, "APP_ID", "APP_ID"));
  fmt::print("written:\n  {}\n  {}\n", env_path, profile_path);
  std::string to_fill_in;
  if (setting(php, "DASHSCOPE_API_KEY", "").empty())
    to_fill_in += "DASHSCOPE_API_KEY=, a key of the console\n  ";
  if (setting(php, "APP_ID", "").empty())
    to_fill_in += "APP_ID=, the id on the application's card in the console\n  ";
  if (!to_fill_in.empty())
    fmt::print("fill in, in {}:\n  {}", env_path, to_fill_in.substr(0, to_fill_in.size() - 2));
  fmt::print("then:\n  bailian-fcgi --check --env-file {0}\n  bailian-fcgi --ping --env-file {0}\n",
             env_path);
}

int write(const ConfigPhp& php, const ImportOptions& options) {
  const std::string directory = absolute(options.output_dir);
  const std::string env_path = directory + "/.env";
  const std::string profile_path = directory + "/bot.json";
  for (const std::string& path : {env_path, profile_path}) {
    if (options.force || !exists(path)) continue;
    fmt::print(stderr, "bailian-fcgi: {} is there already; --force replaces it\n", path);
    return EX_CANTCREAT;
  }
  constexpr mode_t kSecret = 0600;
  constexpr mode_t kPublic = 0644;
  NewFile env(env_path, env_text(php, profile_path), kSecret);
  NewFile profile(profile_path, php.bot_profile, kPublic);
  profile.put_in_place(options.force);
  env.put_in_place(options.force);
  report(php, env_path, profile_path);
  return EX_OK;
}

}  // namespace

int import_config_php(const std::string& path, const ImportOptions& options) {
  std::string text;
  try {
    text = read_file(path);
  } catch (const std::system_error& error) {
    fmt::print(stderr, "bailian-fcgi: {}\n", error.what());
    return EX_NOINPUT;
  }
  if (is_utf16(text)) {
    fmt::print(stderr, "bailian-fcgi: {}: the file is UTF-16: save it as UTF-8\n", path);
    return EX_DATAERR;
  }
  try {
    return write(read_config_php(without_bom(text)), options);
  } catch (const PhpError& error) {
    fmt::print(stderr, "bailian-fcgi: {}: {}\n", path, error.what());
    return EX_DATAERR;
  } catch (const std::system_error& error) {
    fmt::print(stderr, "bailian-fcgi: cannot write: {}\n", error.what());
    return EX_CANTCREAT;
  }
}

}  // namespace bailian
