#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "settings/parse_value.h"

namespace bailian {

// `input.biz_params`: the parameters of an application besides the question. A workflow has its own names at
// the top; an agent has the groups user_prompt_params, user_defined_params and user_defined_tokens, of which
// the last two have an object for each plugin (tests/simulator/contract.md §1.3).

/// The largest that a browser may send, and how deep its values may be nested.
inline constexpr size_t kMaxBizParamsBytes = 16384;
inline constexpr int kMaxBizParamsDepth = 8;

/// Whether a setting may allow this name: a top-level one, or `GROUP.MEMBER` for one member of a group.
bool is_biz_param_name(std::string_view name);

/// The object that a browser sent, reduced to what is allowed; empty when nothing is left.
Parsed<std::string> allowed_biz_params(const JsonValue& sent, std::span<const std::string> allowed);

/// `fixed` and `sent`, which are objects or empty, as one. The fixed value of a name takes precedence;
/// where both are objects, they are merged in the same way. Empty when there is nothing in either.
std::string merged_biz_params(const std::string& fixed, const std::string& sent);

}  // namespace bailian
