#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/key_mask.h"
#include "dashscope/answer_fields.h"
#include "dashscope/answer_text.h"
#include "dashscope/chat_types.h"
#include "dashscope/sse.h"

namespace bailian {

/// Reads one DashScope answer from the bytes of an HTTP response body, in whatever shape it comes: an event
/// stream, a JSON object, or a gateway's error page. A known content type decides which; where there is none
/// (contract, 6, row 28), the body does. An answer is complete when a finish reason was seen, and only then.
/// The key is masked or left out wherever the upstream shows it.
class AnswerParser {
 public:
  enum class State { kReading, kFinished, kFailed };

  /// The longest answer: of its text as JSON writes it, and of the JSON object or the gateway's page it comes
  /// in.
  static constexpr size_t kMaxAnswerBytes = size_t{4} << 20;

  /// `api_key` must outlive the parser. `on_text` gets each piece of text as soon as its event is complete.
  /// Pieces are valid UTF-8, never empty, and add up to the answer, also when the upstream repeats what it
  /// has said. The view dies with the call.
  using OnText = std::function<void(std::string_view)>;

  /// `on_thought` gets what the model thinks before it answers: pieces as the upstream sends them, valid
  /// UTF-8, never empty, kMaxAnswerBytes in all at most.
  explicit AnswerParser(std::string_view api_key, OnText on_text, OnText on_thought = {});

  /// The response's Content-Type, before the first feed().
  void expect(std::string_view content_type);
  State feed(int http_status, std::string_view bytes);
  /// The body has ended.
  State finish(int http_status);

  [[nodiscard]] State state() const { return state_; }
  /// Whether any event has come: what the first-token timeout waits for.
  [[nodiscard]] bool has_begun() const { return has_begun_; }
  /// Whether a frame of the answer or any usage has come: then it is billed, and an error is not retryable.
  [[nodiscard]] bool is_billed() const { return is_billed_; }
  [[nodiscard]] const Answer& answer() const { return answer_; }
  /// Why state() is kFailed.
  [[nodiscard]] const UpstreamError& error() const { return error_; }

 private:
  enum class Shape { kUnknown, kEvents, kJson, kOther };
  void sniff();
  void keep_if_json(std::string_view bytes);
  void finish_events();
  void take_event(const SseEvent& event);
  void take_body();
  void take_fields(int http_status, const AnswerFields& fields, bool is_error);
  void take_thought(std::string_view thought);
  void take_references(const std::vector<AnswerFields::Reference>& references);
  void take_text(const AnswerFields& fields, bool last);
  bool emit(std::string_view text);
  bool emit_rest();
  void tell_thought(std::string_view thought);
  [[nodiscard]] std::string shown_id(std::string_view id) const;
  void fail(int http_status, std::string_view code, std::string_view message);
  void fail_protocol(std::string_view code, std::string_view message);

  const std::string_view api_key_;
  OnText on_text_;
  OnText on_thought_;
  SseParser events_;
  State state_ = State::kReading;
  Shape expected_ = Shape::kUnknown;
  Shape shape_ = Shape::kUnknown;
  bool has_begun_ = false;
  bool is_billed_ = false;
  bool may_be_json_ = false;  // an event stream that begins as an object does
  int http_status_ = 0;
  std::string body_;  // until the shape is known, and all of it when it is no event stream
  AnswerText text_;
  KeyMask text_mask_;
  KeyMask thought_mask_;
  size_t emitted_bytes_ = 0;  // as JSON writes them
  size_t thought_bytes_ = 0;  // likewise
  Answer answer_;
  UpstreamError error_;
};

}  // namespace bailian
