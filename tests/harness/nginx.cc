#include "harness/nginx.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <stdexcept>

namespace bailian::e2e {
namespace {

constexpr int kInheritedFd = 3;

std::string configuration(const WorkDir& dir, const std::string& name, std::string_view http) {
  const auto prefix = dir.file(name);
  std::string text = "daemon off;\nworker_processes 1;\npid " + prefix + ".pid;\nerror_log stderr notice;\n";
  if (geteuid() == 0) text += "user root;\n";
  text += "events { worker_connections 4096; }\n";
  text += "http {\n  sendfile on;\n  tcp_nopush on;\n  gzip on;\n  include /etc/nginx/mime.types;\n";
  text += "  access_log " + prefix + "-access.log;\n";
  for (const char* kind : {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"})
    text.append("  ")
        .append(kind)
        .append("_temp_path ")
        .append(prefix)
        .append("-")
        .append(kind)
        .append(";\n");
  return text.append(http).append("}\n");
}

Command nginx_command(const WorkDir& dir, const std::string& name, std::string_view http) {
  auto path = dir.write(name + ".conf", configuration(dir, name, http));
  return {.argv = {"nginx", "-e", "stderr", "-p", dir.path(), "-c", std::move(path)},
          .env = {},
          .directory = dir.path(),
          .fds = {},
          .signal_when_we_die = SIGTERM};  // SIGKILL would leave its worker behind
}

Command nginx_command(const WorkDir& dir, const std::string& name, std::string_view http,
                      const Fd& listener) {
  auto command = nginx_command(dir, name, http);
  command.env.push_back("NGINX=" + std::to_string(kInheritedFd) + ";");
  command.fds.emplace_back(listener.get(), kInheritedFd);
  return command;
}

}  // namespace

Nginx::Nginx(const WorkDir& dir, const std::string& name, std::string_view http)
    : process_(nginx_command(dir, name, http)) {
  await_start();
}

Nginx::Nginx(const WorkDir& dir, const std::string& name, std::string_view http,
             const std::vector<std::string>& run_by)
    : process_([&] {
        auto command = nginx_command(dir, name, http);
        command.argv.insert(command.argv.begin(), run_by.begin(), run_by.end());
        return command;
      }()) {
  await_start();
}

Nginx::Nginx(const WorkDir& dir, const std::string& name, std::string_view http, const Fd& listener)
    : process_(nginx_command(dir, name, http, listener)) {
  await_start();
}

void Nginx::await_start() {
  // Written when all sockets listen. Connections that arrive before the worker runs wait in the backlogs.
  process_.await_ready(process_.err(), "start worker process ");
}

void Nginx::stop() {
  process_.signal(SIGTERM);
  try {
    process_.wait();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "nginx: " << error.what();
  }
}

std::string stock_server(const std::string& listen, const std::string& fastcgi_pass) {
  return "  server {\n    listen " + listen +
         ";\n"
         "    add_header X-Nginx-Request-Id $request_id always;\n"
         "    location / {\n"
         "      include /etc/nginx/fastcgi_params;\n"
         "      fastcgi_param REQUEST_ID $request_id;\n"
         "      fastcgi_pass " +
         fastcgi_pass +
         ";\n"
         "    }\n"
         "  }\n";
}

}  // namespace bailian::e2e
