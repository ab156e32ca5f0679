#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "harness/json.h"
#include "harness/process.h"
#include "harness/work_dir.h"

namespace bailian::e2e {

using Settings = std::map<std::string, std::string>;

// The responder in the site's directory, with these settings and nothing else in its environment.
Command responder_command(const WorkDir& dir, const Settings& settings,
                          const std::vector<std::string>& arguments = {});

// The program under test. Its constructor returns once it listens.
class Responder {
 public:
  explicit Responder(const Command& command);

  // The `listening` line of its log.
  const Json& listening() const { return listening_; }

  // The log line of the `number`-th event with this name, already written or yet to come; throws when the
  // deadline passes.
  Json event(std::string_view name, int number = 1) const;
  // The log line of a request, written when the request has ended.
  Json request_line(std::string_view request_id) const;
  // The log line of the first request on this path; waits for it.
  Json request_line_for_path(std::string_view path) const;
  bool logs(std::string_view part) const;  // waits for a line that contains this part
  std::string log() const { return process_.err().text(); }

  Process& process() { return process_; }

 private:
  Process process_;
  Json listening_;
};

// Checks a whole log: every line is JSON, and none contains a prompt, an answer or the key.
void check_log(const std::string& log);

// True when a sanitizer has reported something.
bool has_sanitizer_report(std::string_view text);

}  // namespace bailian::e2e
