#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "harness/browser.h"
#include "harness/nginx.h"
#include "harness/responder.h"
#include "harness/simulator.h"
#include "harness/work_dir.h"

namespace bailian::e2e {

inline constexpr const char* kStreamPath = "/myapi/v1/chat-bot/stream";
inline constexpr const char* kChatPath = "/myapi/v1/chat-bot";
inline constexpr const char* kConfigPath = "/myapi/v1/chat-bot-config";
inline constexpr const char* kHealthPath = "/health";
inline constexpr const char* kReadyPath = "/ready";

struct SiteOptions {
  Settings settings = {};                // in addition to the key, the app, the upstream and the socket
  std::vector<std::string> unset = {};   // those of all these that are left unset
  std::string nginx_server = {};         // more directives for nginx's `http { }`
  std::vector<std::string> run_by = {};  // a command that runs the responder, which is its last argument
};

// The body of a chat as front ends send it.
std::string chat_body(std::string_view prompt);

// The key, the app, the upstream and the socket of a site.
Settings site_settings(const WorkDir& dir, const Simulator& simulator);

// A whole site: browser -> nginx -> responder -> simulator. Its destructor sends SIGTERM, expects exit code
// 0, and checks the log (check_log). If the test has failed, it prints the logs and keeps them.
class Site {
 public:
  explicit Site(const SiteOptions& options = {});
  ~Site();
  Site(const Site&) = delete;
  Site& operator=(const Site&) = delete;

  Browser browser() const { return Browser({.unix_path = dir_.socket("web")}); }
  Exchange stream(std::string_view prompt) const;  // starts a streamed chat
  Exchange chat(std::string_view prompt) const;    // starts a chat at the non-streamed endpoint
  Response ask(std::string_view prompt) const { return chat(prompt).read_all(); }
  Response get(std::string path) const { return browser().get(std::move(path)); }
  Response post(std::string path, std::string body, Headers headers = {}) const;

  const WorkDir& dir() const { return dir_; }
  Simulator& simulator() { return simulator_; }
  Responder& responder() { return responder_; }
  Nginx& nginx() { return nginx_; }
  // The address for a FastCGI peer.
  Address fastcgi() const { return {.unix_path = dir_.socket("fcgi")}; }

  // For tests that end the responder themselves: waits for its exit code, whatever it is.
  int await_responder_end();

 private:
  void end_responder();
  void show_logs();

  WorkDir dir_;
  Simulator simulator_;
  Responder responder_;
  Nginx nginx_;
  bool ended_by_test_ = false;
};

// Tests that share one site; the simulator is reset before each of them. `class X : public SharedSite<X>`; a
// `static SiteOptions options()` in X gives the site other settings.
template <class Suite>
class SharedSite : public testing::Test {
 public:
  static void SetUpTestSuite() { site_ = std::make_unique<Site>(Suite::options()); }
  static void TearDownTestSuite() { site_.reset(); }
  static SiteOptions options() { return {}; }

 protected:
  void SetUp() override { site().simulator().reset(); }

  static Site& site() {
    if (!site_) throw std::runtime_error("the site did not start");
    return *site_;
  }

 private:
  static inline std::unique_ptr<Site> site_;
};

}  // namespace bailian::e2e
