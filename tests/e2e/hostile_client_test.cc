// Hostile visitors, and hostile peers of the socket behind nginx.

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "harness/answer.h"
#include "harness/fcgi_peer.h"
#include "harness/site.h"
#include "harness/work_dir.h"

namespace bailian::e2e {
namespace {

std::string http_request(const std::string& body) {
  return "POST " + std::string(kStreamPath) +
         " HTTP/1.1\r\nHost: chat.example\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         body;
}

class HostileClients : public SharedSite<HostileClients> {
 public:
  static SiteOptions options() { return {.nginx_server = "  client_max_body_size 2m;\n"}; }

 protected:
  static Address web() { return {.unix_path = site().dir().socket("web")}; }
  static void expect_others_are_served() {
    EXPECT_EQ(site().get(kHealthPath).status, 200);
    EXPECT_EQ(read_stream(site().stream("[[sim events=3]]")).text, tokens(3));
  }
};

TEST_F(HostileClients, LeavingInAnyPhaseHarmsNobody) {
  const auto request = http_request(chat_body("[[sim events=1000 interval=1 delay=0]]"));
  for (size_t length = 0; length < request.size(); length += 9)
    send_all(connect_to(web()), std::string_view(request).substr(0, length));
  for (int received = 1; received <= 20; ++received) {
    const auto visitor = connect_to(web());
    send_all(visitor, request);
    for (int i = 0; i < received; ++i) receive_some(visitor);
  }
  EXPECT_TRUE(site().simulator().falls_to("open", 0));
  EXPECT_EQ(site().simulator().count("completed"), 0);
  expect_others_are_served();
}

TEST_F(HostileClients, ABodyOfOneMebibyteAndOneByteIsTooLarge) {
  auto body = chat_body("[[sim events=3]]");
  body.insert(1, 1048577 - body.size(), ' ');
  for (const char* path : {kStreamPath, kChatPath})
    expect_error(site().post(path, body), 413, "too_large", "Request too large");
  body.erase(1, 1);
  EXPECT_EQ(site().post(kChatPath, body).status, 200);
}

size_t raise_own_file_limit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

TEST_F(HostileClients, HalfOpenInThousandsHoldNobodyUpAndLeaveNothingBehind) {
  const size_t count = std::min<size_t>(4000, raise_own_file_limit() / 2);
  const auto whole = fcgi::request("POST", kStreamPath, chat_body("[[sim events=3]]"));
  const auto& responder = site().responder().process();
  expect_others_are_served();
  const auto files = responder.open_files();
  int64_t memory_after_first = 0;
  for (int round = 0; round < 3; ++round) {
    std::vector<FcgiPeer> peers;
    for (size_t i = 0; i < count; ++i) {
      peers.emplace_back(site().fastcgi());
      peers.back().send(std::string_view(whole).substr(0, i % whole.size()));
    }
    expect_others_are_served();
    if (round == 0) memory_after_first = responder.memory_kib();
    if (!is_sanitized()) {
      EXPECT_LT(responder.memory_kib() - memory_after_first, 4 * 1024);
    }
    peers.clear();
    EXPECT_TRUE(responder.falls_to_open_files(files));
  }
}

// A site whose responder may open only a few files, and peers that use them up.
class FewFiles : public testing::Test {
 protected:
  static constexpr size_t kFiles = 356;  // as many as MAX_STREAMS=50 needs
  static constexpr size_t kPeers = 2 * kFiles;

  static void SetUpTestSuite() { raise_own_file_limit(); }

  void expect_visitors_are_served() {
    EXPECT_EQ(site_.get(kHealthPath).status, 200);
    EXPECT_EQ(read_stream(site_.stream("[[sim events=3]]")).text, tokens(3));
    EXPECT_TRUE(site_.responder().logs(R"("event":"connections_closed")"));
    EXPECT_FALSE(site_.responder().process().open_files() > kFiles);
  }
  FcgiPeer& add_peer() { return peers_.emplace_back(site_.fastcgi()); }
  // Waits until the responder has closed it.
  void expect_is_closed(size_t peer) { EXPECT_NO_THROW(peers_.at(peer).await_end()); }
  void expect_is_open(size_t peer) { EXPECT_FALSE(has_input(peers_.at(peer).socket())); }

  std::vector<FcgiPeer> peers_;
  Site site_{
      {.settings = {{"MAX_STREAMS", "50"}}, .run_by = {"prlimit", "--nofile=" + std::to_string(kFiles)}}};
};

TEST_F(FewFiles, SilentPeersMakeRoomForVisitors) {
  for (size_t i = 0; i < kPeers; ++i) add_peer();
  expect_visitors_are_served();
  expect_is_closed(0);
  expect_is_open(kPeers - 1);
}

TEST_F(FewFiles, PeersThatWaitBetweenRequestsMakeRoomForVisitors) {
  for (size_t i = 0; i < kPeers; ++i) {
    add_peer().send(fcgi::request("GET", kHealthPath, "", true));
    ASSERT_EQ(peers_.back().read_reply().response.status, 200) << "peer " << i;
  }
  expect_visitors_are_served();
  expect_is_closed(0);
  expect_is_open(kPeers - 1);
}

TEST_F(FewFiles, PeersThatSendHalfABodyMakeRoomForVisitors) {
  const auto whole = fcgi::request("POST", kStreamPath, chat_body("[[sim events=3]]"));
  for (size_t i = 0; i < kPeers; ++i) add_peer().send(std::string_view(whole).substr(0, whole.size() - 20));
  expect_visitors_are_served();
  expect_is_closed(0);
}

TEST_F(FewFiles, AnswersUnderWayAreNoRoom) {
  auto exchange = site_.stream("[[sim events=3 hold=1]]");
  EXPECT_EQ(read_text(exchange), "tok1 ");
  for (size_t i = 0; i < kPeers; ++i) add_peer();
  expect_visitors_are_served();
  site_.simulator().release();
  EXPECT_EQ(read_stream(exchange).text, "tok2 tok3 ");
}

TEST_F(FewFiles, WhenTheKernelHasNoneLeftPeersMakeRoomToo) {
  const auto& process = site_.responder().process();
  if (process.open_files() == 0) GTEST_SKIP() << "only root may look into /proc";
  constexpr size_t kLeft = 40;
  const rlimit limit = {process.open_files() + kLeft, kFiles};
  ASSERT_EQ(prlimit(process.pid(), RLIMIT_NOFILE, &limit, nullptr), 0);
  for (size_t i = 0; i < 2 * kLeft; ++i) add_peer();
  expect_visitors_are_served();
  expect_is_closed(0);
}

// --- JSON ---

std::string utf16(std::string_view ascii, bool big_endian, bool mark) {
  std::string bytes;
  const auto add = [&](char high, char low) {
    bytes += big_endian ? high : low;
    bytes += big_endian ? low : high;
  };
  if (mark) add('\xfe', '\xff');
  for (const char c : ascii) add('\0', c);
  return bytes;
}

std::string with_extra(const std::string& value) {
  return R"({"last_prompt":"[[sim events=1]]","extra":)" + value + "}";
}

std::string repeated(std::string_view part, size_t count) {
  std::string all;
  for (size_t i = 0; i < count; ++i) all += part;
  return all;
}

TEST_F(HostileClients, JsonBombsAreRefusedOrReadAndLeaveNothingBehind) {
  struct Bomb {
    const char* what;
    std::string body;
    bool is_read;
  };
  const std::string prompt = chat_body("[[sim events=1]]");
  const Bomb bombs[] = {
      {"deep objects", with_extra(repeated(R"({"a":)", 100'000) + "1" + std::string(100'000, '}')), false},
      {"deep arrays without end", repeated("[", 1'000'000), false},
      {"deep mixture", with_extra(repeated(R"([{"a":)", 50'000)), false},
      {"brackets in a string", with_extra("\"" + std::string(500'000, '[') + "\""), true},
      {"a number too big", with_extra("1e400"), false},
      {"a number of a hundred thousand digits", with_extra(std::string(100'000, '9')), false},
      {"a fraction of a hundred thousand digits", with_extra("0." + std::string(100'000, '9')), true},
      {"an exponent without end", with_extra("1e-" + std::string(100'000, '9')), true},
      {"minus nothing", with_extra("-"), false},
      {"a leading zero", with_extra("007"), false},
      {"hexadecimal", with_extra("0x10"), false},
      {"no number", with_extra("NaN"), false},
      {"half a million numbers", with_extra("[" + repeated("1,", 500'000) + "1]"), true},
      {"a third of a million arrays", with_extra("[" + repeated("[],", 340'000) + "1]"), true},
      {"a hundred and fifty thousand members", with_extra("{" + repeated(R"("a":1,)", 150'000) + R"("a":1})"),
       true},
      {"a hundred thousand messages",
       R"({"last_prompt":"[[sim events=1]]","conversation_history":[)" + repeated("{},", 100'000) + "{}]}",
       true},
      {"the same key twice", R"({"last_prompt":"x","last_prompt":"[[sim events=1]]"})", true},
      {"a byte order mark", "\xef\xbb\xbf" + prompt, true},
      {"two byte order marks", "\xef\xbb\xbf\xef\xbb\xbf" + prompt, false},
      {"UTF-16, little end first", utf16(prompt, false, false), false},
      {"UTF-16, big end first", utf16(prompt, true, false), false},
      {"UTF-16 with a mark, little end first", utf16(prompt, false, true), false},
      {"UTF-16 with a mark, big end first", utf16(prompt, true, true), false},
      {"a NUL before it", std::string(1, '\0') + prompt, false},
      {"a NUL in the prompt", std::string("{\"last_prompt\":\"a\0b\"}", 21), false},
      {"a NUL behind it", prompt + '\0', false},
      {"a comment", "/* x */" + prompt, false},
  };
  const auto& responder = site().responder().process();
  int64_t memory_after_warm_up = 0;
  for (int round = 0; round < 6; ++round) {
    for (const auto& bomb : bombs) {
      SCOPED_TRACE(bomb.what);
      const auto answer = site().post(kChatPath, bomb.body);
      if (bomb.is_read) {
        EXPECT_EQ(answer.status, 200) << answer.body;
      } else {
        expect_error(answer, 400, "invalid_request", "Invalid JSON");
      }
    }
    if (round == 2) memory_after_warm_up = responder.memory_kib();
  }
  if (!is_sanitized()) {
    EXPECT_LT(responder.memory_kib() - memory_after_warm_up, 4 * 1024);
  }
  expect_others_are_served();
}

TEST_F(HostileClients, OfAKeyThatComesTwiceTheLaterCounts) {
  const auto answer = site().post(kChatPath, R"({"last_prompt":"first","last_prompt":"[[sim events=2]]"})");
  EXPECT_EQ(text_at(answer.json(), "/result"), tokens(2));
}

// --- texts ---

const std::vector<std::string> kNaughty = {"undefined",
                                           "null",
                                           "NaN",
                                           "-1e999",
                                           "0x7fffffff",
                                           "true",
                                           "\\",
                                           "\\\\",
                                           "\"",
                                           "'",
                                           "`",
                                           "\"\"\"",
                                           "''''",
                                           "${jndi:ldap://x.example/a}",
                                           "$(reboot)",
                                           "`id`",
                                           "; ls -la #",
                                           "| cat /etc/passwd",
                                           "../../../../etc/passwd%00",
                                           "' OR 1=1 --",
                                           "1;DROP TABLE users",
                                           "{{7*7}}",
                                           "{% raw %}",
                                           "%s%s%s%n",
                                           "%0d%0aSet-Cookie:x=1",
                                           "{0}",
                                           "%",
                                           "<script>alert(1)</script>",
                                           "<img src=x onerror=alert(1)>",
                                           "javascript:alert(1)",
                                           "]]>",
                                           "<!--",
                                           "-->",
                                           "&lt;&amp;&#0;",
                                           "\\u0000",
                                           "\\ud83d",
                                           "\\x00",
                                           "\\r\\n\\r\\n",
                                           "event: error",
                                           "data: [DONE]",
                                           "data: {\"finished\":true}",
                                           ": keep-alive",
                                           "id:1\nevent:error\n:HTTP_STATUS/500\ndata:{}\n\n",
                                           "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\n\r\n",
                                           "0\r\n\r\n",
                                           "\r",
                                           "\n",
                                           "\r\n",
                                           "\t",
                                           " x ",
                                           "x\n\n\n",
                                           std::string("\0", 1),
                                           std::string("a\0b\0", 4),
                                           "\u0001\u0002\u001b[2J\u0007\u007f",
                                           "\u0080\u0085\u009b",
                                           "\u00a0\u2003\u3000",
                                           "\u200b\u200d\u2060\ufeff",
                                           "\u202e\u2066desrever\u2069\u202c",
                                           "\u2028\u2029",
                                           "\ufffd\ufffe\uffff",
                                           "\U0001ffff\U0010ffff",
                                           "e\u0301\u0327\u0489\u20dd",
                                           "Z\u0351\u036b\u0343A\u0334\u0335\u031cL\u0320\u0368G\u0334",
                                           "👨‍👩‍👧‍👦🏳️‍🌈🇨🇳👍🏿",
                                           "田中さんにあげて下さい",
                                           "사회과학원 어학연구소",
                                           "𠜎𠜱𠝹𠱓",
                                           "مُنَاقَشَةُ سُبُلِ",
                                           "בְּרֵאשִׁית",
                                           "ÅÍÎÏ˝ÓÔÒÚÆ☃",
                                           "ﷺ",
                                           "𝕿𝖍𝖊",
                                           "İıſß",
                                           std::string(4083, 'x') + "\"",
                                           repeated("\\\"", 5000),
                                           repeated("\u0001", 3000),
                                           repeated("👋", 5000)};

TEST_F(HostileClients, NaughtyStringsGoBothWaysByteExact) {
  for (const auto& text : kNaughty) {
    SCOPED_TRACE(text.substr(0, 60));
    const auto prompt = "[[sim text=echo]] " + text;
    const auto body = R"({"last_prompt":)" + json_string(prompt) +
                      R"(,"conversation_history":[{"role":"assistant","content":)" + json_string("." + text) +
                      "}]}";
    auto exchange = site().browser().send({.method = "POST", .path = kStreamPath, .body = body});
    const auto streamed = read_stream(exchange, Chunks::kMayCutEvents);
    EXPECT_EQ(streamed.text, text);
    EXPECT_TRUE(bool_at(streamed.last, "/success"));
    const auto asked = site().simulator().last_request();
    EXPECT_EQ(text_at(asked, "/body/input/messages/0/content"), "." + text);
    EXPECT_EQ(text_at(asked, "/body/input/messages/1/content"), prompt);
    EXPECT_EQ(text_at(site().post(kChatPath, body).json(), "/result"), text);
  }
}

// --- injection ---

// Tries to break out of a header, of a log line, and of the terminal that shows it.
const std::string kInjected =
    "x\r\nSet-Cookie: stolen=1\r\nX-Forged: "
    "1\r\n\r\n<html>\n{\"event\":\"forged\",\"level\":\"error\"}\n\x1b]0;x\x07";

class Injection : public testing::TestWithParam<std::string> {};

TEST_P(Injection, ThroughAnyFieldForgesNeitherHeadersNorLogLines) {
  Site site({.settings = {{"ALLOWED_ORIGINS", GetParam()}, {"DEBUG", "True"}}});
  const std::set<std::string> known{"Status",
                                    "Content-Type",
                                    "Content-Length",
                                    "Cache-Control",
                                    "X-Request-Id",
                                    "X-Content-Type-Options",
                                    "Access-Control-Allow-Origin",
                                    "Access-Control-Allow-Methods",
                                    "Access-Control-Allow-Headers",
                                    "Access-Control-Max-Age",
                                    "Access-Control-Expose-Headers",
                                    "Allow",
                                    "ETag",
                                    "Vary"};
  const auto body = chat_body("[[sim events=1]]");
  for (const char* path : {kHealthPath, kConfigPath, kChatPath}) {
    const char* method = path == kChatPath ? "POST" : "GET";
    for (const char* field :
         {"REQUEST_METHOD", "REQUEST_URI", "DOCUMENT_URI", "SCRIPT_NAME", "QUERY_STRING", "CONTENT_TYPE",
          "SERVER_PROTOCOL", "REMOTE_ADDR", "REQUEST_ID", "HTTP_HOST", "HTTP_ORIGIN", "HTTP_IF_NONE_MATCH",
          "HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "HTTP_X_ANYTHING", ""}) {
      for (const auto& value : {kInjected, "https://a.example" + kInjected, "/health" + kInjected}) {
        SCOPED_TRACE(field);
        auto params = fcgi::params_for(method, path, path == kChatPath ? body.size() : 0);
        std::erase_if(params, [&](const auto& param) { return param.first == field; });
        params.emplace_back(field, value);
        FcgiPeer peer(site.fastcgi());
        peer.send(fcgi::begin() + fcgi::params_records(params) +
                  fcgi::stdin_records(path == kChatPath ? body : ""));
        const auto reply = peer.read_reply();
        for (const auto& [name, line] : reply.response.headers) {
          EXPECT_TRUE(known.contains(name)) << name;
          EXPECT_EQ(line.find_first_of("\r\n\x1b"), std::string::npos) << name;
        }
        EXPECT_EQ(reply.response.body.find("<html>"), std::string::npos);
        site.responder().request_line(reply.response.headers.get("X-Request-Id"));
      }
    }
  }
  const auto log = site.responder().log();
  EXPECT_EQ(log.find("\n{\"event\":\"forged\""), std::string::npos);
  EXPECT_EQ(log.find('\x1b'), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Origins, Injection, testing::Values("*", "https://a.example"));

TEST_F(HostileClients, FieldsOfAChatForgeNothing) {
  const auto text = json_string(kInjected);
  const auto bodies = {
      R"({"last_prompt":"[[sim events=1]]","session_id":)" + text + "}",
      R"({"last_prompt":"[[sim events=1]]","image_urls":[)" + text + "]}",
      R"({"last_prompt":"[[sim events=1]]","image_urls":[)" + json_string("https://a.example/" + kInjected) +
          "]}",
      R"({"last_prompt":"[[sim events=1]]",)" + text + ":1}",
      R"({"last_prompt":"[[sim events=1]]","conversation_history":[{"role":)" + text + R"(,"content":"x"}]})",
      R"({"last_prompt":)" + text};
  for (const auto& body : bodies) {
    SCOPED_TRACE(body);
    const auto answer = site().post(kChatPath, body, {{"X-Anything", "x"}});
    EXPECT_EQ(answer.headers.count("Set-Cookie"), 0U);
    EXPECT_EQ(answer.headers.count("X-Forged"), 0U);
    EXPECT_NO_THROW(answer.json());
    site().responder().request_line(answer.headers.get("X-Request-Id"));
  }
  EXPECT_EQ(site().responder().log().find("stolen"), std::string::npos);
}

// --- origins ---

class OriginGames : public SharedSite<OriginGames> {
 public:
  static SiteOptions options() { return {.settings = {{"ALLOWED_ORIGINS", "https://shop.example"}}}; }

 protected:
  static Response post_from(const Headers& headers) {
    return site().post(kChatPath, chat_body("[[sim events=1]]"), headers);
  }
};

TEST_F(OriginGames, NoneButTheListedOneMayChat) {
  for (const std::string& origin : {std::string("HTTPS://SHOP.EXAMPLE"),
                                    std::string("https://shop.example/"),
                                    std::string("https://shop.example."),
                                    std::string("https://shop.example:443"),
                                    std::string("https://shop.example@evil.example"),
                                    std::string("https://evil.example#https://shop.example"),
                                    std::string("https://evil.example/https://shop.example"),
                                    std::string("https://shop.example, https://evil.example"),
                                    std::string("https://shop.example https://evil.example"),
                                    std::string("https://shop.example\xc2\xa0"),
                                    std::string("https://shop\xef\xbc\x8e"
                                                "example"),
                                    std::string("https://shop.example%0d%0aX: y"),
                                    std::string("null"),
                                    std::string("file://"),
                                    std::string("shop.example"),
                                    std::string("//shop.example"),
                                    std::string("https://"),
                                    std::string("://"),
                                    std::string("*"),
                                    std::string("https://*.example"),
                                    "https://shop.example" + std::string(5000, 'x')}) {
    SCOPED_TRACE(origin.substr(0, 80));
    const auto answer = post_from({{"Origin", origin}});
    EXPECT_EQ(answer.status, 403) << answer.body;
    EXPECT_EQ(answer.headers.count("Access-Control-Allow-Origin"), 0U);
  }
  EXPECT_EQ(site().simulator().count("requests"), 0);
}

TEST_F(OriginGames, TheSitesOwnMayBeNamedLikeItOnlyExactly) {
  EXPECT_EQ(post_from({{"Origin", "https://chat.example"}}).status, 200);  // the Host of our browsers
  for (const char* origin : {"https://xchat.example", "https://chat.example.evil.example",
                             "https://chat.exampl", "https://chat.example:81", "chat.example"}) {
    SCOPED_TRACE(origin);
    EXPECT_EQ(post_from({{"Origin", origin}}).status, 403);
  }
}

TEST_F(OriginGames, APageWithoutTlsIsNoneOfASiteThatHasIt) {
  const auto status_of = [](const char* origin, const char* https) {
    const auto body = chat_body("[[sim events=1]]");
    auto params = fcgi::params_for("POST", kChatPath, body.size());
    params.emplace_back("HTTP_HOST", "chat.example");
    params.emplace_back("HTTP_ORIGIN", origin);
    params.emplace_back("HTTPS", https);
    FcgiPeer peer(site().fastcgi());
    peer.send(fcgi::begin() + fcgi::params_records(params) + fcgi::stdin_records(body));
    return peer.read_reply().response.status;
  };
  EXPECT_EQ(status_of("https://chat.example", "on"), 200);
  EXPECT_EQ(status_of("http://chat.example", "on"), 403);
  EXPECT_EQ(status_of("http://chat.example", ""), 200);
  EXPECT_EQ(status_of("https://chat.example", ""), 200) << "TLS may end before the web server";
}

TEST_F(OriginGames, OfTwoOriginsNoneIsAdded) {
  for (const auto& headers :
       {Headers{{"Origin", "https://shop.example"}, {"Origin", "https://evil.example"}},
        Headers{{"Origin", "https://evil.example"}, {"Origin", "https://shop.example"}}}) {
    const auto answer = post_from(headers);
    for (const auto& named : answer.headers.all("Access-Control-Allow-Origin"))
      EXPECT_EQ(named, "https://shop.example");
    EXPECT_LE(answer.headers.count("Access-Control-Allow-Origin"), 1U);
  }
}

}  // namespace
}  // namespace bailian::e2e
