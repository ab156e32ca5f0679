#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "harness/fd.h"
#include "harness/process.h"
#include "harness/work_dir.h"

namespace bailian::e2e {

// Stands in for systemd: receives the messages that a program sends to NOTIFY_SOCKET.
class ServiceManager {
 public:
  explicit ServiceManager(const WorkDir& dir);

  // Sets NOTIFY_SOCKET of the command to this one.
  void watch(Command& command) const;

  // The next message. Throws when patience ends.
  std::string next() const;
  // The next message that contains this. Skips others.
  std::string await(std::string_view part) const;
  // A message that has arrived already, if any.
  std::optional<std::string> next_now() const;

 private:
  std::string path_;
  Fd socket_;
};

}  // namespace bailian::e2e
