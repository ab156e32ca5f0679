#include "harness/simulator.h"

#include <stdexcept>

#include "harness/deadline.h"

namespace bailian::e2e {
namespace {

constexpr std::string_view kReady = "listening on http://127.0.0.1:";

Command simulator_command(const WorkDir& dir, const std::vector<std::string>& options) {
  std::vector<std::string> argv{sibling_program("simulator"),
                                "--listen=127.0.0.1:0",
                                "--api-key=" + std::string(kApiKey),
                                "--app-id=" + std::string(kAppId),
                                "--examples=" + example_directory(),
                                "--interval=0",
                                "--delay=0"};
  argv.insert(argv.end(), options.begin(), options.end());
  return {.argv = std::move(argv), .env = {}, .directory = dir.path(), .fds = {}};
}

uint16_t announced_port(const Process& process) {
  return static_cast<uint16_t>(std::stoi(process.await_ready(process.out(), kReady).substr(kReady.size())));
}

}  // namespace

Simulator::Simulator(const WorkDir& dir, const std::vector<std::string>& options)
    : Simulator(dir, options, {}) {}

Simulator::Simulator(const WorkDir& dir, const std::vector<std::string>& options,
                     const std::vector<std::string>& run_by)
    : process_([&] {
        auto command = simulator_command(dir, options);
        command.argv.insert(command.argv.begin(), run_by.begin(), run_by.end());
        return command;
      }()),
      port_(announced_port(process_)),
      control_(Address{.unix_path = {}, .port = port_}) {}

std::string Simulator::base_url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/api/v1"; }

void Simulator::reset() const { control_.post("/control/reset", ""); }

void Simulator::release() const { control_.post("/control/release", ""); }

int64_t Simulator::count(std::string_view counter) const {
  return number_at(control_.get("/control/stats").json(), "/" + std::string(counter));
}

int64_t Simulator::billed() const {
  const auto stats = control_.get("/control/stats").json();
  return number_at(stats, "/input_tokens") + number_at(stats, "/output_tokens");
}

testing::AssertionResult Simulator::reaches(std::string_view counter, int64_t number) const {
  return waits_for(counter, "at_least", number);
}

testing::AssertionResult Simulator::falls_to(std::string_view counter, int64_t number) const {
  return waits_for(counter, "at_most", number);
}

testing::AssertionResult Simulator::waits_for(std::string_view counter, std::string_view relation,
                                              int64_t number) const {
  // A long poll: the simulator answers before our own deadline passes.
  const auto patience = std::to_string(Deadline::kPatience.count() * 3 / 4);
  std::string path = "/control/stats?wait=";
  path.append(counter).append("&").append(relation).append("=").append(std::to_string(number));
  const auto answer = control_.get(path + "&timeout_ms=" + patience);
  if (answer.status == 200) return testing::AssertionSuccess();
  return testing::AssertionFailure() << counter << " does not get to be " << relation << " " << number
                                     << " at the simulator: " << answer.body;
}

Json Simulator::last_request() const { return control_.get("/control/last-request").json(); }

}  // namespace bailian::e2e
