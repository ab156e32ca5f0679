// Every example body of DashScope, through the whole chain.

#include <gtest/gtest.h>

#include <set>
#include <sstream>
#include <string>

#include "harness/answer.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

struct Streamed {
  const char* name;
  const char* text;
  const char* code = nullptr;  // the code of the failure; empty when the stream completes
};

const Streamed kStreamed[] = {
    {"02-stream-incremental",
     "你好，世界！👋\n第二行：\"引号\" 与 \\ 反斜杠，家庭 👨‍👩‍👧 表情"},
    {"03-stream-thoughts", "1+1 = 2 ✅"},
    {"12-stream-rag-references", "七天内可以退货<ref>[1]</ref>，运费自付<ref>[2]</ref>。"},
    {"14-workflow-message-format", "西湖的夏天很美 🌸"},
    {"15-workflow-full-thoughts", "晴 ☀️"},
    {"16-tolerance-variant", "容错 ✓"},
    {"04a-stream-error-midway-inspection", "从前有座山，山里", "content_rejected"},
    {"04b-stream-error-midway-500", "从前有座山，山里", "upstream_error"},
    {"04c-stream-truncated-no-stop", "从前有座山，山里", "upstream_error"},
};

struct Whole {
  const char* name;
  const char* text;
};

const Whole kWhole[] = {
    {"01-nonstream-ok", "杭州是一座因西湖与钱塘江而闻名的江南城市 🌊。"},
    {"13-workflow-nonstream", "code"},
};

struct Refused {
  const char* name;
  int status;
  const char* code;
  const char* message;
};

const Refused kRefused[] = {
    {"05-pre-stream-401", 502, "upstream_auth", "Authentication failed"},
    {"05b-401-non2xx-sse", 502, "upstream_auth", "Authentication failed"},
    {"06a-429-json", 429, "rate_limited", "API Error"},
    {"06b-429-in-200-sse", 429, "rate_limited", "API Error"},
    {"06c-429-non2xx-sse", 429, "rate_limited", "API Error"},
    {"07-400-in-200-sse", 502, "upstream_error", "API Error"},
    {"07b-400-json", 502, "upstream_error", "API Error"},
    {"08-400-arrearage-non2xx-sse", 503, "upstream_quota", "API Error"},
    {"09-403-app-access-denied", 502, "upstream_app", "App not found"},
    {"09b-404-workspace-not-found", 502, "upstream_app", "App not found"},
    {"10-500-internal", 502, "upstream_error", "API Error"},
    {"10b-503-gateway-plain", 502, "upstream_error", "API Error"},
    {"10c-400-body-too-large", 413, "too_large", "Request too large"},
    {"17-200-json-although-sse-asked", 502, "upstream_error", "API Error"},
};

// Cumulative although the request asked for increments. On the wire the two look alike, so only the shape and
// the end of the answer are checked.
constexpr const char* kCumulative = "11-stream-non-incremental";

std::string prompt_for(const std::string& name) { return "[[sim example=" + name + "]]"; }

class Examples : public SharedSite<Examples> {
 public:
  static SiteOptions options() { return {.settings = {{"UPSTREAM_RETRIES", "0"}}}; }
};

TEST_F(Examples, StreamedAnswers) {
  for (const auto& example : kStreamed) {
    SCOPED_TRACE(example.name);
    const auto answer = read_stream(site().stream(prompt_for(example.name)));
    EXPECT_EQ(answer.text, example.text);
    if (example.code != nullptr) {
      expect_failed(answer, example.code);
    } else {
      EXPECT_TRUE(bool_at(answer.last, "/success"));
      EXPECT_EQ(text_at(answer.last, "/session_id"), "3f1c9a7be2d84c55a0b6d1e94c7f2083");
    }
  }
}

TEST_F(Examples, UsageIsTheLastOneTold) {
  const auto answer = read_stream(site().stream(prompt_for("02-stream-incremental")));
  EXPECT_TRUE(is_json(at(answer.last, "/usage"), R"({"input_tokens":31,"output_tokens":24})"));
}

TEST_F(Examples, AnEventOfTheUpstreamIsAnEventOfOurs) {
  const auto answer = read_stream(site().stream(prompt_for("02-stream-incremental")));
  EXPECT_EQ(answer.pieces.size(), 9U);
  EXPECT_EQ(answer.pieces.at(7), "家庭 👨‍👩‍");  // half of an emoji sequence, passed on unchanged
}

TEST_F(Examples, ACumulativeStreamStillEndsWell) {
  const auto answer = read_stream(site().stream(prompt_for(kCumulative)));
  EXPECT_TRUE(answer.text.ends_with("春眠不觉晓，处处闻啼鸟。🐦"));
  EXPECT_TRUE(bool_at(answer.last, "/success"));
}

TEST_F(Examples, CitationsComeWithTheLastEvent) {
  const auto answer = read_stream(site().stream(prompt_for("12-stream-rag-references")));
  EXPECT_TRUE(is_json(at(answer.last, "/citations"),
                      R"([{"index":1,"title":"售后手册"},{"index":2,"title":"运费说明"}])"));
}

TEST_F(Examples, CitationsComeWithAWholeAnswer) {
  const auto answer = site().ask("[[sim mode=rag]]").json();
  EXPECT_EQ(number_at(answer, "/citations/0/index"), 1);
  EXPECT_FALSE(text_at(answer, "/citations/0/title").empty());
}

TEST_F(Examples, ThoughtsAreStreamedToThoseWhoAsk) {
  auto exchange = site().browser().send(
      {.method = "POST",
       .path = kStreamPath,
       .body = R"({"last_prompt":"[[sim example=03-stream-thoughts]]","include_thoughts":true})"});
  std::vector<std::string> thoughts;
  std::string text;
  while (const auto event = exchange.read_event()) {
    const auto json = parse_json(std::string_view(*event).substr(6));
    if (has(json, "/thought")) {
      EXPECT_EQ(member_names(json),
                (std::vector<std::string>{"success", "thought", "finished", "session_id"}));
      EXPECT_TRUE(text.empty()) << "a thought behind the answer";
      thoughts.push_back(text_at(json, "/thought"));
    } else if (!bool_at(json, "/finished")) {
      text += text_at(json, "/content");
    }
  }
  EXPECT_EQ(thoughts, (std::vector<std::string>{"嗯", "，这是", "基础加法。"}));
  EXPECT_EQ(text, "1+1 = 2 ✅");
}

TEST_F(Examples, TheThoughtOfAWholeAnswerComesWithItToThoseWhoAsk) {
  const auto answer =
      site().post(kChatPath, R"({"last_prompt":"[[sim mode=thoughts]]","include_thoughts":true})").json();
  EXPECT_FALSE(text_at(answer, "/thought").empty());
  EXPECT_FALSE(has(site().ask("[[sim mode=thoughts]]").json(), "/thought"));
}

TEST_F(Examples, WholeAnswers) {
  for (const auto& example : kWhole) {
    SCOPED_TRACE(example.name);
    const auto answer = site().ask(prompt_for(example.name));
    EXPECT_EQ(answer.status, 200) << answer.body;
    EXPECT_EQ(text_at(answer.json(), "/result"), example.text);
    EXPECT_EQ(text_at(answer.json(), "/response"), example.text);
    EXPECT_EQ(text_at(answer.json(), "/session_id"), "3f1c9a7be2d84c55a0b6d1e94c7f2083");
  }
}

TEST_F(Examples, RefusalsBeforeTheStreamAreHttpErrors) {
  for (const auto& example : kRefused) {
    SCOPED_TRACE(example.name);
    expect_error(site().stream(prompt_for(example.name)).read_all(), example.status, example.code,
                 example.message);
  }
}

TEST_F(Examples, RefusalsOfWholeAnswers) {
  for (const auto& example : kRefused) {
    SCOPED_TRACE(example.name);
    expect_error(site().ask(prompt_for(example.name)), example.status, example.code, example.message);
  }
}

TEST_F(Examples, AllAreTested) {
  std::set<std::string> tested{kCumulative};
  for (const auto& example : kStreamed) tested.insert(example.name);
  for (const auto& example : kWhole) tested.insert(example.name);
  for (const auto& example : kRefused) tested.insert(example.name);
  std::istringstream index(read_file(example_directory() + "/INDEX.tsv"));
  std::string line;
  std::getline(index, line);  // the column names
  while (std::getline(index, line)) {
    const auto file = line.substr(0, line.find('\t'));
    if (file.ends_with(".request.txt")) continue;
    EXPECT_TRUE(tested.contains(file.substr(0, file.rfind(".txt")))) << file;
  }
}

}  // namespace
}  // namespace bailian::e2e
