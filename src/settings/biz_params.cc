#include "settings/biz_params.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace bailian {
namespace {

constexpr std::array<std::string_view, 3> kGroups = {"user_prompt_params", "user_defined_params",
                                                     "user_defined_tokens"};

struct Name {
  std::string_view group;  // empty: a top-level name
  std::string_view member;
};

// Only the names of groups are split: a workflow's own names may have dots.
Name parse_name(std::string_view name) {
  for (const std::string_view group : kGroups) {
    if (name.starts_with(group) && name.substr(group.size()).starts_with('.')) {
      return {group, name.substr(group.size() + 1)};
    }
  }
  return {{}, name};
}

int depth_of(const JsonValue& value) {
  int inner = 0;
  if (value.IsObject()) {
    for (const auto& member : value.GetObject()) inner = std::max(inner, depth_of(member.value));
  } else if (value.IsArray()) {
    for (const auto& item : value.GetArray()) inner = std::max(inner, depth_of(item));
  } else {
    return 0;
  }
  return inner + 1;
}

class Copier {
 public:
  Copier() { document_.SetObject(); }

  void add(JsonValue& object, std::string_view name, const JsonValue& value) {
    if (find_member(object, name) != nullptr) return;
    object.AddMember(text(name), JsonValue(value, pool()), pool());
  }
  JsonValue& object_in(JsonValue& object, std::string_view name) {
    if (find_member(object, name) == nullptr)
      object.AddMember(text(name), JsonValue(rapidjson::kObjectType), pool());
    return object[text(name)];
  }
  // The members of `object` stay; objects of the same name are merged.
  void merge(JsonValue& object, const JsonValue& more) {
    for (const auto& member : more.GetObject()) {
      const auto there = object.FindMember(member.name);
      if (there == object.MemberEnd()) {
        add(object, as_view(member.name), member.value);
      } else if (there->value.IsObject() && member.value.IsObject()) {
        merge(there->value, member.value);
      }
    }
  }

  JsonDocument& document() { return document_; }
  JsonPool& pool() { return document_.GetAllocator(); }

 private:
  JsonValue text(std::string_view name) {
    return {name.data(), static_cast<rapidjson::SizeType>(name.size()), pool()};
  }

  JsonDocument document_;
};

}  // namespace

bool is_biz_param_name(std::string_view name) { return !name.empty() && !parse_name(name).member.empty(); }

Parsed<std::string> allowed_biz_params(const JsonValue& sent, std::span<const std::string> allowed) {
  if (!sent.IsObject()) return refused("biz_params must be an object");
  Copier copier;
  JsonDocument& result = copier.document();
  // Whole groups first, so that one that is allowed as a whole is not taken member by member.
  for (const std::string& name : allowed) {
    const JsonValue* value = parse_name(name).group.empty() ? find_member(sent, name) : nullptr;
    if (value != nullptr) copier.add(result, name, *value);
  }
  for (const std::string& name : allowed) {
    const auto [group, member] = parse_name(name);
    const JsonValue* members = group.empty() ? nullptr : find_member(sent, group);
    if (members == nullptr || members->IsNull()) continue;
    if (!members->IsObject()) return refused(fmt::format("biz_params: {} must be an object", group));
    const JsonValue* value = find_member(*members, member);
    if (value != nullptr) copier.add(copier.object_in(result, group), member, *value);
  }
  if (result.ObjectEmpty()) return std::string();
  std::string json = to_json(result);
  if (json.size() > kMaxBizParamsBytes || depth_of(result) > kMaxBizParamsDepth) {
    return refused(fmt::format("biz_params must have at most {} bytes and {} levels", kMaxBizParamsBytes,
                               kMaxBizParamsDepth));
  }
  return json;
}

std::string merged_biz_params(const std::string& fixed, const std::string& sent) {
  if (sent.empty()) return fixed == "{}" ? std::string() : fixed;
  Copier copier;
  for (const std::string* json : {&fixed, &sent}) {
    JsonDocument part;
    if (json->empty() || parse_json(*json, part)) continue;
    copier.merge(copier.document(), part);
  }
  return to_json(copier.document());
}

}  // namespace bailian
