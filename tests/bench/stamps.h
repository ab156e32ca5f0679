#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace bailian::bench {

/// Finds the simulator's `@N.NANOSECONDS;` in bytes that may be cut anywhere and framed in any way.
class StampScanner {
 public:
  /// Calls found(n, ns) for each stamp that ends in `bytes`.
  void scan(std::string_view bytes, const auto& found) {
    const char* at = bytes.data();
    const char* const end = at + bytes.size();
    while (at != end) {
      if (state_ == State::kOutside) {
        at = static_cast<const char*>(std::memchr(at, '@', static_cast<size_t>(end - at)));
        if (at == nullptr) return;
        ++at;
        begin();
        continue;
      }
      const char c = *at++;
      if (c >= '0' && c <= '9') {
        value_ = value_ * 10 + (c - '0');
      } else if (c == '.' && state_ == State::kNumber) {
        number_ = value_;
        value_ = 0;
        state_ = State::kTime;
      } else {
        if (c == ';' && state_ == State::kTime) found(number_, value_);
        state_ = State::kOutside;
        if (c == '@') begin();
      }
    }
  }

 private:
  enum class State { kOutside, kNumber, kTime };

  void begin() {
    state_ = State::kNumber;
    value_ = 0;
  }

  State state_ = State::kOutside;
  int64_t number_ = 0;
  int64_t value_ = 0;
};

}  // namespace bailian::bench
