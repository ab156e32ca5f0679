#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../e2e/fcgi_peer.h"
#include "../e2e/responder.h"
#include "../e2e/simulator.h"
#include "../e2e/site.h"
#include "plan.h"

// Torture, as curl's tests have it: one scenario over and over, each time with another call failing, until
// there is none left that has not failed.
namespace bailian::torture {

using namespace e2e;

struct Failure {
  const char* what;
  Call call;
  int error;
  bool for_good = false;
};

// What a serving responder meets.
const std::vector<Failure>& failures_in_service();
// What one that starts meets besides.
const std::vector<Failure>& failures_at_start();

// The n after this one: each up to 60, then a tenth more each time; of few, each up to 6, then half as much
// again. TORTURE=quick: always few, and of those the powers of four.
uint64_t next_n(uint64_t n, bool few = false);

// The responder's view of plan.h's page.
class SharedPlan {
 public:
  explicit SharedPlan(const std::string& path);
  ~SharedPlan();
  SharedPlan(const SharedPlan&) = delete;
  SharedPlan& operator=(const SharedPlan&) = delete;

  Plan* operator->() const { return plan_; }
  // The command runs with the library that fails.
  void preload(Command& command) const;
  // No call fails, and none has been counted yet.
  void count();
  bool was_called(Call call) const { return plan_->calls[call] > 0; }
  // From now on the n-th call fails.
  void arm(const Failure& failure, uint64_t n, bool from_main = false);
  void disarm() { plan_->counting = plan_->from_main = false; }

 private:
  std::string path_;
  Plan* plan_;
};

class Torture : public testing::Test {
 protected:
  // Once in the test: a responder with these settings besides a site's.
  void start(Settings settings = {});
  // For a scenario that ends the responder: a new one, whose start does not count.
  void restart();
  Responder& responder() { return *responder_; }
  Simulator& simulator() { return simulator_; }
  const WorkDir& dir() const { return dir_; }
  Command command() const;

  enum class Ends { kServing, kEnded };
  // kFew: for a scenario that has to wait each time.
  enum class Times { kMany, kFew };
  // The scenario with every call failing, one after the other. After each time the responder must serve
  // /health, or must have ended by itself, and at the end it may have grown by neither memory nor files.
  void survive(const std::function<void()>& scenario, Ends ends = Ends::kServing, Times times = Times::kMany);

  // For the rest of this run of the scenario nothing fails.
  void stop_failing() { plan_->counting = false; }
  // Whether nothing fails in this run of the scenario: then every answer must be as expected.
  bool is_calm() const { return calm_; }

  FcgiPeer connect() const { return FcgiPeer(address()); }
  Address address() const { return {.unix_path = dir_.socket("fcgi")}; }

  // These take an answer in place of the expected one, when it is whole and says that something failed, and
  // an end of the connection; nothing else. False: not answered as expected.
  bool expect_reply(FcgiPeer& peer, int status, std::string_view body_part);
  // An answer that ends well must have all of the text, any other a beginning of it.
  bool expect_stream(FcgiPeer& peer, std::string_view text);
  bool expect_failed_stream(FcgiPeer& peer, std::string_view text);
  // The next text of a stream.
  bool read_text(FcgiPeer& peer);

  bool ask(std::string_view path, std::string_view body, int status, std::string_view body_part);
  bool chat(std::string_view prompt, std::string_view text);
  bool stream(std::string_view prompt, std::string_view text);

  // Until a counter of the simulator is there, or the peer has heard something before.
  void await_upstream(const FcgiPeer& peer, std::string_view counter, int64_t count);
  // A peer may be gone before it has sent everything.
  static void send(const FcgiPeer& peer, std::string_view bytes);

 private:
  void run_once(const std::function<void()>& scenario, Ends ends);
  void settle(Ends ends);
  bool see(FcgiPeer& peer, std::optional<Response>& response);
  void check_events(std::string_view out, bool whole, std::string_view text, bool success);

  WorkDir dir_;
  Simulator simulator_{dir_};
  Settings settings_;
  SharedPlan plan_{dir_.write("plan", std::string(sizeof(Plan), '\0'))};
  std::optional<Responder> responder_;
  bool calm_ = true;
};

}  // namespace bailian::torture
