#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/process.h"
#include "harness/socket.h"
#include "harness/work_dir.h"

namespace bailian::e2e {

// A web server of the distribution, and how to run it in the foreground with a recipe.
struct WebServerKind {
  std::string_view name;  // and the heading of its recipe in deploy/other-servers.md
  const char* program;
  // The configuration around the recipe: @RECIPE@, @PORT@ on which to listen, @DIR@ for its files.
  std::string_view configuration;
  std::vector<std::string> arguments;  // @CONFIG@ is the file with that configuration
};
void PrintTo(const WebServerKind& kind, std::ostream* out);

// The first block of code under a heading of a document; throws when there is none.
std::string recipe_in(const std::string& document, std::string_view heading);

// Whether the program is installed.
bool is_installed(const char* program);

struct Replacement {
  std::string from;
  std::string to;
};

// A web server with its recipe from deploy/other-servers.md, in which addresses and `more` are replaced. Its
// constructor returns once it listens.
class WebServer {
 public:
  WebServer(const WorkDir& dir, const WebServerKind& kind, const std::vector<Replacement>& more = {});
  ~WebServer();
  WebServer(const WebServer&) = delete;
  WebServer& operator=(const WebServer&) = delete;

  Address address() const { return {.unix_path = {}, .port = port_}; }
  std::string log() const { return process_.err().text() + process_.out().text(); }

 private:
  uint16_t port_;
  Process process_;
};

}  // namespace bailian::e2e
