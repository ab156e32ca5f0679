#pragma once

#include <gtest/gtest.h>

#include "harness/nginx.h"
#include "harness/site.h"
#include "harness/socket.h"

namespace bailian::e2e {

// A site whose listening socket belongs to the test, as it would to a systemd socket unit, so that one
// responder can replace another.
class PassedSocket : public testing::Test {
 protected:
  // A responder that inherits the socket as descriptor 3.
  Command command(const std::vector<std::string>& arguments = {}, Settings settings = {}) const;
  // Ends a process that serves without a supervisor.
  void TearDown() override;
  // The process that accepts from the socket, according to the kernel; 0: none.
  pid_t serving_pid() const;
  Browser browser() const { return Browser({.unix_path = dir_.socket("web")}); }
  Exchange stream(std::string_view prompt) const;
  Response ask(std::string_view prompt) const;

  WorkDir dir_;
  Simulator simulator_{dir_};
  Fd listener_ = listen_on_unix(dir_.socket("fcgi"), 4096);
  Nginx nginx_{dir_, "nginx", stock_server("unix:" + dir_.socket("web"), "unix:" + dir_.socket("fcgi"))};
};

}  // namespace bailian::e2e
