#pragma once

#include <string>
#include <vector>

#include "settings/config.h"

namespace bailian {

/// What an address of DashScope says to a key.
enum class KeyAnswer {
  kAccepted,
  kRefused,
  kUnclear,      // an answer, or none, that says nothing about the key
  kNoConnection  // no connection was made, or its certificate is not trusted
};

struct KeyFinding {
  std::string base_url;
  KeyAnswer answer = KeyAnswer::kUnclear;
  std::string detail;  // why it is kUnclear or kNoConnection; may hold any bytes
};

/// The meaning of a response to `GET /quotas` (contract.md §1.4). Only an answer in the documented form says
/// something about the key.
KeyAnswer read_quotas(int http_status, std::string body);

/// Asks all `base_urls` at once for the quotas of the target's key, which is not billed: the key is accepted
/// only in its own region. No application and no workspace is named. Blocks until all have answered,
/// FIRST_TOKEN_TIMEOUT and TIMEOUT at most. Returns a finding for each, in the same order. Throws
/// std::bad_alloc or std::system_error.
std::vector<KeyFinding> ask_quotas(const Config& config, const Target& target,
                                   const std::vector<std::string>& base_urls);

}  // namespace bailian
