#pragma once

#include <optional>
#include <string_view>

#include "base/exchange.h"
#include "base/unique_fd.h"
#include "fastcgi/request_parser.h"

namespace bailian {

/// Initialises libfcgi. Call it before the process sets up its own signals: libfcgi installs handlers for
/// SIGPIPE, SIGUSR1 and SIGTERM. Throws std::runtime_error.
void init_libfcgi();

/// The requested path, as in Request::path. The parser must have the parameters.
std::string_view requested_path(const FcgiRequestParser& parser);

/// Lets libfcgi read requests that FcgiRequestParser has checked. libfcgi reads from a descriptor and blocks
/// when bytes are missing, so it reads from a file in memory instead of the socket. One for each loop.
class FcgiRequestReader {
 public:
  /// Throws std::system_error.
  FcgiRequestReader();

  /// The complete request; nothing if libfcgi rejects it. Throws std::bad_alloc, std::system_error.
  std::optional<Request> read(const FcgiRequestParser& parser);

 private:
  void make_file();
  void append(std::string_view wire);

  UniqueFd file_;
  off_t end_ = 0;  // of the last request in it
};

}  // namespace bailian
