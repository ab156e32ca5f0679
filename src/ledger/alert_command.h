#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace bailian {

/// The owner's commands that run beside the service: without a shell, in a process group of their own, with
/// nothing of this process's environment but PATH, HOME, LANG and TZ, and with no descriptor of it. Used by
/// one thread.
class AlertCommands {
 public:
  AlertCommands() = default;
  /// Kills those that still run.
  ~AlertCommands();
  AlertCommands(const AlertCommands&) = delete;
  AlertCommands& operator=(const AlertCommands&) = delete;

  /// Starts `command`, split at blanks, with these variables (NAME=value). It is killed after 10 s. Logs why
  /// it cannot be started.
  void start(std::string_view command, std::vector<std::string> variables, Clock::time_point now);

  /// Logs how those that have ended failed, and kills those whose time is over.
  void look(Clock::time_point now);

  [[nodiscard]] size_t running() const { return running_.size(); }

 private:
  struct Running {
    pid_t pid;
    Clock::time_point until;
    bool is_killed = false;
  };
  std::vector<Running> running_;
};

}  // namespace bailian
