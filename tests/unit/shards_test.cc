#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <string>

namespace {

// Sample tests on which tests/shards.sh itself is tested. GoogleTest runs these only if disabled tests are
// requested.
TEST(ShardsSample, DISABLED_Passes) {}
TEST(ShardsSample, DISABLED_Skips) { GTEST_SKIP() << "no moon\ntonight"; }
TEST(ShardsSample, DISABLED_Fails) { FAIL() << "the sky is green"; }
TEST(ShardsSample, DISABLED_Kills) { raise(SIGKILL); }
TEST(ShardsSample, DISABLED_LastOne) {}

struct Outcome {
  int exit_code;
  std::string output;
};

Outcome run_shards(const std::string& filter, const std::string& after_program = "") {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe");
  const std::string command = "GTEST_ALSO_RUN_DISABLED_TESTS=1 FILTER='" + filter + "' tests/shards.sh '" +
                              program + "'" + after_program + " 2>&1";
  Outcome outcome{};
  FILE* pipe = popen(command.c_str(), "r");
  std::array<char, 4096> buffer{};
  while (const auto got = fread(buffer.data(), 1, buffer.size(), pipe))
    outcome.output.append(buffer.data(), got);
  outcome.exit_code = WEXITSTATUS(pclose(pipe));
  return outcome;
}

bool has(const Outcome& outcome, const std::string& part) {
  return outcome.output.find(part) != std::string::npos;
}

TEST(Shards, OneLineSumsUpAllProcessesAndPrograms) {
  const auto outcome = run_shards("ShardsSample.*Passes:ShardsSample.*LastOne", ":2 /proc/self/exe");
  EXPECT_EQ(outcome.exit_code, 1) << "the second program is no GoogleTest program";
  EXPECT_TRUE(has(outcome, "\n2 passed, 1 failed, 0 skipped in ")) << outcome.output;
}

TEST(Shards, ASkippedTestIsNamedWithItsReason) {
  const auto outcome = run_shards("ShardsSample.*Skips:ShardsSample.*Passes");
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_TRUE(has(
      outcome, "  skipped: ShardsSample.DISABLED_Skips: no moon tonight\n1 passed, 0 failed, 1 skipped in "))
      << outcome.output;
}

TEST(Shards, AFailedTestIsShownAndNamedAtTheEnd) {
  const auto outcome = run_shards("ShardsSample.*Fails:ShardsSample.*Passes");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_TRUE(has(outcome, "the sky is green")) << outcome.output;
  EXPECT_TRUE(has(outcome, "  failed: ShardsSample.DISABLED_Fails\n1 passed, 1 failed, 0 skipped in "))
      << outcome.output;
}

TEST(Shards, AProgramThatDiesNamesTheTestAndCountsThoseThatNeverRan) {
  const auto outcome = run_shards("ShardsSample.*Kills:ShardsSample.*LastOne");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_TRUE(has(outcome, "  failed: ShardsSample.DISABLED_Kills (")) << outcome.output;
  EXPECT_TRUE(has(outcome, "ended within it: signal 9)\n0 passed, 1 failed, 0 skipped, 1 not run in "))
      << outcome.output;
}

TEST(Shards, AFilterThatMatchesNothingFails) {
  const auto outcome = run_shards("NoSuchSuite.*");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_TRUE(has(outcome, "no test matches FILTER=NoSuchSuite.*\n")) << outcome.output;
}

}  // namespace
