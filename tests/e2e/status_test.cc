// The status page and the slow log.

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "harness/answer.h"
#include "harness/deadline.h"
#include "harness/fcgi_peer.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

constexpr const char* kStatusPath = "/status";
constexpr const char* kFullJson = "/status?full&json";

bool contains(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

std::string chat_request(const std::string& path, std::string_view prompt, const std::string& id) {
  const auto body = chat_body(prompt);
  auto params = fcgi::params_for("POST", path, body.size());
  params.emplace_back("REQUEST_ID", id);
  return fcgi::begin() + fcgi::params_records(params) + fcgi::stdin_records(body);
}

std::map<std::string, std::string> states(const Site& site) {
  const auto page = site.get(kFullJson).json();
  std::map<std::string, std::string> found;
  for (const auto& row : at(page, "/streams").GetArray())
    found.emplace(text_at(row, "/request_id"), text_at(row, "/state"));
  return found;
}

const JsonValue& row_of(const Json& page, std::string_view id) {
  for (const auto& row : at(page, "/streams").GetArray())
    if (text_at(row, "/request_id") == id) return row;
  throw std::runtime_error("no stream " + std::string(id));
}

void await(const std::function<bool()>& happens) {
  for (const Deadline deadline; !happens(); std::this_thread::yield())
    if (deadline.left_ms() == 0) throw std::runtime_error("timed out");
}

class Status : public SharedSite<Status> {};

TEST_F(Status, IsTextForTheOperatorAlone) {
  const auto answer = site().get(kStatusPath);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.get("Content-Type"), "text/plain; charset=utf-8");
  EXPECT_EQ(answer.headers.get("Cache-Control"), "no-store");
  EXPECT_EQ(answer.headers.get("X-Content-Type-Options"), "nosniff");
  EXPECT_EQ(answer.headers.get("X-Request-Id"), answer.headers.get("X-Nginx-Request-Id"));
  EXPECT_EQ(answer.headers.count("Access-Control-Allow-Origin"), 0U);
  EXPECT_TRUE(answer.body.starts_with("program:              bailian-fcgi\nversion:              "));
  EXPECT_TRUE(contains(answer.body, "\nstate:                accepting\n"));
  EXPECT_FALSE(contains(answer.body, "request id"));
  EXPECT_TRUE(contains(site().get("/status?full").body, "first token    silent bot       request id\n"));
}

TEST_F(Status, IsJsonWhenAskedFor) {
  const auto json = site().get("/status?json");
  EXPECT_EQ(json.headers.get("Content-Type"), "application/json");
  EXPECT_FALSE(has(json.json(), "/streams"));
  EXPECT_EQ(text_at(json.json(), "/version"), BAILIAN_VERSION);
  EXPECT_EQ(number_at(json.json(), "/pid"), site().responder().process().pid());
  EXPECT_TRUE(text_at(json.json(), "/listening").ends_with("/fcgi"));
  EXPECT_TRUE(at(site().get(kFullJson).json(), "/streams").IsArray());
}

TEST_F(Status, TakesItsQueryFromEitherParameter) {
  for (const char* uri : {"/status?json", "/status"}) {
    auto params = fcgi::params_for("GET", kStatusPath);
    for (auto& [name, value] : params)
      if (name == "REQUEST_URI") value = uri;
    std::erase_if(params, [](const auto& param) { return param.first == "QUERY_STRING"; });
    params.emplace_back("QUERY_STRING", "json");
    FcgiPeer peer(site().fastcgi());
    peer.send(fcgi::begin() + fcgi::params_records(params) + fcgi::stdin_records(""));
    EXPECT_EQ(peer.read_reply().response.headers.get("Content-Type"), "application/json") << uri;
  }
}

TEST_F(Status, IsAtItsOwnPathOnly) {
  for (const char* path : {"/wp-json/status", "/status/", "//status", "/wp-json/status/", "/STATUS"})
    EXPECT_EQ(site().get(path).status, 404) << path;
  for (const char* method : {"POST", "PUT", "DELETE"}) {
    const auto answer = site().browser().fetch({.method = method, .path = kStatusPath});
    EXPECT_EQ(answer.status, 405);
    EXPECT_EQ(answer.headers.get("Allow"), "GET, HEAD");
  }
  const auto head = site().browser().fetch({.method = "HEAD", .path = kStatusPath});
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.body, "");
}

TEST_F(Status, IsNotInTheLogUnlessItIsWanted) {
  const auto id = site().get(kStatusPath).headers.get("X-Request-Id");
  site().responder().request_line(site().get(kHealthPath).headers.get("X-Request-Id"));
  EXPECT_FALSE(contains(site().responder().log(), id));
}

TEST(StatusCounts, TellWhatHasHappened) {
  Site site({.settings = {{"MAX_STREAMS", "2"}, {"FIRST_TOKEN_TIMEOUT", "1"}, {"UPSTREAM_RETRIES", "2"}}});
  const auto before = site.get("/status?json").json();
  EXPECT_EQ(read_stream(site.stream("[[sim events=3]]")).text, tokens(3));
  EXPECT_EQ(site.ask("[[sim events=4]]").status, 200);
  EXPECT_EQ(site.ask("[[sim status=429 times=2]]").status, 200);
  expect_error(site.ask("[[sim status=400 code=InvalidParameter]]"), 502, "upstream_error", "API Error");
  EXPECT_EQ(site.stream("[[sim fault=hang]]").read_all().status, 504);
  auto leaving = site.stream("[[sim events=3 hold=1]]");
  EXPECT_EQ(read_text(leaving), "tok1 ");
  auto staying = site.stream("[[sim events=3 hold=1]]");
  EXPECT_EQ(read_text(staying), "tok1 ");
  expect_error(site.ask("hello"), 503, "overloaded", "Server busy");
  leaving.close();
  await([&] { return states(site).size() == 1; });
  site.simulator().release();
  EXPECT_EQ(read_stream(staying).text, "tok2 tok3 ");
  await([&] { return states(site).empty(); });

  const auto after = site.get("/status?json").json();
  const auto more = [&](const char* name) {
    return number_at(after, std::string("/").append(name)) - number_at(before, std::string("/").append(name));
  };
  EXPECT_EQ(more("requests_error"), 2);
  EXPECT_EQ(more("requests_timeout"), 1);
  EXPECT_EQ(more("requests_client_gone"), 1);
  EXPECT_EQ(more("requests_rejected"), 1);
  EXPECT_EQ(more("upstream_errors"), 2 + 2);
  EXPECT_EQ(more("retries"), 2);
  EXPECT_GE(more("output_tokens"), 3 + 4 + 1 + 3);
  EXPECT_GT(more("input_tokens"), 0);
  EXPECT_EQ(more("requests"), more("requests_done") + 4);
  EXPECT_GE(more("connections"), more("requests"));
  EXPECT_EQ(number_at(after, "/max_active_streams"), 2);
  EXPECT_EQ(number_at(after, "/max_streams"), 2);
  EXPECT_EQ(number_at(after, "/active_streams"), 0);
}

TEST(StatusCounts, TellOfReloads) {
  const auto start = std::chrono::steady_clock::now();
  Site site;
  site.responder().process().signal(SIGHUP);
  EXPECT_TRUE(site.responder().logs(R"("event":"reloaded")"));
  site.dir().write(".env", "TEMPERATURE=2\n");
  site.responder().process().signal(SIGHUP);
  EXPECT_TRUE(site.responder().logs(R"("event":"reload_failed")"));
  const auto page = site.get("/status?json").json();
  EXPECT_EQ(number_at(page, "/reloads"), 1);
  EXPECT_EQ(number_at(page, "/failed_reloads"), 1);
  const auto passed = std::chrono::steady_clock::now() - start;
  EXPECT_LE(number_at(page, "/uptime"), std::chrono::ceil<std::chrono::seconds>(passed).count());
}

TEST(StatusOfStreams, TellsEveryState) {
  Site site({.settings = {{"WORKERS", "3"}, {"HEARTBEAT", "0"}}});
  std::map<std::string, FcgiPeer> peers;
  std::map<std::string, std::string> expected;
  const auto chat = [&](const std::string& id, const char* path, const char* prompt, const char* state) {
    expected.emplace(id, state);
    peers.emplace(id, FcgiPeer(site.fastcgi())).first->second.send(chat_request(path, prompt, id));
  };
  for (int i = 0; i < 10; ++i) {
    const auto n = std::to_string(i);
    chat("w" + n, kStreamPath, "[[sim events=9 hold=0]] a secret", "waiting");
    chat("j" + n, kChatPath, "[[sim events=9 hold=0]] a secret", "waiting");
    chat("s" + n, kStreamPath, "[[sim events=9 hold=3]] a secret", "streaming");
    chat("p" + n, kStreamPath, "[[sim fault=flood]] a secret", "paused");
    chat("f" + n, kStreamPath, "[[sim bytes=50000]] a secret", "finishing");
  }
  await([&] { return states(site) == expected; });

  auto page = site.get(kFullJson).json();
  await([&] {
    page = site.get(kFullJson).json();
    const auto& streaming = row_of(page, "s0");
    return number_at(streaming, "/tokens") == 3 && number_at(streaming, "/waiting_bytes") == 0;
  });
  EXPECT_EQ(number_at(page, "/workers"), 3);
  EXPECT_EQ(number_at(page, "/active_streams"), 40) << "those that are finishing keep nobody out";
  EXPECT_GE(number_at(page, "/max_active_streams"), 40);
  const auto& waiting = row_of(page, "w0");
  EXPECT_EQ(text_at(waiting, "/mode"), "stream");
  EXPECT_EQ(number_at(waiting, "/tokens"), 0);
  EXPECT_EQ(number_at(waiting, "/sent_bytes"), 0);
  EXPECT_TRUE(at(waiting, "/first_token").IsNull());
  EXPECT_EQ(text_at(row_of(page, "j0"), "/mode"), "json");
  const auto& streaming = row_of(page, "s0");
  EXPECT_GT(number_at(streaming, "/sent_bytes"), 0);
  ASSERT_TRUE(at(streaming, "/first_token").IsNumber());
  EXPECT_GE(at(streaming, "/age").GetDouble(), at(streaming, "/first_token").GetDouble());
  EXPECT_GE(at(streaming, "/silent").GetDouble(), 0);
  EXPECT_GT(number_at(row_of(page, "p0"), "/waiting_bytes"), 262144 / 8);
  EXPECT_GT(number_at(row_of(page, "f0"), "/waiting_bytes"), 0);
  for (const char* query : {"?full", "?full&json"}) {
    const auto body = site.get(std::string(kStatusPath) + query).body;
    for (const std::string_view hidden : {std::string_view("secret"), std::string_view("tok1"), kApiKey})
      EXPECT_FALSE(contains(body, hidden)) << query;
    for (const auto& [id, state] : expected) EXPECT_TRUE(contains(body, id)) << query;
  }

  peers.clear();
  await([&] { return states(site).empty(); });
  EXPECT_EQ(number_at(site.get("/status?json").json(), "/active_streams"), 0);
}

TEST(StatusOfStreams, IsToldWhileDraining) {
  Site site;
  auto held = site.stream("[[sim events=3 hold=1]]");
  EXPECT_EQ(read_text(held), "tok1 ");
  site.responder().process().signal(SIGTERM);
  EXPECT_TRUE(site.responder().logs(R"("event":"draining")"));
  await([&] { return text_at(site.get(kFullJson).json(), "/state") == "draining"; });
  EXPECT_EQ(states(site).size(), 1U);
  site.simulator().release();
  EXPECT_EQ(read_stream(held).text, "tok2 tok3 ");
  EXPECT_EQ(site.await_responder_end(), 0);
}

std::vector<Json> slow_lines(const std::string& log) {
  std::vector<Json> lines;
  for (size_t from = 0; from < log.size();) {
    const auto end = log.find('\n', from);
    const auto line = log.substr(from, end - from);
    if (contains(line, R"("event":"slow")")) lines.push_back(parse_json(line));
    from = end == log.npos ? log.size() : end + 1;
  }
  return lines;
}

TEST(SlowLog, TellsWhatWasSlow) {
  Site site({.settings = {{"SLOW_FIRST_TOKEN", "0.000001"}, {"SLOW_ANSWER", "0.000001"}}});
  const auto streamed = site.stream("[[sim events=3]]").read_all().headers.get("X-Request-Id");
  const auto whole = site.ask("[[sim status=429 times=1]]").headers.get("X-Request-Id");
  auto leaving = site.stream("[[sim hold=0]]");
  EXPECT_TRUE(site.simulator().reaches("held", 1));
  leaving.close();
  EXPECT_TRUE(site.responder().logs(R"("outcome":"client_gone")"));
  for (const auto& id : {streamed, whole}) site.responder().request_line(id);
  EXPECT_TRUE(site.responder().logs(R"("what":"answer","seconds":)"));
  await([&] { return slow_lines(site.responder().log()).size() == 5; });

  std::map<std::string, int> seen;
  for (const auto& line : slow_lines(site.responder().log())) {
    const auto id = text_at(line, "/request_id");
    ++seen[(id == streamed ? "streamed " : id == whole ? "whole " : "leaving ") + text_at(line, "/what")];
    EXPECT_EQ(text_at(line, "/level"), "warning");
    EXPECT_TRUE(at(line, "/seconds").IsNumber());
    EXPECT_TRUE(at(line, "/threshold").IsNumber());
    EXPECT_EQ(number_at(line, "/retries"), id == whole ? 1 : 0);
    EXPECT_EQ(text_at(line, "/outcome"), id == streamed || id == whole ? "done" : "client_gone");
    if (id != streamed) continue;
    EXPECT_EQ(number_at(line, "/output_tokens"), 3);
    EXPECT_FALSE(text_at(line, "/model").empty());
    EXPECT_FALSE(text_at(line, "/upstream_request_id").empty());
  }
  EXPECT_EQ(seen, (std::map<std::string, int>{{"leaving answer", 1},
                                              {"leaving first_token", 1},
                                              {"streamed answer", 1},
                                              {"streamed first_token", 1},
                                              {"whole answer", 1}}));
}

TEST(SlowLog, CanBeSwitchedOff) {
  Site site({.settings = {{"SLOW_FIRST_TOKEN", "0"}, {"SLOW_ANSWER", "0"}}});
  const auto id = site.stream("[[sim events=3]]").read_all().headers.get("X-Request-Id");
  site.responder().request_line(id);
  site.responder().process().signal(SIGTERM);
  EXPECT_EQ(site.await_responder_end(), 0);
  EXPECT_TRUE(slow_lines(site.responder().log()).empty());
}

TEST(SlowLog, LeavesOutWhatIsTooMuch) {
  Site site({.settings = {{"SLOW_FIRST_TOKEN", "0"}, {"SLOW_ANSWER", "0.000001"}}});
  std::string last;
  for (int i = 0; i < 15; ++i) last = site.ask("[[sim events=1 delay=0]]").headers.get("X-Request-Id");
  site.responder().request_line(last);
  EXPECT_TRUE(site.responder().logs(R"("message":"5 more lines like this were left out","left_out":5)"));
  EXPECT_EQ(slow_lines(site.responder().log()).size(), 11U);
}

}  // namespace
}  // namespace bailian::e2e
