#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace bailian::simulator {

// An error as DashScope words it: contract.md §4.2.
class ApiError : public std::runtime_error {
 public:
  ApiError(int status, std::string_view code, const std::string& message)
      : std::runtime_error(message), status_(status), code_(code) {}
  // The published status and message of `code`; an unknown code is an internal error.
  explicit ApiError(std::string_view code);

  int status() const { return status_; }
  const std::string& code() const { return code_; }
  std::string message() const { return what(); }

 private:
  int status_;
  std::string code_;
};

// The code that goes with `status` when a directive names none.
std::string_view usual_code(int status);

}  // namespace bailian::simulator
