#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/fcgi_peer.h"
#include "harness/responder.h"
#include "harness/simulator.h"
#include "harness/site.h"
#include "plan.h"

// Torture, as curl's tests have it: one scenario over and over, each time with another call failing, until
// there is none left that has not failed.
namespace bailian::torture {

using namespace e2e;

struct Failure {
  Call call;
  const char* name;
  int error;
  bool for_good;
};
std::string describe(const Failure& failure);
// All that the program may meet, and what is not called is not met.
const std::vector<Failure>& all_failures();

// For what can be looked at only; throws WaitedInVain.
void await(const std::string& what, const std::function<bool()>& happens);

// The tests' view of plan.h's page.
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

// A place to run the program in, with a library that has its calls fail.
class TortureBase : public testing::Test {
 protected:
  // kFew: for a scenario that has to wait each time.
  enum class Times { kMany, kFew };
  enum class From { kNow, kMain };
  // `run` over and over, until each call that it makes has failed in each way, or the test has failed. Gives
  // how often one has. The run before has called the same.
  uint64_t fail_each(const std::function<void()>& run, From from, Times times = Times::kMany);

  const WorkDir& dir() const { return dir_; }
  Simulator& simulator() { return simulator_; }
  SharedPlan& plan() { return plan_; }
  Address address() const { return {.unix_path = dir_.socket("fcgi")}; }
  // The program with a site's settings besides these, and calls that fail.
  Command failing_command(Settings settings, const std::vector<std::string>& arguments = {}) const;
  // Nothing when the process ends before it listens.
  std::optional<FcgiPeer> first_peer(Process& process) const;
  bool is_served(Process& process) const;

 private:
  WorkDir dir_;
  Simulator simulator_{dir_};
  SharedPlan plan_{dir_.write("plan", std::string(sizeof(Plan), '\0'))};
};

class Torture : public TortureBase {
 protected:
  // Once in the test: a responder with these settings besides a site's.
  void start(Settings settings = {});
  // For a scenario that ends the responder: a new one, whose start does not count.
  void restart();
  Process& responder() { return *responder_; }
  std::string log() const { return responder_->err().text(); }

  // Descriptors that a loop opens for its first chat: those by which libcurl wakes a multi handle.
  static constexpr size_t kFilesOfFirstChat = 2;
  enum class Ends { kServing, kEnded };
  // The scenario with every call failing, one after the other. After each time the responder must serve
  // /health, or must have ended by itself, and at the end it may have grown by neither memory nor files.
  void survive(const std::function<void()>& scenario, Ends ends = Ends::kServing, Times times = Times::kMany);

  // For the rest of this run of the scenario nothing fails.
  void stop_failing() { plan()->counting = false; }
  // Whether nothing fails in this run of the scenario: then every answer must be as expected.
  bool is_calm() const { return calm_; }

  FcgiPeer connect() const { return FcgiPeer(address()); }
  FcgiPeer ask_for_stream(std::string_view prompt) const;
  // One of tokens(3) that has begun, and goes on when the simulator releases it.
  FcgiPeer live_stream();
  // The answer to this, which must come: nothing fails any more.
  std::string get(std::string_view path) const;

  // These take an answer in place of the expected one, when it is whole and says that something failed, and
  // an end of the connection; nothing else. False: not answered as expected.
  bool expect_reply(FcgiPeer& peer, int status, std::string_view body_part);
  // An answer that ends well must have all of the text, any other a beginning of it. With `may_fail` an error
  // in its place is expected too.
  bool expect_stream(FcgiPeer& peer, std::string_view text, bool may_fail = false);
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

  Settings settings_;
  std::optional<Process> responder_;
  bool calm_ = true;
  size_t loops_ = 1;
};

}  // namespace bailian::torture
