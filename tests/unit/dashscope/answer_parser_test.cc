#include "dashscope/answer_parser.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include "harness/sanitized.h"
#include "unit/heap.h"
#include "unit/test_data.h"

namespace bailian {
namespace {

using State = AnswerParser::State;

constexpr std::string_view kKey = "sk-0123456789abcdef";

struct Result {
  State state;
  std::string text;
  Answer answer;
  UpstreamError error;
};

// A parser and everything it has returned.
class Reader {
 public:
  std::string text;
  std::string thought;
  std::string pieces;  // both, as text:..; and thought:..;

  void expect(std::string_view content_type) { parser_.expect(content_type); }
  State feed(int status, std::string_view bytes) {
    // Each piece has its own buffer, so that a sanitizer detects a read past its end.
    const std::vector<char> copy(bytes.begin(), bytes.end());
    parser_.feed(status, {copy.data(), copy.size()});
    return read();
  }
  State finish(int status) {
    parser_.finish(status);
    return read();
  }
  const AnswerParser& parser() const { return parser_; }

 private:
  State read() {
    while (const auto piece = parser_.next()) {
      EXPECT_EQ(parser_.state(), State::kReading) << "no piece follows the end";
      EXPECT_FALSE(piece->text.empty());
      const bool is_text = piece->kind == AnswerPiece::Kind::kText;
      (is_text ? text : thought) += piece->text;
      pieces.append(is_text ? "text:" : "thought:").append(piece->text).append(";");
    }
    EXPECT_FALSE(parser_.next()) << "nothing is nothing until more bytes are fed";
    return parser_.state();
  }

  AnswerParser parser_{kKey};
};

Result parse(int status, std::string_view body, size_t step, std::string_view content_type = {}) {
  Reader reader;
  reader.expect(content_type);
  for (size_t at = 0; at < body.size(); at += step) reader.feed(status, body.substr(at, step));
  const State state = reader.finish(status);
  return {state, reader.text, reader.parser().answer(), reader.parser().error()};
}

struct Expected {
  std::string name;
  State state;
  std::string text;
  UpstreamFault fault = UpstreamFault::kFailed;
  std::string code;
};

// The result for every body of the wire contract.
const std::vector<Expected> kExamples = {
    {"01-nonstream-ok", State::kFinished, "杭州是一座因西湖与钱塘江而闻名的江南城市 🌊。", {}, {}},
    {"02-stream-incremental",
     State::kFinished,
     "你好，世界！👋\n第二行：\"引号\" 与 \\ 反斜杠，家庭 👨‍👩‍👧 表情",
     {},
     {}},
    {"03-stream-thoughts", State::kFinished, "1+1 = 2 ✅", {}, {}},
    {"04a-stream-error-midway-inspection", State::kFailed, "从前有座山，山里", UpstreamFault::kRejected,
     "DataInspectionFailed"},
    {"04b-stream-error-midway-500", State::kFailed, "从前有座山，山里", UpstreamFault::kFailed,
     "InternalError.Timeout"},
    {"04c-stream-truncated-no-stop", State::kFailed, "从前有座山，山里", UpstreamFault::kFailed,
     "invalid_answer"},
    {"05-pre-stream-401", State::kFailed, "", UpstreamFault::kAuth, "InvalidApiKey"},
    {"05b-401-non2xx-sse", State::kFailed, "", UpstreamFault::kAuth, "InvalidApiKey"},
    {"06a-429-json", State::kFailed, "", UpstreamFault::kThrottled, "Throttling.RateQuota"},
    {"06b-429-in-200-sse", State::kFailed, "", UpstreamFault::kThrottled, "Throttling.AllocationQuota"},
    {"06c-429-non2xx-sse", State::kFailed, "", UpstreamFault::kThrottled, "Throttling"},
    {"07-400-in-200-sse", State::kFailed, "", UpstreamFault::kFailed, "InvalidParameter"},
    {"07b-400-json", State::kFailed, "", UpstreamFault::kFailed, "InvalidParameter"},
    {"08-400-arrearage-non2xx-sse", State::kFailed, "", UpstreamFault::kQuota, "Arrearage"},
    {"09-403-app-access-denied", State::kFailed, "", UpstreamFault::kApp, "App.AccessDenied"},
    {"09b-404-workspace-not-found", State::kFailed, "", UpstreamFault::kApp, "WorkSpaceNotFound"},
    {"10-500-internal", State::kFailed, "", UpstreamFault::kFailed, "InternalError"},
    {"10b-503-gateway-plain", State::kFailed, "", UpstreamFault::kFailed, ""},
    {"10c-400-body-too-large", State::kFailed, "", UpstreamFault::kTooLarge, "BadRequest.TooLarge"},
    {"11-stream-non-incremental", State::kFinished, "春眠不觉晓，处处闻啼鸟。🐦", {}, {}},
    {"12-stream-rag-references",
     State::kFinished,
     "七天内可以退货<ref>[1]</ref>，运费自付<ref>[2]</ref>。",
     {},
     {}},
    {"13-workflow-nonstream", State::kFinished, "code", {}, {}},
    {"14-workflow-message-format", State::kFinished, "西湖的夏天很美 🌸", {}, {}},
    {"15-workflow-full-thoughts", State::kFinished, "晴 ☀️", {}, {}},
    {"16-tolerance-variant", State::kFinished, "容错 ✓", {}, {}},
    {"17-200-json-although-sse-asked", State::kFailed, "", UpstreamFault::kFailed, "InternalError.Algo"},
};

// The first column of INDEX.tsv is the file, the second the HTTP status.
std::map<std::string, int> example_statuses() {
  std::map<std::string, int> statuses;
  std::ifstream index("tests/data/INDEX.tsv");
  for (std::string line; std::getline(index, line);) {
    std::istringstream columns(line);
    std::string file;
    int status = 0;
    if (columns >> file >> status) statuses[file.substr(0, file.find(".txt"))] = status;
  }
  return statuses;
}

class ExampleAnswers : public testing::TestWithParam<Expected> {};

TEST_P(ExampleAnswers, AreUnderstoodCutAnywhere) {
  const Expected& expected = GetParam();
  const std::string body = example(expected.name);
  const int status = example_statuses().at(expected.name);
  for (size_t step = 1; step <= body.size(); step += step < 200 ? 1 : 53) {
    const Result result = parse(status, body, step);
    ASSERT_EQ(result.state, expected.state) << "in steps of " << step << ": " << result.error.message;
    ASSERT_EQ(result.text, expected.text) << "in steps of " << step;
    if (expected.state == State::kFailed) {
      ASSERT_EQ(result.error.fault, expected.fault);
      ASSERT_EQ(result.error.code, expected.code);
    } else {
      ASSERT_EQ(result.answer.session_id, "3f1c9a7be2d84c55a0b6d1e94c7f2083");
      ASSERT_EQ(result.answer.finish_reason, "stop");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AnswerParser, ExampleAnswers, testing::ValuesIn(kExamples), [](const auto& test) {
  std::string name = test.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(AnswerParser, EveryExampleHasAnExpectation) {
  std::set<std::string> expected;
  for (const Expected& one : kExamples) expected.insert(one.name);
  for (const std::string& name : example_names()) EXPECT_TRUE(expected.contains(name)) << name;
}

TEST(AnswerParser, UsageIsTheLastAndTheModelIsNamed) {
  const Result result = parse(200, example("02-stream-incremental"), 100);
  EXPECT_EQ(result.answer.usage.input_tokens, 31U);
  EXPECT_EQ(result.answer.usage.output_tokens, 24U);
  EXPECT_EQ(result.answer.model, "qwen-plus");
  EXPECT_EQ(result.answer.request_id, "02b8d4f2-5b1e-9c3d-8a47-0d6f2e91b4c0");
  EXPECT_FALSE(parse(200, example("13-workflow-nonstream"), 100).answer.has_usage);
}

std::string event(const std::string& text, const std::string& finish = "null") {
  return R"(data:{"output":{"session_id":"s","finish_reason":")" + finish + R"(","text":")" + text +
         "\"}}\n\n";
}

// answer_text_test.cc covers how pieces relate to each other; here they arrive as bytes.
TEST(AnswerParser, PiecesAddUpToTheAnswerCutAnywhere) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> answers = {
      {{"哈", "哈哈", "哈哈哈", "，好笑", ""}, "哈哈哈哈哈哈，好笑"},
      {{"1", "10", "100", ""}, "110100"},
      {{"a", "b", "c", "abc"}, "abc"},
      {{"春", "春眠不觉晓，", "春眠不觉晓，处处", "春眠不觉晓，处处闻啼鸟。"}, "春眠不觉晓，处处闻啼鸟。"},
  };
  for (const auto& [pieces, text] : answers) {
    std::string body;
    for (size_t i = 0; i < pieces.size(); ++i)
      body += event(pieces[i], i + 1 < pieces.size() ? "null" : "stop");
    for (size_t step = 1; step <= body.size(); ++step) {
      const Result result = parse(200, body, step);
      ASSERT_EQ(result.state, State::kFinished) << result.error.message;
      ASSERT_EQ(result.text, text) << "in steps of " << step;
    }
  }
}

TEST(AnswerParser, EachIncrementIsReportedWithItsEvent) {
  Reader reader;
  reader.feed(200, event("a"));
  EXPECT_EQ(reader.text, "a");
  reader.feed(200, event("b"));
  EXPECT_EQ(reader.text, "ab");
  EXPECT_EQ(reader.feed(200, event("c", "stop")), State::kFinished);
  EXPECT_EQ(reader.text, "abc");
  EXPECT_EQ(reader.feed(200, event("d")), State::kFinished) << "what follows is ignored";
  EXPECT_EQ(reader.text, "abc");
}

TEST(AnswerParser, ThoughtsAreToldApartFromTheText) {
  Reader reader;
  EXPECT_EQ(reader.feed(200, example("03-stream-thoughts")), State::kFinished);
  EXPECT_EQ(reader.pieces, "thought:嗯;thought:，这是;thought:基础加法。;text:1+1;text: = 2;text: ✅;");
}

TEST(AnswerParser, CitationsAreEachToldOnce) {
  const auto citations = parse(200, example("12-stream-rag-references"), 100).answer.citations;
  ASSERT_EQ(citations.size(), 2U);
  EXPECT_EQ(citations[0].index, 1);
  EXPECT_EQ(citations[0].title, "售后手册");
  EXPECT_EQ(citations[1].index, 2);
  EXPECT_EQ(citations[1].title, "运费说明");
}

TEST(AnswerParser, CitationsAreMadeFitToBeShown) {
  const auto cited = [](const std::string& reference) {
    return parse(200, R"({"output":{"doc_references":[)" + reference + R"(],"finish_reason":"stop"}})", 99)
        .answer.citations.at(0);
  };
  EXPECT_EQ(cited("{\"title\":\"a\\nb\x7f\"}").title, "a b ");
  EXPECT_EQ(cited(R"({"title":")" + std::string(199, 'x') + R"(杭"})").title, std::string(199, 'x'));
  EXPECT_EQ(cited("{}").index, 1);
  EXPECT_EQ(cited(R"({"doc_url":"https://a/b?c=d"})").url, "https://a/b?c=d");
  EXPECT_EQ(cited(R"({"doc_url":"http://a/"})").url, "http://a/");
  EXPECT_EQ(cited(R"({"doc_url":"https://)" + std::string(500, 'a') + R"("})").url, "");
  for (const char* url : {"javascript:alert(1)", "//a/", "https://a/ b", "https://a/\\\""}) {
    EXPECT_EQ(cited(std::string(R"({"doc_url":")") + url + R"("})").url, "") << url;
  }
}

TEST(AnswerParser, CitationsAreAtMostThirtyTwo) {
  std::string references = R"({"title":"a"})";
  for (int i = 0; i < 40; ++i) references += R"(,{"title":"a"})";
  const std::string body = R"({"output":{"doc_references":[)" + references + R"(],"finish_reason":"stop"}})";
  EXPECT_EQ(parse(200, body, 99).answer.citations.size(), 32U);
}

TEST(AnswerParser, WhatFollowsTheEndInTheSamePieceIsNotHeard) {
  const Result result = parse(200, event("a", "stop") + event("b") + "data:nonsense\n\n", 9999);
  EXPECT_EQ(result.state, State::kFinished);
  EXPECT_EQ(result.text, "a");
}

TEST(AnswerParser, AnAnswerTakenBackIsAFault) {
  const std::string start = "once upon a time";
  const std::string body = event(start) + event(start + " there") + event(start + " there was");
  const Result result = parse(200, body + event("x", "stop"), 10);
  EXPECT_EQ(result.state, State::kFailed);
  EXPECT_EQ(result.text, start + " there was");
}

std::string workflow(const std::string& node, const std::string& content) {
  return R"(data:{"output":{"workflow_message":{"node_type":")" + node + R"(","message":{"content":")" +
         content + "\"}},\"finish_reason\":\"null\"}}\n\n";
}

TEST(AnswerParser, AWorkflowsFinalTextIsNotSaidTwice) {
  EXPECT_EQ(parse(200, workflow("End", "a") + workflow("End", "b") + event("ab", "stop"), 9).text, "ab");
  EXPECT_EQ(parse(200, workflow("End", "a") + event("ab", "stop"), 9).text, "ab");
  EXPECT_EQ(parse(200, workflow("Message", "a") + workflow("End", "b") + event("b", "stop"), 9).text, "ab");
}

TEST(AnswerParser, AWorkflowsInnerNodesAreNoPartOfTheAnswer) {
  EXPECT_EQ(
      parse(200, workflow("Start", "x") + workflow("LLM", "{}") + workflow("End", "a") + event("a", "stop"),
            9)
          .text,
      "a");
}

TEST(AnswerParser, OtherFinishReasonsEndTheAnswerToo) {
  const Result result = parse(200, event("a") + event("b", "length"), 5);
  EXPECT_EQ(result.state, State::kFinished);
  EXPECT_EQ(result.answer.finish_reason, "length");
}

TEST(AnswerParser, ANullFinishReasonIsNone) {
  EXPECT_EQ(parse(200, "data:{\"output\":{\"finish_reason\":null,\"text\":\"a\"}}\n\n", 5).error.code,
            "truncated_answer");
  EXPECT_EQ(parse(200, R"({"output":{"finish_reason":"null","text":"a"}})", 5).error.code,
            "truncated_answer");
}

TEST(AnswerParser, AMarkOfTheEndIsNoPieceOfIt) {
  const Result result = parse(200, event("a") + "data: [DONE]\n\n" + event("b", "stop"), 7);
  EXPECT_EQ(result.state, State::kFinished);
  EXPECT_EQ(result.text, "ab");
}

TEST(AnswerParser, HeldTextIsToldBeforeTheFault) {
  EXPECT_EQ(parse(200, event("a") + event("ab"), 7).text, "aab");
}

TEST(AnswerParser, AFaultQuotesNothingOfTheAnswer) {
  for (const std::string body :
       {"data:{\"output\":{\"text\":\"words\"\n\n", "{\"output\":{\"text\":\"words\"}}",
        "data:{\"output\":{\"text\":\"words\"}}\n\n"}) {
    const Result result = parse(200, body, 99);
    EXPECT_EQ(result.state, State::kFailed) << body;
    EXPECT_EQ(result.error.message.find("words"), std::string::npos) << result.error.message;
  }
}

TEST(AnswerParser, HeldTextShowsNoKey) {
  EXPECT_EQ(parse(200, event("a") + event("a" + std::string(kKey)), 7).text, "aa***");
}

TEST(AnswerParser, HeldTextIsToldBeforeAnEndWithoutText) {
  const Result result =
      parse(200, event("a") + event("ab") + "data:{\"output\":{\"finish_reason\":\"stop\"}}\n\n", 7);
  EXPECT_EQ(result.state, State::kFinished);
  EXPECT_EQ(result.text, "aab");
}

TEST(AnswerParser, ASessionIdThatIsNoneIsNotTaken) {
  EXPECT_EQ(
      parse(200, "{\"output\":{\"session_id\":\"a\x7f\",\"text\":\"x\",\"finish_reason\":\"stop\"}}", 99)
          .answer.session_id,
      "");
  EXPECT_EQ(parse(200, R"({"output":{"session_id":"a b","text":"x","finish_reason":"stop"}})", 99)
                .answer.session_id,
            "");
  const std::string long_id(129, 's');
  EXPECT_EQ(
      parse(200, R"({"output":{"session_id":")" + long_id + R"(","text":"x","finish_reason":"stop"}})", 99)
          .answer.session_id,
      "");
}

TEST(AnswerParser, ASessionIdThatNeedsEscapesIsNotTaken) {
  for (const char* id : {R"(\")", R"(\\)", R"(\n)"}) {
    const std::string body =
        std::string(R"({"output":{"session_id":"a)") + id + R"(","text":"x","finish_reason":"stop"}})";
    const Result result = parse(200, body, 99);
    EXPECT_EQ(result.state, State::kFinished) << body;
    EXPECT_EQ(result.answer.session_id, "");
  }
}

TEST(AnswerParser, AnEndlessAnswerIsRefused) {
  const std::string piece = event(std::string(100000, 'x'));
  std::string body = event("y");
  for (int i = 0; i < 50; ++i) body += piece;
  const Result result = parse(200, body + event("", "stop"), 4096);
  EXPECT_EQ(result.state, State::kFailed);
  EXPECT_LE(result.text.size(), AnswerParser::kMaxAnswerBytes);
}

TEST(AnswerParser, AnEndlessThoughtIsCutAndTheAnswerGoesOn) {
  Reader reader;
  const std::string thought = R"(data:{"output":{"thoughts":[{"action_type":"reasoning","thought":")" +
                              std::string(100000, 'x') + "\"}]}}\n\n";
  for (int i = 0; i < 50; ++i) EXPECT_EQ(reader.feed(200, thought), State::kReading);
  EXPECT_EQ(reader.feed(200, event("a", "stop")), State::kFinished);
  EXPECT_EQ(reader.text, "a");
  EXPECT_EQ(reader.thought.size(), AnswerParser::kMaxAnswerBytes / 100000 * 100000);
}

struct Page {
  const char* name;
  int status;
  std::string body;
  UpstreamFault fault;
  bool retryable;
};
class OtherBodies : public testing::TestWithParam<Page> {};

TEST_P(OtherBodies, AreFaults) {
  for (size_t step = 1; step <= GetParam().body.size() + 1; ++step) {
    const Result result = parse(GetParam().status, GetParam().body, step);
    EXPECT_EQ(result.state, State::kFailed);
    EXPECT_EQ(result.error.fault, GetParam().fault);
    EXPECT_EQ(result.error.retryable, GetParam().retryable);
  }
}

INSTANTIATE_TEST_SUITE_P(
    AnswerParser, OtherBodies,
    testing::Values(Page{"Empty200", 200, "", UpstreamFault::kFailed, false},
                    Page{"Empty502", 502, "", UpstreamFault::kFailed, false},
                    Page{"Html", 200, "<html>\r\n<body>id:1</body></html>", UpstreamFault::kFailed, false},
                    Page{"Html504", 504, "<html>gateway</html>", UpstreamFault::kFailed, false},
                    Page{"Html429", 429, "<html>slow down</html>", UpstreamFault::kThrottled, true},
                    Page{"ObjectOf429", 429, "{}", UpstreamFault::kThrottled, true},
                    Page{"Blank", 200, "  \n ", UpstreamFault::kFailed, false},
                    Page{"LongBlank", 200, std::string(5000, ' '), UpstreamFault::kFailed, false},
                    Page{"LooksLikeAField", 200, "identity", UpstreamFault::kFailed, false},
                    Page{"HalfAField", 200, "dat", UpstreamFault::kFailed, false},
                    Page{"Array", 200, "[1]", UpstreamFault::kFailed, false},
                    Page{"EmptyObject", 200, "{}", UpstreamFault::kFailed, false},
                    Page{"ObjectOf503", 503, "{}", UpstreamFault::kFailed, false},
                    Page{"CutJson", 200, R"({"output":{"text":"a)", UpstreamFault::kFailed, false},
                    Page{"CommentsOnly", 200, ":keepalive\n\n:keepalive\n\n", UpstreamFault::kFailed, false},
                    Page{"BadEvent", 200, "data:nonsense\n\n", UpstreamFault::kFailed, false},
                    Page{"Redirect", 307, "<a href=/x>moved</a>", UpstreamFault::kFailed, false},
                    Page{"Binary", 200, "\x1f\x8b\x08\x01\xff\xfe", UpstreamFault::kFailed, false}),
    [](const auto& test) { return test.param.name; });

struct Labelled {
  const char* name;
  const char* type;
  std::string body;
};
class LabelledAnswers : public testing::TestWithParam<Labelled> {};

const std::string kWhole = R"({"output":{"text":"ab","finish_reason":"stop"}})";
constexpr const char* kMark = "\xef\xbb\xbf";
constexpr const char* kEventType = "text/event-stream;charset=UTF-8";

TEST_P(LabelledAnswers, AreUnderstoodCutAnywhere) {
  const std::string& body = GetParam().body;
  for (size_t step = 1; step <= body.size(); step += step < 40 ? 1 : body.size() / 7 + 1) {
    const Result result = parse(200, body, step, GetParam().type);
    EXPECT_EQ(result.state, State::kFinished) << result.error.message << " in steps of " << step;
    EXPECT_EQ(result.text, "ab") << "in steps of " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(
    AnswerParser, LabelledAnswers,
    testing::Values(
        Labelled{"BlankLines", kEventType, std::string(9000, '\n') + event("a") + event("b", "stop")},
        Labelled{"BlankLinesWithoutType", "", std::string(9000, '\n') + event("a") + event("b", "stop")},
        Labelled{"UnknownLines", kEventType,
                 "identity: x\n<p>hello</p>\nfoo\n\n" + event("a") + event("b", "stop")},
        Labelled{"UnknownLineLikeAnObject", kEventType, "{\"a\":1}\n\n" + event("a") + event("b", "stop")},
        Labelled{"TwoMarks", kEventType, std::string(kMark) + kMark + event("a") + event("b", "stop")},
        Labelled{"TwoMarksWithoutType", "", std::string(kMark) + kMark + event("a") + event("b", "stop")},
        Labelled{"AMarkInMidStream", kEventType, event("a") + kMark + event("b", "stop")},
        Labelled{"LongComment", kEventType,
                 ":" + std::string(1200000, 'x') + "\n\n" + event("a") + event("b", "stop")},
        Labelled{"LongCommentWithoutType", "",
                 ":" + std::string(1200000, 'x') + "\n" + event("a") + event("b", "stop")},
        Labelled{"LongCommentInMidStream", "",
                 event("a") + ":" + std::string(1200000, 'x') + "\n" + event("b", "stop")},
        Labelled{"LongUnknownFieldInMidStream", "",
                 event("a") + "foo:" + std::string(1200000, 'x') + "\n" + event("b", "stop")},
        Labelled{"OtherCase", "Text/Event-Stream ; x=y", "junk\n" + event("a") + event("b", "stop")},
        Labelled{"ObjectBehindBlanks", "application/json", std::string(9000, ' ') + kWhole},
        Labelled{"ObjectBehindBlanksWithoutType", "", std::string(9000, ' ') + kWhole},
        Labelled{"ObjectBehindMarks", "application/json", std::string(kMark) + kMark + "\n" + kWhole},
        Labelled{"ObjectBehindAMarkWithoutType", "", kMark + kWhole},
        Labelled{"ObjectLabelledAStream", kEventType, "\n" + kWhole},
        Labelled{"ObjectBehindAMarkLabelledAStream", kEventType, kMark + kWhole},
        Labelled{"StreamLabelledAnObject", "application/json", event("a") + event("b", "stop")},
        Labelled{"StreamLabelledAPage", "text/html", event("a") + event("b", "stop")}),
    [](const auto& test) { return test.param.name; });

TEST(AnswerParser, AnErrorLabelledAStreamIsUnderstood) {
  const Result result = parse(401, example("05-pre-stream-401"), 7, kEventType);
  EXPECT_EQ(result.error.code, "InvalidApiKey");
}

std::string json_answer(const std::string& members) {
  return R"({"output":{"finish_reason":"stop",)" + members + "}";
}

TEST(AnswerParser, NoFieldShowsTheKey) {
  const std::string key(kKey);
  const std::string body =
      json_answer(R"("session_id":"x)" + key + R"(","text":"a","doc_references":[{"title":"see )" + key +
                  R"( here","doc_url":"https://a/?k=)" + key + R"("}]},"request_id":")" + key +
                  R"(","usage":{"models":[{"model_id":")" + key + R"(","input_tokens":1}]})");
  const Result result = parse(200, body, 9);
  ASSERT_EQ(result.state, State::kFinished) << result.error.message;
  EXPECT_EQ(result.answer.session_id, "");
  EXPECT_EQ(result.answer.request_id, "***");
  EXPECT_EQ(result.answer.model, "***");
  ASSERT_EQ(result.answer.citations.size(), 1U);
  EXPECT_EQ(result.answer.citations[0].title, "see *** here");
  EXPECT_EQ(result.answer.citations[0].url, "");
}

TEST(AnswerParser, ATitleCutWithinTheKeyShowsNoneOfIt) {
  const std::string title = std::string(195, 'x') + std::string(kKey);
  const Result result = parse(200, json_answer(R"("doc_references":[{"title":")" + title + R"("}]})"), 99);
  ASSERT_EQ(result.answer.citations.size(), 1U);
  EXPECT_EQ(result.answer.citations[0].title, std::string(195, 'x') + "***");
}

TEST(AnswerParser, AnIdCutWithinTheKeyShowsNoneOfIt) {
  for (size_t before = 100; before < 130; ++before) {
    const std::string body = R"({"request_id":")" + std::string(before, 'x') + std::string(kKey) +
                             R"(","output":{"finish_reason":"stop"}})";
    EXPECT_EQ(parse(200, body, 99).answer.request_id.find("sk-"), std::string::npos) << before;
  }
}

TEST(AnswerParser, TextAndThoughtsShowNoKeyHoweverItIsCut) {
  for (size_t cut = 1; cut < kKey.size(); ++cut) {
    const std::string start(kKey.substr(0, cut));
    const std::string end(kKey.substr(cut));
    const std::string thought = R"(data:{"output":{"thoughts":[{"action_type":"reasoning","thought":")";
    Reader reader;
    for (const std::string& piece : {start, end}) reader.feed(200, thought + piece + "\"}]}}\n\n");
    reader.feed(200, event("It is " + start));
    reader.feed(200, event(end));
    EXPECT_EQ(reader.feed(200, event("", "stop")), State::kFinished);
    const std::string said = reader.thought + reader.text;
    EXPECT_EQ(said.find(kKey), std::string::npos) << said;
    EXPECT_EQ(said.find(kKey.substr(3)), std::string::npos) << said;
    EXPECT_NE(said.find("***"), std::string::npos) << said;
  }
}

TEST(AnswerParser, WhatMayHaveBecomeTheKeyIsToldAtTheEnd) {
  EXPECT_EQ(parse(200, event("It begins with sk-0123", "stop"), 9).text, "It begins with sk-0123");
  EXPECT_EQ(parse(200, event("It begins with sk-0123"), 9).text, "It begins with sk-0123");
}

TEST(AnswerParser, IdsAndMessagesAreBounded) {
  const std::string huge(500000, 'x');
  Result result = parse(200,
                        R"({"output":{"text":"a","finish_reason":")" + huge + R"("},"request_id":")" + huge +
                            R"(","usage":{"models":[{"model_id":")" + huge + R"(","input_tokens":1}]}})",
                        65536);
  ASSERT_EQ(result.state, State::kFinished) << result.error.message;
  EXPECT_EQ(result.answer.request_id.size(), 128U);
  EXPECT_EQ(result.answer.model.size(), 128U);
  EXPECT_EQ(result.answer.finish_reason.size(), 128U);
  result = parse(
      500, R"({"code":")" + huge + R"(","message":")" + huge + R"(","request_id":")" + huge + R"("})", 65536);
  EXPECT_EQ(result.error.code.size(), 128U);
  EXPECT_LE(result.error.message.size(), 8192U);
  EXPECT_EQ(result.error.request_id.size(), 128U);
}

TEST(AnswerParser, AnAnswerIsAsLongAsItsJson) {
  std::string body;
  std::string escaped;
  for (int i = 0; i < 20000; ++i) escaped += "\\u0001";
  for (int i = 0; i < 36; ++i) body += event(escaped);
  const Result result = parse(200, body + event("", "stop"), 65536);
  EXPECT_EQ(result.state, State::kFailed);
  EXPECT_LE(result.text.size(), AnswerParser::kMaxAnswerBytes / 6);
  EXPECT_GT(result.text.size(), AnswerParser::kMaxAnswerBytes / 6 - 20000);
}

TEST(AnswerParser, ThrottlingIsFreeOnlyBeforeAnythingThatIsBilled) {
  constexpr std::string_view kThrottled =
      "event:error\n:HTTP_STATUS/429\ndata:{\"code\":\"Throttling\",\"message\":\"\"}\n\n";
  const auto is_free = [&](std::string_view before) {
    const Result result = parse(200, std::string(before).append(kThrottled), 7);
    EXPECT_EQ(result.error.fault, UpstreamFault::kThrottled);
    return result.error.retryable;
  };
  EXPECT_TRUE(is_free(""));
  EXPECT_TRUE(is_free(":keepalive\n\n"));
  EXPECT_FALSE(is_free("data:{\"output\":{\"thoughts\":[{\"thought\":\"Hm\"}]}}\n\n"));
  EXPECT_FALSE(is_free("data:{\"output\":{\"text\":\"\"}}\n\n"));
  EXPECT_FALSE(is_free("data:{\"usage\":{\"models\":[{\"input_tokens\":3,\"output_tokens\":0}]}}\n\n"));
}

TEST(AnswerParser, ThrottlingThatCarriesAnOutputIsNotFree) {
  const std::string error = R"({"output":{"text":"half an"},"code":"Throttling","message":""})";
  EXPECT_FALSE(parse(200, "event:error\n:HTTP_STATUS/429\ndata:" + error + "\n\n", 9).error.retryable);
}

TEST(AnswerParser, WhatAnErrorHasCostIsKept) {
  const Result result =
      parse(429, R"({"code":"Throttling","usage":{"models":[{"input_tokens":3,"output_tokens":5}]}})", 9);
  EXPECT_EQ(result.error.fault, UpstreamFault::kThrottled);
  EXPECT_FALSE(result.error.retryable);
  EXPECT_TRUE(result.answer.has_usage);
  EXPECT_EQ(result.answer.usage.output_tokens, 5U);
}

TEST(AnswerParser, ABinaryPageIsShownAsPlainCharacters) {
  const std::string message = parse(502, "\x1f\x8b\nbad\xff", 3).error.message;
  EXPECT_EQ(message, "   bad ");
}

TEST(AnswerParser, AnEndlessJsonAnswerIsRefused) {
  Reader reader;
  const std::string block(1 << 20, ' ');
  EXPECT_EQ(reader.feed(200, "{"), State::kReading);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(reader.feed(200, block), State::kReading);
  EXPECT_EQ(reader.feed(200, block), State::kFailed);
}

TEST(AnswerParser, AnEndlessEventIsRefused) {
  Reader reader;
  const std::string block(1 << 19, 'x');
  EXPECT_EQ(reader.feed(200, "data:{"), State::kReading);
  EXPECT_EQ(reader.feed(200, block), State::kReading);
  EXPECT_EQ(reader.feed(200, block), State::kFailed);
}

TEST(AnswerParser, AnEndlessEventInOnePieceIsRefused) {
  Reader reader;
  EXPECT_EQ(reader.feed(200, "data:" + std::string(SseParser::kMaxEventBytes, 'x')), State::kFailed);
}

TEST(AnswerParser, PiecesOfOneEventAreReturnedOneByOne) {
  AnswerParser parser(kKey);
  const std::string body =
      R"(data:{"output":{"thoughts":[{"action_type":"reasoning","thought":"Hm"}],"session_id":"s","text":"a"},)"
      R"("usage":{"models":[{"output_tokens":7}]}})"
      "\n\n" +
      event("b", "stop");
  parser.feed(200, body);
  const auto thought = parser.next();
  ASSERT_TRUE(thought);
  EXPECT_EQ(thought->kind, AnswerPiece::Kind::kThought);
  EXPECT_EQ(thought->text, "Hm");
  EXPECT_EQ(parser.answer().usage.output_tokens, 7U) << "what an event says comes before its pieces";
  EXPECT_EQ(parser.answer().session_id, "s");
  EXPECT_EQ(parser.next()->text, "a");
  EXPECT_EQ(parser.next()->text, "b");
  EXPECT_EQ(parser.state(), State::kReading);
  EXPECT_FALSE(parser.next());
  EXPECT_EQ(parser.state(), State::kFinished);
}

TEST(AnswerParser, WhatWasHeldBackIsReturnedBeforeTheEnd) {
  const std::string held = std::string(kKey.substr(0, 10));
  const std::string thought =
      R"(data:{"output":{"thoughts":[{"action_type":"reasoning","thought":")" + held + "\"}]}}\n\n";
  Reader reader;
  EXPECT_EQ(reader.feed(200, thought + event("1") + event("10") + event(held)), State::kReading);
  EXPECT_EQ(reader.pieces, "thought:sk-;text:1;text:10sk-;");
  EXPECT_EQ(reader.finish(200), State::kFailed);
  EXPECT_EQ(reader.pieces, "thought:sk-;text:1;text:10sk-;thought:0123456;text:0123456;");
}

TEST(AnswerParser, KeepsNoBodyOnceTheAnswerHasEnded) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer counts no bytes";
  constexpr size_t kBytes = size_t{1} << 20;
  const std::string body =
      R"({"output":{"finish_reason":"stop","text":")" + std::string(kBytes, 'x') + R"("}})";
  AnswerParser parser(kKey);
  const size_t before = allocated_bytes();
  parser.feed(200, body);
  EXPECT_FALSE(parser.next());
  EXPECT_GT(allocated_bytes(), before + kBytes / 2);
  parser.finish(200);
  while (parser.next()) {
  }
  EXPECT_EQ(parser.state(), State::kFinished);
  EXPECT_LT(allocated_bytes(), before + kBytes / 2);
}

TEST(AnswerParser, KeepsNoStartOfAnEventStream) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer counts no bytes";
  constexpr size_t kBytes = 60'000;
  const std::string blank(kBytes, ' ');
  AnswerParser parser(kKey);
  const size_t before = allocated_bytes();
  parser.expect("text/event-stream");
  parser.feed(200, blank);
  EXPECT_FALSE(parser.next());
  EXPECT_GT(allocated_bytes(), before + kBytes / 2) << "it may still become an object";
  for (int i = 0; i < 2; ++i) {
    parser.feed(200, ":\n");
    EXPECT_FALSE(parser.next());
  }
  EXPECT_LT(allocated_bytes(), before + kBytes / 2);
}

}  // namespace
}  // namespace bailian
