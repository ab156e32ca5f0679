#pragma once

#include <string>
#include <string_view>

namespace bailian::simulator {

// The members that the simulator reads in the body of a completion: contract.md §1.3. The rest is ignored, as
// the service does.
struct CompletionRequest {
  std::string prompt;      // the last thing the user said
  std::string session_id;  // empty when absent, or when `messages` takes precedence
  bool is_incremental = false;
};

// Throws ApiError.
CompletionRequest parse_completion(std::string_view body, bool is_stream);

bool is_json(std::string_view text);

}  // namespace bailian::simulator
