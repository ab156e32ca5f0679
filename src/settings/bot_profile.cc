#include "settings/bot_profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <functional>

#include "base/json.h"
#include "base/text.h"

namespace bailian {
namespace {

// Both pictures are inline, so that no page loads them from a third-party host.
constexpr std::string_view kDefaultProfile = R"json({
  "botStatus": 0,
  "StartUpMessage": "Hi, How are you?",
  "fontSize": "16",
  "userAvatarURL": "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Ccircle cx='16' cy='16' r='16' fill='%2394a3b8'/%3E%3Ccircle cx='16' cy='12' r='5' fill='white'/%3E%3Cpath d='M6 27a10 9 0 0 1 20 0' fill='white'/%3E%3C/svg%3E",
  "botImageURL": "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Ccircle cx='16' cy='16' r='16' fill='%232563eb'/%3E%3Crect x='8' y='11' width='16' height='11' rx='4' fill='white'/%3E%3Ccircle cx='13' cy='16' r='1.5' fill='%232563eb'/%3E%3Ccircle cx='19' cy='16' r='1.5' fill='%232563eb'/%3E%3Cpath d='M16 11V7' stroke='white' stroke-width='2'/%3E%3C/svg%3E",
  "commonButtons": [
    {"buttonText": "I want your help!!!", "buttonPrompt": "I have a question about your courses"},
    {"buttonText": "I want a Discount", "buttonPrompt": "I want a discount"}
  ]
})json";

enum class Kind { kStatus, kString, kButtons };
struct Key {
  std::string_view name;
  Kind kind;
};
constexpr std::array<Key, 6> kKeys = {{{"botStatus", Kind::kStatus},
                                       {"StartUpMessage", Kind::kString},
                                       {"fontSize", Kind::kString},
                                       {"userAvatarURL", Kind::kString},
                                       {"botImageURL", Kind::kString},
                                       {"commonButtons", Kind::kButtons}}};
constexpr std::array<std::string_view, 2> kButtonKeys = {"buttonText", "buttonPrompt"};

std::string shown(const JsonValue& value) {
  constexpr size_t kMaxShownBytes = 40;
  std::string json = to_json(value);
  if (json.size() > kMaxShownBytes) return "a longer value";
  return json;
}

class Checker {
 public:
  std::vector<std::string> faults;

  void check(const JsonValue& profile) {
    if (!profile.IsObject()) {
      faults.push_back(fmt::format("expected an object, found {}", shown(profile)));
      return;
    }
    for (const Key& key : kKeys) {
      if (const JsonValue* value = required(profile, key.name, key.name)) check_value(key, *value);
    }
    for (const auto& member : profile.GetObject()) {
      if (std::ranges::find(kKeys, as_view(member.name), &Key::name) == kKeys.end())
        faults.push_back(fmt::format("{}: not a key of the profile", as_view(member.name)));
    }
  }

 private:
  const JsonValue* required(const JsonValue& object, std::string_view name, std::string_view where) {
    const JsonValue* value = find_member(object, name);
    if (value == nullptr) faults.push_back(fmt::format("{}: missing", where));
    return value;
  }

  void expect(bool good, std::string_view where, std::string_view expected, const JsonValue& found) {
    if (!good) faults.push_back(fmt::format("{}: expected {}, found {}", where, expected, shown(found)));
  }

  void check_value(const Key& key, const JsonValue& value) {
    if (key.kind == Kind::kString) return expect(value.IsString(), key.name, "a string", value);
    if (key.kind == Kind::kStatus) {
      return expect(value.IsInt() && (value.GetInt() == 0 || value.GetInt() == 1), key.name,
                    "0 (offline) or 1 (online)", value);
    }
    if (!value.IsArray()) return expect(false, key.name, "an array", value);
    for (rapidjson::SizeType i = 0; i < value.Size(); ++i) {
      check_button(fmt::format("{}[{}]", key.name, i), value[i]);
    }
  }

  void check_button(const std::string& where, const JsonValue& button) {
    if (!button.IsObject()) return expect(false, where, "an object", button);
    for (const std::string_view name : kButtonKeys) {
      const std::string path = fmt::format("{}.{}", where, name);
      if (const JsonValue* value = required(button, name, path))
        expect(value->IsString(), path, "a string", *value);
    }
  }
};

std::string render(const JsonValue& profile) {
  JsonBuffer buffer;
  JsonWriter writer(buffer);
  writer.StartObject();
  for (const Key& key : kKeys) {
    const JsonValue& value = *find_member(profile, key.name);
    writer.Key(key.name.data(), static_cast<rapidjson::SizeType>(key.name.size()));
    if (key.kind != Kind::kButtons) {
      value.Accept(writer);
      continue;
    }
    writer.StartArray();
    for (const auto& button : value.GetArray()) {
      writer.StartObject();
      for (const std::string_view name : kButtonKeys) {
        write_member(writer, name, as_view(*find_member(button, name)));
      }
      writer.EndObject();
    }
    writer.EndArray();
  }
  writer.EndObject();
  return std::string(written(buffer));
}

std::string etag_of(const std::string& json) {
  return fmt::format("\"{:016x}\"", std::hash<std::string>{}(json));
}

}  // namespace

BotProfile default_bot_profile() {
  std::vector<std::string> faults;
  auto profile = parse_bot_profile(kDefaultProfile, faults);
  assert(profile);
  return std::move(*profile);
}

BotProfile offline_profile(BotProfile profile) {
  constexpr std::string_view kOnline = R"({"botStatus":1)";  // it is the first key
  if (!profile.json.starts_with(kOnline)) return profile;
  profile.json[kOnline.size() - 1] = '0';
  profile.etag = etag_of(profile.json);
  return profile;
}

std::optional<BotProfile> parse_bot_profile(std::string_view text, std::vector<std::string>& faults) {
  JsonDocument document;
  if (const auto fault = parse_json(text, document)) {
    faults.push_back(fmt::format("not JSON: {} at byte {}", fault->what, fault->offset_bytes));
    return std::nullopt;
  }
  Checker checker;
  checker.check(document);
  faults = std::move(checker.faults);
  if (!faults.empty()) return std::nullopt;
  std::vector<std::string> prompts;
  for (const auto& button : find_member(document, "commonButtons")->GetArray())
    prompts.emplace_back(trim(as_view(*find_member(button, "buttonPrompt"))));
  std::string json = render(document);
  std::string etag = etag_of(json);
  return BotProfile{std::move(json), std::move(etag), std::move(prompts)};
}

}  // namespace bailian
