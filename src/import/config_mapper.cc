#include "import/config_mapper.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <iterator>
#include <optional>
#include <set>

#include "base/json.h"
#include "base/text.h"
#include "import/php_interpreter.h"
#include "settings/bot_profile.h"
#include "settings/placeholder.h"

namespace bailian {
namespace {

// More of a kind than any file has that was written by people; the rest is passed over.
constexpr size_t kMaxOfAKind = 32;
constexpr const char* kNotUtf8 = "not UTF-8; convert the file first (iconv -f GBK -t UTF-8)";
constexpr std::string_view kNamespace = "myapi/v1";
constexpr std::array<std::string_view, 6> kProfileKeys = {"botStatus",     "StartUpMessage", "fontSize",
                                                          "userAvatarURL", "botImageURL",    "commonButtons"};
constexpr std::array<std::string_view, 8> kOtherParameters = {
    "max_tokens",       "max_completion_tokens", "top_p", "top_k", "seed",
    "presence_penalty", "frequency_penalty",     "stop"};

// "this->api_key", "API_KEY" and "apiKey" are the same name.
std::string plain_name(std::string_view name) {
  if (const size_t arrow = name.rfind("->"); arrow != std::string_view::npos) name.remove_prefix(arrow + 2);
  std::string plain = to_lower(name);
  std::erase_if(plain, [](char c) { return c == '_' || c == '-'; });
  return plain;
}

std::string at_line(const PhpValue& value) { return fmt::format("line {}", value.line); }

// The host of a URL, with neither user nor port.
std::string host_of(std::string_view url) {
  url.remove_prefix(url.find("://") + 3);
  std::string_view authority = url.substr(0, url.find_first_of("/?#"));
  if (const size_t at = authority.rfind('@'); at != std::string_view::npos) authority.remove_prefix(at + 1);
  return to_lower(authority.substr(0, authority.find(':')));
}

// Without user, query and fragment, which may hold keys.
std::string without_secrets(std::string_view url) {
  const size_t start = url.find("://") + 3;
  std::string_view rest = url.substr(start);
  rest = rest.substr(0, rest.find_first_of("?#"));
  const size_t slash = std::min(rest.find('/'), rest.size());
  if (const size_t at = rest.substr(0, slash).rfind('@'); at != std::string_view::npos)
    rest.remove_prefix(at + 1);
  return std::string(url.substr(0, start)).append(rest);
}

bool is_dashscope(std::string_view host) {
  return ((host.starts_with("dashscope") && host.ends_with(".aliyuncs.com")) ||
          host.ends_with(".maas.aliyuncs.com")) &&
         std::all_of(host.begin(), host.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
         });
}

bool is_this_machine(std::string_view host) { return host == "localhost" || host.starts_with("127."); }

// Keys whose look says that they are somebody else's.
bool is_foreign_key(std::string_view key) {
  return key.starts_with("AIza") || key.starts_with("sk-proj-") || key.starts_with("sk-ant-") ||
         key.starts_with("sk-or-") || key.starts_with("gsk_");
}

bool is_key_text(std::string_view text) { return !text.empty() && is_visible_ascii(text); }

std::optional<std::string_view> bearer(std::string_view text) {
  constexpr std::string_view kBearer = "bearer ";
  if (text.size() < kBearer.size() || to_lower(text.substr(0, kBearer.size())) != kBearer)
    return std::nullopt;
  return text.substr(kBearer.size());
}

std::optional<double> as_number(const PhpValue& value) {
  double number = value.number;
  if (value.is_string()) {
    const char* const end = value.text.data() + value.text.size();
    const auto [stopped, error] = std::from_chars(value.text.data(), end, number);
    if (error != std::errc() || stopped != end) return std::nullopt;
  } else if (value.kind != PhpValue::Kind::kNumber) {
    return std::nullopt;
  }
  return std::isfinite(number) ? std::optional(number) : std::nullopt;
}

/// Gathers, in the order of the file, whatever may matter.
class Gathering : public PhpListener {
 public:
  struct Key {
    PhpValue value;
    int rank;                     // the greater, the likelier the chat's own
    std::set<std::string> names;  // of the variables and members that hold it
  };
  struct Url {
    std::string text;
    int line;
    bool is_called;
  };
  struct Route {
    std::string ns;
    std::string path;
    int line;
  };

  std::vector<Key> keys;
  std::vector<PhpValue> app_ids;
  std::vector<PhpValue> prompts;        // the content of system messages
  std::vector<PhpValue> named_prompts;  // variables that sound like one
  std::vector<PhpValue> temperatures;
  std::vector<PhpValue> models;
  std::vector<PhpValue> timeouts;
  std::vector<PhpValue> connect_timeouts;
  std::vector<PhpValue> conversation_ids;
  std::vector<PhpValue> unverified;  // where certificates are not checked
  std::vector<std::pair<std::string, PhpValue>> parameters;
  std::vector<std::pair<std::string, PhpValue>> profile;  // of several fields of a name the last counts
  std::vector<std::pair<std::string, int>> php_limits;
  std::vector<Url> urls;
  std::vector<Route> routes;

 private:
  static void add(std::vector<PhpValue>& to, const PhpValue& value) {
    const auto same = [&](const PhpValue& one) { return one.kind == value.kind && one.text == value.text; };
    if (!value.is_array() && std::none_of(to.begin(), to.end(), same)) append(to, value);
  }
  template <typename Item>
  static void append(std::vector<Item>& to, Item item) {
    if (to.size() < kMaxOfAKind) to.push_back(std::move(item));
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

  void add_url(const PhpValue& value, bool is_called) {
    if (value.is_string() && is_web_url(value.text)) append(urls, {value.text, value.line, is_called});
  }

  static PhpValue in_seconds(const PhpValue& milliseconds) {
    const auto number = as_number(milliseconds);
    if (!number) return milliseconds;
    PhpValue value = milliseconds;
    value.kind = PhpValue::Kind::kNumber;
    value.number = *number / 1000;
    value.text = fmt::format("{}", value.number);
    return value;
  }

  void on_named(std::string_view name, const PhpValue& value) override {
    const std::string plain = plain_name(name);
    if (plain.ends_with("apikey") || plain == "dashscopekey" || plain == "openaikey" ||
        plain == "bailiankey") {
      add_key(value, plain == "apikey" || plain == "dashscopeapikey" ? 1 : 0, plain);
    } else if (plain == "authorization" && value.is_string()) {
      add_authorization(value, value.text);
    } else if (plain == "appid" || plain == "bailianappid" || plain == "dashscopeappid" ||
               plain == "applicationid") {
      add(app_ids, value);
    } else if (plain == "temperature") {
      add(temperatures, value);
    } else if (plain == "model") {
      add(models, value);
    } else if (plain == "timeout" || plain == "curlopttimeout") {
      add(timeouts, value);
    } else if (plain == "connecttimeout" || plain == "curloptconnecttimeout") {
      add(connect_timeouts, value);
    } else if (plain == "curlopttimeoutms") {
      add(timeouts, in_seconds(value));
    } else if (plain == "curloptconnecttimeoutms") {
      add(connect_timeouts, in_seconds(value));
    } else if (plain == "conversationid" && value.is_string()) {
      add(conversation_ids, value);
    } else if ((plain == "sslverify" || plain == "curloptsslverifypeer" || plain == "verify") &&
               ((value.kind == PhpValue::Kind::kBool && !value.truth) ||
                (value.kind == PhpValue::Kind::kNumber && value.number == 0))) {
      add(unverified, value);
    } else if (plain == "systemprompt" || plain == "systemmessage" || plain == "systemcontent") {
      add(named_prompts, value);
    } else if (plain == "curlopturl") {
      add_url(value, true);
    } else if (plain.ends_with("apiurl") || plain == "url" || plain.ends_with("endpoint") ||
               plain == "baseurl" || plain == "apibase") {
      add_url(value, false);
    } else if (std::find(kOtherParameters.begin(), kOtherParameters.end(), name) != kOtherParameters.end() &&
               value.is_known() && !value.is_array()) {
      append(parameters, {std::string(name), value});
    }
  }

  void add_authorization(const PhpValue& where, std::string_view text) {
    const auto key = bearer(text);
    if (!key) return;
    PhpValue value = where;
    value.text = *key;
    add_key(value, 4, "authorization");
  }

  void on_array(const PhpValue& array) override {
    const auto is_field = [](const PhpMember& member) {
      return std::find(kProfileKeys.begin(), kProfileKeys.end(), member.key) != kProfileKeys.end();
    };
    if (std::count_if(array.members.begin(), array.members.end(), is_field) >= 2) {
      for (const PhpMember& member : array.members) add_field(member);
    }
    const PhpValue* role = array.find("role");
    const PhpValue* content = array.find("content");
    if (role != nullptr && content != nullptr && role->is_string() && role->text == "system")
      add(prompts, *content);
    for (const PhpMember& member : array.members) {
      constexpr std::string_view kHeader = "authorization: ";
      const std::string& text = member.value.text;
      if (member.key.empty() && member.value.is_string() &&
          to_lower(text.substr(0, kHeader.size())) == kHeader) {
        add_authorization(member.value, std::string_view(text).substr(kHeader.size()));
      }
    }
  }

  void add_field(const PhpMember& member) {
    if (member.key.empty()) return;
    const auto same = std::find_if(profile.begin(), profile.end(),
                                   [&](const auto& field) { return field.first == member.key; });
    if (same == profile.end()) {
      append(profile, {member.key, member.value});
    } else {
      same->second = member.value;
    }
  }

  void on_call(std::string_view name, const std::vector<PhpValue>& arguments, int line) override {
    const auto is_any_of = [&](std::initializer_list<std::string_view> names) {
      return std::find(names.begin(), names.end(), name) != names.end();
    };
    if (is_any_of({"curl_setopt"}) && arguments.size() >= 3 &&
        arguments[1].kind == PhpValue::Kind::kConstant) {
      on_named(arguments[1].text, arguments[2]);
    } else if (is_any_of({"wp_remote_post", "wp_remote_request", "wp_safe_remote_post",
                          "wp_safe_remote_request", "curl_init", "file_get_contents", "fopen", "post",
                          "request"})) {
      for (const PhpValue& argument : arguments) add_url(argument, true);
    } else if (is_any_of({"register_rest_route"}) && arguments.size() >= 2 && arguments[0].is_string() &&
               arguments[1].is_string()) {
      append(routes, {arguments[0].text, arguments[1].text, line});
    } else if (is_any_of({"set_time_limit", "ini_set"})) {
      append(php_limits, {std::string(name), line});
    }
  }
};

/// Decides what becomes of it.
class Import {
 public:
  explicit Import(const Gathering& found) : found_(found) {}

  ConfigPhp run() {
    if (found_.keys.empty() && found_.app_ids.empty() && found_.prompts.empty() &&
        found_.named_prompts.empty() && found_.temperatures.empty() && found_.models.empty() &&
        found_.profile.empty()) {
      throw PhpError("no key, no system message, no temperature, no model and no bot profile in it");
    }
    choose_urls();
    take_key();
    take_app_id();
    take_base_url();
    take_prompt();
    take_temperature();
    take_timeout("CONNECT_TIMEOUT", found_.connect_timeouts);
    take_timeout("TIMEOUT", found_.timeouts);
    take_profile();
    name_the_rest();
    return std::move(result_);
  }

 private:
  void set(std::string_view key, std::string value) { result_.settings.emplace_back(key, std::move(value)); }
  void taken(std::string text) { result_.taken.push_back(std::move(text)); }
  void not_taken(std::string text) { result_.not_taken.push_back(std::move(text)); }
  void not_known(std::string_view what, const PhpValue& value) {
    not_taken(fmt::format("{} ({}): {}", what, at_line(value), shown(value.why_unknown())));
  }

  // Text of the file as it may stand on a terminal. A key is hidden first, so that no cut leaves part of it.
  [[nodiscard]] std::string shown(std::string_view text) const {
    constexpr size_t kMaxShownBytes = 200;
    if (!is_utf8(text)) return "text that is not UTF-8";
    const std::string hidden = hide_keys(text, kMaxShownBytes + 1);
    std::string clean(utf8_prefix(hidden, kMaxShownBytes));
    for (size_t at = 0; at < clean.size(); ++at) {
      const size_t control = control_character_bytes(std::string_view(clean).substr(at));
      if (control > 0) clean.replace(at, control, "?");
    }
    // A question mark may have completed one.
    return hide_keys(clean, kMaxShownBytes) + (hidden.size() > kMaxShownBytes ? "..." : "");
  }

  [[nodiscard]] std::string hide_keys(std::string_view text, size_t most_bytes) const {
    std::string hidden;
    while (!text.empty() && hidden.size() < most_bytes) {
      const size_t key = key_at_start(text);
      hidden += key > 0 ? '*' : text.front();
      text.remove_prefix(std::max(key, size_t{1}));
    }
    return hidden;
  }

  // The length of the longest key that the text begins with; 0 when it begins with none.
  [[nodiscard]] size_t key_at_start(std::string_view text) const {
    constexpr size_t kShortestHidden = 6;  // a shorter one would be found in ordinary words
    size_t longest = 0;
    for (const Gathering::Key& key : found_.keys) {
      const std::string& hidden = key.value.text;
      if (key.value.is_string() && hidden.size() >= kShortestHidden && text.starts_with(hidden))
        longest = std::max(longest, hidden.size());
    }
    return longest;
  }

  // Addresses in variables are asked for only where no call tells of one.
  void choose_urls() {
    const bool calls_known =
        std::any_of(found_.urls.begin(), found_.urls.end(), [](const auto& url) { return url.is_called; });
    for (const auto& url : found_.urls) {
      if (url.is_called != calls_known) continue;
      const std::string text = shown(without_secrets(url.text));
      if (std::find(result_.called.begin(), result_.called.end(), text) == result_.called.end()) {
        result_.called.push_back(text);
        hosts_.push_back(host_of(url.text));
        urls_.push_back(url.text);
      }
    }
  }

  [[nodiscard]] const std::string* foreign_host() const {
    for (const std::string& host : hosts_) {
      if (!is_dashscope(host) && !is_this_machine(host)) return &host;
    }
    return nullptr;
  }

  static std::string both_lines(const std::vector<const PhpValue*>& values) {
    std::string lines;
    for (size_t i = 0; i < values.size(); ++i) {
      lines += i == 0 ? "" : i + 1 == values.size() ? " and " : ", ";
      lines += at_line(*values[i]);
    }
    return lines;
  }
  // Whoever takes the wrong one of several notices it late: nobody's guess is better than the owner's.
  void not_certain(std::string_view what, const std::vector<const PhpValue*>& candidates) {
    not_taken(fmt::format("{} ({}): each may be the one, so none is taken; put yours in", what,
                          both_lines(candidates)));
  }

  static bool is_real(const std::string& text) { return is_key_text(text) && !is_placeholder(text); }
  static bool is_candidate(const Gathering::Key& key) {
    return key.value.is_string() && is_real(key.value.text) && !is_foreign_key(key.value.text);
  }
  // A key that the old program read from somewhere, which may be the one that counted.
  static bool is_kept_elsewhere(const PhpValue& value) {
    const std::string why = value.why_unknown();
    return why.starts_with("in WordPress's database") || why.starts_with("in the environment variable");
  }
  // Variables that hold one of two keys by a condition say nothing of which.
  static bool share_a_name(const Gathering::Key& a, const Gathering::Key& b) {
    return std::any_of(a.names.begin(), a.names.end(), [&](const std::string& name) {
      return name != "authorization" && b.names.contains(name);
    });
  }

  void take_key() {
    const Gathering::Key* best = nullptr;
    for (const Gathering::Key& key : found_.keys) {
      if (is_candidate(key) && (best == nullptr || key.rank > best->rank)) best = &key;
    }
    std::vector<const PhpValue*> candidates;
    for (const Gathering::Key& key : found_.keys) {
      if (best == nullptr || (!is_candidate(key) && !is_kept_elsewhere(key.value))) continue;
      const bool is_as_likely = is_candidate(key) && key.rank == best->rank;
      if (is_as_likely || share_a_name(key, *best)) candidates.push_back(&key.value);
    }
    if (candidates.size() > 1) {
      not_certain("the key", candidates);
      best = nullptr;
    }
    for (const Gathering::Key& key : found_.keys) {
      if (&key == best) continue;
      if (!key.value.is_string()) {
        if (best == nullptr) not_known("the key", key.value);
      } else if (!is_real(key.value.text)) {
        if (best == nullptr) not_taken(fmt::format("the key ({}): a placeholder", at_line(key.value)));
      } else if (is_foreign_key(key.value.text)) {
        not_taken(fmt::format("a key ({}): it does not look like one of DashScope's", at_line(key.value)));
      } else if (best != nullptr) {
        not_taken(fmt::format("another key ({})", at_line(key.value)));
      }
    }
    set("DASHSCOPE_API_KEY", best != nullptr ? best->value.text : "");
    if (best == nullptr) return;
    const std::string* foreign = foreign_host();
    taken(fmt::format("DASHSCOPE_API_KEY ({}){}", at_line(best->value),
                      foreign != nullptr
                          ? fmt::format("; it was used for {}: unless it is DashScope's too, put one "
                                        "of DashScope's in its place before you start",
                                        shown(*foreign))
                          : ""));
  }

  // Of the applications whose addresses were called.
  [[nodiscard]] std::set<std::string> called_app_ids() const {
    constexpr std::string_view kApps = "/api/v1/apps/";
    std::set<std::string> ids;
    for (size_t i = 0; i < urls_.size(); ++i) {
      const size_t start = urls_[i].find(kApps);
      if (!is_dashscope(hosts_[i]) || start == std::string::npos) continue;
      const std::string id = urls_[i].substr(start + kApps.size());
      const std::string app_id = id.substr(0, id.find_first_of("/?#"));
      if (is_real(app_id)) ids.insert(app_id);
    }
    return ids;
  }

  void take_app_id() {
    std::vector<const PhpValue*> candidates;
    for (const PhpValue& value : found_.app_ids) {
      if (!value.is_known()) {
        not_known("the application's id", value);
      } else if (value.is_string() && is_real(value.text)) {
        candidates.push_back(&value);
      } else if (value.is_string() && !value.text.empty()) {
        not_taken(fmt::format("the application's id ({}): a placeholder", at_line(value)));
      }
    }
    // The one that was called outweighs the others.
    const std::set<std::string> called = called_app_ids();
    if (called.size() == 1) {
      std::erase_if(candidates, [&](const PhpValue* value) { return value->text != *called.begin(); });
      if (candidates.empty()) {
        taken(fmt::format("APP_ID {}, from the address that was called", shown(*called.begin())));
        return set("APP_ID", *called.begin());
      }
    }
    if (candidates.size() == 1) {
      taken(fmt::format("APP_ID {} ({})", shown(candidates.front()->text), at_line(*candidates.front())));
      return set("APP_ID", candidates.front()->text);
    }
    if (!candidates.empty()) not_certain("the application's id", candidates);
    if (candidates.empty() && !called.empty())
      not_taken("the application's id: several applications are called, so none is taken; put yours in");
    set("APP_ID", "");
  }

  // The key belongs to the region whose host was called.
  void take_base_url() {
    const std::set<std::string> all(hosts_.begin(), hosts_.end());
    std::vector<std::string> regions;
    std::copy_if(all.begin(), all.end(), std::back_inserter(regions), is_dashscope);
    if (regions.size() > 1) {
      return not_taken(fmt::format(
          "the region: {} and {} are called, so neither is taken; set DASHSCOPE_BASE_URL to that of your key",
          shown(regions[0]), shown(regions[1])));
    }
    if (regions.empty() || regions[0] == "dashscope.aliyuncs.com") return;
    const std::string url = "https://" + regions[0] + "/api/v1";
    taken(fmt::format("DASHSCOPE_BASE_URL {}, the region that was called", shown(url)));
    set("DASHSCOPE_BASE_URL", url);
  }

  void take_prompt() {
    const std::vector<PhpValue>& prompts = found_.prompts.empty() ? found_.named_prompts : found_.prompts;
    std::vector<const PhpValue*> candidates;
    for (const PhpValue& value : prompts) {
      if (!value.is_known()) {
        not_known("the system message", value);
      } else if (!value.is_string()) {
        not_taken(fmt::format("the system message ({}): not a text", at_line(value)));
      } else if (!is_utf8(value.text)) {
        not_taken(fmt::format("the system message ({}): {}", at_line(value), kNotUtf8));
      } else if (value.text.find('\0') != std::string::npos) {
        not_taken(fmt::format("the system message ({}): it holds a NUL byte", at_line(value)));
      } else {
        candidates.push_back(&value);
      }
    }
    if (candidates.size() > 1) not_certain("the system message", candidates);
    const PhpValue* chosen = candidates.size() == 1 ? candidates.front() : nullptr;
    set("SYSTEM_PROMPT", chosen != nullptr ? chosen->text : "");
    if (chosen != nullptr)
      return taken(fmt::format("SYSTEM_PROMPT, {} bytes ({})", chosen->text.size(), at_line(*chosen)));
    not_taken("SYSTEM_PROMPT is left empty: the application's own prompt in the console applies");
    if (prompts.empty() && std::any_of(hosts_.begin(), hosts_.end(), is_this_machine))
      not_taken(
          "the prompt and the temperature of the program on this machine that is called: see its .env and "
          "its code");
  }

  void take_temperature() {
    std::vector<const PhpValue*> candidates;
    for (const PhpValue& value : found_.temperatures) {
      const auto number = as_number(value);
      if (!value.is_known()) {
        not_known("temperature", value);
      } else if (number && *number >= 0 && *number < 2) {
        candidates.push_back(&value);
      } else {
        not_taken(fmt::format("temperature ({}): not a number from 0 to below 2", at_line(value)));
      }
    }
    if (candidates.size() > 1) not_certain("temperature", candidates);
    const std::string chosen =
        candidates.size() == 1 ? fmt::format("{}", *as_number(*candidates.front())) : "";
    if (!chosen.empty()) taken(fmt::format("TEMPERATURE {} ({})", chosen, at_line(*candidates.front())));
    set("TEMPERATURE", chosen);
  }

  // Of several the longest: a stream may take longer than a page.
  void take_timeout(std::string_view key, const std::vector<PhpValue>& values) {
    constexpr double kLeast = 0.001;
    constexpr double kMost = 86400;
    const PhpValue* longest = nullptr;
    double seconds = 0;
    for (const PhpValue& value : values) {
      const auto number = as_number(value);
      if (!number || *number < kLeast || *number > kMost || *number <= seconds) continue;
      longest = &value;
      seconds = *number;
    }
    for (const PhpValue& value : values) {
      if (&value == longest) continue;
      if (!value.is_known()) {
        not_known(key, value);
      } else {
        not_taken(fmt::format(
            "{} {} ({}): {}", key, shown(value.text), at_line(value),
            longest != nullptr ? "a longer one was taken" : "not a number of seconds from 0.001 to 86400"));
      }
    }
    if (longest == nullptr) return;
    taken(fmt::format("{} {} ({})", key, seconds, at_line(*longest)));
    set(key, fmt::format("{}", seconds));
  }

  // --- the bot's profile ---

  void take_profile() {
    if (found_.profile.empty()) {
      result_.bot_profile = pretty_json(default_bot_profile().json);
      return not_taken("the bot's profile: not in the file; it holds the defaults");
    }
    JsonDocument defaults;
    parse_json(default_bot_profile().json, defaults);
    JsonBuffer buffer;
    JsonWriter writer(buffer);
    writer.StartObject();
    for (const std::string_view key : kProfileKeys) {
      writer.Key(key.data(), static_cast<rapidjson::SizeType>(key.size()));
      const auto field = std::find_if(found_.profile.begin(), found_.profile.end(),
                                      [&](const auto& one) { return one.first == key; });
      if (field == found_.profile.end()) {
        not_taken(fmt::format("{}: not in the file; the default stays", key));
      } else if (write_field(writer, key, field->second)) {
        taken(fmt::format("{} ({})", key, at_line(field->second)));
        continue;
      } else if (!field->second.is_known()) {
        not_known(fmt::format("{}, the default stays", key), field->second);
      } else {
        const bool is_gbk = field->second.is_string() && !is_utf8(field->second.text);
        not_taken(fmt::format("{} ({}): {}; the default stays", key, at_line(field->second),
                              is_gbk ? kNotUtf8 : "of another type than front ends read"));
      }
      find_member(defaults, key)->Accept(writer);
    }
    writer.EndObject();
    result_.bot_profile = pretty_json(parse_bot_profile(written(buffer)).json);
    for (const auto& [key, value] : found_.profile) {
      if (std::find(kProfileKeys.begin(), kProfileKeys.end(), key) == kProfileKeys.end()) {
        not_taken(fmt::format("{} ({}): not a key of the profile", shown(key), at_line(value)));
      }
    }
  }

  // False, and nothing written, when the value is not of the field's type.
  bool write_field(JsonWriter& writer, std::string_view key, const PhpValue& value) {
    if (key == "botStatus") {
      const bool is_bool = value.kind == PhpValue::Kind::kBool;
      const auto number = is_bool ? std::optional<double>(value.truth ? 1 : 0) : as_number(value);
      return number && (*number == 0 || *number == 1) && writer.Int(*number == 1 ? 1 : 0);
    }
    if (key == "commonButtons") return value.is_array() && write_buttons(writer, value);
    return write_text(writer, value);
  }

  static bool is_text(const PhpValue& value) {
    return value.kind == PhpValue::Kind::kNumber || (value.is_string() && is_utf8(value.text));
  }

  static bool is_not_utf8(const PhpValue* value) {
    return value != nullptr && value->is_string() && !is_utf8(value->text);
  }

  static bool write_text(JsonWriter& writer, const PhpValue& value) {
    if (!is_text(value)) return false;
    write_string(writer, value.text);
    return true;
  }

  bool write_buttons(JsonWriter& writer, const PhpValue& buttons) {
    writer.StartArray();
    for (const PhpMember& member : buttons.members) {
      const PhpValue* text = member.value.find("buttonText");
      const PhpValue* prompt = member.value.find("buttonPrompt");
      if (text == nullptr || prompt == nullptr || !is_text(*text) || !is_text(*prompt)) {
        const PhpValue& culprit = text != nullptr && !text->is_known()       ? *text
                                  : prompt != nullptr && !prompt->is_known() ? *prompt
                                                                             : member.value;
        const std::string why = culprit.why_unknown();
        not_taken(fmt::format("a button ({}): {}", at_line(member.value),
                              !why.empty()                               ? shown(why)
                              : is_not_utf8(text) || is_not_utf8(prompt) ? kNotUtf8
                                                                         : "without a text and a prompt"));
        continue;
      }
      writer.StartObject();
      write_member(writer, "buttonText", text->text);
      write_member(writer, "buttonPrompt", prompt->text);
      writer.EndObject();
    }
    writer.EndArray();
    return true;
  }

  // --- what has no place here ---

  void name_the_rest() {
    for (const PhpValue& model : found_.models) {
      not_taken(fmt::format("model{} ({}): the application decides; choose its model in the console",
                            model.is_string() ? " " + shown(model.text) : "", at_line(model)));
    }
    std::set<std::string> named;
    for (const auto& [name, value] : found_.parameters) {
      if (!named.insert(name).second) continue;
      not_taken(fmt::format("{} {} ({}): if the application shall have it, put it into DASHSCOPE_PARAMETERS",
                            name, shown(value.text), at_line(value)));
    }
    for (const PhpValue& id : found_.conversation_ids) {
      not_taken(
          fmt::format("conversation_id ({}): each visitor has a conversation of their own", at_line(id)));
    }
    for (const PhpValue& where : found_.unverified) {
      not_taken(fmt::format("certificates not checked ({}): they always are", at_line(where)));
    }
    for (const auto& [name, line] : found_.php_limits) {
      not_taken(fmt::format("{} (line {}): a limit of PHP, which does not wait here any more", name, line));
    }
    for (const auto& route : found_.routes) name_route(route);
  }

  void name_route(const Gathering::Route& route) {
    std::string_view path = route.path;
    while (path.starts_with('/')) path.remove_prefix(1);
    while (path.ends_with('/')) path.remove_suffix(1);
    if (route.ns == kNamespace &&
        (path == "chat-bot" || path == "chat-bot-config" || path == "chat-bot/stream"))
      return;
    not_taken(fmt::format("the route {}/{} (line {}): not served here, it stays with WordPress",
                          shown(route.ns), shown(path), route.line));
  }

  const Gathering& found_;
  ConfigPhp result_;
  std::vector<std::string> urls_;   // those in `called`, whole
  std::vector<std::string> hosts_;  // and their hosts
};

}  // namespace

ConfigPhp read_config_php(std::string_view text) {
  Gathering found;
  follow_php(text, found);
  return Import(found).run();
}

}  // namespace bailian
