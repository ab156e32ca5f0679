#pragma once

#include <string_view>

#include "http_message.h"
#include "options.h"

namespace bailian::simulator {

// Either header is enough: contract.md §1.2.
bool asks_for_stream(const HttpRequest& request);

// Empty when there is none.
std::string_view api_key(const HttpRequest& request);

// Whether this is GET /api/v1/quotas: contract.md §1.4.
bool asks_for_quotas(const HttpRequest& request);

// Whether the key is known. Throws ApiError.
void check_key(const HttpRequest& request, const Options& options);

// Whether the key may use the app, and whether an app exists at that path. Throws ApiError.
void check_access(const HttpRequest& request, const Options& options);

}  // namespace bailian::simulator
