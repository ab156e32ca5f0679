#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "dashscope/chat_types.h"
#include "dashscope/key_check.h"
#include "settings/config.h"

namespace bailian {

/// Whether a chat has failed because there was no connection.
bool has_no_connection(const UpstreamError& error);

/// Whether a chat has failed for a fault of the key, region, workspace or application.
bool is_about_access(const UpstreamError& error);

/// The addresses of other regions, for a target at an address of DashScope in the internet. Empty for any
/// other, because its key is nobody else's business.
std::vector<std::string> other_addresses(std::string_view base_url);

/// One line, without the key.
std::string describe(const KeyFinding& finding, std::string_view api_key);

/// What to do about a target whose chat has failed; empty when the findings do not tell. If the target's own
/// address is among the findings, it is the first; if not, the chat had no connection to it.
std::string key_advice(const Target& target, const std::vector<KeyFinding>& findings);

}  // namespace bailian
