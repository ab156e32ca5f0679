#include "base/file.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <system_error>

namespace bailian {
namespace {

TEST(File, IsReadUpToItsLimit) {
  EXPECT_EQ(read_file("/proc/self/comm", 4), "unit");
  EXPECT_EQ(read_file("/proc/self/comm", 100), "unit_tests\n");
  EXPECT_EQ(read_file("/dev/null", 100), "");
  EXPECT_EQ(read_file("/dev/zero", 40000), std::string(40000, '\0'));
}

TEST(File, ThatCannotBeReadLeavesErrno) {
  EXPECT_EQ(read_file("/nowhere", 1), std::nullopt);
  EXPECT_EQ(errno, ENOENT);
  EXPECT_EQ(read_file("/", 1), std::nullopt);
  EXPECT_EQ(errno, EISDIR);
}

TEST(File, ErrnoIsThrownWithWhatFailed) {
  errno = EACCES;
  try {
    throw_errno("open the door");
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), EACCES);
    EXPECT_STREQ(error.what(), "open the door: Permission denied");
  }
}

}  // namespace
}  // namespace bailian
