#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <string_view>

namespace bailian::bench {

/// Finds the body in the bytes of one HTTP/1.1 response, chunked or not, cut anywhere.
class ChunkedReader {
 public:
  /// Calls found(body) for each piece of the body.
  void read(std::string_view bytes, const auto& found) {
    while (!bytes.empty()) {
      if (state_ == State::kBody || state_ == State::kContent) {
        const size_t size = state_ == State::kBody ? bytes.size() : std::min(left_, bytes.size());
        found(bytes.substr(0, size));
        bytes.remove_prefix(size);
        left_ -= state_ == State::kBody ? 0 : size;
        if (state_ == State::kContent && left_ == 0) state_ = State::kAfterContent;
        continue;
      }
      take(bytes.front());
      bytes.remove_prefix(1);
    }
  }

 private:
  enum class State { kHead, kSize, kContent, kAfterContent, kBody };

  void take(char c) {
    if (c != '\n') {
      if (c != '\r') line_ += c;
      return;
    }
    switch (state_) {
      case State::kHead:
        if (line_.starts_with("Transfer-Encoding: chunked")) is_chunked_ = true;
        if (line_.empty()) state_ = is_chunked_ ? State::kSize : State::kBody;
        break;
      case State::kSize:
        left_ = std::strtoul(line_.c_str(), nullptr, 16);
        if (left_ != 0) state_ = State::kContent;
        break;
      default:
        state_ = State::kSize;
        break;
    }
    line_.clear();
  }

  State state_ = State::kHead;
  bool is_chunked_ = false;
  size_t left_ = 0;
  std::string line_;
};

}  // namespace bailian::bench
