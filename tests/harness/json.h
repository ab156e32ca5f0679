#pragma once

#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// JSON as a strict client reads it. A member that is missing or of another type throws, which fails the test.
namespace bailian::e2e {

using Json = rapidjson::Document;
using JsonValue = rapidjson::Value;

// Accepts valid UTF-8 with one value and nothing after it.
Json parse_json(std::string_view text);

// `where` is a JSON pointer such as "/usage/input_tokens".
const JsonValue& at(const JsonValue& value, std::string_view where);
bool has(const JsonValue& value, std::string_view where);
std::string text_at(const JsonValue& value, std::string_view where);
int64_t number_at(const JsonValue& value, std::string_view where);
bool bool_at(const JsonValue& value, std::string_view where);

// The names of an object's members in order.
std::vector<std::string> member_names(const JsonValue& object);

// Whether the values are equal, regardless of the order of members.
testing::AssertionResult is_json(const JsonValue& actual, std::string_view expected);

std::string to_text(const JsonValue& value);

// The text as a JSON string, quotes included, raw UTF-8.
std::string json_string(std::string_view text);

}  // namespace bailian::e2e
