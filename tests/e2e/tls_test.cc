// The upstream behind TLS: only a certificate that the trusted authority issued to this host is accepted.

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <string>

#include "harness/answer.h"
#include "harness/authority.h"
#include "harness/deadline.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

// An nginx that terminates TLS in front of a simulator and adds the number of the connection to each request.
std::string tls_server(uint16_t port, const std::string& certificate, const std::string& key,
                       const Simulator& simulator) {
  return "  server {\n    listen 127.0.0.1:" + std::to_string(port) + " ssl;\n    ssl_certificate " +
         certificate + ";\n    ssl_certificate_key " + key +
         ";\n    location / {\n      proxy_pass http://127.0.0.1:" + std::to_string(simulator.port()) +
         ";\n      proxy_http_version 1.1;\n      proxy_buffering off;\n"
         "      proxy_set_header X-Connection $connection;\n    }\n  }\n";
}

class Tls : public testing::Test {
 protected:
  // Puts this certificate in front of the simulator and a site in front of that.
  void open_site(const std::string& certificate) {
    const auto listener = listen_on_loopback();
    tls_end_.emplace(dir_, "tls", tls_server(listener.port, certificate, authority_.key(), simulator_),
                     listener.fd);
    site_.emplace(
        SiteOptions{.settings = {{"DASHSCOPE_BASE_URL",
                                  "https://" + host_ + ":" + std::to_string(listener.port) + "/api/v1"},
                                 {"SSL_CERT_FILE", trusted_},
                                 {"SSL_CERT_DIR", trusted_folder_},
                                 {"UPSTREAM_RETRIES", "0"},
                                 {"WORKERS", workers_}},
                    .run_by = run_by_});
  }

  void expect_answers(int count) {
    for (int i = 0; i < count; ++i)
      EXPECT_EQ(text_at(site_->ask("[[sim events=3]]").json(), "/result"), tokens(3));
  }

  void expect_refused() {
    expect_error(site_->stream("[[sim events=2]]").read_all(), 502, "upstream_error", "Connection failed");
    expect_error(site_->ask("[[sim events=2]]"), 502, "upstream_error", "Connection failed");
    EXPECT_EQ(simulator_.count("requests"), 0);
  }

  WorkDir dir_;
  Authority authority_{dir_};
  std::string host_ = "127.0.0.1";
  std::string trusted_ = authority_.bundle();
  std::string trusted_folder_;
  std::string workers_ = "1";
  std::vector<std::string> run_by_;
  Simulator simulator_{dir_};
  std::optional<Nginx> tls_end_;
  std::optional<Site> site_;
};

TEST_F(Tls, AGoodCertificateIsAccepted) {
  open_site(authority_.issue("IP:127.0.0.1", 2));
  EXPECT_EQ(read_stream(site_->stream("[[sim events=3]]")).text, tokens(3));
  EXPECT_EQ(text_at(site_->ask("[[sim events=3]]").json(), "/result"), tokens(3));
}

TEST_F(Tls, ACertificateOfAnotherHostIsRefused) {
  open_site(authority_.issue("DNS:elsewhere.example,IP:127.0.0.2", 2));
  expect_refused();
}

TEST_F(Tls, AnExpiredCertificateIsRefused) {
  open_site(authority_.issue("IP:127.0.0.1", -1));
  expect_refused();
}

TEST_F(Tls, ACertificateThatNobodyElseSignedIsRefused) {
  open_site(authority_.self_signed("IP:127.0.0.1"));
  expect_refused();
}

TEST_F(Tls, ACertificateOfAnUnknownAuthorityIsRefused) {
  const WorkDir elsewhere;
  trusted_ = Authority(elsewhere).bundle();
  open_site(authority_.issue("IP:127.0.0.1", 2));
  expect_refused();
}

TEST_F(Tls, AFolderOfCertificatesIsTrustedBesides) {
  trusted_ = authority_.self_signed("DNS:elsewhere.example");
  trusted_folder_ = dir_.file("certificates");
  std::filesystem::create_directory(trusted_folder_);
  std::filesystem::copy(authority_.bundle(), trusted_folder_ + "/ca.pem");
  ASSERT_EQ(
      run({.argv = {"openssl", "rehash", trusted_folder_}, .env = {}, .directory = {}, .fds = {}}).exit_code,
      0);
  open_site(authority_.issue("IP:127.0.0.1", 2));
  expect_answers(1);
}

// Without the file only what was read before can have verified the connection, whichever loop makes it.
TEST_F(Tls, TheBundleIsReadAtTheStart) {
  workers_ = "3";
  trusted_ = dir_.file("bundle.pem");
  std::filesystem::copy(authority_.bundle(), trusted_);
  open_site(authority_.issue("IP:127.0.0.1", 2));
  std::filesystem::remove(trusted_);
  expect_answers(12);
}

TEST_F(Tls, ABundleThatCannotBeReadIsNamedAndReadLater) {
  trusted_ = dir_.file("bundle.pem");
  open_site(authority_.issue("IP:127.0.0.1", 2));
  const auto line = site_->responder().event("ca_bundle");
  EXPECT_EQ(text_at(line, "/level"), "error");
  EXPECT_NE(text_at(line, "/message").find(trusted_ + ": No such file"), std::string::npos);
  expect_refused();
  std::filesystem::copy(authority_.bundle(), trusted_);
  expect_answers(1);
}

TEST_F(Tls, AReloadReadsABundleThatHasChanged) {
  const WorkDir elsewhere;
  trusted_ = dir_.file("bundle.pem");
  std::filesystem::copy(Authority(elsewhere).bundle(), trusted_);
  open_site(authority_.issue("IP:127.0.0.1", 2));
  expect_refused();
  dir_.write("new.pem", read_file(authority_.bundle()));
  std::filesystem::rename(dir_.file("new.pem"), trusted_);
  site_->responder().process().signal(SIGHUP);
  site_->responder().event("reloaded");
  expect_answers(1);
}

TEST_F(Tls, ACertificateForClientsIsRefused) {
  open_site(authority_.issue("IP:127.0.0.1", 2, "extendedKeyUsage=clientAuth\n"));
  expect_refused();
}

// Once the response has ended, possibly after the visitor has received the answer.
TEST_F(Tls, AConnectionServesOneChatAfterTheOther) {
  open_site(authority_.issue("IP:127.0.0.1", 2));
  const auto connection = [this] {
    read_stream(site_->stream("[[sim events=3]]"));
    return text_at(simulator_.last_request(), "/headers/x-connection");
  };
  const Deadline deadline;
  auto first = connection();
  for (auto next = connection(); next != first; next = connection()) {
    first = next;
    ASSERT_GT(deadline.left_ms(), 0);
  }
}

// The responder has its own /etc/hosts, and a name server that does not exist.
TEST_F(Tls, ANameThatCannotBeFoundIsAskedForAgain) {
  const auto hosts = dir_.write("hosts", "127.0.0.1 localhost\n");
  const auto resolver = dir_.write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
  const std::string mount =
      "mount --bind " + hosts + " /etc/hosts && mount --bind " + resolver + " /etc/resolv.conf";
  if (run({.argv = {"unshare", "-rm", "sh", "-c", mount}, .env = {}, .directory = {}, .fds = {}}).exit_code !=
      0)
    GTEST_SKIP() << "no mount namespaces here";
  run_by_ = {"unshare", "-rm", "sh", "-c", mount + R"( && exec "$0" "$@")"};
  host_ = "dashscope.example";
  open_site(authority_.issue("DNS:" + host_, 2));
  expect_refused();
  dir_.write("hosts", "127.0.0.1 localhost " + host_ + "\n");
  EXPECT_EQ(read_stream(site_->stream("[[sim events=3]]")).text, tokens(3));
}

TEST_F(Tls, AClientThatLeavesEndsTheTransfer) {
  open_site(authority_.issue("IP:127.0.0.1", 2));
  auto exchange = site_->stream("[[sim events=5 hold=1]]");
  EXPECT_EQ(read_text(exchange), "tok1 ");
  exchange.close();
  EXPECT_TRUE(simulator_.reaches("cut", 1));
}

}  // namespace
}  // namespace bailian::e2e
