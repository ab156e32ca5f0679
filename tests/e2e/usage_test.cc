// What the owner sees and steers: usage, pause and resume, alerts, the ledger in the status page and the
// metrics.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "harness/answer.h"
#include "harness/deadline.h"
#include "harness/site.h"
#include "harness/stranger.h"

namespace bailian::e2e {
namespace {

void await(const std::function<bool()>& happens) {
  for (const Deadline deadline; !happens(); std::this_thread::yield())
    if (deadline.left_ms() == 0) throw std::runtime_error("waits for what does not happen");
}

bool contains(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

constexpr const char* kWords = "We are back at nine.";

// A site whose settings the commands have too.
class OwnersSite {
 public:
  explicit OwnersSite(const Settings& settings = {}) : settings_(settings), site_({.settings = settings}) {}

  Site& operator*() { return site_; }
  Site* operator->() { return &site_; }

  Command command(const std::vector<std::string>& arguments) {
    Settings all = site_settings(site_.dir(), site_.simulator());
    for (const auto& [name, value] : settings_) all[name] = value;
    return responder_command(site_.dir(), all, arguments);
  }
  Finished run_command(const std::vector<std::string>& arguments) { return run(command(arguments)); }
  // The output, which must be that of a success.
  std::string out_of(const std::vector<std::string>& arguments) {
    const Finished finished = run_command(arguments);
    EXPECT_EQ(finished.exit_code, 0) << finished.err;
    return finished.out;
  }
  Json usage() { return parse_json(out_of({"usage", "--json"})); }

 private:
  const Settings settings_;
  Site site_;
};

// The tokens of an answer, as its log line has them.
struct Tokens {
  int64_t input;
  int64_t output;
};
Tokens tokens_of(OwnersSite& site, const Response& answer) {
  const Json line = site->responder().request_line(answer.headers.get("X-Request-Id"));
  return {number_at(line, "/input_tokens"), number_at(line, "/output_tokens")};
}

void await_usage(OwnersSite& site, const char* where, int64_t value) {
  await([&] { return number_at(site.usage(), where) == value; });
}

TEST(Usage, ShowsWhatAnAnswerHasCostWhetherTheServiceRunsOrNot) {
  OwnersSite site(Settings{{"PRICE_INPUT", "1"}, {"PRICE_OUTPUT", "1000000"}, {"CAP_DAY_TOKENS", "100000"}});
  const Tokens tokens = tokens_of(site, site->ask("[[sim events=3]]"));
  EXPECT_EQ(tokens.output, 3);
  await_usage(site, "/bots/0/open_leases", 0);
  for (const bool runs : {true, false}) {
    if (!runs) {
      site->responder().process().signal(SIGTERM);
      EXPECT_EQ(site->await_responder_end(), 0);
    }
    const Json usage = site.usage();
    EXPECT_EQ(text_at(usage, "/fault"), "");
    EXPECT_EQ(text_at(usage, "/bots/0/name"), "default");
    EXPECT_EQ(number_at(usage, "/bots/0/days/0/input_tokens"), tokens.input);
    EXPECT_EQ(number_at(usage, "/bots/0/days/0/output_tokens"), tokens.output);
    EXPECT_EQ(number_at(usage, "/bots/0/days/0/answers"), 1);
    EXPECT_EQ(text_at(usage, "/bots/0/days/0/date"), text_at(usage, "/day"));
    EXPECT_EQ(number_at(usage, "/total/month/output_tokens"), tokens.output);
    EXPECT_EQ(number_at(usage, "/bots/0/caps/0/used"), tokens.input + tokens.output);
    EXPECT_EQ(number_at(usage, "/bots/0/caps/0/left"), 100000 - tokens.input - tokens.output);
    EXPECT_NEAR(at(usage, "/bots/0/days/0/money").GetDouble(), 3, 0.01);
    const std::string text = site.out_of({"usage"});
    EXPECT_TRUE(contains(text, "\nbot default\n  cap   limit")) << text;
    EXPECT_TRUE(contains(text, "3.00\n")) << text;
  }
}

TEST(Usage, ShowsOneBotIfAsked) {
  OwnersSite site;
  EXPECT_FALSE(contains(site.out_of({"usage", "--bot", "default"}), "all bots"));
  EXPECT_FALSE(has(parse_json(site.out_of({"usage", "--json", "--bot", "default"})), "/total"));
  for (const char* const command : {"usage", "pause", "resume"}) {
    const Finished finished = site.run_command({command, "--bot", "nobody"});
    EXPECT_EQ(finished.exit_code, 64) << command;
    EXPECT_EQ(finished.err, "bailian-fcgi: --bot: there is no bot nobody\n") << command;
  }
  EXPECT_EQ(site.run_command({"usage", "--days", "0"}).exit_code, 64);
  EXPECT_EQ(site.run_command({"usage", "--days", "129"}).exit_code, 64);
}

TEST(Usage, NeedsALedgerThatCanBeUsed) {
  const WorkDir dir;
  Finished finished = run(responder_command(dir, {{"LEDGER", ""}}, {"usage"}));
  EXPECT_EQ(finished.exit_code, 78);
  EXPECT_EQ(finished.err, "bailian-fcgi: LEDGER is empty: nothing is counted\n");
  finished = run(responder_command(dir, {{"LEDGER", dir.path() + "/none/ledger"}}, {"usage"}));
  EXPECT_EQ(finished.exit_code, 74);
  EXPECT_TRUE(contains(finished.err, "the ledger cannot be used: ")) << finished.err;
  std::ofstream(dir.path() + "/foreign") << "these are the accounts of somebody else";
  finished = run(responder_command(dir, {{"LEDGER", dir.path() + "/foreign"}}, {"usage"}));
  EXPECT_EQ(finished.exit_code, 78);
  EXPECT_TRUE(contains(finished.err, "LEDGER: ")) << finished.err;
}

// Only root may read the key of an installed service.
TEST(Usage, NeedsNoKey) {
  const WorkDir dir;
  const Finished finished =
      run(responder_command(dir, {{"DASHSCOPE_API_KEY_FILE", "/nonexistent/key"}}, {"usage"}));
  EXPECT_EQ(finished.exit_code, 0) << finished.err;
}

// A folder that nobody but this user may use.
class LedgerOfAnother : public testing::Test {
 protected:
  static constexpr uid_t kOther = 65534;
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    const auto top = std::filesystem::path(dir_.socket("any")).parent_path();
    chmod(top.c_str(), 0755);
    folder_ = top / "state";
    std::filesystem::create_directories(folder_);
    chmod(folder_.c_str(), 0700);
  }
  Command command(const char* name) const {
    return responder_command(dir_, {{"LEDGER", folder_ + "/ledger"}}, {name});
  }

  WorkDir dir_;
  std::string folder_;
};

TEST_F(LedgerOfAnother, IsNotReadWithoutTheRight) {
  ASSERT_EQ(run(command("usage")).exit_code, 0);
  for (const char* const name : {"usage", "pause", "resume"}) {
    Command as_other = command(name);
    as_other.argv.insert(as_other.argv.begin(),
                         {"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"});
    as_other.directory = "/";
    const Finished finished = run(as_other);
    EXPECT_EQ(finished.exit_code, 77) << name << finished.err;
    EXPECT_TRUE(contains(finished.err, "run this as root or as the user of the service")) << finished.err;
  }
}

TEST_F(LedgerOfAnother, GetsNoFileOfRoots) {
  ASSERT_EQ(chown(folder_.c_str(), kOther, kOther), 0);
  for (const char* const name : {"usage", "pause", "resume"})
    EXPECT_EQ(run(command(name)).exit_code, 0) << name;
  int files = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder_)) {
    struct stat status {};
    ASSERT_EQ(stat(file.path().c_str(), &status), 0);
    EXPECT_EQ(status.st_uid, kOther) << file.path();
    ++files;
  }
  EXPECT_GE(files, 1);
}

// Its owner could lead root anywhere.
TEST_F(LedgerOfAnother, LeadsRootToNoFileOfRoots) {
  const std::string file = dir_.write("of-root", "");
  ASSERT_EQ(chmod(file.c_str(), 0600), 0);
  std::filesystem::create_symlink(file, folder_ + "/ledger");
  ASSERT_EQ(chown(folder_.c_str(), kOther, kOther), 0);
  for (const char* const name : {"usage", "pause", "resume"})
    EXPECT_EQ(run(command(name)).exit_code, 77) << name;
  EXPECT_TRUE(read_file(file).empty());
}

// --- pause ---

TEST(Pause, RefusesWithTheOwnersWordsUntilResume) {
  const WorkDir profile;
  profile.write(
      "bot.json",
      R"({"botStatus":1,"StartUpMessage":"Hi","fontSize":"16","userAvatarURL":"u","botImageURL":"b",)"
      R"("commonButtons":[]})");
  OwnersSite site(Settings{{"BOT_CONFIG_FILE", profile.path() + "/bot.json"}});
  EXPECT_EQ(number_at(site->get(kConfigPath).json(), "/botStatus"), 1);
  EXPECT_EQ(site.out_of({"pause", "--message", kWords}),
            "all bots are paused: questions get 503, answers in progress go on to their end\n"
            "bailian-fcgi resume ends that\n");
  for (const Response& answer :
       {site->ask("[[sim events=1]]"), site->stream("[[sim events=1]]").read_all()}) {
    expect_error(answer, 503, "paused", kWords);
    EXPECT_EQ(answer.headers.get("x-should-retry"), "false");
  }
  EXPECT_EQ(number_at(site->get(kConfigPath).json(), "/botStatus"), 0);
  EXPECT_EQ(site->simulator().count("requests"), 0);
  EXPECT_TRUE(contains(site.out_of({"usage"}), "visitors read: We are back at nine.\n"));
  EXPECT_TRUE(contains(site->get("/metrics").body, "\nbailian_paused{bot=\"default\"} 1\n"));
  EXPECT_EQ(site.out_of({"resume"}), "all bots are open again\n");
  EXPECT_EQ(site->ask("[[sim events=2]]").status, 200);
  EXPECT_EQ(number_at(site->get(kConfigPath).json(), "/botStatus"), 1);
}

TEST(Pause, SurvivesReloadAndRestart) {
  OwnersSite site;
  site.out_of({"pause", "--message", kWords});
  site->responder().process().signal(SIGHUP);
  site->responder().event("reloaded");
  expect_error(site->ask("[[sim events=1]]"), 503, "paused", kWords);
  site->responder().process().signal(SIGTERM);
  EXPECT_EQ(site->await_responder_end(), 0);
  Responder again(site.command({}));
  expect_error(site->ask("[[sim events=1]]"), 503, "paused", kWords);
  site.out_of({"resume"});
  EXPECT_EQ(site->ask("[[sim events=1]]").status, 200);
}

TEST(Pause, LetsOpenAnswersGoOnUnlessNow) {
  OwnersSite site;
  auto held = site->stream("[[sim events=3 hold=1]]");
  EXPECT_EQ(read_text(held), "tok1 ");
  site.out_of({"pause"});
  site->simulator().release();
  EXPECT_EQ(read_stream(held).text, "tok2 tok3 ");
  site.out_of({"resume"});

  auto endless = site->stream("[[sim events=100000 interval=5]]");
  EXPECT_EQ(read_text(endless), "tok1 ");
  EXPECT_TRUE(contains(site.out_of({"pause", "--now", "--message", kWords}), "answers in progress end now"));
  expect_failed(read_stream(endless), "paused");
  EXPECT_TRUE(site->simulator().falls_to("open", 0));
}

TEST(Pause, OfOneBotLeavesTheOthersAlone) {
  const WorkDir bots;
  std::ofstream(bots.path() + "/shop.env") << "\n";
  OwnersSite site(Settings{{"BOTS_DIR", bots.path()}});
  const auto ask_shop = [&] {
    return site->post("/myapi/bots/shop/v1/chat-bot", chat_body("[[sim events=1]]")).status;
  };
  site.out_of({"pause", "--bot", "shop"});
  EXPECT_EQ(ask_shop(), 503);
  EXPECT_EQ(site->ask("[[sim events=1]]").status, 200);
  EXPECT_EQ(site.out_of({"resume"}), "the bot shop is still paused: bailian-fcgi resume --bot shop\n");
  EXPECT_EQ(ask_shop(), 503);
  site.out_of({"pause"});
  EXPECT_EQ(site.out_of({"resume", "--bot", "shop"}), "all bots are still paused: bailian-fcgi resume\n");
  EXPECT_EQ(ask_shop(), 503);
  EXPECT_EQ(site.out_of({"resume"}), "all bots are open again\n");
  EXPECT_EQ(ask_shop(), 200);
}

TEST(Pause, RefusesAMessageThatCannotBeShown) {
  OwnersSite site;
  for (const std::string& message : {std::string("two\nlines"), std::string("\xff"), std::string(481, 'x')}) {
    const Finished finished = site.run_command({"pause", "--message", message});
    EXPECT_EQ(finished.exit_code, 64);
    EXPECT_TRUE(finished.err.starts_with("bailian-fcgi: --message: ")) << finished.err;
  }
  EXPECT_EQ(site->ask("[[sim events=1]]").status, 200);
  site.out_of({"pause", "--message", std::string(480, 'x')});
  expect_error(site->ask("[[sim events=1]]"), 503, "paused", std::string(480, 'x'));
}

// --- ping, check ---

TEST(PingAndTheLedger, ItsTokensCount) {
  OwnersSite site;
  EXPECT_TRUE(contains(site.out_of({"ping"}), "answered in"));
  const Json usage = site.usage();
  EXPECT_EQ(number_at(usage, "/bots/0/days/0/answers"), 1);
  EXPECT_GT(number_at(usage, "/bots/0/days/0/input_tokens"), 0);
  EXPECT_GT(number_at(usage, "/bots/0/days/0/output_tokens"), 0);
  EXPECT_EQ(number_at(usage, "/bots/0/days/0/estimated_tokens"), 0);
  EXPECT_EQ(number_at(usage, "/bots/0/open_leases"), 0);
}

TEST(PingAndTheLedger, AFailureCostsNothing) {
  OwnersSite site(Settings{{"APP_ID", "another-app"}});
  EXPECT_EQ(site.run_command({"ping"}).exit_code, 78);
  const Json usage = site.usage();
  EXPECT_EQ(at(usage, "/bots/0/days").Size(), 0U);
  EXPECT_EQ(number_at(usage, "/bots/0/caps/0/leased"), 0);
}

TEST(PingAndTheLedger, IsRefusedAsAVisitorIs) {
  OwnersSite site(Settings{{"CAP_DAY_TOKENS", "100"}});
  Finished finished = site.run_command({"ping"});
  EXPECT_EQ(finished.exit_code, 75);
  EXPECT_TRUE(contains(finished.out, "is not asked: the tokens of a cap are used up")) << finished.out;
  site.out_of({"pause"});
  finished = site.run_command({"ping"});
  EXPECT_EQ(finished.exit_code, 75);
  EXPECT_TRUE(contains(finished.out, "is not asked: the bot is paused: bailian-fcgi resume")) << finished.out;
  EXPECT_EQ(site->simulator().count("requests"), 0);
}

TEST(CheckAndTheLedger, PrintsTheCapsAndWhatIsLeft) {
  OwnersSite site(Settings{{"CAP_DAY_TOKENS", "100000"}, {"CAP_VISITOR_DAY_TOKENS", "200000"}});
  const Tokens tokens = tokens_of(site, site->ask("[[sim events=3]]"));
  await_usage(site, "/bots/0/open_leases", 0);
  const Finished finished = site.run_command({"check"});
  const auto used = tokens.input + tokens.output;
  EXPECT_TRUE(contains(finished.out, "caps of default: 100000 tokens a day (" + std::to_string(used) +
                                         " used, " + std::to_string(100000 - used) +
                                         " left), 200000 tokens a visitor and day\n"))
      << finished.out;
  EXPECT_TRUE(contains(finished.out, "at a cap: new questions get an error (budget_used_up)"))
      << finished.out;
  EXPECT_TRUE(contains(finished.err, "warning: CAP_VISITOR_DAY_TOKENS=200000 has no effect")) << finished.err;
}

TEST(CheckAndTheLedger, MakesNoLedger) {
  const WorkDir dir;
  EXPECT_EQ(run(responder_command(dir, {}, {"check"})).exit_code, 0);
  EXPECT_FALSE(std::filesystem::exists(dir.path() + "/ledger"));
}

// --- alerts, pages ---

class CapAlerts : public testing::Test {
 protected:
  // A command that appends what it is told to a file.
  std::string command(const std::string& last = "") const {
    const std::string path = dir_.path() + "/alert";
    std::ofstream(path) << "#!/bin/sh\necho \"$1 $BAILIAN_CAP_SCOPE $BAILIAN_CAP_BOT $BAILIAN_CAP_PERIOD "
                           "$BAILIAN_CAP_PERCENT $BAILIAN_CAP_LIMIT\" >> "
                        << dir_.path() << "/alerts\nenv > " << dir_.path() << "/env\n"
                        << last << "\n";
    chmod(path.c_str(), 0755);
    return path + "  owner";
  }
  std::string read(const char* name) const {
    std::ifstream file(dir_.path() + "/" + name);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  const WorkDir dir_;
};

TEST_F(CapAlerts, ComeOnceOverRestartsWithoutTheKey) {
  OwnersSite site(
      Settings{{"CAP_DAY_TOKENS", "3000"}, {"CAP_EXPECTED_INPUT", "10"}, {"CAP_ALERT_COMMAND", command()}});
  EXPECT_EQ(site->ask("[[sim events=2500 interval=0]]").status, 200);
  Json line = site->responder().event("cap_alert");
  EXPECT_EQ(number_at(line, "/percent"), 80);
  EXPECT_EQ(text_at(line, "/scope"), "bot");
  EXPECT_EQ(text_at(line, "/bot"), "default");
  EXPECT_EQ(text_at(line, "/period"), "day");
  EXPECT_EQ(number_at(line, "/limit"), 3000);
  await([&] { return read("alerts") == "owner bot default day 80 3000\n"; });
  EXPECT_TRUE(contains(site->get("/metrics").body,
                       R"(bailian_cap_alerted_percent{scope="bot",period="day",bot="default"} 80)"));

  site->responder().process().signal(SIGTERM);
  EXPECT_EQ(site->await_responder_end(), 0);
  Responder again(site.command({}));
  while (site->ask("[[sim events=300 interval=0]]").status == 200) {
  }
  line = again.event("cap_alert");
  EXPECT_EQ(number_at(line, "/percent"), 100);
  await([&] { return read("alerts") == "owner bot default day 80 3000\nowner bot default day 100 3000\n"; });
  EXPECT_FALSE(contains(read("env"), kApiKey));
  EXPECT_TRUE(contains(site->get("/metrics").body,
                       R"(bailian_refusals_total{bot="default",code="budget_used_up"} 1)"
                       "\n"));
}

TEST_F(CapAlerts, ThatFailAreLoggedAndAnUpgradeStillWorks) {
  OwnersSite site(Settings{{"CAP_TOTAL_DAY_TOKENS", "3000"},
                           {"CAP_EXPECTED_INPUT", "10"},
                           {"CAP_ALERT_COMMAND", command("exit 3")}});
  EXPECT_EQ(site->ask("[[sim events=2500 interval=0]]").status, 200);
  const Json line = site->responder().event("alert_command_failed");
  EXPECT_EQ(text_at(line, "/message"), "CAP_ALERT_COMMAND: it ended with exit code 3");
  EXPECT_EQ(read("alerts"), "owner total  day 80 3000\n");
  site->responder().process().signal(SIGUSR2);
  const Stranger successor(static_cast<pid_t>(number_at(site->responder().event("upgraded"), "/pid")));
  EXPECT_EQ(site->responder().process().wait_alone(), 0);
  successor.signal(SIGTERM);
  successor.await_end();
  EXPECT_EQ(site->await_responder_end(), 0);
}

TEST(LedgerInThePages, IsAsInUsage) {
  OwnersSite site(Settings{{"CAP_DAY_TOKENS", "100000"}});
  const Tokens tokens = tokens_of(site, site->ask("[[sim events=3]]"));
  await_usage(site, "/bots/0/open_leases", 0);
  const Json status = site->get("/status?json").json();
  const std::string usage = site.out_of({"usage", "--json", "--days", "1"});
  EXPECT_TRUE(is_json(at(status, "/ledger"), usage));
  const std::string text = site->get("/status").body;
  EXPECT_TRUE(contains(text, "\n\n" + site.out_of({"usage", "--days", "1"}))) << text;
  const std::string metrics = site->get("/metrics").body;
  const std::string labels = R"({scope="bot",period="day",bot="default"} )";
  for (const std::string& line :
       {"bailian_cap_used_tokens" + labels + std::to_string(tokens.input + tokens.output),
        "bailian_cap_limit_tokens" + labels + "100000", "bailian_cap_leased_tokens" + labels + "0",
        std::string(R"(bailian_paused{bot="default"} 0)"), std::string("bailian_ledger_fault 0")})
    EXPECT_TRUE(contains(metrics, "\n" + line + "\n")) << line;
  EXPECT_TRUE(contains(run(site.command({"top"})).out, "cap of ")) << run(site.command({"top"})).out;
}

}  // namespace
}  // namespace bailian::e2e
