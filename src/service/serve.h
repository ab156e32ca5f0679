#pragma once

#include <string>
#include <vector>

#include "settings/settings_source.h"

namespace bailian {

struct ServeOptions {
  SettingsSource source;
  bool supervise = false;         // serve in a child process, see supervise()
  std::vector<std::string> argv;  // the whole command line, with which a successor is started
};

/// Serves until a signal ends the program. Returns the exit code. Throws ConfigError, ListenError and
/// LogFileError. With `supervise`, faults in the settings do not end the program: the Server handles them.
int serve(const ServeOptions& options);

}  // namespace bailian
