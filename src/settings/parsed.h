#pragma once

#include <string>
#include <utility>
#include <variant>

namespace bailian {

/// Why a value is refused.
struct ValueFault {
  std::string expected;  // replaces the setting's own description, unless empty
  std::string sentence;  // the whole message; empty: "expected ..., found ..."
};

inline ValueFault not_expected(std::string expected = {}) { return {std::move(expected), {}}; }
inline ValueFault refused(std::string sentence) { return {{}, std::move(sentence)}; }

/// What a parser returns.
template <typename Value>
using Parsed = std::variant<Value, ValueFault>;

template <typename Value>
const ValueFault* fault_in(const Parsed<Value>& parsed) {
  return std::get_if<ValueFault>(&parsed);
}

}  // namespace bailian
