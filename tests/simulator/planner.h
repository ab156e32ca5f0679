#pragma once

#include <cstddef>
#include <string>
#include <unordered_map>

#include "api_error.h"
#include "completion_request.h"
#include "directive.h"
#include "examples.h"
#include "http_message.h"
#include "options.h"
#include "plan.h"
#include "random_id.h"
#include "wire_format.h"

namespace bailian::simulator {

// Decides how a request to DashScope is answered: by contract.md, or by the directive in its prompt.
class Planner {
 public:
  explicit Planner(const Options& options) : options_(options), examples_(options.examples) {}

  Plan plan(const HttpRequest& request);
  // Resets the counters of `times=K`.
  void forget() { seen_.clear(); }

 private:
  void plan_quotas(const HttpRequest& request, Plan& plan);
  Plan plan_checked(const HttpRequest& request, Plan plan);
  void plan_directed(const HttpRequest& request, const CompletionRequest& completion, const Prompt& prompt,
                     Plan& plan);
  void plan_text(const CompletionRequest& completion, const Prompt& prompt, Plan& plan);
  void plan_error(const ApiError& error, Framing framing, Plan& plan);
  void plan_example(const std::string& name, Plan& plan);
  Identity identity(const CompletionRequest& completion);
  Directive still_due(const Directive& directive);

  const Options& options_;
  Examples examples_;
  RandomId ids_;
  std::unordered_map<std::string, std::size_t> seen_;
};

}  // namespace bailian::simulator
