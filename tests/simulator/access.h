#pragma once

#include <string_view>

#include "http_message.h"
#include "options.h"

namespace bailian::simulator {

// Either header is enough: contract.md §1.2.
bool asks_for_stream(const HttpRequest& request);

// Empty when there is none.
std::string_view api_key(const HttpRequest& request);

// Whether the key may use the app, and whether an app exists at that path. Throws ApiError.
void check_access(const HttpRequest& request, const Options& options);

}  // namespace bailian::simulator
