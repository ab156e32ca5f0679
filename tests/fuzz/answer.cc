// An upstream answer, from its bytes to the browser's: the result does not depend on where it is cut, each
// piece is text, nothing follows a failure, and neither answers nor errors contain the key.
#include <array>
#include <memory>
#include <string>

#include "base/json.h"
#include "dashscope/answer_parser.h"
#include "dashscope/error_codes.h"
#include "dialects/myapi.h"
#include "fuzz.h"

namespace bailian {
namespace {

using State = AnswerParser::State;

constexpr std::string_view kKey = "sk-0123456789abcdef";
constexpr std::array<std::string_view, 4> kTypes = {"", "text/event-stream;charset=UTF-8", "application/json",
                                                    "text/html"};
constexpr std::array kStatuses = {0, 200, 200, 200, 307, 400, 401, 403, 404, 408, 413, 429, 500, 503};

std::string member_of(std::string_view event, std::string_view name) {
  fuzz::expect(event.size() <= kMaxEventBytes, "an event fits one record");
  fuzz::expect(event.starts_with("data: ") && event.ends_with("\n\n") && event.find('\n') == event.size() - 2,
               "an event is one line of data");
  JsonDocument json;
  fuzz::expect(!parse_json(event.substr(6), json), "an event is JSON");
  const JsonValue* member = find_member(json, name);
  return member != nullptr && member->IsString() ? std::string(as_view(*member)) : "";
}

std::unique_ptr<AnswerWriter> writer_at(std::string_view path) {
  Request request;
  request.body = R"({"last_prompt":"x"})";
  request.request_id = "id";
  return kMyapi.parse(request, path, {100, 0}).writer;
}

std::string members_of(AnswerWriter& writer, std::string_view name) {
  std::string all;
  while (const auto event = writer.next_event()) all += member_of(*event, name);
  return all;
}

class Reader {
 public:
  std::string text;
  std::string thought;

  void expect(std::string_view content_type) { parser_.expect(content_type); }
  bool feed(int status, std::string_view bytes) {
    parser_.feed(status, bytes);
    return read() == State::kReading;
  }
  void finish(int status) {
    parser_.finish(status);
    fuzz::expect(read() != State::kReading, "an answer that ended is finished or failed");
  }
  [[nodiscard]] const AnswerParser& parser() const { return parser_; }

 private:
  State read() {
    while (const auto piece = parser_.next()) {
      fuzz::expect(parser_.state() == State::kReading, "nothing is said after the end");
      fuzz::expect(!piece->text.empty() && is_utf8(piece->text), "a piece is text");
      (piece->kind == AnswerPiece::Kind::kText ? text : thought) += piece->text;
    }
    return parser_.state();
  }

  AnswerParser parser_{kKey};
};

void check_same(const Reader& whole, const Reader& cut) {
  const UpstreamError& error = whole.parser().error();
  const UpstreamError& other = cut.parser().error();
  fuzz::expect(whole.parser().state() == cut.parser().state(),
               "cuts do not decide whether an answer is good");
  fuzz::expect(whole.text == cut.text && whole.thought == cut.thought, "cuts do not change the text");
  fuzz::expect(error.fault == other.fault && error.code == other.code && error.message == other.message,
               "cuts do not change the fault");
  fuzz::expect(whole.parser().answer().session_id == cut.parser().answer().session_id,
               "cuts do not change the session");
}

void check_events(const Reader& reader, bool debug) {
  const Answer& answer = reader.parser().answer();
  for (const std::string* shown :
       {&reader.text, &reader.thought, &answer.session_id, &answer.request_id, &answer.model}) {
    fuzz::expect(shown->find(kKey) == std::string::npos, "no answer tells the key");
  }
  for (const Citation& citation : answer.citations) {
    fuzz::expect((citation.title + citation.url).find(kKey) == std::string::npos,
                 "no citation tells the key");
  }
  const auto stream = writer_at("/chat/stream");
  const auto whole = writer_at("/chat");
  if (!reader.thought.empty()) {
    stream->thought(reader.thought, answer);
    whole->thought(reader.thought, answer);
    fuzz::expect(members_of(*stream, "thought") == reader.thought, "the browser gets the model's thoughts");
  }
  if (!reader.text.empty()) {
    stream->text(reader.text, answer);
    whole->text(reader.text, answer);
    fuzz::expect(members_of(*stream, "content") == reader.text, "the browser gets the upstream's text");
  }
  if (reader.parser().state() == State::kFinished) {
    fuzz::expect(!answer.finish_reason.empty(), "a finished answer has a reason");
    member_of(stream->finish(answer), "message");
    JsonDocument json;
    fuzz::expect(!parse_json(whole->finish(answer), json), "an answer is JSON");
    return;
  }
  const HttpError shown = to_http_error(reader.parser().error(), debug, kKey);
  const std::string event = stream->fail(shown);
  member_of(event, "message");
  fuzz::expect(event.find(kKey) == std::string::npos, "no error tells the key");
}

}  // namespace
}  // namespace bailian

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bailian;
  const std::string_view text = fuzz::as_text(data, size);
  auto random = fuzz::choices_for(text);
  const int status = kStatuses.at(random() % kStatuses.size());
  const std::string_view type = kTypes.at(random() % kTypes.size());
  Reader whole;
  whole.expect(type);
  whole.feed(status, text);
  whole.finish(status);
  Reader cut;
  cut.expect(type);
  fuzz::feed_in_pieces(text, random, [&](std::string_view piece) { return cut.feed(status, piece); });
  cut.finish(status);
  check_same(whole, cut);
  check_events(whole, random() % 2 == 0);
  return 0;
}
