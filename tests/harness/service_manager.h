#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "harness/fd.h"
#include "harness/process.h"
#include "harness/work_dir.h"

namespace bailian::e2e {

// In systemd's place: what a program tells NOTIFY_SOCKET.
class ServiceManager {
 public:
  explicit ServiceManager(const WorkDir& dir);

  // Has the command's program tell this one.
  void watch(Command& command) const;

  // The next message, whatever it says; throws when patience ends.
  std::string next() const;
  // The first message from now on with this in it.
  std::string await(std::string_view part) const;
  // A message that is there already.
  std::optional<std::string> next_now() const;

 private:
  std::string path_;
  Fd socket_;
};

}  // namespace bailian::e2e
