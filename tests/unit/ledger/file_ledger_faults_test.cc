// What FileLedger does with files that it cannot use.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "ledger/file_ledger.h"
#include "ledger/table_layout.h"
#include "unit/ledger/file_ledger_fixture.h"

namespace bailian {
namespace {

void write_file(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
  ASSERT_EQ(read_file(path, text.size() + 1), text);
}

std::string content(const std::string& path) { return read_file(path, size_t{1} << 30).value_or("(none)"); }

struct LedgerFaults : FileLedgers {
  /// The faults with which it does not start.
  std::string refusal_to_start() {
    try {
      open();
    } catch (const ConfigError& error) {
      return error.faults().at(0);
    }
    ADD_FAILURE() << "it started";
    return "";
  }
};

TEST_F(LedgerFaults, AForeignFileIsRefusedAndNotOverwritten) {
  std::string zeros(sizeof(TableLayout), '\0');
  zeros[100'000] = 1;
  for (const std::string& text : std::vector<std::string>{
           "x", "bailian-", std::string(100, 'x'), "SQLite format 3", std::string(sizeof(TableLayout), 'x'),
           zeros, std::string(sizeof(TableLayout) + 8, '\0')}) {
    write_file(folder.ledger(), text);
    if (text == "bailian-") continue;  // the beginning of one that was not finished
    EXPECT_NE(refusal_to_start().find("is not a ledger; it was not changed"), std::string::npos);
    EXPECT_EQ(content(folder.ledger()), text);
  }
}

TEST_F(LedgerFaults, ANewerVersionIsRefusedAndNotOverwritten) {
  answer(1000, 10);
  ledger.reset();
  for (const size_t byte : {16, 24}) {  // the version, the layout
    std::string text = content(folder.ledger());
    text[byte] = static_cast<char>(text[byte] + 1);
    write_file(folder.ledger(), text);
    EXPECT_NE(refusal_to_start().find("of another version"), std::string::npos);
    EXPECT_EQ(content(folder.ledger()), text);
    text[byte] = static_cast<char>(text[byte] - 1);
    write_file(folder.ledger(), text);
  }
  EXPECT_EQ(used(), 1010u);
}

TEST_F(LedgerFaults, ACutTableIsRefused) {
  answer(1000, 10);
  ledger.reset();
  std::filesystem::resize_file(folder.ledger(), 100'000);
  EXPECT_NE(refusal_to_start().find("it was not changed"), std::string::npos);
}

TEST_F(LedgerFaults, AForeignOrNewerJournalIsRefusedAndNotOverwritten) {
  for (const std::string& text : std::vector<std::string>{"notes\n", "\nbailian-fcgi-journal 2 5f6318e2\n"}) {
    write_file(folder.journal(), text);
    EXPECT_NE(refusal_to_start().find("it was not changed"), std::string::npos);
    EXPECT_EQ(content(folder.journal()), text);
  }
}

TEST_F(LedgerFaults, AFileThatWasNotFinishedIsMadeAgain) {
  for (const size_t size : {size_t{0}, size_t{8}, size_t{16}, size_t{4096}, sizeof(TableLayout)}) {
    std::string text(size, '\0');
    text.replace(0, std::min<size_t>(size, 8), std::string("bailian-").substr(0, std::min<size_t>(size, 8)));
    ledger.reset();
    std::filesystem::remove(folder.journal());
    write_file(folder.ledger(), text);
    answer(100, 1);
    EXPECT_EQ(used(), 101u) << size;
  }
}

TEST_F(LedgerFaults, AFolderThatIsMissingIsAFaultUntilItIsThere) {
  config.ledger = folder.path() + "/state/ledger";
  config.caps.day = 100'000;
  EXPECT_EQ(refused().cause, Refusal::Cause::kUnknown);
  EXPECT_NE(ledger->fault().find("No such file or directory"), std::string::npos) << ledger->fault();
  EXPECT_EQ(ledger->closed("default")->cause, Refusal::Cause::kUnknown);
  EXPECT_EQ(ledger->report(1).fault, ledger->fault());
  EXPECT_THROW(ledger->pause("", "", false), std::system_error);
  EXPECT_THROW(ledger->open_period(), std::system_error);

  std::filesystem::create_directory(folder.path() + "/state");
  EXPECT_TRUE(await([&] { return ledger->fault().empty(); }));
  answer(100, 1);
  EXPECT_EQ(used(), 101u);
}

TEST_F(LedgerFaults, ServeUncountedWithoutACapOrWhenTheOwnerWantsIt) {
  config.ledger = folder.path() + "/state/ledger";
  EXPECT_TRUE(lease()->settle({1000, 10})) << "no cap applies";
  EXPECT_FALSE(ledger->closed("default"));
  config.total_caps.month = 100;
  ledger->apply(config);
  EXPECT_EQ(refused().cause, Refusal::Cause::kUnknown);
  config.caps_open_on_fault = true;
  ledger->apply(config);
  EXPECT_TRUE(lease()->settle({1'000'000, 10}));
  EXPECT_FALSE(ledger->closed("default"));
}

TEST_F(LedgerFaults, AFullDiskStopsNoChatWhileTheTableCounts) {
  if (::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=24m") != 0) GTEST_SKIP() << "needs root";
  answer(1000, 10);
  const std::string filler = folder.path() + "/filler";
  {
    std::ofstream file(filler, std::ios::binary);
    const std::string piece(4096, 'x');
    while (file.write(piece.data(), static_cast<std::streamsize>(piece.size())).flush()) {
    }
  }
  EXPECT_TRUE(await([&] {
    answer(1000, 10);
    return !ledger->report(1).fault.empty();
  }));
  EXPECT_NE(ledger->report(1).fault.find("No space left"), std::string::npos) << ledger->report(1).fault;
  EXPECT_EQ(ledger->fault(), "") << "it can be used";
  const uint64_t before = used();
  answer(1000, 10);
  EXPECT_EQ(used(), before + 1010);
  open();
  EXPECT_EQ(used(), before + 1010) << "a restart needs no room";

  std::filesystem::remove(filler);
  EXPECT_TRUE(await([&] { return ledger->report(1).fault.empty(); }));
  answer(1000, 10);
  ledger.reset();
  std::filesystem::remove(folder.ledger());
  EXPECT_EQ(used(), before + 2020) << "the journal has all of it";
  ledger.reset();
}

TEST_F(LedgerFaults, ADiskWithoutRoomForTheTableIsAFaultUntilThereIs) {
  if (::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=1m") != 0) GTEST_SKIP() << "needs root";
  config.caps.day = 100'000;
  EXPECT_EQ(refused().cause, Refusal::Cause::kUnknown);
  EXPECT_NE(ledger->fault().find("No space left"), std::string::npos) << ledger->fault();
  EXPECT_EQ(std::filesystem::file_size(folder.ledger()), 0u);
  ASSERT_EQ(::mount("tmpfs", folder.path().c_str(), "tmpfs", MS_REMOUNT, "size=64m"), 0);
  EXPECT_TRUE(await([&] { return ledger->fault().empty(); }));
  EXPECT_TRUE(lease());
  ledger.reset();
}

TEST_F(LedgerFaults, AFileSystemThatIsReadOnlyIsAFault) {
  if (::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=24m") != 0) GTEST_SKIP() << "needs root";
  answer(1000, 10);
  ledger.reset();
  ASSERT_EQ(::mount("tmpfs", folder.path().c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, "size=24m"), 0);
  config.caps.day = 100'000;
  EXPECT_EQ(refused().cause, Refusal::Cause::kUnknown);
  EXPECT_NE(ledger->fault().find("Read-only"), std::string::npos) << ledger->fault();
  ASSERT_EQ(::mount("tmpfs", folder.path().c_str(), "tmpfs", MS_REMOUNT, "size=24m"), 0);
  EXPECT_TRUE(await([&] { return ledger->fault().empty(); }));
  EXPECT_EQ(used(), 1010u);
  ledger.reset();
}

TEST_F(LedgerFaults, AnUnknownTimeZoneIsOneOfTheSettings) {
  config.cap_timezone = "Asia/Shanghia";
  EXPECT_NE(refusal_to_start().find("CAP_TIMEZONE"), std::string::npos);
}

TEST_F(LedgerFaults, ALostTableIsMadeFromTheJournal) {
  config.bots.resize(1);
  config.bots[0].name = "shop";
  open();
  answer(1000, 10);
  answer(2000, 20, "shop");
  ledger->count_cached("shop");
  ledger.reset();
  std::filesystem::remove(folder.ledger());
  EXPECT_EQ(used(""), 3030u);
  EXPECT_EQ(report("").caps.at(1).used, 3030u);
  EXPECT_EQ(report("shop").days.at(0).spent.input_tokens, 2000u);
  EXPECT_EQ(report("shop").days.at(0).spent.answers, 1u);
  EXPECT_EQ(report("shop").days.at(0).spent.cached, 1u);
}

TEST_F(LedgerFaults, AJournalThatIsLostIsMadeFromTheTable) {
  answer(1000, 10);
  ledger.reset();
  std::filesystem::remove(folder.journal());
  EXPECT_EQ(used(), 1010u);
  ledger.reset();
  std::filesystem::remove(folder.ledger());
  EXPECT_EQ(used(), 1010u);
}

TEST_F(LedgerFaults, AJournalThatIsRemovedWhileItIsInUseIsMadeAgain) {
  answer(1000, 10);
  ledger.reset();
  open();
  EXPECT_TRUE(await([&] {
    std::filesystem::remove(folder.journal());
    answer(1000, 10);
    return await([&] { return std::filesystem::exists(folder.journal()); });
  }));
}

TEST_F(LedgerFaults, NothingOnDiskIsForOthersToRead) {
  answer(1000, 10);
  ledger.reset();
  for (const std::string& path : {folder.ledger(), folder.journal()}) {
    struct stat file {};
    ASSERT_EQ(::stat(path.c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 0777u, 0600u) << path;
  }
}

TEST_F(LedgerFaults, NoAddressIsOnDisk) {
  config.caps.visitor_day = 100'000;
  answer(1000, 10, "default", "192.0.2.77");
  ledger.reset();
  for (const std::string& path : {folder.ledger(), folder.journal()}) {
    const std::string text = content(path);
    EXPECT_EQ(text.find("192.0.2.77"), std::string::npos) << path;
    EXPECT_EQ(text.find(std::string("\xc0\x00\x02\x4d", 4)), std::string::npos) << path;
  }
}

}  // namespace
}  // namespace bailian
