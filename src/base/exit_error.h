#pragma once

#include <stdexcept>
#include <string>

namespace bailian {

/// An error that ends the program with a specific exit code (sysexits.h); others end it with EX_OSERR.
class ExitError : public std::runtime_error {
 public:
  ExitError(int exit_code, const std::string& what) : std::runtime_error(what), exit_code_(exit_code) {}
  [[nodiscard]] int exit_code() const { return exit_code_; }

 private:
  int exit_code_;
};

}  // namespace bailian
