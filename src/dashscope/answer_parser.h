#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/key_mask.h"
#include "dashscope/answer_fields.h"
#include "dashscope/answer_text.h"
#include "dashscope/chat_types.h"
#include "dashscope/sse.h"
#include "settings/config.h"

namespace bailian {

/// A part of an answer: valid UTF-8, not empty.
struct AnswerPiece {
  enum class Kind {
    kText,
    kThought  // the model's thinking before its answer
  };
  Kind kind;
  std::string_view text;  // valid until the parser is used again
};

/// The kind of a response body.
enum class AnswerShape {
  kUnknown,  // not enough bytes yet
  kEvents,   // a stream of server-sent events
  kJson,     // one JSON object
  kOther     // a gateway's error page, or nonsense
};

/// Reads one DashScope answer from the bytes of an HTTP response body, cut anywhere:
///     parser.feed(status, bytes);
///     while (auto piece = parser.next()) use(*piece);
/// The body may be an event stream, a JSON object or a gateway's error page. A Content-Type of event streams
/// decides which; without it, the first bytes do (tests/simulator/contract.md §6, row 28). An answer is
/// complete once it has a finish reason, and only then. The key is masked or left out wherever the upstream
/// shows it.
class AnswerParser {
 public:
  enum class State { kReading, kFinished, kFailed };

  /// The longest answer: of its text as JSON, of its thoughts as JSON, and of a body that is not an event
  /// stream.
  static constexpr size_t kMaxAnswerBytes = size_t{4} << 20;

  /// `api_key` must outlive the parser. `session_target`, which must too: the session id is marked as one of
  /// this target (session_id.h).
  explicit AnswerParser(std::string_view api_key, const Target* session_target = nullptr);

  /// The response's Content-Type, before the first feed().
  void expect(std::string_view content_type);
  /// Takes the next bytes of the body, which must live until next() returns nothing. All pieces of the bytes
  /// before must have been read.
  void feed(int http_status, std::string_view bytes);
  /// The body has ended: next() returns the rest, after which the state is no longer kReading.
  void finish(int http_status);

  /// The next piece, or nothing when there is none yet or the answer has ended. Texts add up to the answer
  /// even if the upstream repeats what it has sent; thoughts beyond kMaxAnswerBytes are dropped.
  std::optional<AnswerPiece> next();

  /// kReading until next() has returned all pieces.
  [[nodiscard]] State state() const { return state_; }
  /// Whether any event has arrived, which ends the first-token timeout.
  [[nodiscard]] bool has_begun() const { return has_begun_; }
  /// Whether a part of the answer or any usage has arrived: then it is billed, and an error is not retryable.
  [[nodiscard]] bool is_billed() const { return is_billed_; }
  [[nodiscard]] const Answer& answer() const { return answer_; }
  /// Why state() is kFailed.
  [[nodiscard]] const UpstreamError& error() const { return error_; }

 private:
  // What next() does next. An event may have a thought and a text; when the answer ends, so do the pieces
  // that were held back.
  enum class Step { kRead, kThought, kText, kHeldThought, kHeldText, kMaskedText, kEnd };

  AnswerPiece take_step();
  bool read();
  bool read_event();
  void read_whole_body();
  void keep_if_object(std::string_view bytes);
  void take_object(std::string& json, int http_status, bool is_error);
  void take_output();
  void take_references();
  std::string_view new_thought();
  std::string_view new_text();
  std::string_view limited(std::string_view text);
  [[nodiscard]] std::string shown_id(std::string_view id) const;
  void fail(int http_status, std::string_view code, std::string_view message);
  void fail_protocol(std::string_view code, std::string_view message);
  void fail_with(UpstreamError error);
  void end();

  const std::string_view api_key_;
  const Target* const session_target_;
  std::string session_id_;  // as the upstream sends it
  SseParser sse_;
  State state_ = State::kReading;
  State outcome_ = State::kReading;  // the value of state_ once all pieces were read
  Step step_ = Step::kRead;
  AnswerShape shape_ = AnswerShape::kUnknown;
  bool body_ended_ = false;
  bool has_begun_ = false;
  bool is_billed_ = false;
  bool may_be_object_ = false;  // labelled an event stream, but starts as an object does
  int http_status_ = 0;
  std::unique_ptr<AnswerFields> fields_;  // of the current event or body
  AnswerText text_;
  size_t text_bytes_ = 0;  // that were returned, as JSON
  KeyMask text_mask_;
  Answer answer_;
  std::string body_;  // until the shape is known, and all of it when it is no event stream
  KeyMask thought_mask_;
  size_t thought_bytes_ = 0;  // likewise
  UpstreamError error_;
};

}  // namespace bailian
