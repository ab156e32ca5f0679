#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "chat_types.h"
#include "dashscope_api.h"
#include "sse.h"

namespace bailian {

/// Reads one DashScope answer from the bytes of an HTTP response body, in whatever shape it comes: an event
/// stream, a JSON object, or a gateway's error page. The body decides, not the status or the content type.
/// An answer is complete when a finish reason was seen, and only then.
class AnswerParser {
 public:
  enum class State { kReading, kFinished, kFailed };

  /// The longest answer: of its text, and of the JSON object or the gateway's page it comes in.
  static constexpr size_t kMaxAnswerBytes = size_t{4} << 20;

  /// `on_text` gets each piece of text as soon as its event is complete. Pieces are valid UTF-8, never empty,
  /// and add up to the answer, also when the upstream repeats what it has said. The view dies with the call.
  using OnText = std::function<void(std::string_view)>;

  /// `on_thought` gets what the model thinks before it answers: pieces as the upstream sends them, valid
  /// UTF-8, never empty, kMaxAnswerBytes in all at most.
  explicit AnswerParser(OnText on_text, OnText on_thought = {});

  State feed(int http_status, std::string_view bytes);
  /// The body has ended.
  State finish(int http_status);

  [[nodiscard]] State state() const { return state_; }
  /// Whether any event has come: what the first-token timeout waits for.
  [[nodiscard]] bool has_begun() const { return has_begun_; }
  [[nodiscard]] const Answer& answer() const { return answer_; }
  /// Why state() is kFailed.
  [[nodiscard]] const UpstreamError& error() const { return error_; }

 private:
  enum class Shape { kUnknown, kEvents, kJson, kOther };
  /// How the pieces of text relate to each other.
  enum class Pieces {
    kFirst,        // none has come
    kOne,          // one has come
    kHeld,         // the second repeats the first and goes on: the third will tell
    kIncremental,  // each continues the one before
    kCumulative,   // each repeats the whole text so far
    kWorkflow      // increments came as workflow messages; a final text repeats them
  };

  void sniff();
  void finish_events();
  void take_event(const SseEvent& event);
  void take_body();
  void take_fields(int http_status, const AnswerFields& fields, bool is_error);
  void take_thought(std::string_view thought);
  void take_references(const std::vector<AnswerFields::Reference>& references);
  void take_text(std::string_view text, bool last);
  void take_first_piece(std::string_view text);
  void take_second_piece(std::string_view text, bool last);
  void take_third_piece(std::string_view text, bool last);
  void settle_held(std::string_view text);
  void emit(std::string_view text);
  void emit_rest_of(std::string_view whole);
  void fail(int http_status, std::string_view code, std::string_view message);
  void fail_protocol(std::string_view code, std::string_view message);

  OnText on_text_;
  OnText on_thought_;
  SseParser events_;
  State state_ = State::kReading;
  Shape shape_ = Shape::kUnknown;
  Pieces pieces_ = Pieces::kFirst;
  bool has_begun_ = false;
  int http_status_ = 0;
  std::string body_;  // until the shape is known, and all of it when it is no event stream
  std::string sent_;  // what was emitted, while it is needed for a comparison
  std::string held_;  // the second piece, while pieces_ is kHeld
  size_t emitted_bytes_ = 0;
  size_t thought_bytes_ = 0;
  Answer answer_;
  UpstreamError error_;
};

}  // namespace bailian
