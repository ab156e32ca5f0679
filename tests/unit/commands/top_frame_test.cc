#include "commands/top_frame.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sysexits.h>

#include <algorithm>

#include "fastcgi/client.h"

namespace bailian {
namespace {

constexpr ScreenSize kLarge = {200, 100};

std::string page(const std::string& figures, const std::string& streams = "") {
  return R"({"program":"bailian-fcgi","version":"1.2.3","pid":7,"uptime":93784,"state":"accepting",)"
         R"("listening":"/run/x.sock","workers":2,"active_streams":3,"max_active_streams":5,)"
         R"("max_streams":10,)" +
         figures + R"("streams":[)" + streams + "]}";
}

std::string stream(const std::string& id, const std::string& age, int tokens) {
  return R"({"request_id":")" + id + R"(","worker":1,"age":)" + age +
         R"(,"state":"streaming","mode":"stream","bot":"shop","tokens":)" + std::to_string(tokens) +
         R"(,"sent_bytes":400,"waiting_bytes":50,"first_token":0.25,"silent":null})";
}

TopSample sample(const std::string& json, Clock::time_point taken = {}) {
  auto parsed = parse_top_sample(json, taken);
  EXPECT_TRUE(parsed) << json;
  return parsed.value_or(TopSample());
}

TEST(TopFrame, ShowsThePageAndTheOldestStreamsFirst) {
  const auto now = sample(page(R"("requests":9,"requests_done":4,"requests_error":1,"requests_timeout":2,)"
                               R"("requests_client_gone":2,"requests_rejected":1,"input_tokens":30,)"
                               R"("output_tokens":40,"upstream_errors":3,"retries":1,)",
                               stream("young", "1.25", 5) + "," + stream("old", "100", 7)));
  const std::string heading =
      "     age state     mode     tokens       sent   waiting   first  silent worker request id             "
      " "
      "         bot";
  const auto row = [](const char* age, int tokens, const char* request_id) {
    return fmt::format(
        "   {} streaming stream        {}        400        50     0.2       -      1 {:<32} shop", age,
        tokens, request_id);
  };
  EXPECT_EQ(
      top_frame(now, nullptr, kLarge),
      (std::vector<std::string>{"bailian-fcgi 1.2.3  pid 7  up 1d 02:03:04  accepting  /run/x.sock",
                                "streams   3 active, 5 at most so far, 10 allowed, 2 workers",
                                "          0 waiting, 2 streaming, 0 paused, 0 finishing",
                                "requests  9 (-/s): 4 done, 1 error, 2 timeout, 2 client gone, 1 rejected",
                                "tokens    52 out (-/s), 30 in (-/s)", "upstream  3 errors, 1 retries", "",
                                heading, row("100.0", 7, "old"), row("  1.2", 5, "young")}));
}

std::string target(int number, const std::string& state, int rests_for) {
  return fmt::format(
      R"({{"bot":"shop","target":{},"state":"{}","rests_for":{},"application":"app","host":"a.example"}})",
      number, state, rests_for);
}

std::string target_row(int number, const char* state) {
  return fmt::format(
      "shop                             {:>6} {:<13} app                              a.example", number,
      state);
}

TEST(TopFrame, ShowsTheTargetsThatAreNotWellFirst) {
  const auto now = sample(page(R"("targets":[)" + target(1, "well", 0) + "," + target(2, "cooling", 300) +
                                   "," + target(3, "due", 0) + "],",
                               stream("a", "1", 1)));
  const auto lines = top_frame(now, nullptr, kLarge);
  ASSERT_EQ(lines.size(), 14U);
  EXPECT_EQ(
      std::vector<std::string>(lines.begin() + 6, lines.begin() + 11),
      (std::vector<std::string>{
          "", "bot                              target state         application                      host",
          target_row(2, "cooling 300 s"), target_row(3, "due"), target_row(1, "well")}));
  EXPECT_EQ(lines[11], "");
}

std::string cap(const char* scope, const char* period, int limit, int used,
                const char* has_refused = "false") {
  return fmt::format(R"({{"scope":"{}","period":"{}","limit":{},"used":{},"leased":5,"has_refused":{}}})",
                     scope, period, limit, used, has_refused);
}

TEST(TopFrame, ShowsTheCapsOfWhichMostIsUsedFirst) {
  const auto now = sample(page(
      R"("ledger":{"fault":"","total":{"paused":false,"caps":[)" + cap("total", "month", 1000, 100) +
      R"(,{"scope":"total","period":"day","limit":null,"used":3}]},"bots":[{"name":"shop","paused":true,)"
      R"("caps":[)" +
      cap("bot", "day", 100, 81) + "," + cap("bot", "month", 200, 199, "true") + "," +
      cap("visitor", "day", 10, 10) + "]}]},"));
  const auto lines = top_frame(now, nullptr, kLarge);
  ASSERT_GE(lines.size(), 12U);
  EXPECT_EQ(std::vector<std::string>(lines.begin() + 6, lines.begin() + 13),
            (std::vector<std::string>{
                "paused    shop", "",
                "cap of                           period        limit         used    leased  of it",
                "shop                             month           200          199         5  100 % used up",
                "shop                             day             100           81         5   81 %",
                "all bots                         month          1000          100         5   10 %", ""}));
}

TEST(TopFrame, ShowsAFaultOfTheLedger) {
  const auto lines = top_frame(
      sample(page(R"("ledger":{"fault":"no \u001b space","total":{"paused":true}},)")), nullptr, kLarge);
  EXPECT_EQ(lines[6], "ledger    no ? space");
  EXPECT_EQ(lines[7], "paused    all bots");
}

TEST(TopFrame, LeavesHalfOfTheScreenToTheStreams) {
  std::string targets = target(1, "well", 0);
  for (int number = 2; number <= 9; ++number) targets += "," + target(number, "well", 0);
  std::string streams = stream("first", "1", 1);
  for (int i = 0; i < 50; ++i) streams += "," + stream("x", "2", 1);
  const auto lines = top_frame(sample(page(R"("targets":[)" + targets + "],", streams)), nullptr, {200, 24});
  ASSERT_EQ(lines.size(), 24U);
  EXPECT_EQ(lines[15], target_row(8, "well"));
  EXPECT_EQ(lines[16], "");
  EXPECT_TRUE(lines[17].starts_with("     age state"));
}

TEST(TopFrame, TellsRatesByDifference) {
  const Clock::time_point start;
  const auto before = sample(page(R"("requests":10,"output_tokens":100,)", stream("a", "1", 50)), start);
  const auto now = sample(page(R"("requests":13,"output_tokens":160,)"), start + std::chrono::seconds(2));
  const auto lines = top_frame(now, &before, kLarge);
  EXPECT_TRUE(lines[3].starts_with("requests  13 (1.5/s):")) << lines[3];
  EXPECT_TRUE(lines[4].starts_with("tokens    160 out (5.0/s), 0 in (0.0/s)")) << lines[4];
}

TEST(TopFrame, KnowsNoRateAcrossARestart) {
  const Clock::time_point start;
  auto before = sample(page(R"("requests":10,)"), start);
  before.numbers["pid"] = 6;
  const auto now = sample(page(R"("requests":13,)"), start + std::chrono::seconds(2));
  EXPECT_TRUE(top_frame(now, &before, kLarge)[3].starts_with("requests  13 (-/s):"));
  before.numbers["pid"] = 7;
  before.taken = now.taken;
  EXPECT_TRUE(top_frame(now, &before, kLarge)[3].starts_with("requests  13 (-/s):"));
}

TEST(TopFrame, FitsIntoEveryScreen) {
  std::string streams = stream("first", "1", 1);
  for (int i = 0; i < 50; ++i) streams += "," + stream(std::string(128, 'x'), "2", 1);
  const auto now = sample(page(R"("targets":[)" + target(1, "due", 0) + "],", streams));
  for (const size_t columns : {0U, 1U, 20U, 79U, 500U}) {
    for (const size_t rows : {0U, 1U, 7U, 8U, 9U, 24U, 500U}) {
      const auto lines = top_frame(now, nullptr, {columns, rows});
      EXPECT_LE(lines.size(), rows);
      for (const auto& line : lines) EXPECT_LE(line.size(), columns);
    }
  }
  EXPECT_EQ(top_frame(now, nullptr, {200, 24}).size(), 24U);
}

TEST(TopFrame, LetsNoHostileByteThrough) {
  const auto now = sample(
      R"({"program":"bailian-fcgi","version":"\u001b[2J\r\n\u0007杭","state":"\u0000\u009b","listening":")" +
      std::string(100000, 'x') +
      R"(","pid":-1,"uptime":18446744073709551615,"requests":1e300,)"
      R"("targets":[1,null,[],{"bot":"\u001b[2J","target":"x","state":"\u001b]0;x\u0007","rests_for":-1,)"
      R"("application":"\u001b","host":"\u009b"}],"streams":[1,null,[],{"age":1e308},)"
      R"({"age":-1,"first_token":"x","silent":-1e308,"tokens":"\u001b[H","request_id":"\u001b]0;x\u0007"}]})");
  const auto lines = top_frame(now, &now, kLarge);
  EXPECT_EQ(lines.size(), 13U + 2 + 4);
  for (const auto& line : lines)
    EXPECT_TRUE(std::all_of(line.begin(), line.end(), [](char c) { return c >= ' ' && c <= '~'; })) << line;
  EXPECT_TRUE(lines[0].starts_with("bailian-fcgi ?[2J??????  pid 0  up ")) << lines[0];
}

TEST(TopFrame, ShowsTheStartOfALongText) {
  const auto now = sample(R"({"program":"bailian-fcgi","listening":")" + std::string(1000, 'x') + R"("})");
  const auto lines = top_frame(now, nullptr, {10'000, 24});
  EXPECT_TRUE(lines[0].ends_with(" " + std::string(200, 'x'))) << lines[0];
}

TEST(TopFrame, IsMadeOfStatusPagesOnly) {
  for (const char* other : {"", "{", "[]", "{}", "1", R"({"program":"nginx"})", R"({"program":1})", "\xff"})
    EXPECT_FALSE(parse_top_sample(other, {})) << other;
}

std::string record(char type, std::string_view content, char padding = 0) {
  const std::string header = {
      1, type, 0, 1, static_cast<char>(content.size() >> 8), static_cast<char>(content.size()), padding, 0};
  return header + std::string(content) + std::string(static_cast<size_t>(padding), 'p');
}

int fault_of(std::string_view bytes) {
  try {
    FcgiAnswer answer;
    if (!answer.feed(bytes)) return -1;
    return answer.status();
  } catch (const ExitError& error) {
    return error.exit_code();
  }
}

TEST(FcgiAnswers, AreReadHoweverTheyAreCut) {
  const std::string whole = record(6, "Status: 404 Not Found\r\nA: b\r\n\r\nbo", 5) + record(7, "stderr") +
                            record(6, "dy") + record(6, "") + record(3, std::string(8, '\0'));
  for (size_t step = 1; step <= whole.size(); ++step) {
    FcgiAnswer answer;
    bool ended = false;
    for (size_t at = 0; at < whole.size(); at += step) {
      EXPECT_FALSE(ended);
      ended = answer.feed(std::string_view(whole).substr(at, step));
    }
    ASSERT_TRUE(ended);
    EXPECT_EQ(answer.status(), 404);
    EXPECT_EQ(answer.body(), "body");
  }
}

TEST(FcgiAnswers, ThatMakeNoSenseAreRefused) {
  const std::string end = record(3, std::string(8, '\0'));
  EXPECT_EQ(fault_of("HTTP/1.1 400 Bad Request\r\n\r\n"), EX_PROTOCOL);
  EXPECT_EQ(fault_of(end), EX_PROTOCOL);
  EXPECT_EQ(fault_of(record(6, "no head") + end), EX_PROTOCOL);
  EXPECT_EQ(fault_of(record(6, "Status: x\r\n\r\n") + end), 0);
  EXPECT_EQ(fault_of(record(6, "A: b\r\n\r\n") + end), 200);
  EXPECT_EQ(fault_of(record(6, "A: b\r\n\r\n")), -1);
  std::string much = record(6, "A: b\r\n\r\n");
  const std::string more = record(6, std::string(65535, '['));
  while (much.size() < (size_t{9} << 20)) much += more;
  EXPECT_EQ(fault_of(much + end), EX_PROTOCOL) << "hostile JSON takes ten times its size";
}

}  // namespace
}  // namespace bailian
