#pragma once

#include <curl/curl.h>

#include <stdexcept>

namespace bailian {

/// libcurl's state for the whole process. Create it before any other thread; it must outlive every client.
class CurlLibrary {
 public:
  /// Throws std::runtime_error.
  CurlLibrary() {
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
      throw std::runtime_error("cannot initialise libcurl");
  }
  ~CurlLibrary() { curl_global_cleanup(); }
  CurlLibrary(const CurlLibrary&) = delete;
  CurlLibrary& operator=(const CurlLibrary&) = delete;
};

}  // namespace bailian
