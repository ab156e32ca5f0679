// Answers that several questions share: from the cache, with those who ask at the same time, and by
// Idempotency-Key. Each test counts how often the upstream was asked.

#include <gtest/gtest.h>

#include <csignal>
#include <string>
#include <vector>

#include "harness/answer.h"
#include "harness/deadline.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

Exchange ask(const Site& site, const std::string& prompt,
             const std::vector<std::pair<std::string, std::string>>& headers = {},
             const std::string& path = kStreamPath) {
  HttpRequest request{.method = "POST", .path = path, .body = chat_body(prompt)};
  request.headers.add("Content-Type", "application/json");
  for (const auto& [name, value] : headers) request.headers.add(name, value);
  return site.browser().send(request);
}

// What differs between two answers with the same text.
std::string without_ids(std::string body) {
  for (const std::string name : {"\"session_id\":\"", "\"request_id\":\""}) {
    for (size_t at = 0; (at = body.find(name, at)) != body.npos; at += name.size())
      body.erase(at + name.size(), body.find('"', at + name.size()) - at - name.size());
  }
  return body;
}

bool has_metric(const Site& site, const std::string& line) {
  return site.get("/metrics").body.find("\n" + line + "\n") != std::string::npos;
}

class SharedAnswers : public SharedSite<SharedAnswers> {
 public:
  static SiteOptions options() {
    return {.settings = {{"ANSWER_CACHE", "first-turn"}, {"WORKERS", "2"}, {"CAP_DAY_TOKENS", "100000"}}};
  }

 protected:
  // Each test has questions of its own.
  static std::string question(const std::string& directive) {
    static int number = 0;
    return "[[sim " + directive + "]] question " + std::to_string(++number);
  }
  // How many have joined an answer that was under way, in all tests so far.
  static int joined() {
    const std::string metrics = site().get("/metrics").body;
    const std::string line = "\nbailian_answer_cache_total{bot=\"default\",result=\"joined\"} ";
    return std::stoi(metrics.substr(metrics.find(line) + line.size()));
  }
  static bool comes_to_have_joined(int number) {
    for (const Deadline deadline; joined() < number;)
      if (deadline.left_ms() == 0) return false;
    return joined() == number;
  }
};

TEST_F(SharedAnswers, ACachedAnswerIsTheFirstOneByteForByteExceptIdsAndUsage) {
  const std::string prompt = question("events=5");
  auto first = ask(site(), prompt);
  const Response original = first.read_all();
  EXPECT_EQ(original.headers.get("X-Bailian-Cache"), "");
  auto second = ask(site(), "  " + prompt + "\n");
  const Response cached = second.read_all();
  EXPECT_EQ(cached.status, 200);
  EXPECT_EQ(cached.headers.get("X-Bailian-Cache"), "hit");
  EXPECT_EQ(site().simulator().count("requests"), 1);
  const std::string_view usage = "\"usage\":";
  const auto pieces = [&](const std::string& body) { return without_ids(body.substr(0, body.find(usage))); };
  EXPECT_EQ(pieces(cached.body), pieces(original.body));
  EXPECT_NE(cached.body.find(R"("usage":{"input_tokens":0,"output_tokens":0})"), std::string::npos);
  EXPECT_EQ(cached.body.find("\"session_id\":\"\""), cached.body.find("\"session_id\":"));
  EXPECT_EQ(original.body.find("\"session_id\":\"\""), std::string::npos);

  const Response whole = ask(site(), prompt, {}, kChatPath).read_all();
  EXPECT_EQ(whole.headers.get("X-Bailian-Cache"), "hit");
  EXPECT_EQ(text_at(whole.json(), "/result"), tokens(5));
  EXPECT_EQ(site().simulator().count("requests"), 1);
}

TEST_F(SharedAnswers, NoCachePassesTheCacheByAndRefreshesIt) {
  const std::string prompt = question("events=2");
  ask(site(), prompt).read_all();
  const auto fresh = ask(site(), prompt, {{"Cache-Control", "no-cache"}}).read_all();
  EXPECT_EQ(fresh.headers.get("X-Bailian-Cache"), "");
  EXPECT_EQ(site().simulator().count("requests"), 2);
  EXPECT_EQ(ask(site(), prompt).read_all().headers.get("X-Bailian-Cache"), "hit");
  EXPECT_EQ(site().simulator().count("requests"), 2);
}

TEST_F(SharedAnswers, AFailedOrCutAnswerIsNotKept) {
  for (const char* directive : {"events=3 after=1 status=500 code=InternalError",
                                "status=500 code=InternalError", "fault=no-stop", "finish=length"}) {
    SCOPED_TRACE(directive);
    site().simulator().reset();
    const std::string prompt = question(directive);
    for (int i = 0; i < 2; ++i) EXPECT_EQ(ask(site(), prompt).read_all().headers.get("X-Bailian-Cache"), "");
    EXPECT_EQ(site().simulator().count("requests"), 2);
  }
}

TEST_F(SharedAnswers, VisitorsWhoAskAtTheSameTimeShareOneUpstreamRequestOnAnyLoop) {
  constexpr int kVisitors = 8;
  const std::string prompt = question("events=4 hold=2");
  const int joined_before = joined();
  std::vector<Exchange> visitors;
  visitors.push_back(ask(site(), prompt));
  EXPECT_EQ(read_text(visitors.front()), "tok1 ");
  for (int i = 1; i < kVisitors; ++i) {
    visitors.push_back(ask(site(), prompt));
    EXPECT_EQ(read_text(visitors.back()), "tok1 ") << "from its beginning";
  }
  site().simulator().release();
  for (Exchange& visitor : visitors) EXPECT_EQ(visitor.read_all().status, 200);
  EXPECT_EQ(site().simulator().count("requests"), 1);
  EXPECT_EQ(joined(), joined_before + kVisitors - 1);
}

TEST_F(SharedAnswers, TheUpstreamIsLeftWhenTheLastVisitorLeaves) {
  const std::string prompt = question("events=4 hold=2");
  std::vector<Exchange> visitors;
  for (int i = 0; i < 5; ++i) {
    visitors.push_back(ask(site(), prompt));
    EXPECT_EQ(read_text(visitors.back()), "tok1 ");
  }
  for (int i = 0; i < 4; ++i) visitors[static_cast<size_t>(i)].close();
  auto joined = ask(site(), prompt);  // after the others were seen to leave, or before
  EXPECT_EQ(read_text(joined), "tok1 ");
  EXPECT_EQ(site().simulator().count("cut"), 0);
  visitors.back().close();
  joined.close();
  EXPECT_TRUE(site().simulator().reaches("cut", 1));
  EXPECT_EQ(site().simulator().count("requests"), 1);
}

TEST_F(SharedAnswers, AFailureIsThatOfAllWhoWait) {
  const std::string prompt = question("events=3 after=2 status=500 code=InternalError hold=1");
  const int joined_before = joined();
  auto first = ask(site(), prompt);
  EXPECT_EQ(read_text(first), "tok1 ");
  auto second = ask(site(), prompt);
  EXPECT_EQ(read_text(second), "tok1 ");
  auto whole = ask(site(), prompt, {}, kChatPath);
  ASSERT_TRUE(comes_to_have_joined(joined_before + 2));
  site().simulator().release();
  expect_failed(read_stream(first), "upstream_error");
  expect_failed(read_stream(second), "upstream_error");
  expect_error(whole.read_all(), 502, "upstream_error", "API Error");
  EXPECT_EQ(site().simulator().count("requests"), 1);
}

// --- Idempotency-Key ---

TEST_F(SharedAnswers, AKeySeenAgainIsAnsweredOnce) {
  const std::string prompt = question("events=3");
  const Response first =
      ask(site(), prompt, {{"Idempotency-Key", "key-1"}, {"Cache-Control", "no-cache"}}).read_all();
  const Response again =
      ask(site(), prompt, {{"Idempotency-Key", "key-1"}, {"Cache-Control", "no-cache"}}).read_all();
  EXPECT_EQ(again.body.substr(0, again.body.rfind("\"request_id\"")),
            first.body.substr(0, first.body.rfind("\"request_id\"")))
      << "with its session and its usage";
  const Response whole = ask(site(), prompt, {{"Idempotency-Key", "key-1"}}, kChatPath).read_all();
  EXPECT_EQ(text_at(whole.json(), "/result"), tokens(3));
  EXPECT_EQ(site().simulator().count("requests"), 1);
  EXPECT_TRUE(has_metric(site(), R"(bailian_idempotent_replays_total{bot="default",result="replayed"} 2)"));
}

TEST_F(SharedAnswers, AFallbackJoinsTheStreamOfItsKey) {
  const std::string prompt = question("events=3 hold=1");
  auto stream = ask(site(), prompt, {{"Idempotency-Key", "key-2"}});
  EXPECT_EQ(read_text(stream), "tok1 ");
  auto whole = ask(site(), prompt, {{"Idempotency-Key", "key-2"}}, kChatPath);
  site().simulator().release();
  EXPECT_EQ(text_at(whole.read_all().json(), "/result"), tokens(3));
  EXPECT_EQ(stream.read_all().status, 200);
  EXPECT_EQ(site().simulator().count("requests"), 1);
}

TEST_F(SharedAnswers, AKeyOfAnotherQuestionIsRefused) {
  ask(site(), question("events=1"), {{"Idempotency-Key", "key-3"}}).read_all();
  expect_error(ask(site(), question("events=1"), {{"Idempotency-Key", "key-3"}}).read_all(), 422,
               "idempotency_mismatch", "Idempotency-Key was used for another question");
  expect_error(ask(site(), question("events=1"), {{"Idempotency-Key", std::string(256, 'k')}}).read_all(),
               400, "invalid_request", "Idempotency-Key must be");
  EXPECT_EQ(site().simulator().count("requests"), 1);
}

TEST_F(SharedAnswers, AFailedOrCutAnswerFreesItsKey) {
  ask(site(), question("status=500 code=InternalError"), {{"Idempotency-Key", "key-4"}}).read_all();
  auto left = ask(site(), question("events=3 hold=1"), {{"Idempotency-Key", "key-4"}});
  EXPECT_EQ(read_text(left), "tok1 ");
  left.close();
  EXPECT_TRUE(site().simulator().reaches("cut", 1));
  EXPECT_EQ(ask(site(), question("events=1"), {{"Idempotency-Key", "key-4"}}).read_all().status, 200);
  EXPECT_EQ(site().simulator().count("requests"), 3);
}

// --- caps ---

TEST(SharedAnswersAndCaps, AnAnswerFromTheCacheIsGivenWhenTheBudgetIsUsedUp) {
  Site site(
      {.settings = {{"ANSWER_CACHE", "first-turn"}, {"CAP_DAY_TOKENS", "60"}, {"CAP_EXPECTED_INPUT", "30"}}});
  const std::string prompt = "[[sim events=3]] hello";
  EXPECT_EQ(ask(site, prompt).read_all().status, 200);
  for (int i = 0; i < 5 && ask(site, "[[sim events=3]] other " + std::to_string(i)).read_all().status == 200;
       ++i) {
  }
  const auto asked = site.simulator().count("requests");
  expect_error(ask(site, "[[sim events=3]] more").read_all(), 429, "budget_used_up", "The budget is used up");
  const Response cached = ask(site, prompt).read_all();
  EXPECT_EQ(cached.status, 200);
  EXPECT_EQ(cached.headers.get("X-Bailian-Cache"), "hit");
  EXPECT_EQ(site.simulator().count("requests"), asked);
}

TEST(SharedAnswersAndCaps, NothingIsGivenWhileTheBotIsPaused) {
  Settings settings = {{"ANSWER_CACHE", "first-turn"}};
  Site site({.settings = settings});
  const std::string prompt = "[[sim events=3]] hello";
  EXPECT_EQ(ask(site, prompt).read_all().status, 200);
  settings.merge(site_settings(site.dir(), site.simulator()));
  for (const char* command : {"pause", "resume"}) {
    EXPECT_EQ(run(responder_command(site.dir(), settings, {command})).exit_code, 0);
    const Response answer = ask(site, prompt).read_all();
    if (std::string_view(command) == "pause") {
      expect_error(answer, 503, "paused", "The chat is paused");
    } else {
      EXPECT_EQ(answer.headers.get("X-Bailian-Cache"), "hit");
    }
  }
  EXPECT_EQ(site.simulator().count("requests"), 1);
}

// --- the default, and reloads ---

TEST(SharedAnswersOfButtons, AreKeptUntilAReloadWithAnotherProfile) {
  const std::string profile =
      R"({"botStatus":1,"StartUpMessage":"%","fontSize":"16","userAvatarURL":"",)"
      R"("botImageURL":"","commonButtons":[{"buttonText":"a","buttonPrompt":" [[sim events=2]] a button "}]})";
  WorkDir dir;
  dir.write("bot.json", profile);
  Site site({.settings = {{"BOT_CONFIG_FILE", dir.file("bot.json")}}});
  const std::string button = "[[sim events=2]] a button";
  const std::string other = "[[sim events=2]] no button";
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(ask(site, button).read_all().headers.get("X-Bailian-Cache"), i == 0 ? "" : "hit");
    EXPECT_EQ(ask(site, other).read_all().headers.get("X-Bailian-Cache"), "");
  }
  EXPECT_EQ(site.simulator().count("requests"), 3);
  std::string changed = profile;
  changed.replace(changed.find('%'), 1, "Hello");
  dir.write("bot.json", changed);
  site.responder().process().signal(SIGHUP);
  site.responder().event("reloaded");
  EXPECT_EQ(ask(site, button).read_all().headers.get("X-Bailian-Cache"), "");
  EXPECT_EQ(site.simulator().count("requests"), 4);
}

}  // namespace
}  // namespace bailian::e2e
