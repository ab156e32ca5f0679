#pragma once

#include <curl/curl.h>

#include <new>
#include <optional>
#include <stdexcept>
#include <string>

#include "dashscope/http_client.h"

namespace bailian {

inline constexpr long kUploadBufferBytes = 16384;

/// Throws std::bad_alloc, or std::logic_error if this libcurl does not know the option.
template <typename Value>
void set_option(CURL* easy, CURLoption option, Value value) {
  const CURLcode code = curl_easy_setopt(easy, option, value);
  if (code == CURLE_OUT_OF_MEMORY) throw std::bad_alloc();
  if (code != CURLE_OK) throw std::logic_error(curl_easy_strerror(code));
}

/// Sets the options that all transfers have in common. `error` has CURL_ERROR_SIZE bytes and outlives the
/// handle.
void set_common_options(CURL* easy, CURLSH* share, char* error);

TransferFault fault_of(CURLcode code);

/// Describes why a transfer has failed. `error`: what libcurl wrote into the error buffer; may be empty.
std::string describe(CURLcode code, const char* error, CURL* easy);

struct HostAndPort {
  std::string host;
  std::string port;
};

/// The host of `url`, unless that is an address already.
std::optional<HostAndPort> host_to_resolve(const std::string& url);

}  // namespace bailian
