#pragma once

#include <csignal>
#include <optional>
#include <string>
#include <vector>

#include "harness/process.h"
#include "harness/work_dir.h"

namespace bailian::e2e {

// A real redis-server on a unix socket, with its data in the work directory. Nothing of the system's own is
// used.
class RedisServer {
 public:
  // `options` as in its command line; of two equal ones the later counts.
  explicit RedisServer(const WorkDir& dir, std::vector<std::string> options = {});

  // A value for the setting LEDGER.
  std::string url(const std::string& login = {}) const { return "unix://" + login + socket_; }
  const std::string& socket() const { return socket_; }

  void start();
  // Ends it as SIGKILL does; its data are those that it has written.
  void kill();
  // SIGSTOP or SIGCONT.
  void signal(int number) const { process_->signal(number); }

  // The answer to a command as redis-cli prints it, without its last line end.
  std::string ask(const std::vector<std::string>& command) const;

 private:
  const WorkDir& dir_;
  const std::string socket_;
  const std::vector<std::string> options_;
  std::optional<Process> process_;
};

}  // namespace bailian::e2e
