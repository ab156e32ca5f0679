// /metrics and /ping: the counters, and who may read them.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "harness/answer.h"
#include "harness/existing_site.h"
#include "harness/fcgi_peer.h"
#include "harness/scripted_upstream.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

constexpr const char* kMetricsPath = "/metrics";
constexpr const char* kPingPath = "/ping";

// A scrape: each series, labels in the order of their names, with its value.
class Scrape {
 public:
  explicit Scrape(const std::string& text) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with('#')) continue;
      const size_t end = line.rfind(' ');
      series_[line.substr(0, end)] = std::stod(line.substr(end + 1));
    }
  }

  // 0 for a series that is absent.
  double operator[](const std::string& series) const {
    const auto found = series_.find(series);
    return found == series_.end() ? 0 : found->second;
  }
  bool has(const std::string& series) const { return series_.contains(series); }
  // The number of series whose names start with this.
  size_t count(const std::string& start) const {
    return static_cast<size_t>(std::count_if(series_.begin(), series_.end(),
                                             [&](const auto& s) { return s.first.starts_with(start); }));
  }

 private:
  std::map<std::string, double> series_;
};

std::string requests(const std::string& endpoint, const std::string& outcome, const std::string& status) {
  const bool has_bot = endpoint == "config" || endpoint == "chat" || endpoint == "stream";
  return std::string(has_bot ? R"(bailian_requests_total{bot="default",endpoint=")"
                             : R"(bailian_requests_total{endpoint=")") +
         endpoint + R"(",outcome=")" + outcome + R"(",status=")" + status + R"("})";
}
std::string errors(const std::string& code, const std::string& fault) {
  return R"(bailian_upstream_errors_total{bot="default",code=")" + code + R"(",fault=")" + fault +
         R"(",target="1"})";
}
std::string aborts(const std::string& reason, const std::string& phase) {
  return R"(bailian_client_aborts_total{phase=")" + phase + R"(",reason=")" + reason + R"("})";
}
std::string tokens_of(const std::string& model, const std::string& type) {
  return R"(bailian_tokens_total{bot="default",model=")" + model + R"(",type=")" + type + R"("})";
}
constexpr const char* kNotGenerated = "bailian_tokens_not_generated_estimate_total";
constexpr const char* kRetries = R"(bailian_upstream_retries_total{bot="default",target="1"})";
constexpr const char* kUpstreamRequests = R"(bailian_upstream_requests_total{bot="default",target="1"})";
constexpr const char* kPauses = "bailian_backpressure_pauses_total";

Scrape scrape(const Site& site) { return Scrape(site.get(kMetricsPath).body); }

// Scrapes until the series has at least this value.
testing::AssertionResult reaches(const Site& site, const std::string& series, double value) {
  const Deadline deadline;
  while (true) {
    const auto now = scrape(site);
    if (now[series] >= value) return testing::AssertionSuccess();
    if (deadline.left_ms() == 0) return testing::AssertionFailure() << series << " is " << now[series];
  }
}

class Metrics : public testing::Test {
 protected:
  Site site_{{.settings = {{"UPSTREAM_RETRIES", "1"}}}};
};

TEST_F(Metrics, AreTextThatNobodyKeeps) {
  const auto answer = site_.get(kMetricsPath);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.get("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_EQ(answer.headers.get("Cache-Control"), "no-store");
  EXPECT_EQ(answer.headers.get("X-Content-Type-Options"), "nosniff");
  EXPECT_EQ(answer.headers.count("Access-Control-Allow-Origin"), 0U);
  EXPECT_TRUE(answer.body.ends_with('\n'));
  EXPECT_EQ(scrape(site_)[std::string(R"(bailian_build_info{version=")") + BAILIAN_VERSION + R"("})"], 1);
}

TEST_F(Metrics, APingIsAnsweredByAPong) {
  const auto answer = site_.get(kPingPath);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.get("Content-Type"), "text/plain; charset=utf-8");
  EXPECT_EQ(answer.headers.get("Cache-Control"), "no-store");
  EXPECT_EQ(answer.body, "pong");
}

TEST_F(Metrics, AreAtTheirPathsOnly) {
  for (const char* path : {kMetricsPath, kPingPath}) {
    EXPECT_EQ(site_.get(std::string(path) + "?x=y").status, 200);
    for (const auto& other :
         {std::string("/wp-json") + path, std::string(path) + "/", std::string(path) + "s",
          "/" + std::string(path), "/myapi" + std::string(path), "/myapi/.." + std::string(path)}) {
      FcgiPeer peer(site_.fastcgi());
      peer.send(fcgi::request("GET", other));
      EXPECT_EQ(peer.read_reply().response.status, 404) << other;
    }
    const auto posted = site_.post(path, "");
    expect_error(posted, 405, "method_not_allowed", "Method not allowed");
    EXPECT_EQ(posted.headers.get("Allow"), "GET, HEAD");
    FcgiPeer peer(site_.fastcgi());
    peer.send(fcgi::request("HEAD", path));
    const auto head = peer.read_reply().response;
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.body, "");
  }
}

TEST_F(Metrics, CountEachRequestByEndpointOutcomeAndStatus) {
  const std::vector<std::pair<std::string, int>> asked = {
      {kHealthPath, 2}, {kConfigPath, 3}, {kPingPath, 4}, {"/nothing", 5}, {kMetricsPath, 1}};
  for (const auto& [path, times] : asked)
    for (int i = 0; i < times; ++i) site_.get(path);
  site_.post(kChatPath, "{}");
  const auto now = scrape(site_);
  EXPECT_EQ(now[requests("health", "done", "2xx")], 2);
  EXPECT_EQ(now[requests("config", "done", "2xx")], 3);
  EXPECT_EQ(now[requests("ping", "done", "2xx")], 4);
  EXPECT_EQ(now[requests("other", "error", "4xx")], 5);
  EXPECT_EQ(now[requests("metrics", "done", "2xx")], 1);
  EXPECT_EQ(now[requests("chat", "error", "4xx")], 1);
  EXPECT_EQ(now[R"(bailian_chat_duration_seconds_count{bot="default",mode="json",outcome="error"})"], 0)
      << "it was no chat";
}

TEST_F(Metrics, CountAnswersTheirTimesAndTheirTokens) {
  double input = 0;
  double output = 0;
  const auto add = [&](const JsonValue& last) {
    input += static_cast<double>(number_at(last, "/usage/input_tokens"));
    output += static_cast<double>(number_at(last, "/usage/output_tokens"));
  };
  double bytes = 0;
  for (int i = 0; i < 3; ++i) {
    const auto answer = read_stream(site_.stream("[[sim events=7]]"));
    add(answer.last);
    bytes += static_cast<double>(answer.text.size());
  }
  const auto whole = site_.ask("[[sim events=5]]");
  add(whole.json());
  const auto now = scrape(site_);
  EXPECT_EQ(now[requests("stream", "done", "2xx")], 3);
  EXPECT_EQ(now[requests("chat", "done", "2xx")], 1);
  for (const auto& [mode, number] : {std::pair{"stream", 3}, {"json", 1}}) {
    const auto label = std::string(R"(bot="default",mode=")") + mode + R"(")";
    EXPECT_EQ(now["bailian_time_to_first_token_seconds_count{" + label + "}"], number);
    EXPECT_EQ(now["bailian_chat_duration_seconds_count{" + label + R"(,outcome="done"})"], number);
    EXPECT_GT(now["bailian_chat_duration_seconds_sum{" + label + R"(,outcome="done"})"], 0);
    EXPECT_EQ(now["bailian_time_to_first_token_seconds_bucket{" + label + R"(,le="+Inf"})"], number);
  }
  EXPECT_GT(output, 0);
  EXPECT_EQ(now[tokens_of("qwen-plus", "input")], input);
  EXPECT_EQ(now[tokens_of("qwen-plus", "output")], output);
  EXPECT_GT(now["bailian_client_sent_bytes_total"], bytes);
  EXPECT_GT(now["bailian_upstream_received_bytes_total"], bytes);
}

TEST_F(Metrics, CountWhatFailsByItsCode) {
  site_.ask("[[sim status=401 code=InvalidApiKey framing=json]]");
  site_.ask("[[sim status=400 code=DataInspectionFailed framing=json]]");
  site_.stream("[[sim status=400 code=Arrearage]]").read_all();
  read_stream(site_.stream("[[sim status=500 code=InternalError after=1]]"));
  read_stream(site_.stream("[[sim fault=no-stop]]"));
  const auto now = scrape(site_);
  EXPECT_EQ(now[errors("InvalidApiKey", "auth")], 1);
  EXPECT_EQ(now[errors("DataInspectionFailed", "rejected")], 1);
  EXPECT_EQ(now[errors("Arrearage", "quota")], 1);
  EXPECT_EQ(now[errors("InternalError", "failed")], 1);
  EXPECT_EQ(now[errors("truncated_answer", "failed")], 1);
  EXPECT_EQ(now[requests("chat", "error", "5xx")], 1);
  EXPECT_EQ(now[requests("chat", "error", "4xx")], 1);
  EXPECT_EQ(now[requests("stream", "error", "5xx")], 1);
  EXPECT_EQ(now[requests("stream", "error", "2xx")], 2);
  EXPECT_EQ(now[kRetries], 0);
  EXPECT_EQ(now[R"(bailian_chat_duration_seconds_count{bot="default",mode="stream",outcome="error"})"], 3);
}

TEST_F(Metrics, CountRetriesAndWhatTheyAreFor) {
  EXPECT_EQ(site_.ask("[[sim times=1 events=2 status=429 code=Throttling.RateQuota framing=json]]").status,
            200);
  auto now = scrape(site_);
  EXPECT_EQ(now[errors("Throttling.RateQuota", "throttled")], 1);
  EXPECT_EQ(now[kRetries], 1);
  EXPECT_EQ(now[kUpstreamRequests], 2);
  EXPECT_EQ(now[requests("chat", "done", "2xx")], 1);

  EXPECT_EQ(site_.ask("[[sim status=429 code=Throttling.RateQuota framing=json]]").status, 429);
  now = scrape(site_);
  EXPECT_EQ(now[errors("Throttling.RateQuota", "throttled")], 3);
  EXPECT_EQ(now[kRetries], 2);
  EXPECT_EQ(now[kUpstreamRequests], 4);
  EXPECT_EQ(now[requests("chat", "error", "4xx")], 1);
}

TEST_F(Metrics, CountVisitorsWhoLeaveAndWhatTheySave) {
  const auto usage = [](const JsonValue& last) {
    return static_cast<double>(number_at(last, "/usage/output_tokens"));
  };
  const auto whole = usage(read_stream(site_.stream("[[sim events=40]]")).last);
  ASSERT_GT(whole, 0);
  const auto leave = [&](Exchange exchange, const std::string& phase, double times) {
    exchange.close();
    EXPECT_TRUE(reaches(site_, aborts("left", phase), times));
  };

  auto waiting = site_.stream("[[sim events=40 hold=0]]");
  EXPECT_TRUE(site_.simulator().reaches("held", 1));
  leave(std::move(waiting), "waiting", 1);
  EXPECT_EQ(scrape(site_)[kNotGenerated], whole);

  auto streaming = site_.stream("[[sim events=40 hold=2]]");
  read_text(streaming);
  read_text(streaming);
  leave(std::move(streaming), "streaming", 1);
  const auto now = scrape(site_);
  const double had = now[tokens_of("qwen-plus", "output")] - whole;
  EXPECT_GT(had, 0);
  EXPECT_LT(had, whole);
  EXPECT_EQ(now[kNotGenerated], whole + whole - had);
  EXPECT_EQ(now[requests("stream", "client_gone", "none")], 1);
  EXPECT_EQ(now[requests("stream", "client_gone", "2xx")], 1);
  EXPECT_EQ(now[R"(bailian_chat_duration_seconds_count{bot="default",mode="stream",outcome="client_gone"})"],
            2);
}

TEST_F(Metrics, EstimateNothingBeforeThereIsAnAnswerToGoBy) {
  auto exchange = site_.stream("[[sim events=5 hold=0]]");
  EXPECT_TRUE(site_.simulator().reaches("held", 1));
  exchange.close();
  EXPECT_TRUE(reaches(site_, aborts("left", "waiting"), 1));
  EXPECT_EQ(scrape(site_)[kNotGenerated], 0);
}

TEST_F(Metrics, CountTimeouts) {
  Site site({.settings = {{"FIRST_TOKEN_TIMEOUT", "1"}, {"UPSTREAM_RETRIES", "0"}}});
  EXPECT_EQ(site.stream("[[sim fault=hang]]").status(), 504);
  const auto now = scrape(site);
  EXPECT_EQ(now[errors("first_token_timeout", "timeout")], 1);
  EXPECT_EQ(now[requests("stream", "timeout", "5xx")], 1);
}

TEST_F(Metrics, CountConnectionsThatFail) {
  Site site(
      {.settings = {{"DASHSCOPE_BASE_URL", "http://127.0.0.1:" + std::to_string(unused_port()) + "/api/v1"},
                    {"UPSTREAM_RETRIES", "2"}}});
  EXPECT_EQ(site.ask("hello").status, 502);
  const auto now = scrape(site);
  EXPECT_EQ(now[errors("connect_failed", "connect")], 3);
  EXPECT_EQ(now[kRetries], 2);
}

TEST(MetricsOfSlowBrowsers, CountPausesAndThoseThatAreDropped) {
  Site site({.settings = {{"CLIENT_STALL_TIMEOUT", "1"}, {"CLIENT_BUFFER_BYTES", "16384"}}});
  auto slow = site.stream("[[sim fault=flood]]");
  EXPECT_TRUE(reaches(site, kPauses, 1));
  EXPECT_TRUE(reaches(site, aborts("too_slow", "streaming"), 1));
  EXPECT_EQ(scrape(site)[requests("stream", "client_gone", "2xx")], 1);
}

TEST(MetricsOfAFullHouse, ShowHowFullItIsAndWhoIsTurnedAway) {
  Site site({.settings = {{"MAX_STREAMS", "2"}}});
  EXPECT_EQ(scrape(site)["bailian_streams_limit"], 2);
  auto one = site.stream("[[sim events=2 hold=1]]");
  auto other = site.chat("[[sim events=2 hold=0]]");
  EXPECT_TRUE(site.simulator().reaches("held", 2));
  EXPECT_EQ(scrape(site)["bailian_streams_active"], 2);
  EXPECT_EQ(site.stream("[[sim events=2]]").status(), 503);
  site.simulator().release();
  read_stream(one);
  other.read_all();
  const auto now = scrape(site);
  EXPECT_EQ(now["bailian_streams_active"], 0);
  EXPECT_EQ(now[requests("stream", "error", "5xx")], 1);
}

TEST(MetricsOfReloads, TellGoodAndBadOnes) {
  Site site;
  site.responder().process().signal(SIGHUP);
  EXPECT_TRUE(reaches(site, R"(bailian_reloads_total{result="ok"})", 1));
  site.dir().write(".env", "TIMEOUT=soon\n");
  site.responder().process().signal(SIGHUP);
  EXPECT_TRUE(reaches(site, R"(bailian_reloads_total{result="failed"})", 1));
  EXPECT_EQ(scrape(site)[R"(bailian_reloads_total{result="ok"})"], 1);
}

TEST(MetricsOfTheProcess, HaveTheUsualNamesAndPlausibleValues) {
  Site site({.settings = {{"MAX_STREAMS", "100"}, {"WORKERS", "3"}}});
  const auto before = scrape(site);
  EXPECT_GT(before["process_resident_memory_bytes"], 1e6);
  EXPECT_GT(before["process_virtual_memory_bytes"], before["process_resident_memory_bytes"]);
  EXPECT_GE(before["process_threads"], 3);
  EXPECT_GE(before["process_max_fds"], 100);
  struct stat started {};
  ASSERT_EQ(stat(("/proc/" + std::to_string(site.responder().process().pid())).c_str(), &started), 0);
  EXPECT_NEAR(before["process_start_time_seconds"], static_cast<double>(started.st_mtime), 60);
  std::vector<FcgiPeer> peers;
  peers.reserve(20);
  for (int i = 0; i < 20; ++i) peers.emplace_back(site.fastcgi());
  if (before.has("process_open_fds")) {
    EXPECT_TRUE(reaches(site, "process_open_fds", before["process_open_fds"] + 20));
  }
  EXPECT_TRUE(reaches(site, "process_cpu_seconds_total", before["process_cpu_seconds_total"] + 0.01));
}

TEST(MetricsOfSeveralLoops, AreSums) {
  Site site({.settings = {{"WORKERS", "4"}}});
  std::vector<Exchange> exchanges;
  exchanges.reserve(40);
  for (int i = 0; i < 40; ++i) exchanges.push_back(site.stream("[[sim events=5 hold=1]]"));
  EXPECT_TRUE(site.simulator().reaches("held", 40));
  EXPECT_EQ(scrape(site)["bailian_streams_active"], 40);
  site.simulator().release();
  double bytes = 0;
  for (auto& exchange : exchanges) bytes += static_cast<double>(read_stream(exchange).text.size());
  EXPECT_TRUE(reaches(site, requests("stream", "done", "2xx"), 40));
  const auto now = scrape(site);
  EXPECT_EQ(now[requests("stream", "done", "2xx")], 40);
  EXPECT_GT(now["bailian_client_sent_bytes_total"], bytes);
  EXPECT_GT(now["bailian_upstream_received_bytes_total"], bytes);
}

class MetricsOfAHostileUpstream : public testing::Test {
 protected:
  void answer(const std::string& body, int status = 200) {
    auto exchange = site_.chat("hello");
    auto call = upstream_.accept();
    call.send("HTTP/1.1 " + std::to_string(status) +
              " X\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: " +
              std::to_string(body.size()) + "\r\n\r\n" + body);
    exchange.read_all();
  }

  ScriptedUpstream upstream_;
  Site site_{{.settings = {{"DASHSCOPE_BASE_URL", upstream_.base_url()}, {"UPSTREAM_RETRIES", "0"}}}};
};

TEST_F(MetricsOfAHostileUpstream, HaveFewModels) {
  const auto of_model = [&](const std::string& model) {
    answer(R"({"output":{"finish_reason":"stop","text":"x"},"usage":{"models":[{"model_id":)" +
           json_string(model) + R"(,"input_tokens":1,"output_tokens":1}]}})");
  };
  for (const auto& hostile : {std::string("a\"} 1\nforged 7"), std::string(100, 'x'), std::string("模型"),
                              std::string("\\"), std::string(kApiKey)})
    of_model(hostile);
  of_model("");
  for (int i = 0; i < 50; ++i) of_model("qwen-" + std::to_string(i));
  const auto text = site_.get(kMetricsPath).body;
  EXPECT_EQ(text.find("forged"), text.npos);
  EXPECT_EQ(text.find(kApiKey), text.npos);
  const Scrape now(text);
  EXPECT_LE(now.count("bailian_tokens_total{"), 2U * 21);
  EXPECT_EQ(now[tokens_of("unknown", "input")], 1);
  EXPECT_EQ(now[tokens_of("qwen-0", "output")], 1);
  double sum = 0;
  for (int i = 0; i < 50; ++i) sum += now[tokens_of("qwen-" + std::to_string(i), "input")];
  EXPECT_EQ(sum + now[tokens_of("other", "input")], 55) << "nothing is lost";
}

TEST_F(MetricsOfAHostileUpstream, HaveFewCodes) {
  for (int i = 0; i < 30; ++i)
    answer(R"({"code":"Made.Up.)" + std::to_string(i) + R"(","message":"no","request_id":"u"})", 400);
  answer(R"({"code":"a\"} 1\nforged 7","message":"no"})", 400);
  answer("<html>bad gateway</html>", 502);
  const auto text = site_.get(kMetricsPath).body;
  EXPECT_EQ(text.find("forged"), text.npos);
  const Scrape now(text);
  EXPECT_EQ(now[errors("other", "failed")], 31);
  EXPECT_EQ(now[errors("none", "failed")], 1);
  EXPECT_EQ(now.count("bailian_upstream_errors_total{"), 2U);
}

class StatusInclude : public ExistingSite {
 protected:
  void start(std::vector<Edit> edits = {}, const std::string& more = {}) {
    start_responder();
    start_nginx({.listen = "    listen 127.0.0.1:" + std::to_string(port_) + ";\n" + more,
                 .status = true,
                 .status_edits = std::move(edits)});
  }
  Response get_from(uint8_t source, const std::string& path, const std::string& host = "127.0.0.1") const {
    return Browser({.unix_path = {}, .port = port_, .source = source})
        .fetch({.path = path, .headers = {{"Host", host}}});
  }

  const uint16_t port_ = unused_port();
};

TEST_F(StatusInclude, LetsThisMachineLook) {
  start();
  EXPECT_EQ(get_from(1, kPingPath).body, "pong");
  const auto metrics = get_from(1, kMetricsPath);
  EXPECT_EQ(metrics.headers.get("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_EQ(metrics.headers.get("Cache-Control"), "no-store");
  EXPECT_EQ(metrics.headers.count("Access-Control-Allow-Origin"), 0U) << "not the site's either";
  for (const char* path : {"/status", "/status?full&json", "/ready", "/metrics", "/ping"})
    EXPECT_EQ(get_from(1, path).headers.count("X-Request-Id"), 1U) << path << " is the responder's to answer";
}

TEST_F(StatusInclude, LetsNobodyElse) {
  start({}, "    auth_basic off;\n    satisfy any;\n");
  for (const char* path : {"/status", "/status?full", "/ping", "/metrics", "/ready", "//metrics",
                           "/x/../metrics", "/%6Detrics"}) {
    EXPECT_EQ(get_from(2, path).status, 403) << path;
    EXPECT_EQ(browser().get(path).status, 403) << path << " over a unix socket";
  }
}

TEST_F(StatusInclude, LetsNobodyElseWhomTheSiteLetsIn) {
  start({}, "    satisfy any;\n    auth_request /let-in;\n    location = /let-in { return 204; }\n");
  for (const char* path : {"/status", "/ping", "/metrics", "/ready"}) {
    EXPECT_EQ(get_from(1, path).status, 200) << path;
    EXPECT_EQ(get_from(2, path).status, 403) << path;
  }
}

TEST_F(StatusInclude, IsNotKeptByTheSitesCache) {
  start();
  for (const char* path : {"/status", "/metrics", "/ready"}) {
    const auto first = get_from(1, path).headers.get("X-Request-Id");
    EXPECT_NE(get_from(1, path).headers.get("X-Request-Id"), first) << path;
  }
}

// A foreign page whose name now resolves to this machine (DNS rebinding).
TEST_F(StatusInclude, LetsNoPageOfAnotherNameLook) {
  start({}, "    server_name chat.example;\n");
  for (const char* path : {"/status", "/ping", "/metrics", "/ready"}) {
    for (const char* host : {"evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "127-0-0-1",
                             "1.evil", "evil.example:9180", "chat.example.evil.example"})
      EXPECT_EQ(get_from(1, path, host).status, 403) << path << " of " << host;
    for (const char* host : {"localhost", "LOCALHOST:9180", "127.0.0.1:9180", "[::1]:9180", "[::1]",
                             "192.0.2.7", "[2001:db8::7]:80", "chat.example", "chat.example:8080"})
      EXPECT_EQ(get_from(1, path, host).status, 200) << path << " of " << host;
  }
}

TEST_F(StatusInclude, LeavesTheRestToTheSite) {
  start();
  for (const char* path : {"/metrics/", "/status/", "/status.php5", "/my/metrics", "/pings"})
    EXPECT_TRUE(reaches_php(path)) << path;
}

TEST_F(StatusInclude, MayBeMovedWhereTheSiteHasNoPages) {
  start({{"location ~ ^/(?", "location ~ ^/bailian/(?"}});
  EXPECT_EQ(get_from(1, "/bailian/ping?x").body, "pong");
  EXPECT_EQ(get_from(2, "/bailian/ping").status, 403);
  EXPECT_TRUE(reaches_php("/ping"));
}

TEST_F(StatusInclude, IsNeededForTheOperatorsPages) {
  start_responder();
  start_nginx();
  for (const char* path : {"/metrics", "/metrics/", "//metrics", "/wp-json/metrics", "/wp-json/metrics/",
                           "/metrics?rest_route=/metrics", "/?rest_route=/metrics", "/ping", "/wp-json/ping",
                           "/status", "/ready", "/wp-json/status", "/index.php/wp-json/metrics"})
    EXPECT_TRUE(reaches_php(path)) << path;
  for (const char* path :
       {"/myapi/../metrics", "/wp-json/myapi/../metrics", "/myapi/v1/../../metrics", "/myapi/%2e%2e/metrics",
        "/myapi/..%2fmetrics", "/health/../metrics", "/?rest_route=/myapi/v1/../../metrics"})
    EXPECT_TRUE(reaches_php(path)) << path;
  for (const char* path :
       {"/myapi/metrics", "/wp-json/myapi/metrics", "/myapi//metrics", "/?rest_route=/myapi/../metrics",
        "/?rest_route=%2Fmyapi%2F..%2Fmetrics", "/myapi/v1/metrics"}) {
    SCOPED_TRACE(path);
    expect_error(browser().get(path), 404, "not_found", "Endpoint not found");
  }
}

}  // namespace
}  // namespace bailian::e2e
