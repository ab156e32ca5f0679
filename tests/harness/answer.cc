#include "harness/answer.h"

#include <gtest/gtest.h>

#include <optional>
#include <stdexcept>

namespace bailian::e2e {
namespace {

constexpr std::string_view kData = "data: ";
constexpr std::string_view kHeartbeat = ": keep-alive";
constexpr size_t kLongestWrite = 4096;

// Only control characters may be escaped as \u....; everything else is raw UTF-8.
void expect_raw_utf8(std::string_view json) {
  for (size_t i = json.find("\\u"); i != json.npos; i = json.find("\\u", i + 2)) {
    const bool is_escaped_backslash = i > 0 && json[i - 1] == '\\';
    const bool is_control =
        json.substr(i + 2, 3) == "000" || json.substr(i + 2, 3) == "001" || json.substr(i + 2, 4) == "007f";
    EXPECT_TRUE(is_escaped_backslash || is_control) << "escaped without need: " << json;
  }
}

Json parse_event(std::string_view event) {
  if (!event.starts_with(kData)) throw std::runtime_error("no data line: " + std::string(event));
  event.remove_prefix(kData.size());
  expect_raw_utf8(event);
  return parse_json(event);
}

using Names = std::vector<std::string>;

std::string take_text(const Json& event) {
  EXPECT_EQ(member_names(event), (Names{"success", "content", "finished", "session_id"})) << to_text(event);
  EXPECT_TRUE(bool_at(event, "/success"));
  auto content = text_at(event, "/content");
  EXPECT_FALSE(content.empty());
  EXPECT_TRUE(at(event, "/session_id").IsString());
  return content;
}

void check_terminal(const Json& event, const std::string& request_id) {
  if (bool_at(event, "/success")) {
    Names names{"success", "finished", "message", "session_id", "usage", "request_id"};
    if (has(event, "/finish_reason")) names.emplace_back("finish_reason");
    if (has(event, "/citations")) names.emplace_back("citations");
    EXPECT_EQ(member_names(event), names);
    EXPECT_EQ(text_at(event, "/message"), "Stream completed");
    EXPECT_TRUE(at(event, "/usage").IsObject());
  } else {
    EXPECT_EQ(member_names(event), (Names{"success", "finished", "message", "code", "request_id"}));
    EXPECT_FALSE(text_at(event, "/message").empty());
  }
  EXPECT_EQ(text_at(event, "/request_id"), request_id);
}

void expect_whole_events(const std::vector<std::string>& chunks) {
  for (const auto& chunk : chunks) {
    EXPECT_TRUE(chunk.starts_with(kData) || chunk.starts_with(kHeartbeat)) << "cut event: " << chunk;
    EXPECT_TRUE(chunk.ends_with("\n\n")) << "cut event: " << chunk;
    EXPECT_LE(chunk.size(), kLongestWrite);
  }
}

void expect_stream_headers(Exchange& exchange) {
  const auto& headers = exchange.headers();
  ASSERT_EQ(exchange.status(), 200) << exchange.read_all().body;
  EXPECT_EQ(headers.get("Content-Type"), "text/event-stream; charset=utf-8");
  EXPECT_EQ(headers.get("Cache-Control"), "no-cache, no-transform");
  EXPECT_EQ(headers.get("X-Content-Type-Options"), "nosniff");
  EXPECT_FALSE(headers.get("X-Request-Id").empty());
  if (headers.count("X-Nginx-Request-Id") > 0) {
    EXPECT_EQ(headers.get("X-Request-Id"), headers.get("X-Nginx-Request-Id"));
  }
}

}  // namespace

StreamedAnswer read_stream(Exchange& exchange, Chunks chunks) {
  expect_stream_headers(exchange);
  if (exchange.status() != 200) throw std::runtime_error("no stream");
  StreamedAnswer answer;
  std::optional<Json> last;
  while (auto event = exchange.read_event()) {
    EXPECT_FALSE(last) << "after the terminal event: " << *event;
    EXPECT_LE(event->size() + 2, kLongestWrite);
    if (*event == kHeartbeat) {
      ++answer.heartbeats;
      continue;
    }
    auto json = parse_event(*event);
    if (bool_at(json, "/finished")) {
      last = std::move(json);
    } else {
      answer.pieces.push_back(take_text(json));
      answer.text += answer.pieces.back();
    }
  }
  if (!last) throw std::runtime_error("the stream ends without a terminal event");
  check_terminal(*last, exchange.headers().get("X-Request-Id"));
  answer.last = std::move(*last);
  if (chunks == Chunks::kHoldWholeEvents) expect_whole_events(exchange.chunks());
  return answer;
}

StreamedAnswer read_stream(Exchange&& exchange) { return read_stream(exchange); }

std::string read_text(Exchange& exchange) {
  auto event = exchange.read_event();
  if (!event) throw std::runtime_error("the stream has ended");
  return take_text(parse_event(*event));
}

std::string tokens(int count) {
  std::string text;
  for (int i = 1; i <= count; ++i) text += "tok" + std::to_string(i) + " ";
  return text;
}

void expect_error(const Response& answer, int status, std::string_view code, std::string_view message_start) {
  SCOPED_TRACE("answer: " + answer.body);
  EXPECT_EQ(answer.status, status);
  EXPECT_TRUE(answer.headers.get("Content-Type").starts_with("application/json"));
  EXPECT_EQ(answer.headers.get("X-Content-Type-Options"), "nosniff");
  EXPECT_EQ(answer.headers.get("Cache-Control"), "no-store");
  EXPECT_EQ(answer.headers.count("Set-Cookie"), 0U);
  const auto json = answer.json();
  EXPECT_EQ(member_names(json), (Names{"success", "message", "code", "result", "request_id"}));
  EXPECT_FALSE(bool_at(json, "/success"));
  EXPECT_EQ(text_at(json, "/code"), code);
  EXPECT_TRUE(text_at(json, "/message").starts_with(message_start));
  EXPECT_EQ(text_at(json, "/result"), "");
  EXPECT_FALSE(text_at(json, "/request_id").empty());
  EXPECT_EQ(text_at(json, "/request_id"), answer.headers.get("X-Request-Id"));
}

void expect_failed(const StreamedAnswer& answer, std::string_view code) {
  ASSERT_FALSE(bool_at(answer.last, "/success"));
  EXPECT_EQ(text_at(answer.last, "/code"), code);
}

}  // namespace bailian::e2e
