#include "script.h"

#include <algorithm>

namespace bailian::simulator {
namespace {

constexpr std::size_t kEndlessBytes = 64U << 20U;
constexpr std::size_t kEndlessBlockBytes = 64U << 10U;

// The end of the first event of `stream`, after its blank line, for any line ends.
std::size_t event_end(std::string_view stream) {
  std::size_t end = std::string_view::npos;
  for (const std::string_view blank : {"\n\n", "\r\n\r\n"}) {
    const auto found = stream.find(blank);
    if (found != std::string_view::npos) end = std::min(end, found + blank.size());
  }
  return std::min(end, stream.size());
}

// `id:1\nevent:result\n:HTTP_STATUS/200\ndata:{}\n\n` in the form of example 16.
void append_crlf_lines(std::string_view event, std::string& out) {
  while (!event.empty()) {
    const std::string_view line = event.substr(0, event.find('\n'));
    event.remove_prefix(std::min(line.size() + 1, event.size()));
    if (line.starts_with(':')) continue;
    const auto colon = line.find(':');
    out += line.substr(0, colon);
    if (colon != std::string_view::npos) {
      out += ": ";
      out += line.substr(colon + 1);
    }
    out += "\r\n";
  }
}

bool is_unfinished(std::string_view event) {
  return event.find(R"("finish_reason":"null")") != std::string_view::npos ||
         event.find(R"("finish_reason":null)") != std::string_view::npos;
}

}  // namespace

FixedScript::FixedScript(std::string body) {
  if (!body.empty()) pieces_.push_back(std::move(body));
}

std::unique_ptr<FixedScript> FixedScript::events(const std::string& stream) {
  auto script = std::make_unique<FixedScript>("");
  script->is_stream_ = true;
  for (std::string_view rest = stream; !rest.empty();) {
    const std::size_t length = event_end(rest);
    script->pieces_.emplace_back(rest.substr(0, length));
    rest.remove_prefix(length);
  }
  return script;
}

Step FixedScript::next(std::string& out) {
  if (at_ == pieces_.size()) return Step::kFinished;
  out += pieces_[at_++];
  return is_stream_ && at_ < pieces_.size() ? Step::kText : Step::kOther;
}

std::size_t FixedScript::text_events() const {
  return is_stream_ && !pieces_.empty() ? pieces_.size() - 1 : 0;
}

Step KeepaliveScript::next(std::string& out) {
  out += ":keepalive\n\n";
  return Step::kOther;
}

Step EndlessLineScript::next(std::string& out) {
  if (sent_bytes_ >= kEndlessBytes) return Step::kFinished;
  if (sent_bytes_ == 0) out += "id:1\nevent:result\n:HTTP_STATUS/200\ndata:{\"output\":{\"text\":\"";
  out.append(kEndlessBlockBytes, 'x');
  sent_bytes_ += kEndlessBlockBytes;
  return Step::kOther;
}

Step CrlfScript::next(std::string& out) {
  event_.clear();
  const Step step = inner_->next(event_);
  if (step == Step::kFinished) return step;
  if (!started_) out += "\xEF\xBB\xBF:connected\r\n\r\n";
  started_ = true;
  if (is_unfinished(event_)) {
    out += ":keepalive\r\n\r\n";
    append_crlf_lines(event_, out);
  } else {
    out += event_.substr(std::min(event_.find("data:"), event_.size()));
  }
  return step;
}

}  // namespace bailian::simulator
