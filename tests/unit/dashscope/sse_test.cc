#include "dashscope/sse.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "harness/sanitized.h"
#include "unit/heap.h"
#include "unit/test_data.h"

namespace bailian {
namespace {

struct Seen {
  std::string name;
  int http_status;
  std::string data;
  bool operator==(const Seen&) const = default;
};
void PrintTo(const Seen& seen, std::ostream* out) {
  *out << seen.name << "/" << seen.http_status << "/" << seen.data;
}

// Reads the events of these bytes; false when the stream is refused.
bool read(SseParser& parser, std::string_view bytes, std::vector<Seen>& events) {
  parser.feed(bytes);
  while (const auto event = parser.next()) {
    events.push_back({std::string(event->name), event->http_status, event->data});
    event->data.assign("the caller may parse in place");
  }
  EXPECT_FALSE(parser.next()) << "nothing is nothing until more bytes are fed";
  return !parser.is_refused();
}

// The same, but each piece has its own buffer, so that a sanitizer detects a read past its end.
bool read_copy(SseParser& parser, std::string_view bytes, std::vector<Seen>& events) {
  const std::vector<char> copy(bytes.begin(), bytes.end());
  return read(parser, {copy.data(), copy.size()}, events);
}

void finish(SseParser& parser, std::vector<Seen>& events) {
  parser.finish();
  while (const auto event = parser.next())
    events.push_back({std::string(event->name), event->http_status, event->data});
}

std::vector<Seen> parse(std::string_view text, size_t step, bool finished = true) {
  std::vector<Seen> events;
  SseParser parser;
  for (size_t at = 0; at < text.size(); at += step) {
    EXPECT_TRUE(read_copy(parser, text.substr(at, step), events));
  }
  if (finished) finish(parser, events);
  return events;
}

struct Stream {
  const char* name;
  std::string text;
  std::vector<Seen> events;
};

class SseStreams : public testing::TestWithParam<Stream> {};

TEST_P(SseStreams, ReadTheSameCutAnywhere) {
  const auto& [name, text, events] = GetParam();
  EXPECT_EQ(parse(text, text.size() + 1), events);
  for (size_t step = 1; step <= text.size(); ++step)
    EXPECT_EQ(parse(text, step), events) << "in steps of " << step;
}

INSTANTIATE_TEST_SUITE_P(
    Sse, SseStreams,
    testing::Values(
        Stream{"DashScope",
               "id:1\nevent:result\n:HTTP_STATUS/200\ndata:{\"a\":1}\n\nid:2\nevent:error\n:HTTP_STATUS/"
               "429\ndata:{}\n\n",
               {{"result", 200, "{\"a\":1}"}, {"error", 429, "{}"}}},
        Stream{"CarriageReturnsAndSpaces",
               "event: a\r\ndata: x\r\n\r\ndata: y\r\n\r\n",
               {{"a", 0, "x"}, {"", 0, "y"}}},
        Stream{"LoneCarriageReturns", "data:x\r\rdata:y\r\r", {{"", 0, "x"}, {"", 0, "y"}}},
        Stream{"OnlyOneSpaceIsDropped", "data:  x \n\n", {{"", 0, " x "}}},
        Stream{"DataLinesAreJoined", "data:a\ndata:\ndata:b\n\n", {{"", 0, "a\n\nb"}}},
        Stream{"FieldWithoutColon", "data\n\n", {{"", 0, ""}}},
        Stream{"ByteOrderMark",
               "\xef\xbb\xbf"
               "data:x\n\n",
               {{"", 0, "x"}}},
        Stream{"SeveralByteOrderMarks",
               "\xef\xbb\xbf\xef\xbb\xbf"
               "data:x\n\n\xef\xbb\xbf"
               "event:a\n\xef\xbb\xbf"
               "data:y\n\xef\xbb\xbf\n",
               {{"", 0, "x"}, {"a", 0, "y"}}},
        Stream{"LongLinesWithoutData",
               ":" + std::string(300, 'x') + "\ndata:a\nfoo" + std::string(300, 'x') +
                   ":bar\n:HTTP_STATUS/400" + std::string(300, ' ') + "\r\nevent:" + std::string(300, 'e') +
                   "\n\n:" + std::string(128, 'x'),
               {{"", 0, "a"}}},
        Stream{"LongData", "data:" + std::string(300, 'x') + "\n\n", {{"", 0, std::string(300, 'x')}}},
        Stream{"Comments", ":connected\n\n:keepalive\n\n: HTTP_STATUS/500\ndata:x\n\n", {{"", 500, "x"}}},
        Stream{"StatusIsForgottenAfterItsEvent",
               ":HTTP_STATUS/400\ndata:a\n\ndata:b\n\n",
               {{"", 400, "a"}, {"", 0, "b"}}},
        Stream{"NonsenseStatus",
               ":HTTP_STATUS/4000\n:HTTP_STATUS/x\n:HTTP_STATUS/20x\n:HTTP_STATUS/099\ndata:a\n\n",
               {{"", 0, "a"}}},
        Stream{"EventsWithoutDataAreNone", "event:a\n\n\n\ndata:x\n\n", {{"", 0, "x"}}},
        Stream{"UnknownFields", "retry:5\nfoo:bar\ndata:x\n\n", {{"", 0, "x"}}},
        Stream{"MissingLastBlankLine", "data:x\n\ndata:y", {{"", 0, "x"}, {"", 0, "y"}}},
        Stream{"NulBytes", std::string("data:a\0b\n\n", 10), {{"", 0, std::string("a\0b", 3)}}}),
    [](const auto& test) { return test.param.name; });

TEST(Sse, AnEventIsReturnedBeforeTheStreamEnds) {
  EXPECT_EQ(parse("data:x\n\ndata:y\n", 3, false).size(), 1U);
}

TEST(Sse, EveryExampleReadsTheSameCutAnywhere) {
  for (const std::string& name : example_names()) {
    const std::string text = example(name);
    const auto whole = parse(text, text.size());
    for (size_t step = 1; step < 64; ++step)
      EXPECT_EQ(parse(text, step), whole) << name << " in steps of " << step;
  }
}

TEST(Sse, EventsAreReturnedOneByOne) {
  SseParser parser;
  EXPECT_FALSE(parser.next());
  parser.feed("data:x\n\nevent:b\ndata:y\n\ndata:z");
  const auto first = parser.next();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->data, "x");
  const auto second = parser.next();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->name, "b");
  EXPECT_EQ(second->data, "y");
  EXPECT_FALSE(parser.next());
  parser.finish();
  const auto last = parser.next();
  ASSERT_TRUE(last);
  EXPECT_EQ(last->name, "");
  EXPECT_EQ(last->data, "z");
  EXPECT_FALSE(parser.next());
}

TEST(Sse, AnEndlessLineIsRefused) {
  SseParser parser;
  std::vector<Seen> events;
  const std::string block(65536, 'x');
  bool good = read(parser, "data:", events);
  for (int i = 0; i < 15; ++i) good = good && read(parser, block, events);
  EXPECT_TRUE(good);
  EXPECT_FALSE(read(parser, block, events) && read(parser, block, events));
  EXPECT_FALSE(read(parser, "\n\ndata:x\n\n", events)) << "nothing follows";
  EXPECT_TRUE(events.empty());
}

TEST(Sse, EventsBeforeAnEndlessOneAreReturned) {
  SseParser parser;
  std::vector<Seen> events;
  EXPECT_FALSE(read(parser, "data:a\n\ndata:" + std::string(SseParser::kMaxEventBytes, 'x'), events));
  EXPECT_EQ(events, (std::vector<Seen>{{"", 0, "a"}}));
}

TEST(Sse, LinesWithoutDataMayBeEndless) {
  for (const std::string start : {":", "foo:", "event:", "datax:", "x"}) {
    SseParser parser;
    std::vector<Seen> events;
    const std::string block(65536, 'x');
    EXPECT_TRUE(read(parser, "data:a\n" + start, events));
    for (int i = 0; i < 64; ++i) EXPECT_TRUE(read(parser, block, events));
    EXPECT_TRUE(read(parser, "\n\n", events));
    EXPECT_EQ(events.size(), 1U) << start;
  }
}

TEST(Sse, AnEventOfEndlessLinesIsRefused) {
  SseParser parser;
  std::vector<Seen> events;
  const std::string line = "data:" + std::string(60000, 'x') + "\n";
  for (int i = 0; i < 17; ++i) EXPECT_TRUE(read(parser, line, events));
  EXPECT_FALSE(read(parser, line, events));
  EXPECT_TRUE(events.empty());
}

TEST(Sse, AnEventThatOnlyTheEndMakesTooLongIsNotReturned) {
  SseParser parser;
  std::vector<Seen> events;
  const std::string half = "data:" + std::string(SseParser::kMaxEventBytes / 2, 'x');
  EXPECT_TRUE(read(parser, half + "\n", events));
  EXPECT_TRUE(read(parser, half, events));
  finish(parser, events);
  EXPECT_TRUE(events.empty());
}

TEST(SseParser, HoldsLittleWhileItWaitsForAnEvent) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer counts no bytes";
  constexpr size_t kBytes = 500'000;
  const std::string event = "data:" + std::string(kBytes, 'x') + "\n\n";
  SseParser parser;
  const size_t before = allocated_bytes();
  parser.feed(std::string_view(event).substr(0, kBytes / 2));  // a line that is cut is kept
  EXPECT_FALSE(parser.next());
  EXPECT_GT(allocated_bytes(), before + kBytes / 4);
  parser.feed(std::string_view(event).substr(kBytes / 2));
  EXPECT_TRUE(parser.next());
  EXPECT_FALSE(parser.next());
  EXPECT_LT(allocated_bytes(), before + kBytes / 8);
}

TEST(SseParser, SkipsACommentWhateverItsPiecesBeginWith) {
  SseParser parser;
  std::vector<Seen> events;
  EXPECT_TRUE(read(parser, ":" + std::string(2 * SseParser::kMaxOtherBytes, 'c'), events));
  const std::string piece = "data:" + std::string(65'536, 'd');
  for (size_t bytes = 0; bytes <= SseParser::kMaxEventBytes; bytes += piece.size())
    EXPECT_TRUE(read(parser, piece, events));
  EXPECT_TRUE(read(parser, "\ndata:x\n\n", events));
  EXPECT_EQ(events, (std::vector<Seen>{{"", 0, "x"}}));
}

}  // namespace
}  // namespace bailian
