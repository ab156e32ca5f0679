// The two things an attacker would look for: an easy exploit, and the key.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sstream>
#include <string>

#include "harness/answer.h"
#include "harness/site.h"
#include "harness/work_dir.h"

namespace bailian::e2e {
namespace {

std::string readelf(const std::vector<std::string>& options, const std::string& file) {
  Command command{.argv = {"readelf", "--wide"}, .env = {}, .directory = {}, .fds = {}};
  command.argv.insert(command.argv.end(), options.begin(), options.end());
  command.argv.push_back(file);
  const auto finished = run(command);
  if (finished.exit_code != 0) throw std::runtime_error("readelf: " + finished.err);
  return finished.out;
}

std::string lines_with(const std::string& text, std::string_view part) {
  std::string found;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    if (line.find(part) != std::string::npos) found += line + "\n";
  return found;
}

class Hardening : public testing::Test {
 protected:
  void SetUp() override {
    if (is_sanitized()) GTEST_SKIP() << "what is shipped has no sanitizer";
  }
  const std::string program_ = sibling_program("bailian-fcgi");
};

TEST_F(Hardening, TheProgramMayLieAtAnyAddress) {
  EXPECT_NE(readelf({"--file-header"}, program_).find("DYN (Position-Independent Executable"),
            std::string::npos);
  EXPECT_NE(lines_with(readelf({"--dynamic"}, program_), "FLAGS_1").find("PIE"), std::string::npos);
}

TEST_F(Hardening, TheTablesOfTheLinkerAreReadOnly) {
  EXPECT_NE(lines_with(readelf({"--program-headers"}, program_), "GNU_RELRO"), "");
  EXPECT_NE(lines_with(readelf({"--dynamic"}, program_), "FLAGS_1").find("NOW"), std::string::npos);
}

TEST_F(Hardening, NothingIsWritableAndExecutable) {
  const auto segments = readelf({"--program-headers"}, program_);
  const auto stack = lines_with(segments, "GNU_STACK");
  EXPECT_NE(stack.find(" RW "), std::string::npos) << stack;
  EXPECT_EQ(lines_with(segments, " RWE "), "");
}

TEST_F(Hardening, TheStackIsGuarded) {
  EXPECT_NE(lines_with(readelf({"--dyn-syms"}, program_), "__stack_chk_fail"), "");
}

TEST_F(Hardening, LibrariesComeFromTheSystemAlone) {
  const auto dynamic = readelf({"--dynamic"}, program_);
  EXPECT_EQ(lines_with(dynamic, "RPATH") + lines_with(dynamic, "RUNPATH"), "");
}

// The linker marks a program only when the start code of the C library is marked too. Debian's is not, so our
// objects are checked.
TEST_F(Hardening, JumpsAndReturnsAreGuardedInOurCode) {
#ifndef __x86_64__
  GTEST_SKIP() << "of x86-64";
#endif
  for (const char* object :
       {"src/main.o", "src/fastcgi/request_parser.o", "src/dashscope/http_client.o", "src/base/json.o"}) {
    const auto notes = readelf({"--notes"}, sibling_program(object));
    EXPECT_NE(notes.find("IBT"), std::string::npos) << object;
    EXPECT_NE(notes.find("SHSTK"), std::string::npos) << object;
  }
}

// This file is compiled with the program's flags, so a check here covers the program.
TEST_F(Hardening, CallsThatCanOverflowAreChecked) {
#ifndef __OPTIMIZE__
  GTEST_SKIP() << "only when optimised";
#endif
  EXPECT_GE(__USE_FORTIFY_LEVEL, 2);
}

// --- the key ---

// Only root may look into a program that is not dumpable.
class Key : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "only root may look";
  }
};

std::string proc_file(const Process& process, const char* name) {
  return read_file("/proc/" + std::to_string(process.pid()) + "/" + name);
}

TEST_F(Key, OfAFileIsNowhereButInMemory) {
  const WorkDir dir;
  const auto key_file = dir.write("key", std::string(kApiKey) + "\n");
  chmod(key_file.c_str(), 0600);
  Site site({.settings = {{"DASHSCOPE_API_KEY_FILE", key_file}, {"DEBUG", "True"}},
             .unset = {"DASHSCOPE_API_KEY"}});
  EXPECT_EQ(read_stream(site.stream("[[sim events=3]]")).text, tokens(3));
  const auto& responder = site.responder().process();
  for (const char* name : {"cmdline", "environ", "status", "maps", "comm", "limits", "mountinfo"})
    EXPECT_EQ(proc_file(responder, name).find(kApiKey), std::string::npos) << name;
}

TEST_F(Key, OfTheEnvironmentIsInNothingElse) {
  Site site;
  EXPECT_EQ(read_stream(site.stream("[[sim events=3]]")).text, tokens(3));
  const auto& responder = site.responder().process();
  EXPECT_NE(proc_file(responder, "environ").find(kApiKey), std::string::npos);
  for (const char* name : {"cmdline", "status", "maps", "comm"})
    EXPECT_EQ(proc_file(responder, name).find(kApiKey), std::string::npos) << name;
}

TEST(Secret, IsInNoErrorOfTheStart) {
  const WorkDir dir;
  Simulator simulator(dir);
  auto settings = site_settings(dir, simulator);
  for (const auto& [name, value] : Settings{{"TIMEOUT", "x"}, {"FCGI_LISTEN", dir.socket("nowhere/fcgi")}}) {
    auto faulty = settings;
    faulty[name] = value;
    const auto finished = run(responder_command(dir, faulty));
    EXPECT_NE(finished.exit_code, 0);
    EXPECT_EQ((finished.out + finished.err).find(kApiKey), std::string::npos);
  }
  for (const char* argument : {"--check", "--ping"}) {
    const auto finished = run(responder_command(dir, settings, {argument}));
    EXPECT_EQ((finished.out + finished.err).find(kApiKey), std::string::npos);
  }
}

TEST(Secret, IsInNoCoreFile) {
#ifdef BAILIAN_DEBUG
  GTEST_SKIP() << "a build with DEBUG=1 leaves core files";
#endif
  const WorkDir dir;
  Simulator simulator(dir);
  auto command = responder_command(dir, site_settings(dir, simulator));
  command.argv.insert(command.argv.begin(),
                      {"/bin/sh", "-c", "ulimit -c unlimited 2>/dev/null; exec \"$0\" \"$@\""});
  Responder responder(command);
  responder.process().signal(SIGABRT);
  EXPECT_EQ(responder.process().wait(), 128 + SIGABRT);
  EXPECT_FALSE(responder.process().dumped_core());
}

}  // namespace
}  // namespace bailian::e2e
