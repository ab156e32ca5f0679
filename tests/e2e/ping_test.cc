// The ping command after a failure: what the quotas of the key tell.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "harness/authority.h"
#include "harness/nginx.h"
#include "harness/scripted_upstream.h"
#include "harness/site.h"
#include "harness/work_dir.h"

namespace bailian::e2e {
namespace {

constexpr const char* kOtherKey = "sk-other-1f0e2d3c4b5a69788796a5b4c3d2e1f0";
constexpr const char* kAsked = "asked for the quotas of the key, which is not billed:\n";

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

class Ping : public testing::Test {
 protected:
  Finished ping(const Settings& changes) const { return ping(simulator_, changes); }
  Finished ping(const Simulator& simulator, const Settings& changes) const {
    auto settings = site_settings(dir_, simulator);
    settings["UPSTREAM_RETRIES"] = "0";
    for (const auto& [key, value] : changes) settings[key] = value;
    auto finished = run(responder_command(dir_, settings, {"ping"}));
    for (const std::string_view key : {kApiKey, std::string_view(kOtherKey)}) {
      EXPECT_FALSE(contains(finished.out + finished.err, key)) << finished.out << finished.err;
    }
    return finished;
  }
  std::string line(const std::string& says) const {
    return kAsked + ("  " + simulator_.base_url()) + " " + says + "\n";
  }

  WorkDir dir_;
  Simulator simulator_{dir_};
};

TEST_F(Ping, ASuccessAsksNothingMore) {
  const auto finished = ping(Settings{});
  EXPECT_EQ(finished.exit_code, 0);
  EXPECT_FALSE(contains(finished.out, "quotas")) << finished.out;
  EXPECT_EQ(simulator_.count("requests"), 1);
}

TEST_F(Ping, OfAWrongApplicationFindsTheKeyRight) {
  const auto finished = ping({{"APP_ID", "another-app"}});
  EXPECT_EQ(finished.exit_code, 78);
  EXPECT_TRUE(
      contains(finished.out, line("accepts the key") + "The key is right for this address. Check APP_ID,"))
      << finished.out;
  const auto request = simulator_.last_request();
  EXPECT_EQ(text_at(request, "/path"), "/api/v1/quotas");
  EXPECT_EQ(simulator_.count("requests"), 2);
}

TEST_F(Ping, OfAWrongWorkspaceFindsTheKeyRight) {
  const auto finished = ping({{"DASHSCOPE_WORKSPACE", "ws-unknown"}});
  EXPECT_EQ(finished.exit_code, 78);
  EXPECT_TRUE(contains(finished.out, "WorkSpaceNotFound")) << finished.out;
  EXPECT_TRUE(contains(finished.out, "The key is right for this address.")) << finished.out;
}

TEST_F(Ping, OfAWrongKeyFindsItRefusedWithoutAnApplicationToo) {
  const auto finished = ping({{"DASHSCOPE_API_KEY", kOtherKey}});
  EXPECT_EQ(finished.exit_code, 77);
  EXPECT_TRUE(contains(finished.out, line("refuses the key") + "Copy the key from the console into "
                                                               "DASHSCOPE_API_KEY again."))
      << finished.out;
}

TEST_F(Ping, AStrangeAnswerChangesTheAdviceOfNoFailure) {
  for (const auto& [directive, words] :
       std::vector<std::pair<std::string, std::string>>{{"status=404", "HTTP 404"},
                                                        {"status=403", "HTTP 403"},
                                                        {"status=500", "HTTP 500"},
                                                        {"fault=html", "HTTP 200"},
                                                        {"fault=plain503", "HTTP 503"},
                                                        {"fault=redirect", "HTTP 307"},
                                                        {"fault=empty", "HTTP 200"},
                                                        {"fault=gzip", "HTTP 200"},
                                                        {"fault=reset", ""},
                                                        {"fault=hang", "no complete answer in time"},
                                                        {"fault=endless-line", ""}}) {
    const Simulator simulator(dir_, {"--quotas=" + directive});
    const auto finished =
        ping(simulator,
             {{"APP_ID", "another-app"}, {"FIRST_TOKEN_TIMEOUT", directive == "fault=hang" ? "0.5" : "60"}});
    EXPECT_EQ(finished.exit_code, 78) << directive;
    EXPECT_TRUE(contains(finished.out,
                         kAsked + ("  " + simulator.base_url()) + " says nothing about the key (" + words))
        << directive << "\n"
        << finished.out;
    EXPECT_TRUE(contains(finished.out, "\nCheck APP_ID and that the application is published."))
        << finished.out;
  }
}

TEST_F(Ping, OtherFailuresAskForNoQuotas) {
  const ScriptedUpstream upstream;
  auto settings = site_settings(dir_, simulator_);
  settings["DASHSCOPE_BASE_URL"] = upstream.base_url();
  settings["UPSTREAM_RETRIES"] = "0";
  Process ping(responder_command(dir_, settings, {"ping"}));
  const std::string body = R"({"code":"Arrearage","message":"m"})";
  upstream.accept().send("HTTP/1.1 400 X\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
                         body);
  EXPECT_EQ(ping.wait(), 69);
  EXPECT_FALSE(upstream.is_called());
}

TEST_F(Ping, EachTargetsKeyIsAskedForAtItsOwnAddress) {
  const Simulator second(dir_, {"--api-key=" + std::string(kOtherKey)});
  const auto finished = ping({{"APP_ID", "another-app"},
                              {"DASHSCOPE_BASE_URL_2", second.base_url()},
                              {"APP_ID_3", std::string(kAppId)},
                              {"DASHSCOPE_API_KEY_4", kOtherKey},
                              {"DASHSCOPE_BASE_URL_4", second.base_url()}});
  EXPECT_EQ(finished.exit_code, 78);
  const std::string out = finished.out;
  const size_t two = out.find("target 2");
  const size_t three = out.find("target 3");
  const size_t four = out.find("target 4");
  ASSERT_TRUE(two < three && three < four && four != std::string::npos) << out;
  EXPECT_TRUE(contains(out.substr(0, two), line("accepts the key") + "The key is right for this address. "
                                                                     "Check APP_ID,"))
      << out;
  EXPECT_TRUE(contains(out.substr(two, three - two),
                       "  " + second.base_url() +
                           " refuses the key\nCopy the key from the console into "
                           "DASHSCOPE_API_KEY_2 again. If it is a key of another region, "
                           "set DASHSCOPE_BASE_URL_2 "))
      << out;
  EXPECT_FALSE(contains(out.substr(three, four - three), "quotas")) << out;
  EXPECT_TRUE(contains(out.substr(four), "Check APP_ID_4,")) << out;
}

// DashScope's own addresses, with a simulator for each behind TLS.
class PingOfARegion : public Ping {
 protected:
  void SetUp() override {
    if (is_sanitized()) GTEST_SKIP() << "a sanitizer wants to be loaded first";
    const auto certificate = authority_.issue(
        "DNS:dashscope.aliyuncs.com,DNS:dashscope-intl.aliyuncs.com,DNS:dashscope-us.aliyuncs.com,"
        "DNS:llm-1.cn-beijing.maas.aliyuncs.com",
        2);
    const auto listener = listen_on_loopback();
    port_ = std::to_string(listener.port);
    const auto server = [&](const std::string& names, const Simulator& simulator) {
      return "  server {\n    listen 127.0.0.1:" + port_ + " ssl;\n    server_name " + names +
             ";\n    ssl_certificate " + certificate + ";\n    ssl_certificate_key " + authority_.key() +
             ";\n    location / {\n      proxy_pass http://127.0.0.1:" + std::to_string(simulator.port()) +
             ";\n    }\n  }\n";
    };
    tls_end_.emplace(dir_, "tls",
                     server("dashscope.aliyuncs.com llm-1.cn-beijing.maas.aliyuncs.com", simulator_) +
                         server("dashscope-intl.aliyuncs.com dashscope-us.aliyuncs.com", other_),
                     listener.fd);
  }

  Finished ping_with(const std::string& names_here, Settings changes) const {
    changes.merge(Settings{{"NAMES_HERE", names_here},
                           {"HTTPS_PORT", port_},
                           {"SSL_CERT_FILE", authority_.bundle()},
                           {"LD_PRELOAD", sibling_program("names_here.so")},
                           {"DASHSCOPE_BASE_URL", "https://dashscope.aliyuncs.com/api/v1"}});
    return ping(changes);
  }

  Authority authority_{dir_};
  Simulator other_{dir_, {"--api-key=" + std::string(kOtherKey)}};
  std::string port_;
  std::optional<Nginx> tls_end_;
};

TEST_F(PingOfARegion, FindsTheRegionOfTheKey) {
  const auto finished =
      ping_with("dashscope.aliyuncs.com,dashscope-us.aliyuncs.com", {{"DASHSCOPE_API_KEY", kOtherKey}});
  EXPECT_EQ(finished.exit_code, 77);
  for (const char* const part : {"  https://dashscope.aliyuncs.com/api/v1 refuses the key\n"
                                 "  https://dashscope-intl.aliyuncs.com/api/v1 cannot be reached (",
                                 "  https://dashscope-us.aliyuncs.com/api/v1 accepts the key\n",
                                 "set DASHSCOPE_BASE_URL=https://dashscope-us.aliyuncs.com/api/v1. "})
    EXPECT_TRUE(contains(finished.out, part)) << finished.out;
}

TEST_F(PingOfARegion, FindsAKeyThatNoRegionAccepts) {
  const auto finished = ping_with("dashscope.aliyuncs.com,dashscope-intl.aliyuncs.com",
                                  {{"DASHSCOPE_API_KEY", "sk-of-nobody-1"}});
  EXPECT_EQ(finished.exit_code, 77);
  EXPECT_TRUE(contains(finished.out, "  https://dashscope-intl.aliyuncs.com/api/v1 refuses the key\n"))
      << finished.out;
  EXPECT_TRUE(contains(finished.out, "Copy the key from the console")) << finished.out;
}

TEST_F(PingOfARegion, ThatCannotBeReachedTriesTheOthers) {
  auto finished = ping_with("dashscope-intl.aliyuncs.com", {});
  EXPECT_EQ(finished.exit_code, 69);
  EXPECT_TRUE(contains(finished.out, "This machine reaches other addresses. Check DASHSCOPE_BASE_URL"))
      << finished.out;
  EXPECT_FALSE(contains(finished.out, "  https://dashscope.aliyuncs.com")) << finished.out;
  finished = ping_with("dashscope-intl.aliyuncs.com", {{"DASHSCOPE_API_KEY", kOtherKey}});
  EXPECT_TRUE(contains(finished.out, "set DASHSCOPE_BASE_URL=https://dashscope-intl.aliyuncs.com/api/v1."))
      << finished.out;
  finished = ping_with("", {});
  EXPECT_TRUE(contains(finished.out, "This machine reaches none of these addresses.")) << finished.out;
}

TEST_F(PingOfARegion, OfAWorkspaceTriesTheSharedAddresses) {
  const auto finished =
      ping_with("llm-1.cn-beijing.maas.aliyuncs.com,dashscope-intl.aliyuncs.com",
                {{"DASHSCOPE_BASE_URL", "https://llm-1.cn-beijing.maas.aliyuncs.com/api/v1"},
                 {"DASHSCOPE_API_KEY", kOtherKey}});
  EXPECT_EQ(finished.exit_code, 77);
  EXPECT_TRUE(contains(finished.out, "set DASHSCOPE_BASE_URL=https://dashscope-intl.aliyuncs.com/api/v1."))
      << finished.out;
}

// The key goes only to an address whose certificate is trusted.
TEST_F(PingOfARegion, WithoutATrustedCertificateGetsNoKey) {
  const WorkDir elsewhere;
  const auto finished = ping_with("dashscope.aliyuncs.com,dashscope-intl.aliyuncs.com",
                                  {{"SSL_CERT_FILE", Authority(elsewhere).bundle()}});
  EXPECT_EQ(finished.exit_code, 69);
  EXPECT_TRUE(contains(finished.out, "https://dashscope-intl.aliyuncs.com/api/v1 cannot be reached ("))
      << finished.out;
  EXPECT_EQ(simulator_.count("requests"), 0);
  EXPECT_EQ(other_.count("requests"), 0);
}

}  // namespace
}  // namespace bailian::e2e
