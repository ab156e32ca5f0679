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

// The responder with these settings in its environment and nothing else, in the site's own directory.
Command responder_command(const WorkDir& dir, const Settings& settings,
                          const std::vector<std::string>& arguments = {});

// The program under test. It accepts once constructed.
class Responder {
 public:
  explicit Responder(const Command& command);

  // The `listening` line of its log.
  const Json& listening() const { return listening_; }

  // The log line of a request, which comes when the request has ended.
  Json request_line(std::string_view request_id) const;
  // The newest line of all requests on this path so far that ended; waits for the first.
  Json request_line_for_path(std::string_view path) const;
  bool logs(std::string_view part) const;  // waits for a line that contains it
  std::string log() const { return process_.err().text(); }

  Process& process() { return process_; }

 private:
  Process process_;
  Json listening_;
};

// Holds a whole log against the rules for every log: JSON lines, and no prompt, answer or key in them.
void check_log(const std::string& log);

// True when a sanitizer has complained.
bool has_sanitizer_report(std::string_view text);

}  // namespace bailian::e2e
