#pragma once

#include <optional>

#include "base/exchange.h"
#include "base/unique_fd.h"
#include "fastcgi/request_parser.h"

namespace bailian {

/// Readies libfcgi. To be called before this process sets up its own signals: libfcgi installs handlers for
/// SIGPIPE, SIGUSR1 and SIGTERM. Throws std::runtime_error.
void init_libfcgi();

/// The path that is asked for, as read() gives it; once the parameters are in.
std::string_view requested_path(const FcgiRequestParser& records);

/// Has libfcgi read requests that FcgiRequestParser has checked. It reads from a descriptor and waits for
/// what is not there, so it is given a file in memory in place of the socket. One for each loop.
class FcgiRequestReader {
 public:
  /// Throws std::system_error.
  FcgiRequestReader();

  /// Nothing when libfcgi does not take what was checked.
  std::optional<Request> read(const FcgiRequestParser& records);

 private:
  void make_file();

  UniqueFd file_;
  off_t end_ = 0;  // of the last request in it
};

}  // namespace bailian
