#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace bailian {

/// The answer to `/status?full&json` at one moment. The texts are unmodified, so not yet safe for a terminal.
struct TopSample {
  struct Stream {
    std::string request_id;
    std::string state;
    std::string mode;
    std::string bot;
    double age = 0;  // seconds, as the next two
    std::optional<double> first_token;
    std::optional<double> silent;
    uint64_t worker = 0;
    uint64_t tokens = 0;
    uint64_t sent_bytes = 0;
    uint64_t waiting_bytes = 0;
  };

  struct Target {
    std::string bot;
    std::string state;
    std::string application;
    std::string host;
    uint64_t number = 0;
    uint64_t rests_for = 0;  // seconds; 0: it does not rest
  };

  /// A cap that is set, of a bot or of all.
  struct Cap {
    std::string bot;  // empty: all
    std::string period;
    uint64_t limit = 0;
    uint64_t used = 0;
    uint64_t leased = 0;
    bool has_refused = false;
    [[nodiscard]] double part() const {
      return limit > 0 ? static_cast<double>(used) / static_cast<double>(limit) : 1;
    }
  };

  Clock::time_point taken;
  std::string version;
  std::string state;
  std::string listening;
  std::map<std::string, uint64_t, std::less<>> numbers;  // by their names in the answer
  std::vector<Target> targets;                           // of bots with several
  std::string ledger_fault;
  std::vector<std::string> paused;  // bots; an empty name: all
  std::vector<Cap> caps;
  std::vector<Stream> streams;

  [[nodiscard]] uint64_t number(std::string_view name) const {
    const auto found = numbers.find(name);
    return found != numbers.end() ? found->second : 0;
  }
};

/// Nothing if the text is not a status page. Members that are missing or of another type count as 0.
std::optional<TopSample> parse_top_sample(std::string_view json, Clock::time_point taken);

struct ScreenSize {
  size_t columns;
  size_t rows;
};

/// The lines of a frame: printable ASCII only, cut to the size of the screen. Rates are since `before`, if
/// there is one. The oldest streams come first, the targets that are not well, and the caps of which most is
/// used.
std::vector<std::string> top_frame(const TopSample& now, const TopSample* before, ScreenSize size);

}  // namespace bailian
