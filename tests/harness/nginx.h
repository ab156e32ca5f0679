#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "harness/process.h"
#include "harness/work_dir.h"

namespace bailian::e2e {

// A real nginx with Debian's default settings and the given content of `http { }`. Its constructor returns
// once it listens.
class Nginx {
 public:
  Nginx(const WorkDir& dir, const std::string& name, std::string_view http);
  // Run through a command, whose last arguments are nginx and its own.
  Nginx(const WorkDir& dir, const std::string& name, std::string_view http,
        const std::vector<std::string>& run_by);
  // With an open listening socket of the test, for an address of the configuration.
  Nginx(const WorkDir& dir, const std::string& name, std::string_view http, const Fd& listener);

  ~Nginx() { stop(); }
  Nginx(const Nginx&) = delete;
  Nginx& operator=(const Nginx&) = delete;

  // Drops every connection, and waits until nginx and its worker have ended.
  void stop();
  Process& process() { return process_; }

 private:
  void await_start();

  Process process_;
};

// A server that passes every path to the responder with Debian's parameters: no fastcgi_buffering off,
// nothing tuned. Answers carry nginx's request id as X-Nginx-Request-Id.
std::string stock_server(const std::string& listen, const std::string& fastcgi_pass);

}  // namespace bailian::e2e
