#include "passed_socket.h"

namespace bailian::e2e {

Command PassedSocket::command(const std::vector<std::string>& arguments, Settings settings) const {
  settings.merge(site_settings(dir_, simulator_));
  settings.erase("FCGI_LISTEN");
  auto command = responder_command(dir_, settings, arguments);
  command.fds.emplace_back(listener_.get(), 3);
  command.announces_listen_fds = true;
  return command;
}

Exchange PassedSocket::stream(std::string_view prompt) const {
  return browser().send({.method = "POST", .path = kStreamPath, .body = chat_body(prompt)});
}

Response PassedSocket::ask(std::string_view prompt) const {
  return browser().post(kChatPath, chat_body(prompt));
}

}  // namespace bailian::e2e
