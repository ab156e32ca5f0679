#include "settings/parse_value.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "settings/address.h"
#include "settings/biz_params.h"
#include "settings/placeholder.h"
#include "settings/redis_address.h"

namespace bailian {
namespace {

constexpr double kMaxSeconds = 86400;
constexpr double kMaxPrice = 1e6;
constexpr uint64_t kMaxCap = 1'000'000'000'000'000;

template <typename Duration>
Parsed<Duration> parse_duration(std::string_view text, double min, double max) {
  const auto number = parse_number<double>(text);
  if (!number || !(*number >= min && *number <= max)) return not_expected();
  return Duration(*number);
}

// Users paste addresses from their examples: the host alone, the address of an application, or the one for
// OpenAI's libraries.
std::string api_of(std::string_view url, std::string_view host) {
  constexpr std::string_view kApi = "/api/v1";
  while (url.ends_with('/')) url.remove_suffix(1);
  std::string api(url);
  if (const size_t below = api.find("/api/v1/"); below != std::string::npos) api.resize(below + kApi.size());
  if (const size_t openai = api.find("/compatible-mode"); openai != std::string::npos)
    api.replace(openai, std::string::npos, kApi);
  if (const size_t app = api.find("/apps/"); app != std::string::npos && api.ends_with("/completion"))
    api.resize(app);
  const bool is_of_aliyun = host.ends_with(".aliyuncs.com");
  if (is_of_aliyun && api.ends_with("/api")) api += "/v1";
  if (is_of_aliyun && api.find('/', api.find("://") + 3) == std::string::npos) api += kApi;
  return api;
}

}  // namespace

Parsed<Seconds> parse_timeout(const std::string& text) {
  return parse_duration<Seconds>(text, 0.001, kMaxSeconds);
}

Parsed<Seconds> parse_seconds(const std::string& text) {
  return parse_duration<Seconds>(text, 0, kMaxSeconds);
}

Parsed<Milliseconds> parse_coalesce_time(const std::string& text) {
  return parse_duration<Milliseconds>(text, 0, 100);
}

Parsed<bool> parse_bool(const std::string& text) {
  const std::string lower = to_lower(text);
  if (lower == "true" || lower == "1" || lower == "yes") return true;
  if (lower == "false" || lower == "0" || lower == "no") return false;
  return not_expected();
}

Parsed<bool> parse_on_off(const std::string& text) {
  const std::string lower = to_lower(text);
  if (lower == "on") return true;
  if (lower == "off") return false;
  return parse_bool(text);
}

Parsed<bool> parse_moderation(const std::string& text) {
  const std::string lower = to_lower(text);
  if (lower == "cip") return true;
  if (lower == "off" || lower.empty()) return false;
  return not_expected();
}

Parsed<AnswerCaching> parse_answer_cache(const std::string& text) {
  const std::string lower = to_lower(text);
  if (lower == "off") return AnswerCaching::kOff;
  if (lower == "buttons") return AnswerCaching::kButtons;
  if (lower == "first-turn") return AnswerCaching::kFirstTurn;
  return not_expected();
}

Parsed<std::string> parse_utf8(const std::string& text) {
  if (!is_utf8(text)) return not_expected();
  return text;
}

Parsed<std::string> parse_visible_ascii(const std::string& text) {
  if (!is_visible_ascii(text)) return not_expected();
  return text;
}

bool is_quoted(std::string_view text) {
  return text.size() > 1 && (text.front() == '"' || text.front() == '\'') &&
         text.find(text.front(), 1) == text.size() - 1;
}

Parsed<std::string> parse_id(const std::string& text) {
  if (is_placeholder(text)) return std::string();
  if (is_quoted(text)) return refused(std::string(kQuotesStay));
  return parse_visible_ascii(text);
}

Parsed<std::string> parse_base_url(const std::string& url) {
  if (!is_web_url(url) || !is_visible_ascii(url)) return not_expected();
  const std::string_view rest = std::string_view(url).substr(url.find("://") + 3);
  const std::string_view authority = rest.substr(0, rest.find('/'));
  const std::string_view host =
      authority.substr(0, authority.starts_with('[') ? authority.find(']') + 1 : authority.find(':'));
  if (host.empty() || rest.find_first_of("@?#\"\\") != std::string_view::npos) return not_expected();
  if (url.starts_with("http://") && !is_loopback(host))
    return not_expected("https:// (plain http only towards this machine)");
  return api_of(url, host);
}

Parsed<std::string> parse_json_object(const std::string& text) {
  JsonDocument document;
  if (const auto fault = parse_json(text, document))
    return not_expected(fmt::format("a JSON object, but {} at byte {}", fault->what, fault->offset_bytes));
  if (!document.IsObject()) return not_expected();
  return to_json(document);
}

Parsed<std::vector<std::string>> parse_param_names(const std::string& text) {
  std::vector<std::string> names;
  if (!is_utf8(text) || printable(text) != text) return not_expected();
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view name = trim(split_off(rest, ','), " ");
    if (!is_biz_param_name(name)) return not_expected();
    names.emplace_back(name);
  }
  return names;
}

Parsed<std::string> parse_temperature(const std::string& text) {
  if (text.empty()) return text;
  const auto number = parse_number<double>(text);
  if (!number || !(*number >= 0 && *number < 2)) return not_expected();
  return fmt::format("{}", *number);
}

Parsed<mode_t> parse_mode(const std::string& text) {
  constexpr int kOctal = 8;
  mode_t mode = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, kOctal);
  if (error != std::errc() || end != text.data() + text.size() || mode > 0777) return not_expected();
  return mode;
}

Parsed<std::vector<std::string>> parse_origins(const std::string& text) {
  std::vector<std::string> origins;
  if (text == "*") return origins;
  for (std::string_view rest = text; !rest.empty();) {
    std::string_view origin = trim(split_off(rest, ','), " ");
    while (origin.ends_with('/') || origin.ends_with(' ')) origin.remove_suffix(1);
    const bool has_path = origin.find('/', origin.find("://") + 3) != std::string_view::npos;
    if (!is_web_url(origin) || has_path || !is_visible_ascii(origin)) return not_expected();
    origins.emplace_back(origin);
  }
  if (origins.empty()) return not_expected();
  return origins;
}

Parsed<std::optional<LogFormat>> parse_log_format(const std::string& text) {
  if (text.empty()) return std::optional<LogFormat>();
  if (text == "text") return std::optional(LogFormat::kText);
  if (text == "json") return std::optional(LogFormat::kJson);
  return not_expected();
}

Parsed<std::optional<LogLevel>> parse_log_level(const std::string& text) {
  if (text.empty()) return std::optional<LogLevel>();
  for (const LogLevel level : {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError}) {
    if (to_lower(text) == name_of(level)) return std::optional(level);
  }
  return not_expected();
}

Parsed<std::string> parse_log_file(const std::string& text) {
  if (text.ends_with('/') || text.find('\0') != std::string::npos) return not_expected();
  return text;
}

Parsed<std::string> parse_ledger(const std::string& text) {
  if (text.empty()) return text;
  if (text.find("://") != std::string::npos) {
    const auto address = parse_redis_address(text);
    if (const ValueFault* const fault = fault_in(address)) return *fault;
    return text;
  }
  const bool is_file = text.find('/') != std::string::npos && !text.ends_with('/');
  if (!is_file || text.find('\0') != std::string::npos) return not_expected();
  return text;
}

Parsed<std::optional<uint64_t>> parse_cap(const std::string& text) {
  if (text.empty()) return std::optional<uint64_t>();
  const auto tokens = parse_number<uint64_t>(text);
  if (!tokens || *tokens > kMaxCap) return not_expected();
  return tokens;
}

Parsed<std::string> parse_time_zone(const std::string& text) {
  const auto is_name_char = [](char c) {
    return is_alnum(c) || c == '/' || c == '_' || c == '-' || c == '+';
  };
  // These folders repeat all zones in other forms.
  const bool is_repetition = text.starts_with("posix/") || text.starts_with("right/");
  if (text.empty() || text.front() == '/' || is_repetition || !std::ranges::all_of(text, is_name_char))
    return not_expected();
  constexpr std::string_view kMagic = "TZif";
  const std::string path = "/usr/share/zoneinfo/" + text;
  if (read_file(path, kMagic.size()) == kMagic) return text;
  if (!read_file("/usr/share/zoneinfo/Asia/Shanghai", kMagic.size()))
    return refused("the system has no time zones: install tzdata");
  return refused(fmt::format("{}: the system knows no such time zone", text));
}

Parsed<uint64_t> parse_slice(const std::string& text) {
  if (text.empty()) return uint64_t{0};
  return parse_whole<uint64_t, 64, 1000000>(text);
}

Parsed<double> parse_price(const std::string& text) {
  if (text.empty()) return 0.0;
  const auto price = parse_number<double>(text);
  if (!price || !(*price >= 0 && *price <= kMaxPrice)) return not_expected();
  return *price;
}

Parsed<bool> parse_on_abort(const std::string& text) {
  if (text == "worst") return true;
  if (text == "seen") return false;
  return not_expected();
}

Parsed<bool> parse_on_fault(const std::string& text) {
  if (text == "open") return true;
  if (text == "closed") return false;
  return not_expected();
}

}  // namespace bailian
