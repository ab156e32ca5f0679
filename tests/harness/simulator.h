#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "harness/browser.h"
#include "harness/json.h"
#include "harness/process.h"
#include "harness/work_dir.h"

namespace bailian::e2e {

// The only key and app the simulator accepts. The key must never appear in an answer or a log.
inline constexpr std::string_view kApiKey = "sk-canary-7c9e6679f8b94e0aa2d1b3c5d7e9f1a3";
inline constexpr std::string_view kAppId = "0123456789abcdef0123456789abcdef";

// The upstream of a site, controlled by `[[sim ...]]` in the prompt and by its control endpoints.
class Simulator {
 public:
  explicit Simulator(const WorkDir& dir, const std::vector<std::string>& options = {});
  // Run through a command, whose last arguments are the simulator and its own.
  Simulator(const WorkDir& dir, const std::vector<std::string>& options,
            const std::vector<std::string>& run_by);

  uint16_t port() const { return port_; }
  std::string base_url() const;

  void reset() const;    // sets counters to 0 and releases held answers
  void release() const;  // releases held answers
  int64_t count(std::string_view counter) const;
  // Tokens that were billed, input and output, according to the usage of the events that were sent.
  int64_t billed() const;
  // Wait until a counter has this value. Counters: requests, completed, cut, open, held, events, connections,
  // warm_ups, input_tokens, output_tokens.
  testing::AssertionResult reaches(std::string_view counter, int64_t number) const;
  testing::AssertionResult falls_to(std::string_view counter, int64_t number) const;
  // {"path":..,"headers":{..},"body":{..}} of the newest completion request.
  Json last_request() const;

  Process& process() { return process_; }

 private:
  testing::AssertionResult waits_for(std::string_view counter, std::string_view relation,
                                     int64_t number) const;

  Process process_;
  uint16_t port_;
  Browser control_;
};

}  // namespace bailian::e2e
