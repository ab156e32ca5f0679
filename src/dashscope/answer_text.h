#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace bailian {

/// Joins the pieces of one answer. The stream does not say whether a piece continues the text or repeats it
/// from the start (tests/simulator/contract.md §3.2, §3.3): we ask for increments, but a workflow may still
/// answer cumulatively. A second piece that does not begin with the first one settles it, which is nearly
/// always the case. While each piece begins with the one before, all but the first are held back until there
/// is enough evidence or the answer ends. A pure value: no I/O, no clock.
class AnswerText {
 public:
  /// Takes a piece of `output.text`; the `last` has the finish reason. Returns the text that is new and
  /// certain. It is valid until the next call, and only as long as `piece` is.
  std::string_view take(std::string_view piece, bool last);
  /// Takes a piece of a workflow message: always an increment, which a final `output.text` repeats.
  std::string_view take_message(std::string_view piece);
  /// The answer ends here: returns the text that was held back, valid until the next call.
  std::string_view release();

  /// Whether a piece contradicts the text returned before. Then the answer is useless.
  [[nodiscard]] bool is_contradictory() const { return is_contradictory_; }

 private:
  enum class Kind {
    kEmpty,        // no piece yet
    kOpen,         // each piece so far begins with the one before
    kIncremental,  // each continues the one before
    kCumulative,   // each repeats the whole text so far
    kWorkflow      // increments arrived as workflow messages
  };

  /// Length and hash of a text: enough to see whether another text begins with it, without a copy.
  class Digest {
   public:
    void add(std::string_view text);
    [[nodiscard]] bool begins(std::string_view text) const;
    [[nodiscard]] size_t bytes() const { return bytes_; }

   private:
    size_t bytes_ = 0;
    uint64_t hash_ = 0xcbf29ce484222325;
  };

  std::string_view take_open(std::string_view piece, bool last);
  std::string_view take_cumulative(std::string_view piece);
  std::string_view rest_of(std::string_view whole);
  void join(std::string_view piece);

  Kind kind_ = Kind::kEmpty;
  bool is_contradictory_ = false;
  Digest returned_;          // all text returned so far
  std::string joined_;       // all pieces as increments, as long as they may be; ends with the latest
  size_t latest_bytes_ = 0;  // of the latest piece, while kind_ is kOpen
  int growths_ = 0;          // pieces that repeat the one before and add to it
  std::string released_;
};

}  // namespace bailian
