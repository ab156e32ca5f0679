#include "import/config_mapper.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <set>

#include "base/json.h"
#include "base/key_mask.h"
#include "base/text.h"
#include "import/php_interpreter.h"
#include "settings/bot_profile.h"
#include "settings/placeholder.h"

namespace bailian {
namespace {

using Values = std::vector<PhpValue>;

// More of a kind than any real file contains; the rest is skipped.
constexpr size_t kMaxOfAKind = 32;
constexpr const char* kNotUtf8 = "not UTF-8; convert the file first (iconv -f GBK -t UTF-8)";
constexpr std::array<std::string_view, 6> kProfileKeys = {"botStatus",     "StartUpMessage", "fontSize",
                                                          "userAvatarURL", "botImageURL",    "commonButtons"};

constexpr std::array<std::string_view, 3> kServedRoutes = {"myapi/v1/chat-bot", "myapi/v1/chat-bot-config",
                                                           "myapi/v1/chat-bot/stream"};

template <typename Range, typename Value>
bool contains(const Range& range, const Value& value) {
  return std::find(std::begin(range), std::end(range), value) != std::end(range);
}

std::optional<double> as_number(const PhpValue& value) {
  double number = value.number;
  if (value.is_string()) {
    const char* const end = value.text.data() + value.text.size();
    const auto [stopped, error] = std::from_chars(value.text.data(), end, number);
    if (error != std::errc() || stopped != end) return std::nullopt;
  } else if (!value.is_number()) {
    return std::nullopt;
  }
  return std::isfinite(number) ? std::optional(number) : std::nullopt;
}

bool is_utf8_text(const PhpValue& value) {
  return value.is_number() || (value.is_string() && is_utf8(value.text));
}

struct Url {
  std::string text;  // without user, query and fragment, which may contain keys
  std::string host;
  std::string path;
  bool is_called;  // a function got it
};
Url parse_url(std::string_view text, bool is_called) {
  const size_t start = text.find("://") + 3;
  std::string_view authority = text.substr(start, text.find_first_of("?#") - start);
  const size_t slash = std::min(authority.find('/'), authority.size());
  const std::string path(authority.substr(slash));
  authority = authority.substr(0, slash);
  authority.remove_prefix(authority.rfind('@') + 1);
  return {fmt::format("{}{}{}", text.substr(0, start), authority, path),
          to_lower(authority.substr(0, authority.find(':'))), path, is_called};
}

bool is_dashscope(std::string_view host) {
  return ((host.starts_with("dashscope") && host.ends_with(".aliyuncs.com")) ||
          host.ends_with(".maas.aliyuncs.com")) &&
         std::all_of(host.begin(), host.end(), [](char c) { return is_alnum(c) || c == '-' || c == '.'; });
}
bool is_this_machine(std::string_view host) { return host == "localhost" || host.starts_with("127."); }

// Neither empty nor a placeholder, and without blanks.
bool is_id(std::string_view text) { return !text.empty() && is_visible_ascii(text) && !is_placeholder(text); }

// Keys that look like those of other providers.
bool is_foreign_key(std::string_view key) {
  const auto starts = {"AIza", "sk-proj-", "sk-ant-", "sk-or-", "gsk_"};
  return std::any_of(starts.begin(), starts.end(), [&](const char* start) { return key.starts_with(start); });
}

struct Key {
  PhpValue value;
  int rank;                     // the greater, the likelier the chat's own
  std::set<std::string> names;  // of the variables and members that hold it

  [[nodiscard]] bool is_usable() const {
    return value.is_string() && is_id(value.text) && !is_foreign_key(value.text);
  }
  // The old program read it from elsewhere; it may be the one that counted.
  [[nodiscard]] bool is_kept_elsewhere() const {
    const std::string why = value.why_unknown();
    return why.starts_with("in WordPress's database") || why.starts_with("in the environment variable");
  }
  // For variables that hold one of two keys depending on a condition, it is unknown which.
  [[nodiscard]] bool shares_a_name_with(const Key& other) const {
    return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
      return name != "authorization" && other.names.contains(name);
    });
  }
};

/// Something that has no place here.
struct Remark {
  std::string_view what;
  std::string text;  // of the file
  int line;
  std::string_view why;
};

/// Collects, in the order of the file, whatever may matter.
struct Findings : PhpListener {
  std::vector<Key> keys;
  Values app_ids;
  Values prompts;        // the content of system messages
  Values named_prompts;  // variables with the name of one
  Values temperatures;
  Values timeouts;
  Values connect_timeouts;
  std::vector<PhpMember> profile;  // if members share a key, the last one is used
  std::vector<Url> urls;
  std::vector<Remark> remarks;
  bool has_model = false;

  template <typename Item>
  static void append(std::vector<Item>& to, Item item) {
    if (to.size() < kMaxOfAKind) to.push_back(std::move(item));
  }
  static void add(Values& to, const PhpValue& value) {
    const bool is_empty = value.is_array() || (value.is_string() && value.text.empty());
    const auto is_same = [&](const PhpValue& one) {
      return one.kind == value.kind && one.text == value.text;
    };
    if (!is_empty && std::none_of(to.begin(), to.end(), is_same)) append(to, value);
  }

  void add_key(const PhpValue& value, int rank, const std::string& name) {
    if (value.is_array() || (value.is_string() && value.text.empty())) return;
    if (value.is_string() && value.text.starts_with("sk-")) rank += 2;
    for (Key& key : keys) {
      if (key.value.kind != value.kind || key.value.text != value.text) continue;
      key.rank = std::max(key.rank, rank);
      key.names.insert(name);
      return;
    }
    append(keys, {value, rank, {name}});
  }

  void add_bearer(PhpValue value, std::string_view start) {
    if (!value.is_string() || to_lower(value.text.substr(0, start.size())) != start) return;
    value.text.erase(0, start.size());
    add_key(value, 4, "authorization");
  }

  void remark(std::string_view what, std::string text, int line, std::string_view why) {
    const auto is_same = [&](const Remark& one) { return one.what == what && one.text == text; };
    if (std::none_of(remarks.begin(), remarks.end(), is_same))
      append(remarks, {what, std::move(text), line, why});
  }

  void add_url(const PhpValue& value, bool is_called) {
    if (value.is_string() && is_web_url(value.text)) append(urls, parse_url(value.text, is_called));
  }

  static PhpValue from_milliseconds(PhpValue value) {
    const auto number = as_number(value);
    if (!number) return value;
    value.kind = PhpValue::Kind::kNumber;
    value.number = *number / 1000;
    value.text = fmt::format("{}", value.number);
    return value;
  }

  // "API_KEY" and "apiKey" are one name.
  void on_named(std::string_view original, const PhpValue& value) override {
    std::string name = to_lower(original);
    std::erase_if(name, [](char c) { return c == '_' || c == '-'; });
    const auto is = [&name](std::initializer_list<std::string_view> names) { return contains(names, name); };
    const bool is_off =
        (value.kind == PhpValue::Kind::kBool && !value.truth) || (value.is_number() && value.number == 0);
    if (name.ends_with("apikey") || is({"dashscopekey", "openaikey", "bailiankey"})) {
      add_key(value, is({"apikey", "dashscopeapikey"}) ? 1 : 0, name);
    } else if (name == "authorization") {
      add_bearer(value, "bearer ");
    } else if (is({"appid", "bailianappid", "dashscopeappid", "applicationid"})) {
      add(app_ids, value);
    } else if (name == "temperature") {
      add(temperatures, value);
    } else if (name == "model" && !value.is_array()) {
      has_model = true;
      remark("model", value.is_string() ? value.text : "", value.line,
             "the application decides; choose its model in the console");
    } else if (is({"timeout", "curlopttimeout"})) {
      add(timeouts, value);
    } else if (is({"connecttimeout", "curloptconnecttimeout"})) {
      add(connect_timeouts, value);
    } else if (name == "curlopttimeoutms") {
      add(timeouts, from_milliseconds(value));
    } else if (name == "curloptconnecttimeoutms") {
      add(connect_timeouts, from_milliseconds(value));
    } else if (name == "conversationid" && value.is_string()) {
      remark("conversation_id", "", value.line, "each visitor has a conversation of their own");
    } else if (is({"sslverify", "curloptsslverifypeer", "verify"}) && is_off) {
      remark("certificates not checked", "", value.line, "they always are");
    } else if (is({"systemprompt", "systemmessage", "systemcontent"})) {
      add(named_prompts, value);
    } else if (is({"curlopturl", "url", "baseurl", "apibase"}) || name.ends_with("apiurl") ||
               name.ends_with("endpoint")) {
      add_url(value, name == "curlopturl");
    } else if (is({"maxtokens", "maxcompletiontokens", "topp", "topk", "seed", "presencepenalty",
                   "frequencypenalty", "stop"}) &&
               value.is_known() && !value.is_array()) {
      remark("", fmt::format("{} {}", original, value.text), value.line,
             "to pass it to the application, put it into DASHSCOPE_PARAMETERS");
    }
  }

  void on_array(const PhpValue& array) override {
    const auto is_field = [](const PhpMember& member) { return contains(kProfileKeys, member.key); };
    const bool is_profile = std::count_if(array.members.begin(), array.members.end(), is_field) >= 2;
    for (const PhpMember& member : array.members) {
      if (member.key.empty()) {
        add_bearer(member.value, "authorization: bearer ");
      } else if (is_profile) {
        add_field(member);
      }
    }
    const PhpValue* role = array.find("role");
    const PhpValue* content = array.find("content");
    if (role != nullptr && content != nullptr && role->is_string() && role->text == "system")
      add(prompts, *content);
  }

  void add_field(const PhpMember& member) {
    const auto has_key = [&](const PhpMember& field) { return field.key == member.key; };
    const auto same = std::find_if(profile.begin(), profile.end(), has_key);
    if (same == profile.end()) {
      append(profile, member);
    } else {
      same->value = member.value;
    }
  }

  void on_call(std::string_view name, const Values& arguments, int line) override {
    constexpr std::array<std::string_view, 9> kRequests = {"wp_remote_post",
                                                           "wp_remote_request",
                                                           "wp_safe_remote_post",
                                                           "wp_safe_remote_request",
                                                           "curl_init",
                                                           "file_get_contents",
                                                           "fopen",
                                                           "post",
                                                           "request"};
    if (contains(kRequests, name)) {
      for (const PhpValue& argument : arguments) add_url(argument, true);
    } else if (name == "curl_setopt" && arguments.size() >= 3 &&
               arguments[1].kind == PhpValue::Kind::kConstant) {
      on_named(arguments[1].text, arguments[2]);
    } else if (name == "register_rest_route" && arguments.size() >= 2) {
      const std::string route = fmt::format("{}/{}", arguments[0].text, trim(arguments[1].text, "/"));
      if (!contains(kServedRoutes, route))
        remark("the route", route, line, "not served here, it stays with WordPress");
    } else if (name == "set_time_limit" || name == "ini_set") {
      remark(name == "ini_set" ? "ini_set" : "set_time_limit", "", line,
             "a limit of PHP, which no longer applies");
    }
  }
};

/// Decides how the findings are used.
class Mapper {
 public:
  explicit Mapper(const Findings& found) : found_(found) {}

  ConfigPhp run() {
    if (found_.keys.empty() && found_.app_ids.empty() && found_.prompts.empty() &&
        found_.named_prompts.empty() && found_.temperatures.empty() && !found_.has_model &&
        found_.profile.empty()) {
      throw PhpError("no key, no system message, no temperature, no model and no bot profile in it");
    }
    for (const Key& key : found_.keys) {
      if (key.value.is_string()) secrets_.push_back(key.value.text);
    }
    std::sort(secrets_.begin(), secrets_.end(),
              [](const auto& a, const auto& b) { return a.size() > b.size(); });
    choose_urls();
    take_key();
    take_app_id();
    take_base_url();
    take_prompt();
    take_temperature();
    take_timeout("CONNECT_TIMEOUT", found_.connect_timeouts);
    take_timeout("TIMEOUT", found_.timeouts);
    take_profile();
    for (const Remark& one : found_.remarks) {
      const bool has_both = !one.what.empty() && !one.text.empty();
      not_taken(fmt::format("{}{}{} (line {}): {}", one.what, has_both ? " " : "", shown(one.text), one.line,
                            one.why));
    }
    return std::move(result_);
  }

 private:
  using Candidates = std::vector<const PhpValue*>;

  // --- sentences ---

  void set(std::string_view key, std::string value) { result_.settings.emplace_back(key, std::move(value)); }
  void taken(std::string text) { result_.taken.push_back(std::move(text)); }
  void not_taken(std::string text) { result_.not_taken.push_back(std::move(text)); }
  void not_taken(std::string_view what, const PhpValue& value, std::string_view why) {
    not_taken(fmt::format("{} (line {}): {}", what, value.line, why));
  }

  // Text of the file as a terminal may show it.
  [[nodiscard]] std::string shown(std::string_view text) const {
    constexpr size_t kMaxReadBytes = 8192;
    constexpr size_t kMaxShownBytes = 200;
    if (!is_utf8(text)) return "text that is not UTF-8";
    std::string clean = printable(utf8_prefix(text, kMaxReadBytes));
    // Before it is cut, so that no cut shows part of a key.
    for (const std::string& secret : secrets_) clean = without_key(clean, secret);
    return std::string(utf8_prefix(clean, kMaxShownBytes)) + (clean.size() > kMaxShownBytes ? "..." : "");
  }

  // --- choices ---

  // Reports the values that cannot be used. `fault` describes the error in a known value; empty: none.
  template <typename Fault>
  Candidates usable(std::string_view what, const Values& values, const Fault& fault) {
    Candidates good;
    for (const PhpValue& value : values) {
      const std::string why = value.is_known() ? fault(value) : shown(value.why_unknown());
      if (why.empty()) {
        good.push_back(&value);
      } else {
        not_taken(what, value, why);
      }
    }
    return good;
  }

  // None of several: a wrong one would be noticed late, and the owner knows the right one.
  const PhpValue* the_only(std::string_view what, const Candidates& candidates) {
    if (candidates.size() == 1) return candidates.front();
    if (candidates.empty()) return nullptr;
    std::string lines;
    for (size_t i = 0; i < candidates.size(); ++i) {
      lines += i == 0 ? "" : i + 1 == candidates.size() ? " and " : ", ";
      lines += fmt::format("line {}", candidates[i]->line);
    }
    not_taken(fmt::format("{} ({}): any of them may be the right one, so none is taken; set it yourself",
                          what, lines));
    return nullptr;
  }

  // URLs in variables count only where no call with one is found.
  void choose_urls() {
    const bool any_called =
        std::any_of(found_.urls.begin(), found_.urls.end(), [](const Url& url) { return url.is_called; });
    for (const Url& url : found_.urls) {
      const std::string text = shown(url.text);
      if (url.is_called != any_called || contains(result_.called, text)) continue;
      result_.called.push_back(text);
      urls_.push_back(&url);
    }
  }

  void take_key() {
    const Key* best = nullptr;
    for (const Key& key : found_.keys) {
      if (key.is_usable() && (best == nullptr || key.rank > best->rank)) best = &key;
    }
    Candidates candidates;
    for (const Key& key : found_.keys) {
      if (best == nullptr || !(key.is_usable() || key.is_kept_elsewhere())) continue;
      if ((key.is_usable() && key.rank == best->rank) || key.shares_a_name_with(*best))
        candidates.push_back(&key.value);
    }
    if (the_only("the key", candidates) == nullptr) best = nullptr;
    for (const Key& key : found_.keys) report_key(key, best);
    set("DASHSCOPE_API_KEY", best != nullptr ? best->value.text : "");
    if (best == nullptr) return;
    const auto foreign = std::find_if(urls_.begin(), urls_.end(), [](const Url* url) {
      return !is_dashscope(url->host) && !is_this_machine(url->host);
    });
    taken(fmt::format("DASHSCOPE_API_KEY (line {}){}", best->value.line,
                      foreign == urls_.end()
                          ? ""
                          : fmt::format("; it was used for {}: unless it is a DashScope key too, replace it "
                                        "with one before you start",
                                        shown((*foreign)->host))));
  }

  void report_key(const Key& key, const Key* best) {
    const std::string& text = key.value.text;
    if (!key.value.is_string() || !is_id(text)) {
      const std::string why = key.value.why_unknown();
      if (best == nullptr) not_taken("the key", key.value, why.empty() ? "a placeholder" : shown(why));
    } else if (is_foreign_key(text)) {
      not_taken("a key", key.value, "it does not look like one of DashScope's");
    } else if (best != nullptr && best != &key) {
      not_taken(fmt::format("another key (line {})", key.value.line));
    }
  }

  // The applications whose addresses were called.
  [[nodiscard]] std::set<std::string> called_app_ids() const {
    constexpr std::string_view kApps = "/api/v1/apps/";
    std::set<std::string> ids;
    for (const Url* url : urls_) {
      const size_t start = url->path.find(kApps);
      if (!is_dashscope(url->host) || start == std::string::npos) continue;
      std::string_view rest = std::string_view(url->path).substr(start + kApps.size());
      const std::string id(split_off(rest, '/'));
      if (is_id(id)) ids.insert(id);
    }
    return ids;
  }

  void take_app_id() {
    constexpr const char* kWhat = "the application's id";
    Candidates candidates = usable(kWhat, found_.app_ids, [](const PhpValue& value) {
      return value.is_string() && is_id(value.text) ? "" : "a placeholder";
    });
    // The one that was called takes precedence.
    const std::set<std::string> called = called_app_ids();
    if (called.size() == 1) {
      std::erase_if(candidates, [&](const PhpValue* value) { return value->text != *called.begin(); });
      if (candidates.empty()) {
        taken(fmt::format("APP_ID {}, from the address that was called", shown(*called.begin())));
        return set("APP_ID", *called.begin());
      }
    }
    if (candidates.empty() && !called.empty())
      not_taken(
          "the application's id: the file calls several applications, so none is taken; set it yourself");
    const PhpValue* id = the_only(kWhat, candidates);
    if (id != nullptr) taken(fmt::format("APP_ID {} (line {})", shown(id->text), id->line));
    set("APP_ID", id != nullptr ? id->text : "");
  }

  // The key belongs to the region whose host was called.
  void take_base_url() {
    std::set<std::string> regions;
    for (const Url* url : urls_) {
      if (is_dashscope(url->host)) regions.insert(url->host);
    }
    if (regions.size() > 1) {
      return not_taken(
          fmt::format("the region: the file calls {} and {}, so neither is taken; set DASHSCOPE_BASE_URL to "
                      "that of your key",
                      shown(*regions.begin()), shown(*std::next(regions.begin()))));
    }
    if (regions.empty() || *regions.begin() == "dashscope.aliyuncs.com") return;
    const std::string url = fmt::format("https://{}/api/v1", *regions.begin());
    taken(fmt::format("DASHSCOPE_BASE_URL {}, the region that was called", shown(url)));
    set("DASHSCOPE_BASE_URL", url);
  }

  void take_prompt() {
    constexpr const char* kWhat = "the system message";
    const Values& prompts = found_.prompts.empty() ? found_.named_prompts : found_.prompts;
    const auto fault = [](const PhpValue& value) {
      if (!value.is_string()) return "not a text";
      if (!is_utf8(value.text)) return kNotUtf8;
      return value.text.find('\0') != std::string::npos ? "it contains a NUL byte" : "";
    };
    const PhpValue* prompt = the_only(kWhat, usable(kWhat, prompts, fault));
    set("SYSTEM_PROMPT", prompt != nullptr ? prompt->text : "");
    if (prompt != nullptr)
      return taken(fmt::format("SYSTEM_PROMPT, {} bytes (line {})", prompt->text.size(), prompt->line));
    not_taken("SYSTEM_PROMPT is left empty: the application's own prompt in the console applies");
    if (prompts.empty() &&
        std::any_of(urls_.begin(), urls_.end(), [](const Url* url) { return is_this_machine(url->host); }))
      not_taken(
          "the file calls a program on this machine: for its prompt and temperature see its .env and "
          "its code");
  }

  void take_temperature() {
    const auto fault = [](const PhpValue& value) {
      const auto number = as_number(value);
      return number && *number >= 0 && *number < 2 ? "" : "not a number of at least 0 and less than 2";
    };
    const PhpValue* value = the_only("temperature", usable("temperature", found_.temperatures, fault));
    set("TEMPERATURE", value != nullptr ? fmt::format("{}", *as_number(*value)) : "");
    if (value != nullptr) taken(fmt::format("TEMPERATURE {} (line {})", *as_number(*value), value->line));
  }

  // The longest of several: a stream may take longer than a page.
  void take_timeout(std::string_view key, const Values& values) {
    const PhpValue* longest = nullptr;
    double seconds = 0;
    for (const PhpValue& value : values) {
      const double number = as_number(value).value_or(0);
      if (number < 0.001 || number > 86400 || number <= seconds) continue;
      longest = &value;
      seconds = number;
    }
    for (const PhpValue& value : values) {
      if (&value == longest) continue;
      if (!value.is_known()) {
        not_taken(key, value, shown(value.why_unknown()));
      } else {
        not_taken(
            fmt::format("{} {}", key, shown(value.text)), value,
            longest != nullptr ? "a longer one was taken" : "not a number of seconds from 0.001 to 86400");
      }
    }
    if (longest == nullptr) return;
    taken(fmt::format("{} {} (line {})", key, seconds, longest->line));
    set(key, fmt::format("{}", seconds));
  }

  // --- the bot's profile ---

  void take_profile() {
    JsonDocument profile;
    parse_json(default_bot_profile().json, profile);
    if (found_.profile.empty()) not_taken("the bot's profile: not in the file; it holds the defaults");
    for (auto& field : profile.GetObject()) {
      if (!found_.profile.empty())
        take_field(std::string(as_view(field.name)), field.value, profile.GetAllocator());
    }
    result_.bot_profile = pretty_json(to_json(profile));
    for (const auto& [key, value] : found_.profile) {
      if (!contains(kProfileKeys, key)) not_taken(shown(key), value, "not a key of the profile");
    }
  }

  void take_field(const std::string& key, JsonValue& field, JsonPool& pool) {
    const auto found = std::find_if(found_.profile.begin(), found_.profile.end(),
                                    [&](const PhpMember& member) { return member.key == key; });
    if (found == found_.profile.end())
      return not_taken(fmt::format("{}: not in the file; the default stays", key));
    const PhpValue& value = found->value;
    const auto number = value.kind == PhpValue::Kind::kBool ? value.truth : as_number(value).value_or(-1);
    if (!value.is_known()) return not_taken(key + ", the default stays", value, shown(value.why_unknown()));
    if (key == "botStatus" && (number == 0 || number == 1)) {
      field.SetInt(number == 1 ? 1 : 0);
    } else if (key == "commonButtons" && value.is_array()) {
      field = buttons(value, pool);
    } else if (key != "botStatus" && key != "commonButtons" && is_utf8_text(value)) {
      field.SetString(value.text, pool);
    } else {
      const bool is_gbk = value.is_string() && !is_utf8(value.text);
      return not_taken(
          key, value,
          fmt::format("{}; the default stays", is_gbk ? kNotUtf8 : "of another type than front ends read"));
    }
    taken(fmt::format("{} (line {})", key, value.line));
  }

  JsonValue buttons(const PhpValue& list, JsonPool& pool) {
    JsonValue all(rapidjson::kArrayType);
    for (const auto& [unused, button] : list.members) {
      const std::string why = fault_of_button(button);
      if (!why.empty()) {
        not_taken("a button", button, why);
        continue;
      }
      JsonValue one(rapidjson::kObjectType);
      for (const char* key : {"buttonText", "buttonPrompt"})
        one.AddMember(JsonValue(key, pool), JsonValue(button.find(key)->text, pool), pool);
      all.PushBack(one, pool);
    }
    return all;
  }

  [[nodiscard]] std::string fault_of_button(const PhpValue& button) const {
    if (!button.is_known()) return shown(button.why_unknown());
    for (const char* key : {"buttonText", "buttonPrompt"}) {
      const PhpValue* value = button.find(key);
      if (value == nullptr) return "without a text and a prompt";
      if (!value->is_known()) return shown(value->why_unknown());
      if (value->is_string() && !is_utf8(value->text)) return kNotUtf8;
      if (!is_utf8_text(*value)) return "without a text and a prompt";
    }
    return "";
  }

  const Findings& found_;
  ConfigPhp result_;
  std::vector<std::string> secrets_;  // keys, the longest first
  std::vector<const Url*> urls_;      // those in `called`
};

}  // namespace

ConfigPhp read_config_php(std::string_view text) {
  Findings found;
  follow_php(text, found);
  return Mapper(found).run();
}

}  // namespace bailian
