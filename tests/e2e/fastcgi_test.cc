// All kinds of FastCGI peers, connected directly to the responder's socket. No peer may delay another one.

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <random>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include "harness/answer.h"
#include "harness/fcgi_peer.h"
#include "harness/site.h"
#include "harness/work_dir.h"

namespace bailian::e2e {
namespace {

class FastCgi : public SharedSite<FastCgi> {
 protected:
  static FcgiPeer peer() { return FcgiPeer(site().fastcgi()); }

  static void expect_others_are_served() {
    EXPECT_EQ(site().get(kHealthPath).status, 200);
    EXPECT_EQ(read_stream(site().stream("[[sim events=3]]")).text, tokens(3));
  }
};

const std::string kParams = fcgi::params_records(fcgi::params_for("GET", kHealthPath));
const std::string kStdin = fcgi::stdin_records("");

TEST_F(FastCgi, AWholeRequestIsAnsweredAndTheConnectionClosed) {
  auto client = peer();
  client.send(fcgi::request("GET", kHealthPath));
  const auto reply = client.read_reply();
  EXPECT_EQ(reply.response.status, 200);
  EXPECT_EQ(text_at(reply.response.json(), "/status"), "healthy");
  EXPECT_EQ(reply.app_status, 0U);
  EXPECT_EQ(reply.protocol_status, 0U);
  EXPECT_TRUE(client.is_dropped());
}

TEST_F(FastCgi, SilentAndHalfSpokenPeersHoldNobodyUp) {
  const auto whole = fcgi::request("POST", kStreamPath, chat_body("[[sim events=3]]"));
  std::vector<FcgiPeer> peers;
  for (size_t length = 0; length < whole.size(); length += 7) {
    peers.push_back(peer());
    peers.back().send(std::string_view(whole).substr(0, length));
  }
  expect_others_are_served();
  EXPECT_EQ(site().simulator().count("requests"), 1);
}

TEST_F(FastCgi, EachByteMayComeApart) {
  auto client = peer();
  for (const char byte : fcgi::request("POST", kChatPath, chat_body("[[sim events=3]]")))
    client.send_apart(std::string_view(&byte, 1));
  EXPECT_EQ(text_at(client.read_reply().response.json(), "/result"), tokens(3));
}

TEST_F(FastCgi, EachRecordMayComeApart) {
  auto client = peer();
  const auto body = chat_body("[[sim events=3]]");
  client.send_apart(fcgi::begin());
  for (const auto& [name, value] : fcgi::params_for("POST", kChatPath, body.size()))
    client.send_apart(fcgi::record(fcgi::kParams, fcgi::name_value(name, value)));
  client.send_apart(fcgi::record(fcgi::kParams, ""));
  for (const char byte : body) client.send_apart(fcgi::record(fcgi::kStdin, {&byte, 1}, {.padding = 255}));
  client.send(fcgi::record(fcgi::kStdin, ""));
  EXPECT_EQ(text_at(client.read_reply().response.json(), "/result"), tokens(3));
}

TEST_F(FastCgi, ParametersMayBeCutAnywhere) {
  std::string content;
  for (const auto& [name, value] : fcgi::params_for("GET", kHealthPath))
    content += fcgi::name_value(name, value);
  content += fcgi::name_value("HTTP_X_LONG", std::string(3000, 'v'));
  auto client = peer();
  client.send(fcgi::begin());
  for (size_t at = 0; at < content.size(); at += 5)
    client.send(fcgi::record(fcgi::kParams, content.substr(at, 5), {.padding = 3}));
  client.send(fcgi::record(fcgi::kParams, "") + kStdin);
  EXPECT_EQ(client.read_reply().response.status, 200);
}

TEST_F(FastCgi, ABodyBiggerThanTheSocketBufferIsRead) {
  auto body = chat_body("[[sim events=3]]");
  body.insert(1, 1'000'000, ' ');
  auto client = peer();
  client.send(fcgi::request("POST", kChatPath, body));
  EXPECT_EQ(client.read_reply().response.status, 200);
}

TEST_F(FastCgi, ABodyOverTheLimitIsRefusedWhoeverSendsIt) {
  auto client = peer();
  client.send(fcgi::request("POST", kChatPath, std::string(1'100'000, ' ')));
  EXPECT_EQ(client.read_reply().response.status, 413);
  expect_others_are_served();
}

TEST_F(FastCgi, ABodyThatNobodyReadsCostsNoMemory) {
  const auto& responder = site().responder().process();
  auto client = peer();
  const auto before = responder.memory_kib();
  std::vector<FcgiPeer> peers;
  for (int i = 0; i < 40; ++i) {
    auto whole = fcgi::request("POST", "/myapi/v1/nothing", std::string(1'000'000, ' '));
    peers.push_back(peer());
    peers.back().send_apart(std::string_view(whole).substr(0, whole.size() - 20));  // but not to its end
  }
  client.send(fcgi::request("GET", kHealthPath));
  EXPECT_EQ(client.read_reply().response.status, 200);
  if (!is_sanitized()) {
    EXPECT_LT(responder.memory_kib() - before, 20 * 1024);
  }
  auto last = peer();
  last.send(fcgi::request("POST", "/myapi/v1/nothing", std::string(1'100'000, ' ')));
  expect_error(last.read_reply().response, 404, "not_found", "Endpoint not found");
}

TEST_F(FastCgi, AConnectionIsKeptWhenThePeerAsks) {
  auto client = peer();
  for (int i = 0; i < 3; ++i) {
    client.send(fcgi::request("GET", kHealthPath, "", true));
    EXPECT_EQ(client.read_reply().response.status, 200);
    client.send(fcgi::request("POST", kChatPath, chat_body("[[sim events=3]]"), true));
    EXPECT_EQ(text_at(client.read_reply().response.json(), "/result"), tokens(3));
    client.send(fcgi::request("POST", kStreamPath, chat_body("[[sim events=3]]"), true));
    EXPECT_TRUE(client.read_reply().response.body.ends_with("}\n\n"));
  }
  client.send(fcgi::request("GET", kHealthPath));
  EXPECT_EQ(client.read_reply().response.status, 200);
  EXPECT_TRUE(client.is_dropped());
}

TEST(FastCgiDrain, ParkedConnectionsGetALastAnswer) {
  Site site;
  FcgiPeer idle(site.fastcgi());
  FcgiPeer busy(site.fastcgi());
  for (auto* peer : {&idle, &busy}) {
    peer->send(fcgi::request("GET", kHealthPath, "", true));
    EXPECT_EQ(peer->read_reply().response.status, 200);
  }
  site.responder().process().signal(SIGTERM);
  EXPECT_TRUE(site.responder().logs("draining"));
  for (int i = 0; i < 2; ++i) {
    busy.send(fcgi::request("GET", kHealthPath, "", true));
    EXPECT_EQ(text_at(busy.read_reply().response.json(), "/status"), "draining");
    EXPECT_EQ(busy.read_record(fcgi::kGetValuesResult), "") << "nginx keeps no connection with bytes left";
  }
  EXPECT_NO_THROW(busy.await_end()) << "a peer that keeps it all the same";
  EXPECT_NO_THROW(idle.await_end());
  EXPECT_EQ(site.await_responder_end(), 0);
}

TEST_F(FastCgi, AKeptConnectionMayBeClosedByThePeer) {
  for (int i = 0; i < 20; ++i) {
    auto client = peer();
    client.send(fcgi::request("GET", kHealthPath, "", true));
    EXPECT_EQ(client.read_reply().response.status, 200);
  }
  expect_others_are_served();
}

struct Nonsense {
  const char* what;
  std::string bytes;
};

std::vector<Nonsense> nonsense() {
  using fcgi::record;
  const auto begin = fcgi::begin();
  const std::string endless_name("\xff\xff\xff\xff\xff\xff\xff\xffname", 12);
  return {
      {"http", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
      {"zeros", std::string(64, '\0')},
      {"ones", std::string(64, '\xff')},
      {"version 0", record(fcgi::kBegin, begin.substr(8), {.version = 0}) + kParams + kStdin},
      {"version 2", record(fcgi::kBegin, begin.substr(8), {.version = 2}) + kParams + kStdin},
      {"request id 0", record(fcgi::kBegin, begin.substr(8), {.id = 0}) + kParams + kStdin},
      {"short begin", record(fcgi::kBegin, std::string("\0\1", 2)) + kParams + kStdin},
      {"long begin", record(fcgi::kBegin, std::string(65535, '\1')) + kParams + kStdin},
      {"no begin", kParams + kStdin},
      {"two begins", begin + begin + kParams + kStdin},
      {"authorizer", fcgi::begin(false, fcgi::kAuthorizer) + kParams + kStdin},
      {"unknown role", fcgi::begin(false, 77) + kParams + kStdin},
      {"a management record without end", record(fcgi::kGetValues, "", {.id = 0}) + std::string(64, '\1')},
      {"management record within", begin + record(fcgi::kGetValues, "", {.id = 0}) + kParams + kStdin},
      {"unknown type", begin + record(99, "what") + kParams + kStdin},
      {"stdout from the peer", begin + record(fcgi::kStdout, "hello") + kParams + kStdin},
      {"stdin first", begin + fcgi::stdin_records("{}") + kParams},
      {"two requests mixed", begin + record(fcgi::kParams, "\1\1ab", {.id = 2}) + kParams + kStdin},
      {"a name without end",
       begin + record(fcgi::kParams, endless_name) + record(fcgi::kParams, "") + kStdin},
      {"a value without end",
       begin + record(fcgi::kParams, "\4\x7fNAMEvalue") + record(fcgi::kParams, "") + kStdin},
      {"half a length", begin + record(fcgi::kParams, "\x80") + record(fcgi::kParams, "") + kStdin},
      {"abort at once", begin + record(fcgi::kAbort, "")},
  };
}

TEST_F(FastCgi, NonsenseIsDroppedWithoutHarm) {
  for (const auto& [what, bytes] : nonsense()) {
    SCOPED_TRACE(what);
    auto client = peer();
    try {
      client.send(bytes);
    } catch (const std::system_error& error) {
      // Dropped at its first bytes, before the last ones were sent.
      EXPECT_EQ(error.code(), std::errc::broken_pipe);
    }
    EXPECT_NO_THROW(client.await_end());
    EXPECT_TRUE(site().responder().process().is_running());
  }
  expect_others_are_served();
}

TEST(FastCgiLog, NonsenseIsWarnedOfAFewTimesAndThenCounted) {
  constexpr int kPeers = 25;
  Site site;
  for (int i = 0; i < kPeers; ++i) {
    FcgiPeer client(site.fastcgi());
    client.send("GET / HTTP/1.1\r\n\r\n");
    EXPECT_NO_THROW(client.await_end());
  }
  EXPECT_TRUE(site.responder().logs(R"("fault":"not FastCGI version 1")"));
  site.responder().process().signal(SIGTERM);
  EXPECT_EQ(site.await_responder_end(), 0);
  int lines = 0;
  int left_out = 0;
  std::istringstream log(site.responder().log());
  for (std::string line; std::getline(log, line);) {
    if (line.find(R"("event":"bad_request")") == std::string::npos) continue;
    const Json json = parse_json(line);
    EXPECT_EQ(text_at(json, "/level"), "warning");
    if (has(json, "/left_out")) {
      left_out += static_cast<int>(number_at(json, "/left_out"));
    } else {
      ++lines;
    }
  }
  EXPECT_LT(lines, kPeers);
  EXPECT_EQ(lines + left_out, kPeers);
}

TEST_F(FastCgi, ALongPathIsCutInTheLog) {
  auto client = peer();
  client.send(fcgi::request("GET", "/" + std::string(1000, 'p')));
  const auto reply = client.read_reply();
  EXPECT_EQ(reply.response.status, 404);
  const auto line = site().responder().request_line(reply.response.headers.get("X-Request-Id"));
  EXPECT_EQ(text_at(line, "/path"), "/" + std::string(255, 'p'));
}

TEST_F(FastCgi, NonsenseCostsNoMemory) {
  if (is_sanitized()) GTEST_SKIP() << "a sanitizer's own memory is not bounded";
  const auto& responder = site().responder().process();
  int64_t memory_after_warm_up = 0;
  for (int round = 0; round < 40; ++round) {
    for (const auto& [what, bytes] : nonsense()) {
      auto client = peer();
      try {
        client.send(bytes);
      } catch (const std::system_error&) {
      }
      client.await_end();
    }
    if (round == 10) memory_after_warm_up = responder.memory_kib();
  }
  EXPECT_LT(responder.memory_kib() - memory_after_warm_up, 1024);
}

TEST_F(FastCgi, EndlessParametersAreDropped) {
  auto client = peer();
  client.send(fcgi::begin());
  const auto more = fcgi::record(fcgi::kParams, fcgi::name_value("HTTP_X", std::string(60000, 'x')));
  EXPECT_THROW(
      {
        for (int i = 0; i < 200; ++i) client.send(more);
      },
      std::exception);
  expect_others_are_served();
}

TEST_F(FastCgi, ParametersOf64KibibytesAreServedAndMoreAreRefusedWithAnAnswer) {
  const auto request_of = [](size_t bytes) {
    auto params = fcgi::params_for("GET", kHealthPath);
    params.emplace_back("HTTP_COOKIE", std::string(1000, 'c'));  // its length takes four bytes too
    size_t others = 0;
    for (const auto& [name, value] : params) others += fcgi::name_value(name, value).size();
    params.back().second.append(bytes - others, 'c');
    return fcgi::begin(true) + fcgi::params_records(params) + kStdin;
  };
  auto client = peer();
  client.send(request_of(65535));
  EXPECT_EQ(client.read_reply().response.status, 200);
  for (const size_t bytes : {65'536U, 70'000U, 1'000'000U}) {
    SCOPED_TRACE(bytes);
    client.send(request_of(bytes));
    expect_error(client.read_reply().response, 431, "headers_too_large", "Request header fields too large");
  }
  client.send(request_of(2000));
  EXPECT_EQ(client.read_reply().response.status, 200) << "on the same connection";
}

TEST_F(FastCgi, ABodyThatIsNotAsLongAsItSaysIsRefusedWithAnAnswer) {
  const auto body = chat_body("[[sim events=3]]");
  for (const std::string& claimed :
       {std::string("5"), std::to_string(body.size() - 1), std::to_string(body.size() + 1),
        std::string("1000000"), std::string("+1"), std::string("abc"), std::string("0x10"),
        std::string("1e3"), std::string(" 5"), std::string("9223372036854775807"),
        std::string("18446744073709551616"), std::string("99999999999999999999999999999999")}) {
    SCOPED_TRACE(claimed);
    auto params = fcgi::params_for("POST", kStreamPath);
    std::erase_if(params, [](const auto& param) { return param.first == "CONTENT_LENGTH"; });
    params.emplace_back("CONTENT_LENGTH", claimed);
    auto client = peer();
    client.send(fcgi::begin() + fcgi::params_records(params) + fcgi::stdin_records(body));
    expect_error(client.read_reply().response, 400, "invalid_request",
                 "Content-Length is not the length of the body");
  }
  EXPECT_EQ(site().simulator().count("requests"), 0);
  expect_others_are_served();
}

// The request that Caddy sends for a chunked body.
TEST_F(FastCgi, ABodyOfUnknownLengthIsTakenAsItComes) {
  const auto body = chat_body("[[sim events=3]]");
  auto params = fcgi::params_for("POST", kChatPath);
  std::erase_if(params, [](const auto& param) { return param.first == "CONTENT_LENGTH"; });
  params.emplace_back("CONTENT_LENGTH", "-1");
  auto client = peer();
  client.send(fcgi::begin() + fcgi::params_records(params) + fcgi::stdin_records(body));
  EXPECT_EQ(text_at(client.read_reply().response.json(), "/result"), tokens(3));
}

// HAProxy sends FCGI_GET_VALUES before its first request ("option get-values").
TEST_F(FastCgi, ValuesAreToldAndTheConnectionServesOn) {
  const auto ask = fcgi::record(
      fcgi::kGetValues, fcgi::name_value("FCGI_MAX_REQS", "") + fcgi::name_value("FCGI_MPXS_CONNS", ""),
      {.id = 0});
  const auto told = fcgi::name_value("FCGI_MAX_REQS", "10000") + fcgi::name_value("FCGI_MPXS_CONNS", "0");
  auto client = peer();
  for (int i = 0; i < 3; ++i) {
    client.send(ask);
    EXPECT_EQ(client.read_record(fcgi::kGetValuesResult), told);
    client.send(fcgi::request("GET", kHealthPath, "", true));
    EXPECT_EQ(client.read_reply().response.status, 200);
  }
  client.send(ask + fcgi::request("GET", kHealthPath, "", true));
  EXPECT_EQ(client.read_record(fcgi::kGetValuesResult), told);
  EXPECT_EQ(client.read_reply().response.status, 200);
  client.send(fcgi::record(77, "what", {.id = 0}));
  EXPECT_EQ(client.read_record(fcgi::kUnknownType), std::string("\x4d\0\0\0\0\0\0\0", 8));
}

TEST_F(FastCgi, ValuesAreToldWithinAnAnswerToo) {
  auto client = peer();
  client.send(fcgi::request("POST", kStreamPath, chat_body("[[sim events=3 hold=1]]")));
  client.read_stdout();
  client.send(fcgi::record(fcgi::kGetValues, fcgi::name_value("FCGI_MPXS_CONNS", ""), {.id = 0}));
  EXPECT_EQ(client.read_record(fcgi::kGetValuesResult), fcgi::name_value("FCGI_MPXS_CONNS", "0"));
  site().simulator().release();
  EXPECT_TRUE(client.read_reply().response.body.ends_with("}\n\n"));
}

TEST_F(FastCgi, AnAbortedAnswerEndsAndTheConnectionServesOn) {
  auto client = peer();
  client.send(fcgi::request("POST", kStreamPath, chat_body("[[sim events=100000 interval=1]]"), true));
  client.read_stdout();
  client.send(fcgi::record(fcgi::kAbort, ""));
  client.await_end_request(0);
  EXPECT_TRUE(site().simulator().falls_to("open", 0));
  EXPECT_EQ(site().simulator().count("completed"), 0);
  client.send(fcgi::request("GET", kHealthPath));
  EXPECT_EQ(client.read_reply().response.status, 200);
  EXPECT_TRUE(client.is_dropped());
}

TEST_F(FastCgi, AQuestionThatIsAbortedAtOnceIsNotAsked) {
  auto client = peer();
  client.send(fcgi::request("POST", kStreamPath, chat_body("[[sim events=3]]"), true) +
              fcgi::record(fcgi::kAbort, ""));
  client.await_end_request(0);
  client.send(fcgi::request("GET", kHealthPath));
  EXPECT_EQ(client.read_reply().response.status, 200);
  EXPECT_EQ(site().simulator().count("requests"), 0);
}

TEST_F(FastCgi, ASecondRequestOnABusyConnectionIsRefusedAndTheFirstGoesOn) {
  constexpr uint8_t kCantMultiplex = 1;
  auto client = peer();
  client.send(fcgi::request("POST", kStreamPath, chat_body("[[sim events=3 hold=1]]")));
  client.read_stdout();
  client.send(fcgi::record(fcgi::kBegin, std::string("\0\1\1\0\0\0\0\0", 8), {.id = 2}) +
              fcgi::record(fcgi::kParams, "", {.id = 2}) + fcgi::record(fcgi::kStdin, "", {.id = 2}));
  EXPECT_EQ(client.read_record(fcgi::kEnd)[4], kCantMultiplex);
  site().simulator().release();
  EXPECT_TRUE(client.read_reply().response.body.ends_with("}\n\n"));
}

TEST_F(FastCgi, AnotherRoleIsRefusedInTheWordsOfTheProtocol) {
  constexpr uint8_t kUnknownRole = 3;
  auto client = peer();
  client.send(fcgi::begin(false, fcgi::kAuthorizer) + kParams + kStdin);
  EXPECT_EQ(client.read_record(fcgi::kEnd)[4], kUnknownRole);
  EXPECT_NO_THROW(client.await_end());
}

// Random damage: bytes flipped, lost, doubled, inserted, cut off, mostly in lengths, types and ends of
// requests.
std::string mutated(std::string bytes, std::mt19937& random) {
  const auto below = [&](size_t bound) {
    return std::uniform_int_distribution<size_t>(0, bound - 1)(random);
  };
  for (size_t changes = 1 + below(4); changes > 0 && !bytes.empty(); --changes) {
    const size_t at = below(bytes.size());
    const size_t length = 1 + below(std::min<size_t>(16, bytes.size() - at));
    switch (below(6)) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
        break;
      case 1:
        bytes[at] = static_cast<char>(below(256));
        break;
      case 2:
        bytes.erase(at, length);
        break;
      case 3:
        bytes.insert(at, bytes.substr(at, length));
        break;
      case 4:
        bytes.insert(at, length, static_cast<char>(below(256)));
        break;
      default:
        bytes.resize(at);
    }
  }
  return bytes;
}

// The whole records at the start of an answer.
void expect_answer_records(std::string_view bytes) {
  while (bytes.size() >= 8) {
    EXPECT_EQ(bytes[0], 1);
    EXPECT_TRUE(bytes[1] == fcgi::kStdout || bytes[1] == fcgi::kEnd || bytes[1] == fcgi::kGetValuesResult ||
                bytes[1] == fcgi::kUnknownType)
        << int{bytes[1]};
    const size_t content = size_t{static_cast<uint8_t>(bytes[4])} << 8 | static_cast<uint8_t>(bytes[5]);
    bytes.remove_prefix(std::min(bytes.size(), 8 + content + static_cast<uint8_t>(bytes[6])));
  }
}

TEST_F(FastCgi, RandomlyDamagedRequestsAreAnsweredOrDroppedAndCostNothing) {
  const std::string requests[] = {
      fcgi::request("GET", kHealthPath),
      fcgi::request("GET", kConfigPath, "", true),
      fcgi::request("POST", kChatPath, "{}"),
      fcgi::request("POST", kChatPath, chat_body("[[sim events=3 delay=0]]")),
      fcgi::request("POST", kStreamPath, chat_body("[[sim events=3 delay=0]]"), true),
      fcgi::begin() + kParams + fcgi::record(fcgi::kStdin, "x", {.padding = 7}) + kStdin};
  const auto& responder = site().responder().process();
  std::mt19937 random(20240611);  // NOLINT: the same requests in every run
  constexpr int kRequests = 3000;
  int64_t memory_after_half = 0;
  for (int i = 0; i < kRequests; ++i) {
    const auto damaged = mutated(requests[static_cast<size_t>(i) % std::size(requests)], random);
    SCOPED_TRACE(i);
    const auto client = peer();
    try {
      client.send(damaged);
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code(), std::errc::broken_pipe);
    }
    // The answer proves that the bytes sent before have been read.
    auto other = peer();
    other.send(fcgi::request("GET", kHealthPath));
    ASSERT_EQ(other.read_reply().response.status, 200);
    expect_answer_records(client.received_by_now());
    if (i == kRequests / 2) memory_after_half = responder.memory_kib();
  }
  if (!is_sanitized()) {
    EXPECT_LT(responder.memory_kib() - memory_after_half, 1024);
  }
  EXPECT_TRUE(site().simulator().falls_to("open", 0));
  expect_others_are_served();
}

TEST_F(FastCgi, PeersThatLeaveAtAnyPointDoNoHarm) {
  const auto whole = fcgi::request("POST", kStreamPath, chat_body("[[sim events=3]]"));
  for (size_t length = 0; length <= whole.size(); length += 5)
    peer().send(std::string_view(whole).substr(0, length));
  expect_others_are_served();
}

TEST_F(FastCgi, ARequestWithoutParametersIsNotFound) {
  auto client = peer();
  client.send(fcgi::begin() + fcgi::params_records({}) + kStdin);
  EXPECT_NO_THROW(client.await_end());
  expect_others_are_served();
}

}  // namespace
}  // namespace bailian::e2e
