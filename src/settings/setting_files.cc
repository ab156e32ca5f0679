#include "settings/setting_files.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "settings/parse_value.h"
#include "settings/placeholder.h"

namespace bailian {
namespace {

// A line of a .env file instead of a key: `DASHSCOPE_API_KEY=...`.
bool is_assignment(std::string_view text) {
  const std::string name = to_lower(text.substr(0, text.find('=')));
  return name.size() < text.size() && name.find("key") != std::string::npos;
}

}  // namespace

Parsed<std::string> read_text_file(const std::string& path) {
  constexpr size_t kMaxFileBytes = size_t{4} << 20;
  const auto text = read_file(path, kMaxFileBytes + 1);
  if (!text) return refused(fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  if (text->size() > kMaxFileBytes) return refused(fmt::format("{} is longer than 4 MiB", path));
  if (is_utf16(*text)) return refused(fmt::format("{} is UTF-16: save it as UTF-8", path));
  return std::string(without_bom(*text));
}

Parsed<std::string> read_key_file(const std::string& path) {
  const auto text = read_text_file(path);
  if (fault_in(text) != nullptr) return text;
  std::string key(trim(std::get<std::string>(text)));
  const auto refuse = [&path](std::string_view what) { return refused(fmt::format("{} {}", path, what)); };
  if (is_placeholder(key)) return key;
  if (const auto ends = std::count(key.begin(), key.end(), '\n'); ends > 0)
    return refuse(fmt::format("has {} lines: it must contain the key alone, on one line", ends + 1));
  if (is_assignment(key)) return refuse("contains NAME=...: it must contain the key alone");
  if (is_quoted(key)) return refuse("contains the key in quotes: remove the quotes");
  if (!is_visible_ascii(key)) return refuse("holds no key: it contains blanks or non-ASCII characters");
  return key;
}

std::string fault_of_key_file_mode(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return "";  // reading it reports that
  // systemd lets one user read a credential by an access list, which shows in the mode as the group's right.
  // Only root is in root's group.
  const mode_t others = status.st_uid == 0 && status.st_gid == 0 ? 037 : 077;
  if ((status.st_mode & others) == 0) return "";
  return fmt::format("{} can be read by others (mode {:04o}): chmod 600 it", path, status.st_mode & 07777);
}

Parsed<BotProfile> read_bot_profile(const std::string& path) {
  if (path.empty()) return default_bot_profile();
  const auto text = read_text_file(path);
  if (const ValueFault* fault = fault_in(text)) return *fault;
  if (!is_utf8(std::get<std::string>(text)))
    return refused(fmt::format("{} is not UTF-8 (if it is GBK: iconv -f GBK -t UTF-8)", path));
  std::vector<std::string> faults;
  auto profile = parse_bot_profile(std::get<std::string>(text), faults);
  if (profile) return std::move(*profile);
  return refused(fmt::format("{}: {}", path, fmt::join(faults, "; ")));
}

}  // namespace bailian
