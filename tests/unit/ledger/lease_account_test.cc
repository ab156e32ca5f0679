#include "ledger/lease_account.h"

#include <gtest/gtest.h>

#include <vector>

#include "ledger/table_layout.h"

namespace bailian {
namespace {

constexpr uint64_t kSlice = 512;

TEST(LeaseSizes, GetSmallerNearTheCapAndAreNotRefused) {
  struct Row {
    uint64_t room;
    uint64_t expected;
    uint64_t size;
  };
  for (const Row& row : std::vector<Row>{
           {kNoCap, 1000, 1512},
           {kRoomShare * 1512, 1000, 1512},
           {kRoomShare * 1511, 1000, 1511},  // a sixteenth of the room
           {kRoomShare * 1064, 1000, 1064},
           {10000, 1000, 1064},  // the sixteenth is less than the input
           {1064, 1000, 1064},
           {1063, 1000, 1063},  // less than 64 beyond the input, but the input fits
           {1000, 1000, 1000},
           {999, 1000, 0},
           {1, 0, 1},
           {0, 0, 0},
           {0, 1000, 0},
       }) {
    EXPECT_EQ(lease_within(row.room, row.expected, kSlice), row.size) << row.room << " " << row.expected;
  }
  EXPECT_EQ(lease_within(kNoCap, 1000, 10), 1010u) << "a slice smaller than 64 is what was asked for";
}

TEST(LeaseSizes, AreNeverMoreThanTheRoomNorRefuseWhatFits) {
  for (uint64_t room = 0; room < 3000; ++room) {
    for (const uint64_t expected : {0, 1, 63, 64, 1000, 2048}) {
      for (const uint64_t slice : {1, 64, 512, 4096}) {
        const uint64_t size = lease_within(room, expected, slice);
        ASSERT_LE(size, room);
        ASSERT_LE(size, expected + slice);
        ASSERT_EQ(size == 0, room == 0 || room < expected) << room << " " << expected;
        ASSERT_TRUE(size == 0 || size >= expected);
        ASSERT_LE(slice_within(room, slice), std::min(room, slice));
        ASSERT_EQ(slice_within(room, slice) == 0, room == 0);
      }
    }
  }
}

/// A bot's day and the day of all.
struct Caps {
  Count cap{kNoCap};
  Count total_cap{kNoCap};
  Count committed{0};
  Count total_committed{0};

  Scopes scopes() {
    Scopes scopes;
    scopes.add(committed, cap);
    scopes.add(total_committed, total_cap);
    return scopes;
  }
};

struct LeaseAccounts : testing::Test {
  Caps caps;
  LeaseSlot slot{};
  LeaseAccount lease;

  bool open(uint64_t expected = 1000, uint64_t slice = kSlice) {
    return lease.open(slot, caps.scopes(), LeaseTag::kOpen, expected, slice);
  }
  uint64_t committed() {
    EXPECT_EQ(caps.committed, caps.total_committed);
    return caps.committed;
  }
};

TEST_F(LeaseAccounts, CommitTheExpectedInputAndASlice) {
  ASSERT_TRUE(open());
  EXPECT_EQ(committed(), 1512u);
  EXPECT_EQ(slot.granted, 1512u);
  EXPECT_EQ(slot.tag, LeaseTag::kOpen);
}

TEST_F(LeaseAccounts, AreRefusedWhenTheExpectedInputDoesNotFitInOneScope) {
  caps.total_cap = 999;
  EXPECT_FALSE(open());
  EXPECT_EQ(committed(), 0u);
  EXPECT_EQ(slot.tag, 0u);
  EXPECT_FALSE(lease.is_open());
}

TEST_F(LeaseAccounts, GiveBackAllOfWhatWasNotUsed) {
  open();
  EXPECT_EQ(lease.close(false).sum(), 0u);
  EXPECT_EQ(committed(), 0u);
  EXPECT_EQ(slot.tag, 0u);
}

TEST_F(LeaseAccounts, CountWhatWasUsed) {
  open();
  EXPECT_TRUE(lease.settle({900, 100, 0}));
  EXPECT_EQ(slot.input, 900u);
  EXPECT_EQ(slot.output, 100u);
  EXPECT_EQ(lease.close(false).sum(), 1000u);
  EXPECT_EQ(committed(), 1000u);
}

TEST_F(LeaseAccounts, CountAllOfTheLeaseAtTheWorst) {
  open();
  EXPECT_TRUE(lease.settle({900, 100, 0}));
  const UsedTokens used = lease.close(true);
  EXPECT_EQ(used.estimated, 512u);
  EXPECT_EQ(used.sum(), 1512u);
  EXPECT_EQ(committed(), 1512u);
}

TEST_F(LeaseAccounts, AreToppedUpToOneSliceWithLessThanHalfOfItLeft) {
  open();
  EXPECT_TRUE(lease.settle({1000, 256, 0}));
  EXPECT_EQ(committed(), 1512u) << "half a slice is left";
  EXPECT_TRUE(lease.settle({1000, 257, 0}));
  EXPECT_EQ(committed(), 1257u + kSlice);
  EXPECT_TRUE(lease.settle({1000, 257 + 256, 0}));
  EXPECT_EQ(committed(), 1257u + kSlice);
}

TEST_F(LeaseAccounts, AreToppedUpToWhatIsFree) {
  caps.cap = 1600;
  caps.total_cap = 1350;
  ASSERT_TRUE(open());
  EXPECT_EQ(committed(), 1064u);
  EXPECT_TRUE(lease.settle({1000, 330, 0}));
  EXPECT_EQ(committed(), 1350u);
}

TEST_F(LeaseAccounts, EndOnlyWhenUsageExceedsThemAndNothingCanBeAdded) {
  caps.cap = 1300;
  ASSERT_TRUE(open());
  for (uint64_t output = 1; output <= 300; ++output) ASSERT_TRUE(lease.settle({1000, output, 0})) << output;
  EXPECT_EQ(committed(), 1300u);
  EXPECT_FALSE(lease.settle({1000, 301, 0}));
  EXPECT_EQ(committed(), 1301u) << "it was used, so it counts";
  EXPECT_EQ(lease.close(false).sum(), 1301u);
  EXPECT_EQ(committed(), 1301u);
}

TEST_F(LeaseAccounts, GoOnWhenThereIsRoomAgain) {
  caps.cap = 1064;
  ASSERT_TRUE(open());
  EXPECT_TRUE(lease.settle({1000, 64, 0}));
  caps.cap = 2000;
  EXPECT_TRUE(lease.settle({1000, 65, 0}));
  EXPECT_GT(committed(), 1065u);
}

TEST_F(LeaseAccounts, ObeyALoweredCapFromTheirNextSliceOn) {
  ASSERT_TRUE(open());
  caps.cap = 1;
  EXPECT_TRUE(lease.settle({1000, 512, 0}));
  EXPECT_FALSE(lease.settle({1000, 513, 0}));
}

TEST_F(LeaseAccounts, CountWhatTheFinishingFrameUsed) {
  caps.cap = 1064;
  ASSERT_TRUE(open());
  EXPECT_FALSE(lease.settle({1000, 5000, 0}));
  EXPECT_EQ(lease.close(false).sum(), 6000u);
  EXPECT_EQ(committed(), 6000u);
}

TEST_F(LeaseAccounts, GiveBackTheInputThatWasExpectedInVain) {
  open(10000);
  EXPECT_EQ(committed(), 10512u);
  EXPECT_TRUE(lease.settle({1000, 1, 0}));
  lease.give_back_surplus();
  EXPECT_EQ(committed(), 1001u + kSlice);
  EXPECT_EQ(slot.granted, 1001u + kSlice);
}

TEST_F(LeaseAccounts, ReserveTheInputOfTheNextAttempt) {
  open();
  EXPECT_TRUE(lease.settle({1000, 500, 0}));
  lease.reserve(1000);
  EXPECT_EQ(committed(), 1500u + 1000 + kSlice);
  caps.cap = 3100;
  lease.reserve(2000);
  EXPECT_EQ(committed(), 3100u) << "as much as is free";
}

TEST_F(LeaseAccounts, OfAnEstimateAreCorrected) {
  open();
  EXPECT_TRUE(lease.settle({0, 0, 1400}));
  EXPECT_TRUE(lease.settle({700, 100, 0}));
  EXPECT_EQ(lease.close(false).sum(), 800u);
  EXPECT_EQ(committed(), 800u);
}

TEST_F(LeaseAccounts, OfADeadProcessCountAsUsed) {
  open();
  EXPECT_TRUE(lease.settle({900, 20, 0}));
  const UsedTokens used = close_dead(slot);
  EXPECT_EQ(used.input, 900u);
  EXPECT_EQ(used.output, 20u);
  EXPECT_EQ(used.estimated, 1512u - 920);
  EXPECT_EQ(committed(), 1512u);
  EXPECT_EQ(slot.tag, 0u);
}

TEST(Scopes, AreNotTakenBelowZero) {
  Count cap{100};
  Count committed{5};
  Scopes scopes;
  scopes.add(committed, cap);
  scopes.give_back(10);
  EXPECT_EQ(committed, 0u);
}

TEST(Scopes, CommitInAllOrInNone) {
  Count wide{100};
  Count narrow{10};
  Count first{0};
  Count second{1};
  Scopes scopes;
  scopes.add(first, wide);
  scopes.add(second, narrow);
  EXPECT_EQ(scopes.room(), 9u);
  EXPECT_FALSE(scopes.commit(10));
  EXPECT_EQ(first, 0u);
  EXPECT_TRUE(scopes.commit(9));
  EXPECT_EQ(first, 9u);
  EXPECT_EQ(second, 10u);
  scopes.overdraw(5);
  EXPECT_EQ(second, 15u);
  EXPECT_EQ(scopes.room(), 0u);
}

TEST(Scopes, OfACountThatAFileMadeHugeHaveNoRoom) {
  Count cap{100};
  Count committed{~uint64_t{0}};
  Scopes scopes;
  scopes.add(committed, cap);
  EXPECT_EQ(scopes.room(), 0u);
  EXPECT_FALSE(scopes.commit(1));
}

}  // namespace
}  // namespace bailian
