#include "harness/passed_socket.h"

#include <fcntl.h>

#include <csignal>

namespace bailian::e2e {

Command PassedSocket::command(const std::vector<std::string>& arguments, Settings settings) const {
  settings.merge(site_settings(dir_, simulator_));
  settings.erase("FCGI_LISTEN");
  auto command = responder_command(dir_, settings, arguments);
  command.fds.emplace_back(listener_.get(), 3);
  command.announces_listen_fds = true;
  return command;
}

void PassedSocket::TearDown() {
  const pid_t left = listener_.is_open() ? serving_pid() : 0;
  if (left > 0) kill(left, SIGKILL);
}

pid_t PassedSocket::serving_pid() const {
  f_owner_ex owner{};
  return fcntl(listener_.get(), F_GETOWN_EX, &owner) == 0 ? owner.pid : 0;
}

Exchange PassedSocket::stream(std::string_view prompt) const {
  return browser().send({.method = "POST", .path = kStreamPath, .body = chat_body(prompt)});
}

Response PassedSocket::ask(std::string_view prompt) const {
  return browser().post(kChatPath, chat_body(prompt));
}

}  // namespace bailian::e2e
