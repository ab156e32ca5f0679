// A responder that serves, scenario by scenario.

#include "torture.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <vector>

#include "harness/answer.h"
#include "harness/nginx.h"
#include "harness/scripted_upstream.h"
#include "harness/stranger.h"

namespace bailian::torture {
namespace {

// --- answered at once ---

TEST_F(Torture, Health) {
  start();
  survive([&] { ask(kHealthPath, "", 200, "\"healthy\""); });
}

TEST_F(Torture, BotConfig) {
  start();
  survive([&] { ask(kConfigPath, "", 200, "\"botStatus\""); });
}

TEST_F(Torture, Readiness) {
  start();
  survive([&] { ask(kReadyPath, "", 200, "\"ready\""); });
}

TEST_F(Torture, Metrics) {
  start({{"WORKERS", "2"}});
  survive([&] { ask("/metrics", "", 200, "\nprocess_max_fds "); });
}

TEST_F(Torture, StatusPagesWithALiveStream) {
  start({{"WORKERS", "2"}});
  survive([&] {
    auto peer = live_stream();
    ask("/status?full&json", "", 200, is_calm() ? R"("mode":"stream")" : R"("streams":[)");
    ask("/status?full", "", 200, is_calm() ? " stream " : "request id\n");
    simulator().release();
    expect_stream(peer, tokens(3));
  });
}

TEST_F(Torture, Preflight) {
  start();
  survive([&] {
    auto peer = connect();
    send(peer, fcgi::request("OPTIONS", kStreamPath));
    expect_reply(peer, 204, "");
  });
}

TEST_F(Torture, UnknownPath) {
  start();
  survive([&] { ask("/nowhere", "", 404, "not_found"); });
}

TEST_F(Torture, BadRequest) {
  start();
  survive([&] { ask(kStreamPath, R"({"last_prompt":"cut)", 400, "invalid_request"); });
}

TEST_F(Torture, NotFastCgi) {
  start();
  survive([&] {
    auto peer = connect();
    send(peer, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_NO_THROW(peer.await_end());
  });
}

TEST_F(Torture, ByteByByte) {
  start();
  survive([&] {
    auto peer = connect();
    for (const char byte : fcgi::request("GET", kHealthPath)) send(peer, {&byte, 1});
    expect_reply(peer, 200, "\"healthy\"");
  });
}

TEST_F(Torture, ManyParameters) {
  start();
  auto params = fcgi::params_for("GET", kHealthPath);
  for (int i = 0; i < 100; ++i) params.emplace_back("HTTP_X_" + std::to_string(i), std::string(20, 'v'));
  const auto request = fcgi::begin() + fcgi::params_records(params) + fcgi::stdin_records("");
  survive([&] {
    auto peer = connect();
    send(peer, request);
    expect_reply(peer, 200, "\"healthy\"");
  });
}

TEST_F(Torture, LargeBody) {
  start();
  auto body = chat_body("[[sim events=2]]");
  body.insert(1, 1'000'000, ' ');
  survive([&] { ask(kChatPath, body, 200, tokens(2)); });
}

TEST_F(Torture, BodyOverTheLimit) {
  start();
  const std::string body(1'100'000, ' ');
  survive([&] { ask(kChatPath, body, 413, "too_large"); });
}

// --- chats ---

TEST_F(Torture, Stream) {
  start();
  survive([&] { stream("[[sim events=5]]", tokens(5)); });
}

TEST_F(Torture, StreamOfChinese) {
  start();
  survive(
      [&] { stream("[[sim text=echo]] 杭州的天气怎么样？\n\"\\\u0001", "杭州的天气怎么样？\n\"\\\u0001"); });
}

TEST_F(Torture, StreamOfUnevenChunks) {
  start();
  survive([&] { stream("[[sim events=5 chunk=7]]", tokens(5)); });
}

TEST_F(Torture, LongText) {
  start();
  survive([&] { stream("[[sim bytes=20000]]", std::string(20000, 'x')); }, Ends::kServing, Times::kFew);
}

TEST_F(Torture, WholeAnswer) {
  start();
  survive([&] { chat("[[sim events=5]]", tokens(5)); });
}

TEST_F(Torture, CappedStreams) {
  start({{"CAP_DAY_TOKENS", "100000000"}, {"CAP_VISITOR_DAY_TOKENS", "100000000"}, {"LEDGER_SLICE", "64"}});
  survive([&] {
    stream("[[sim events=90]]", tokens(90));  // gets a second slice
    chat("[[sim events=2]]", tokens(2));
  });
}

TEST_F(Torture, OverTheCap) {
  start({{"CAP_DAY_TOKENS", "0"}});
  survive([&] { ask(kStreamPath, chat_body("[[sim events=2]]"), 429, "budget_used_up"); });
}

TEST_F(Torture, VisitorsOfOneAnswer) {
  start({{"ANSWER_CACHE", "first-turn"}, {"ANSWER_CACHE_TTL", "0.001"}, {"WORKERS", "2"}});
  survive([&] {
    std::vector<FcgiPeer> peers;
    for (int i = 0; i < 4; ++i) peers.push_back(ask_for_stream("[[sim events=3 interval=1]]"));
    for (auto& peer : peers) expect_stream(peer, tokens(3));
  });
}

TEST_F(Torture, Conversation) {
  start();
  const auto body =
      R"({"last_prompt":"[[sim events=2]]","session_id":"s","image_urls":["https://x.example/y.png"],)"
      R"("conversation_history":[{"role":"user","content":"你好"},)"
      R"({"role":"assistant","content":"hello"},{"role":"user","content":"[[sim events=2]]"}]})";
  survive([&] { ask(kChatPath, body, 200, tokens(2)); });
}

TEST_F(Torture, KeptConnection) {
  start();
  survive([&] {
    auto peer = connect();
    for (int i = 0; i < 2; ++i) {
      send(peer, fcgi::request("GET", kHealthPath, "", true));
      if (!expect_reply(peer, 200, "\"healthy\"") && !is_calm()) return;
      send(peer, fcgi::request("POST", kStreamPath, chat_body("[[sim events=2]]"), true));
      if (!expect_stream(peer, tokens(2)) && !is_calm()) return;
    }
  });
}

TEST_F(Torture, ManyAtOnce) {
  start();
  survive([&] {
    constexpr size_t kVisitors = 12;
    std::vector<FcgiPeer> peers;
    peers.reserve(kVisitors);
    for (size_t i = 0; i < kVisitors; ++i) {
      peers.push_back(ask_for_stream("[[sim text=echo]] visitor " + std::to_string(i)));
    }
    for (size_t i = 0; i < peers.size(); ++i) expect_stream(peers[i], "visitor " + std::to_string(i));
  });
}

TEST_F(Torture, TwoWorkers) {
  start({{"WORKERS", "2"}});
  survive([&] {
    std::vector<FcgiPeer> peers;
    peers.reserve(4);
    for (int i = 0; i < 4; ++i) {
      peers.push_back(ask_for_stream("[[sim events=2]]"));
    }
    for (auto& peer : peers) expect_stream(peer, tokens(2));
  });
}

TEST_F(Torture, FullHouse) {
  start({{"MAX_STREAMS", "1"}});
  survive([&] {
    auto first = ask_for_stream("[[sim events=2 hold=1]]");
    read_text(first);
    if (is_calm())
      ask(kChatPath, chat_body("hello"), 503, "overloaded");
    else
      stream("[[sim events=2]]", tokens(2));
    simulator().release();
    expect_stream(first, tokens(2));
  });
}

// --- clients ---

TEST_F(Torture, ClientLeavesBeforeTheFirstText) {
  start();
  survive([&] {
    auto peer = ask_for_stream("[[sim events=2 hold=0]]");
    await_upstream(peer, "held", 1);
  });
}

TEST_F(Torture, ClientLeavesWithinAStream) {
  start();
  survive([&] { auto peer = live_stream(); });
}

TEST_F(Torture, ClientLeavesAWholeAnswer) {
  start();
  survive([&] {
    auto peer = connect();
    send(peer, fcgi::request("POST", kChatPath, chat_body("[[sim events=3 hold=0]]")));
    await_upstream(peer, "held", 1);
  });
}

TEST_F(Torture, SlowClient) {
  // The upstream is paused and resumed.
  start({{"CLIENT_BUFFER_BYTES", "16384"}});
  survive(
      [&] {
        auto peer = ask_for_stream("[[sim events=300 batch=20]]");
        expect_stream(peer, tokens(300));
      },
      Ends::kServing, Times::kFew);
}

TEST_F(Torture, ClientThatReadsNothing) {
  start({{"CLIENT_BUFFER_BYTES", "16384"}, {"CLIENT_STALL_TIMEOUT", "0.02"}});
  survive([&] {
    simulator().reset();
    auto peer = ask_for_stream("[[sim fault=flood]]");
    await_upstream(peer, "requests", 1);
    EXPECT_TRUE(simulator().falls_to("open", 0));
  });
}

// --- upstreams ---

// An upstream that fails like this, for streams and for whole answers.
struct Trouble {
  const char* name;
  const char* directive;
};

class TortureByUpstream : public Torture, public testing::WithParamInterface<Trouble> {};

TEST_P(TortureByUpstream, IsSurvived) {
  start();
  const std::string prompt = std::string("[[sim ") + GetParam().directive + "]]";
  survive([&] {
    auto peer = ask_for_stream(prompt);
    expect_failed_stream(peer, tokens(5));
    auto other = connect();
    send(other, fcgi::request("POST", kChatPath, chat_body(prompt)));
    expect_failed_stream(other, tokens(5));
  });
}

INSTANTIATE_TEST_SUITE_P(
    Faults, TortureByUpstream,
    testing::Values(Trouble{"Reset", "fault=reset"}, Trouble{"ResetMidway", "events=5 fault=reset-midway"},
                    Trouble{"Cut", "events=5 fault=cut"},
                    Trouble{"TruncatedChunk", "events=5 fault=truncated-chunk"},
                    Trouble{"BadJson", "events=5 fault=bad-json"},
                    Trouble{"BadUtf8", "events=5 fault=bad-utf8"}, Trouble{"Html", "fault=html"},
                    Trouble{"Redirect", "fault=redirect"}, Trouble{"Empty", "fault=empty"},
                    Trouble{"Error", "status=401 code=InvalidApiKey message=key framing=json"},
                    Trouble{"ErrorEvent", "status=400 code=DataInspectionFailed framing=sse200"},
                    Trouble{"ErrorAfterText", "events=5 status=500 code=InternalError after=2"}),
    [](const auto& one) { return one.param.name; });

TEST_F(Torture, RetryAfterThrottling) {
  start({{"UPSTREAM_RETRIES", "1"}});
  survive(
      [&] {
        simulator().reset();
        stream("[[sim times=1 events=3 status=429 code=Throttling framing=json]]", tokens(3));
      },
      Ends::kServing, Times::kFew);
}

// Each target fails in turn, as the other one rests. A permit that is not given back refuses all later chats.
TEST_F(Torture, Failover) {
  start({{"DASHSCOPE_WORKSPACE_2", "llm-2"}, {"MAX_STREAMS", "1"}});
  survive([&] {
    simulator().reset();
    stream("[[sim times=1 events=3 status=500 code=InternalError framing=json]]", tokens(3));
    EXPECT_TRUE(!is_calm() || simulator().count("requests") == 2);
  });
}

TEST_F(Torture, StaleKeptConnection) {
  start();
  survive([&] {
    stream("[[sim events=2 fault=close-idle]]", tokens(2));
    // A request that was sent as the connection ended may have been accepted, and is not sent again.
    auto peer = ask_for_stream("[[sim events=2]]");
    expect_stream(peer, tokens(2), true);
  });
}

TEST_F(Torture, SilentUpstream) {
  start({{"FIRST_TOKEN_TIMEOUT", "0.02"}});
  survive([&] { ask(kStreamPath, chat_body("[[sim fault=hang]]"), 504, "upstream_timeout"); });
}

TEST_F(Torture, UpstreamThatFallsSilent) {
  start({{"IDLE_TIMEOUT", "0.02"}});
  survive([&] {
    auto peer = ask_for_stream("[[sim fault=stall events=5]]");
    expect_failed_stream(peer, tokens(5));
  });
}

TEST_F(Torture, Heartbeats) {
  start({{"HEARTBEAT", "0.005"}});
  survive([&] { stream("[[sim events=3 delay=20 interval=8]]", tokens(3)); }, Ends::kServing, Times::kFew);
}

TEST_F(Torture, UpstreamByName) {
  start({{"DASHSCOPE_BASE_URL", "http://localhost:" + std::to_string(simulator().port()) + "/api/v1"}});
  survive([&] { stream("[[sim events=2]]", tokens(2)); });
}

TEST_F(Torture, UpstreamThatIsNotThere) {
  start({{"DASHSCOPE_BASE_URL", "http://127.0.0.1:" + std::to_string(unused_port()) + "/api/v1"}});
  survive([&] { ask(kChatPath, chat_body("hello"), 502, "upstream_error"); });
}

class TortureTls : public Torture {
 protected:
  // nginx terminates TLS in front of the simulator. Each run of the scenario needs a new connection.
  void start_behind_tls() {
    const auto key = dir().file("key.pem");
    const auto certificate = dir().file("certificate.pem");
    const auto made =
        run({.argv = {"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                      "-nodes", "-days", "2", "-subj", "/CN=upstream", "-addext",
                      "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate},
             .env = {},
             .directory = dir().path(),
             .fds = {}});
    ASSERT_EQ(made.exit_code, 0) << made.err;
    const auto listener = listen_on_loopback();
    const auto port = std::to_string(listener.port);
    tls_end_.emplace(dir(), "tls",
                     "  server {\n    listen 127.0.0.1:" + port + " ssl;\n    ssl_certificate " +
                         certificate + ";\n    ssl_certificate_key " + key +
                         ";\n    keepalive_timeout 0;\n    location / {\n      proxy_pass http://127.0.0.1:" +
                         std::to_string(simulator().port()) +
                         ";\n      proxy_http_version 1.1;\n      proxy_buffering off;\n    }\n  }\n",
                     listener.fd);
    start({{"DASHSCOPE_BASE_URL", "https://127.0.0.1:" + port + "/api/v1"}, {"SSL_CERT_FILE", certificate}});
  }

 private:
  std::optional<Nginx> tls_end_;
};

TEST_F(TortureTls, Stream) {
  ASSERT_NO_FATAL_FAILURE(start_behind_tls());
  survive([&] { stream("[[sim events=3]]", tokens(3)); });
}

// --- the machine ---

TEST_F(Torture, DrainWithALiveStream) {
  start();
  survive(
      [&] {
        restart();
        auto peer = live_stream();
        responder().signal(SIGTERM);
        simulator().release();
        expect_stream(peer, tokens(3));
      },
      Ends::kEnded);
}

TEST_F(Torture, TwoSignals) {
  start();
  survive(
      [&] {
        restart();
        auto peer = live_stream();
        responder().signal(SIGTERM);
        responder().signal(SIGINT);
        expect_failed_stream(peer, tokens(3));
      },
      Ends::kEnded);
}

// Whatever fails in a reload, open streams continue, and the next reload succeeds.
TEST_F(Torture, ReloadWithALiveStream) {
  const auto write_profile = [&](const std::string& greeting) {
    dir().write("bot.json",
                R"({"botStatus":1,"StartUpMessage":")" + greeting +
                    R"(","fontSize":"16","userAvatarURL":"","botImageURL":"","commonButtons":[]})");
  };
  write_profile("run 0");
  start({{"BOT_CONFIG_FILE", "bot.json"}, {"WORKERS", "2"}});
  int run = 0;
  survive([&] {
    auto peer = live_stream();
    const auto greeting = "run " + std::to_string(++run) + ".";
    write_profile(greeting);
    responder().signal(SIGHUP);
    ask(kConfigPath, "", 200, "\"StartUpMessage\":\"run ");
    simulator().release();
    expect_stream(peer, tokens(3));

    stop_failing();
    responder().signal(SIGHUP);
    const Deadline deadline;
    int in_a_row = 0;  // either worker may answer
    while (in_a_row < 8) {
      auto other = connect();
      other.send(fcgi::request("GET", kConfigPath));
      const bool reloaded = other.read_reply().response.body.find(greeting) != std::string::npos;
      in_a_row = reloaded ? in_a_row + 1 : 0;
      if (deadline.left_ms() == 0) throw WaitedInVain("timed out waiting for the new settings");
    }
  });
}

// Lines that could not be written are lost and counted. No other line is lost, and none is cut.
TEST_F(Torture, LogOpenedAgainWithALiveStream) {
  const auto file = dir().file("the.log");
  start({{"LOG_FILE", file}});
  const auto is_reopened = [&] {
    return std::filesystem::exists(file) && read_file(file).find("\"log_reopened\"") != std::string::npos;
  };
  const auto lost_writes = [&] {
    constexpr std::string_view kName = "\nbailian_log_writes_lost_total ";
    const auto metrics = get("/metrics");
    return std::stoull(metrics.substr(metrics.find(kName) + kName.size()));
  };
  uint64_t lost = 0;
  survive([&] {
    auto peer = live_stream();
    std::filesystem::remove(file);
    responder().signal(SIGUSR1);
    ask(kHealthPath, "", 200, "\"healthy\"");
    simulator().release();
    expect_stream(peer, tokens(3));

    stop_failing();
    EXPECT_TRUE(is_served(responder()));
    std::filesystem::remove(file);
    responder().signal(SIGUSR1);
    await("the new log", is_reopened);
    const uint64_t now_lost = lost_writes();
    const int error = plan()->error;
    if (!is_calm() && plan()->call == kMemory) {
      EXPECT_GE(now_lost, lost);
    } else {
      const bool loses = !is_calm() && plan()->call == kWrite && error > 0 && error != EINTR;
      EXPECT_EQ(now_lost, lost + (loses ? plan()->failed.load() : 0));
    }
    lost = now_lost;
    check_log(read_file(file));
  });
}

// Either the program or its successor serves, and a failed upgrade does not prevent the next one.
class TortureUpgrade : public Torture {
 protected:
  bool has_successor() { return !children_of(responder().pid()).empty(); }

  void await_end_of_upgrade() {
    await("the end of the upgrade", [&] { return !responder().is_running() || !has_successor(); });
    stop_failing();
    EXPECT_NE(get(kHealthPath).find("\"healthy\""), std::string::npos);
    responder().signal(SIGUSR2);
    EXPECT_EQ(responder().wait_alone(), 0);
    const Stranger successor(static_cast<pid_t>(number_at(parse_json(get("/status?json")), "/pid")));
    successor.signal(SIGTERM);
    successor.await_end();
    EXPECT_EQ(log().find("was not ready"), std::string::npos);
    EXPECT_TRUE(!is_calm() || log().find("upgrade_failed") == std::string::npos);
  }
};

TEST_F(TortureUpgrade, WithALiveStream) {
  start();
  survive(
      [&] {
        restart();
        auto peer = live_stream();
        responder().signal(SIGUSR2);
        ask(kHealthPath, "", 200, "\"healthy\"");
        simulator().release();
        expect_stream(peer, tokens(3));
        await_end_of_upgrade();
      },
      Ends::kEnded);
}

TEST_F(TortureUpgrade, WithASuccessorUnderWay) {
  start();
  survive(
      [&] {
        restart();
        plan()->process = kNoProcess;
        responder().signal(SIGUSR2);
        await("a successor", [&] { return has_successor(); });
        plan()->process = responder().pid();
        await_end_of_upgrade();
      },
      Ends::kEnded);
}

TEST_F(Torture, NginxReloadsWithALiveStream) {
  start();
  Nginx nginx(dir(), "nginx", stock_server("unix:" + dir().socket("web"), "unix:" + dir().socket("fcgi")));
  const Browser browser({.unix_path = dir().socket("web")});
  survive([&] {
    auto exchange =
        browser.send({.method = "POST", .path = kStreamPath, .body = chat_body("[[sim events=3 hold=1]]")});
    try {
      if (exchange.status() == 200) exchange.read_event();
      nginx.process().signal(SIGHUP);
      EXPECT_EQ(browser.get(kHealthPath).status == 200 || !is_calm(), true);
      simulator().release();
      while (exchange.status() == 200 && exchange.read_event()) {
      }
    } catch (const WaitedInVain&) {
      throw;
    } catch (const std::exception&) {
      if (is_calm()) throw;
    }
  });
}

}  // namespace
}  // namespace bailian::torture
