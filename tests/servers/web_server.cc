#include "web_server.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>

#include "harness/deadline.h"

namespace bailian::e2e {
namespace {

constexpr std::string_view kShippedSocket = "/run/bailian-fcgi/bailian-fcgi.sock";

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != text.npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
  return text;
}

Command command_for(const WorkDir& dir, const WebServerKind& kind, const std::vector<Replacement>& more,
                    uint16_t port) {
  auto recipe = recipe_in(read_file("deploy/other-servers.md"), kind.name);
  for (const auto& [from, to] : more) {
    if (recipe.find(from) == recipe.npos) throw std::runtime_error("no " + from + " in " + recipe);
    recipe = replaced(recipe, from, to);
  }
  if (recipe.find(kShippedSocket) == recipe.npos) throw std::runtime_error("no socket in " + recipe);
  recipe = replaced(recipe, kShippedSocket, dir.socket("fcgi"));
  recipe = replaced(recipe, "bind :80", "bind 127.0.0.1:@PORT@");
  auto text = replaced(std::string(kind.configuration), "@RECIPE@", recipe);
  text = replaced(text, "@PORT@", std::to_string(port));
  const auto file = dir.write(std::string(kind.name) + ".conf", replaced(text, "@DIR@", dir.path()));
  Command command{.argv = {kind.program},
                  .env = {"HOME=" + dir.path()},
                  .directory = dir.path(),
                  .fds = {},
                  .signal_when_we_die = SIGTERM};
  for (const auto& argument : kind.arguments) command.argv.push_back(replaced(argument, "@CONFIG@", file));
  return command;
}

}  // namespace

void PrintTo(const WebServerKind& kind, std::ostream* out) { *out << kind.name; }

std::string recipe_in(const std::string& document, std::string_view heading) {
  const std::string_view fence = "\n```";
  const size_t section = document.find("\n## " + std::string(heading) + "\n");
  const size_t open = section == document.npos ? document.npos : document.find(fence, section);
  const size_t from = open == document.npos ? document.npos : document.find('\n', open + 1);
  const size_t to = from == document.npos ? document.npos : document.find(fence, from);
  if (to == document.npos || document.find("\n## ", section + 1) < to)
    throw std::runtime_error("no recipe under " + std::string(heading));
  return document.substr(from + 1, to - from);
}

bool is_installed(const char* program) {
  return run({.argv = {"sh", "-c", "command -v \"$0\"", program}, .env = {}, .directory = {}, .fds = {}})
             .exit_code == 0;
}

WebServer::WebServer(const WorkDir& dir, const WebServerKind& kind, const std::vector<Replacement>& more)
    : port_(unused_port()), process_(command_for(dir, kind, more, port_)) {
  for (const Deadline deadline;;) {
    try {
      connect_to(address());
      return;
    } catch (const std::exception& error) {
      if (!process_.is_running() || deadline.left_ms() == 0)
        throw std::runtime_error(std::string(kind.name) + " does not start: " + error.what() + "\n" + log());
    }
    std::this_thread::yield();
  }
}

WebServer::~WebServer() {
  process_.signal(SIGTERM);
  try {
    process_.wait_alone();
  } catch (const std::exception& error) {
    ADD_FAILURE() << process_.pid() << ": " << error.what();
  }
}

}  // namespace bailian::e2e
