#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "harness/process.h"
#include "harness/work_dir.h"

namespace bailian::e2e {

// A real nginx with Debian's stock settings around the given inside of `http { }`. It listens once
// constructed.
class Nginx {
 public:
  Nginx(const WorkDir& dir, const std::string& name, std::string_view http);
  // One that is run by a command, whose last arguments it is.
  Nginx(const WorkDir& dir, const std::string& name, std::string_view http,
        const std::vector<std::string>& run_by);
  // One that serves a listening socket of ours as well, on the address the configuration names.
  Nginx(const WorkDir& dir, const std::string& name, std::string_view http, const Fd& listener);

  ~Nginx() { stop(); }
  Nginx(const Nginx&) = delete;
  Nginx& operator=(const Nginx&) = delete;

  // Drops every connection and ends, once its worker has.
  void stop();
  Process& process() { return process_; }

 private:
  void await_start();

  Process process_;
};

// Every path to the responder with the parameters Debian ships: no fastcgi_buffering off, nothing tuned.
// Answers also carry nginx's own request id, as X-Nginx-Request-Id.
std::string stock_server(const std::string& listen, const std::string& fastcgi_pass);

}  // namespace bailian::e2e
