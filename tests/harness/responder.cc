#include "harness/responder.h"

#include <stdexcept>

#include "harness/simulator.h"

namespace bailian::e2e {
namespace {

// The value of a JSON line's "event", empty for other lines.
std::string event_of(std::string_view line) {
  if (!line.starts_with('{')) return {};
  const auto json = parse_json(line);
  return has(json, "/event") ? text_at(json, "/event") : std::string();
}

}  // namespace

Command responder_command(const WorkDir& dir, const Settings& settings,
                          const std::vector<std::string>& arguments) {
  Command command{.argv = {sibling_program("bailian-fcgi")}, .env = {}, .directory = dir.path(), .fds = {}};
  command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
  auto all = settings;
  all.emplace("LEDGER", dir.path() + "/ledger");  // not the one of an installed service
  for (const auto& [key, value] : all) command.env.push_back(std::string(key).append("=").append(value));
  return command;
}

Responder::Responder(const Command& command) : process_(command), listening_(event("listening")) {}

Json Responder::event(std::string_view name, int number) const {
  auto line = process_.err().await_line(
      [&](std::string_view text) { return event_of(text) == name && --number == 0; });
  if (!line) throw std::runtime_error("no event " + std::string(name) + " in:\n" + log());
  return parse_json(*line);
}

Json Responder::request_line(std::string_view request_id) const {
  auto line = process_.err().await_line([&](std::string_view text) {
    return event_of(text) == "request" && text_at(parse_json(text), "/request_id") == request_id;
  });
  if (!line)
    throw std::runtime_error("no log line for request " + std::string(request_id) + " in:\n" + log());
  return parse_json(*line);
}

Json Responder::request_line_for_path(std::string_view path) const {
  auto line = process_.err().await_line([&](std::string_view text) {
    return event_of(text) == "request" && text_at(parse_json(text), "/path") == path;
  });
  if (!line) throw std::runtime_error("no log line for path " + std::string(path) + " in:\n" + log());
  return parse_json(*line);
}

bool Responder::logs(std::string_view part) const {
  return process_.err().await_line([&](auto line) { return line.find(part) != line.npos; }).has_value();
}

void check_log(const std::string& log) {
  EXPECT_EQ(log.find(kApiKey), log.npos) << "the API key is in the log";
  EXPECT_EQ(log.find("[[sim"), log.npos) << "a prompt is in the log";
  EXPECT_EQ(log.find("tok1 "), log.npos) << "an answer is in the log";
  std::string_view rest = log;
  while (!rest.empty()) {
    const auto line = rest.substr(0, rest.find('\n'));
    EXPECT_NO_THROW(parse_json(line)) << "a log line is not JSON: " << line;
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
  }
}

bool has_sanitizer_report(std::string_view text) {
  for (const char* mark : {"Sanitizer", "runtime error:"})
    if (text.find(mark) != text.npos) return true;
  return false;
}

}  // namespace bailian::e2e
