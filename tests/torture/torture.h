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

// Torture tests, like curl's: one scenario runs repeatedly, each time with a different call failing, until
// every call has failed once.
namespace bailian::torture {

using namespace e2e;

struct Failure {
  Call call;
  const char* name;
  int error;
  bool for_good;
};
std::string describe(const Failure& failure);
// All failures to try. A function that the scenario does not call is skipped.
const std::vector<Failure>& all_failures();

// Polls for a condition that no event signals; throws WaitedInVain.
void await(const std::string& what, const std::function<bool()>& happens);

// The tests' side of the page in plan.h.
class SharedPlan {
 public:
  explicit SharedPlan(const std::string& path);
  ~SharedPlan();
  SharedPlan(const SharedPlan&) = delete;
  SharedPlan& operator=(const SharedPlan&) = delete;

  Plan* operator->() const { return plan_; }
  // Preloads the failing library into the command.
  void preload(Command& command) const;
  // Counts from 0; no call fails.
  void count();
  bool was_called(Call call) const { return plan_->calls[call] > 0; }
  // From now on the n-th call fails.
  void arm(const Failure& failure, uint64_t n, bool from_main = false);
  void disarm() { plan_->counting = plan_->from_main = false; }

 private:
  std::string path_;
  Plan* plan_;
};

// Runs the program with a library that makes its calls fail.
class TortureBase : public testing::Test {
 protected:
  // kFew: for a scenario that must wait each time.
  enum class Times { kMany, kFew };
  enum class From { kNow, kMain };
  // Runs `run` until each of its calls has failed in each way, or the test has failed. Returns how many calls
  // failed. The previous run must have made the same calls.
  uint64_t fail_each(const std::function<void()>& run, From from, Times times = Times::kMany);

  const WorkDir& dir() const { return dir_; }
  Simulator& simulator() { return simulator_; }
  SharedPlan& plan() { return plan_; }
  Address address() const { return {.unix_path = dir_.socket("fcgi")}; }
  // The program with these settings and those of a site, and failing calls.
  Command failing_command(Settings settings, const std::vector<std::string>& arguments = {}) const;
  // Empty when the process ends before it listens.
  std::optional<FcgiPeer> first_peer(Process& process) const;
  bool is_served(Process& process) const;

 private:
  WorkDir dir_;
  Simulator simulator_{dir_};
  SharedPlan plan_{dir_.write("plan", std::string(sizeof(Plan), '\0'))};
};

class Torture : public TortureBase {
 protected:
  // Starts the responder with these settings and those of a site. Once in a test.
  void start(Settings settings = {});
  // For a scenario that ends the responder: starts a new one, whose start is not counted.
  void restart();
  Process& responder() { return *responder_; }
  std::string log() const { return responder_->err().text(); }

  // Descriptors that a loop opens for its first chat: libcurl's, to wake up a multi handle.
  static constexpr size_t kFilesOfFirstChat = 2;
  static constexpr size_t kFilesOfLedger = 1;  // the journal, opened within a second
  enum class Ends { kServing, kEnded };
  // Runs the scenario with every call failing, one after the other. After each run the responder must serve
  // /health or have ended by itself. In the end it must not use more memory or files than before.
  void survive(const std::function<void()>& scenario, Ends ends = Ends::kServing, Times times = Times::kMany);

  // Nothing fails in the rest of this run of the scenario.
  void stop_failing() { plan()->counting = false; }
  // Whether nothing fails in this run of the scenario: then every answer must be as expected.
  bool is_calm() const { return calm_; }

  FcgiPeer connect() const { return FcgiPeer(address()); }
  FcgiPeer ask_for_stream(std::string_view prompt) const;
  // A stream of tokens(3) that has begun, and continues when the simulator releases it.
  FcgiPeer live_stream();
  // The answer to this request, which must arrive, because no call fails any more.
  std::string get(std::string_view path) const;

  // Instead of the expected answer, these accept only a whole answer that reports a failure, or the end of
  // the connection. They return false unless the expected answer arrived.
  bool expect_reply(FcgiPeer& peer, int status, std::string_view body_part);
  // An answer that completes must have all of the text; any other must have a prefix of it. With `may_fail`
  // an error is accepted too.
  bool expect_stream(FcgiPeer& peer, std::string_view text, bool may_fail = false);
  bool expect_failed_stream(FcgiPeer& peer, std::string_view text);
  // The next text of a stream.
  bool read_text(FcgiPeer& peer);

  bool ask(std::string_view path, std::string_view body, int status, std::string_view body_part);
  bool chat(std::string_view prompt, std::string_view text);
  bool stream(std::string_view prompt, std::string_view text);

  // Waits until a counter of the simulator has this value, or until the peer has received something.
  void await_upstream(const FcgiPeer& peer, std::string_view counter, int64_t count);
  // The connection may end before everything was sent.
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
