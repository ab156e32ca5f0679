#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace bailian {

/// Puts the pieces of one answer together. Whether each piece continues the text or repeats it from the start
/// is not said in the stream (tests/simulator/contract.md §3.2 and §3.3): increments are asked for, but a
/// workflow may answer cumulatively all the same. A second piece that does not begin with the first settles
/// it, which is nearly always. While each piece begins with the one before, all but the first are held back,
/// until there is enough evidence or the answer ends. A pure value: no I/O, no clock.
class AnswerText {
 public:
  /// A piece of `output.text`; `last` comes with the finish reason. Returns the text that is new and certain.
  /// The view dies with the next call or with `piece`.
  std::string_view take(std::string_view piece, bool last);
  /// A piece of a workflow message: always an increment, which a final `output.text` repeats.
  std::string_view take_message(std::string_view piece);
  /// The answer ends here: what was held back. The view dies with the next call.
  std::string_view release();

  /// A piece contradicts what was returned before; the text is of no use then.
  [[nodiscard]] bool is_contradictory() const { return is_contradictory_; }

 private:
  enum class Kind {
    kEmpty,        // no piece has come
    kOpen,         // each piece began with the one before
    kIncremental,  // each continues the one before
    kCumulative,   // each repeats the whole text so far
    kWorkflow      // increments came as workflow messages
  };

  /// A text, by its length and its hash: whether another begins with it can be told without a copy.
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
  Digest said_;              // all that was returned
  std::string joined_;       // all pieces as increments, while they may be; it ends with the latest
  size_t latest_bytes_ = 0;  // of the latest piece, while kind_ is kOpen
  int growths_ = 0;          // pieces that repeated the one before and went on
  std::string released_;
  bool is_contradictory_ = false;
};

}  // namespace bailian
