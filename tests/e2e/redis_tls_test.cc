// The ledger on a Redis server behind TLS: only a certificate that a trusted authority issued to this host is
// accepted, and any other is named.

#include <gtest/gtest.h>

#include <functional>
#include <iostream>
#include <optional>
#include <string>

#include "harness/answer.h"
#include "harness/authority.h"
#include "harness/deadline.h"
#include "harness/fcgi_peer.h"
#include "harness/redis_server.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

class RedisTls : public testing::Test {
 protected:
  RedisTls() { use("127.0.0.1", port_); }
  void TearDown() override {
    if (!responder_) return;
    responder_->process().signal(SIGTERM);
    EXPECT_EQ(responder_->process().wait(), 0);
    check_log(responder_->log());
    if (HasFailure()) std::cerr << responder_->log();
  }

  void use(const std::string& host, uint16_t port) {
    settings_ = site_settings(dir_, simulator_);
    settings_["LEDGER"] = "rediss://" + host + ":" + std::to_string(port);
    settings_["SSL_CERT_FILE"] = trusted_;
    settings_["CAP_DAY_TOKENS"] = "1000000";
  }
  void start_server(const std::string& certificate) {
    server_.emplace(dir_, std::vector<std::string>{
                              "--bind", "127.0.0.1", "--tls-port", std::to_string(port_), "--tls-cert-file",
                              certificate, "--tls-key-file", authority_.key(), "--tls-ca-cert-file",
                              authority_.bundle(), "--tls-auth-clients", "no", "--appendonly", "yes"});
  }
  Finished command(const char* name) const { return run(responder_command(dir_, settings_, {name})); }
  Response get(const char* path) const { return send(fcgi::request("GET", path)); }
  Response ask() const { return send(fcgi::request("POST", kStreamPath, chat_body("[[sim events=3]]"))); }

  void expect_used() {
    const Finished check = command("check");
    EXPECT_EQ(check.err.find("LEDGER"), std::string::npos) << check.err;
    responder_.emplace(responder_command(dir_, settings_));
    ASSERT_TRUE(comes_true([this] { return get(kReadyPath).status == 200; }));
    EXPECT_EQ(ask().status, 200);
    EXPECT_TRUE(comes_true([this] {
      const Json usage = parse_json(run(responder_command(dir_, settings_, {"usage", "--json"})).out);
      return has(usage, "/total/days/0") && number_at(usage, "/total/days/0/output_tokens") == 3;
    }));
  }
  // By the commands and by the service, which stays up.
  void expect_refused(const std::string& why) {
    const Finished usage = command("usage");
    EXPECT_EQ(usage.exit_code, 74);
    EXPECT_NE(usage.err.find(why), std::string::npos) << usage.err;
    const Finished check = command("check");
    EXPECT_NE(check.err.find(why), std::string::npos) << check.err;
    responder_.emplace(responder_command(dir_, settings_));
    EXPECT_TRUE(responder_->logs(why));
    EXPECT_EQ(get(kReadyPath).status, 503);
    expect_error(ask(), 503, "budget_unknown", "The budget cannot be checked");
    if (!server_) return;
    EXPECT_EQ(server_->ask({"DBSIZE"}), "0") << "it was told nothing";
  }

  WorkDir dir_;
  Authority authority_{dir_};
  Simulator simulator_{dir_};
  const uint16_t port_ = unused_port();
  std::string trusted_ = authority_.bundle();
  Settings settings_;
  std::optional<RedisServer> server_;
  std::optional<Responder> responder_;

 private:
  Response send(const std::string& request) const {
    FcgiPeer peer({.unix_path = dir_.socket("fcgi")});
    peer.send(request);
    return peer.read_reply().response;
  }
};

TEST_F(RedisTls, ACertificateForTheAddressIsAccepted) {
  start_server(authority_.issue("IP:127.0.0.1", 2));
  expect_used();
}

TEST_F(RedisTls, ACertificateForTheNameIsAccepted) {
  start_server(authority_.issue("DNS:localhost", 2));
  use("localhost", port_);
  expect_used();
}

TEST_F(RedisTls, ACertificateOfAnotherAddressIsRefused) {
  start_server(authority_.issue("IP:127.0.0.2,DNS:localhost", 2));
  expect_refused("certificate of the server: IP address mismatch");
}

TEST_F(RedisTls, ACertificateOfAnotherNameIsRefused) {
  start_server(authority_.issue("DNS:elsewhere.example,IP:127.0.0.1", 2));
  use("localhost", port_);
  expect_refused("certificate of the server: hostname mismatch");
}

TEST_F(RedisTls, ACertificateOfAnUnknownAuthorityIsRefused) {
  const WorkDir elsewhere;
  trusted_ = Authority(elsewhere).bundle();
  start_server(authority_.issue("IP:127.0.0.1", 2));
  use("127.0.0.1", port_);
  expect_refused("certificate of the server: ");
}

TEST_F(RedisTls, ACertificateThatNobodyElseSignedIsRefused) {
  start_server(authority_.self_signed("IP:127.0.0.1"));
  expect_refused("certificate of the server: self-signed certificate");
}

TEST_F(RedisTls, AnExpiredCertificateIsRefused) {
  start_server(authority_.issue("IP:127.0.0.1", -1));
  expect_refused("certificate of the server: certificate has expired");
}

TEST_F(RedisTls, AServerThatSaysNothingIsNotWaitedFor) {
  const auto silent = listen_on_loopback();
  use("127.0.0.1", silent.port);
  expect_refused("connecting takes too long");
}

}  // namespace
}  // namespace bailian::e2e
