#include "harness/site.h"

#include <iostream>

namespace bailian::e2e {
namespace {

// Whether the test has failed, or, if a suite shares the site, any test of that suite.
bool has_failed() {
  const auto* all = testing::UnitTest::GetInstance();
  const auto* test = all->current_test_info();
  return test != nullptr ? test->result()->Failed() : all->current_test_suite()->Failed();
}

std::string_view tail_of(std::string_view text) {
  constexpr size_t kShown = 3000;
  return text.substr(text.size() - std::min(text.size(), kShown));
}

Settings settings_for(const SiteOptions& options, const WorkDir& dir, const Simulator& simulator) {
  auto settings = options.settings;
  settings.merge(site_settings(dir, simulator));
  for (const auto& key : options.unset) settings.erase(key);
  return settings;
}

Command command_for(const SiteOptions& options, const WorkDir& dir, const Simulator& simulator) {
  auto command = responder_command(dir, settings_for(options, dir, simulator));
  command.argv.insert(command.argv.begin(), options.run_by.begin(), options.run_by.end());
  return command;
}

}  // namespace

Settings site_settings(const WorkDir& dir, const Simulator& simulator) {
  return {{"DASHSCOPE_API_KEY", std::string(kApiKey)},
          {"APP_ID", std::string(kAppId)},
          {"DASHSCOPE_BASE_URL", simulator.base_url()},
          {"FCGI_LISTEN", dir.socket("fcgi")},
          {"DEBUG", "False"}};
}

std::string chat_body(std::string_view prompt) { return R"({"last_prompt":)" + json_string(prompt) + "}"; }

Site::Site(const SiteOptions& options)
    : simulator_(dir_),
      responder_(command_for(options, dir_, simulator_)),
      nginx_(
          dir_, "nginx",
          options.nginx_server + stock_server("unix:" + dir_.socket("web"), "unix:" + dir_.socket("fcgi"))) {}

Site::~Site() {
  try {
    nginx_.stop();
    simulator_.release();
    end_responder();
    simulator_.process().signal(SIGTERM);
    EXPECT_EQ(simulator_.process().wait(), 0) << "the simulator's exit code";
    EXPECT_FALSE(has_sanitizer_report(simulator_.process().err().text()));
    if (has_failed()) show_logs();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "at the end of a site: " << error.what();
    show_logs();
  }
}

Exchange Site::stream(std::string_view prompt) const {
  return browser().send({.method = "POST", .path = kStreamPath, .body = chat_body(prompt)});
}

Exchange Site::chat(std::string_view prompt) const {
  return browser().send({.method = "POST", .path = kChatPath, .body = chat_body(prompt)});
}

Response Site::post(std::string path, std::string body, Headers headers) const {
  return browser().post(std::move(path), std::move(body), std::move(headers));
}

int Site::await_responder_end() {
  ended_by_test_ = true;
  return responder_.process().wait();
}

void Site::end_responder() {
  if (!ended_by_test_) {
    responder_.process().signal(SIGTERM);
    EXPECT_EQ(responder_.process().wait(), 0) << "the responder's exit code";
  }
  const auto log = responder_.log();
  if (has_sanitizer_report(log)) {
    ADD_FAILURE() << "sanitizer report:\n" << log;
  } else {
    check_log(log);
  }
}

void Site::show_logs() {
  dir_.keep();
  std::cerr << "site kept in " << dir_.path() << "\n";
  dir_.write("responder.log", responder_.log());
  std::cerr << "--- responder\n" << tail_of(responder_.log());
  dir_.write("nginx.log", nginx_.process().err().text());
  dir_.write("simulator.log", simulator_.process().err().text());
  std::cerr << "--- simulator\n" << tail_of(simulator_.process().err().text());
}

}  // namespace bailian::e2e
