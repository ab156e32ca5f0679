#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "libevent.h"

namespace bailian::simulator {

struct Options {
  std::string host = "127.0.0.1";
  std::string port = "0";     // 0: the kernel picks one
  std::string api_key;        // empty: any that starts with sk-
  std::string app_id;         // empty: any
  std::string quotas;         // directs the answer to GET /api/v1/quotas; empty: by the contract
  std::string examples;       // directory with INDEX.tsv; empty: none
  milliseconds interval{30};  // between events
  milliseconds delay{200};    // before the first event
  enum class Action { kServe, kHelp, kVersion } action = Action::kServe;
};

class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws UsageError.
Options parse_options(int argc, char** argv);

}  // namespace bailian::simulator
