#include "harness/service_manager.h"

#include "harness/socket.h"

namespace bailian::e2e {

ServiceManager::ServiceManager(const WorkDir& dir)
    : path_(dir.socket("notify")), socket_(receive_datagrams_on_unix(path_)) {}

void ServiceManager::watch(Command& command) const { command.env.push_back("NOTIFY_SOCKET=" + path_); }

std::string ServiceManager::next() const { return receive_some(socket_); }

std::string ServiceManager::await(std::string_view part) const {
  for (auto message = next();; message = next())
    if (message.find(part) != message.npos) return message;
}

std::optional<std::string> ServiceManager::next_now() const {
  if (!has_input(socket_)) return std::nullopt;
  return next();
}

}  // namespace bailian::e2e
