#include "ledger/visitors.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

namespace bailian {
namespace {

TEST(Visitors, AreWhoTheirAddressesBelongTo) {
  struct Row {
    std::string one;
    std::string other;
    bool is_same;
  };
  for (const Row& row : std::vector<Row>{
           {"192.0.2.1", "192.0.2.1", true},
           {"192.0.2.1", "192.0.2.2", false},
           {"192.0.2.1", "::ffff:192.0.2.1", true},
           {"192.0.2.1", "::ffff:c000:201", true},
           {"192.0.2.1", "::192.0.2.1", false},
           {"2001:db8::1", "2001:db8:0:0:ffff:ffff:ffff:ffff", true},
           {"2001:db8::1", "2001:DB8::2", true},
           {"2001:db8::1", "2001:db8:0:1::1", false},
           {"unix:", "unix:", true},
           {"unix:", "", false},
           {"192.0.2.1 ", "192.0.2.1", false},
           {std::string(64, 'x') + "1", std::string(64, 'x') + "2", true},
           {std::string(63, 'x') + "1", std::string(63, 'x') + "2", false},
       }) {
    EXPECT_EQ(VisitorId(row.one).bytes() == VisitorId(row.other).bytes(), row.is_same)
        << row.one << row.other;
  }
}

TEST(KeyedHashes, AreThoseOfSipHash) {
  // The test vectors of its authors: the key is 00 to 0f, the text 00, 01, ...
  constexpr uint64_t kKey0 = 0x0706050403020100;
  constexpr uint64_t kKey1 = 0x0f0e0d0c0b0a0908;
  std::string text;
  for (const uint64_t expected : {0x726fdb47dd0e0e31ull, 0x74f839c593dc67fdull, 0x0d6c8009d9a94f5aull,
                                  0x85676696d7fb7e2dull, 0xcf2794e0277187b7ull, 0x18765564cd99a68dull,
                                  0xcbc9466e58fee3ceull, 0xab0200f58b01d137ull, 0x93f5f5799a932462ull}) {
    EXPECT_EQ(keyed_hash(kKey0, kKey1, text), expected) << text.size();
    text += static_cast<char>(text.size());
  }
}

struct VisitorTables : testing::Test {
  std::unique_ptr<VisitorTable> table = std::make_unique<VisitorTable>();
  uint64_t place(size_t entry, int visitor) {
    return place_of(*table, entry, VisitorId("visitor " + std::to_string(visitor)));
  }
};

TEST_F(VisitorTables, GiveEachVisitorOfEachBotAPlace) {
  EXPECT_EQ(place(1, 1), place(1, 1));
  EXPECT_NE(place(1, 1), place(1, 2));
  EXPECT_NE(place(1, 1), place(2, 1));
  EXPECT_NE(place(1, 1), place(257, 1));
  EXPECT_EQ(table->count, 4u);
}

TEST_F(VisitorTables, LetNewcomersShare256PlacesWhenTheyAreFull) {
  std::set<uint64_t> places;
  for (size_t i = 0; i < kVisitors; ++i) places.insert(place(1, static_cast<int>(i)));
  EXPECT_EQ(places.size(), kVisitors);
  EXPECT_EQ(table->count, kVisitors);
  std::set<uint64_t> shared;
  for (int i = 0; i < 10'000; ++i) {
    const uint64_t newcomer = place(1, static_cast<int>(kVisitors) + i);
    ASSERT_GT(newcomer, kVisitorSlots);
    ASSERT_NE(committed_at(*table, newcomer), nullptr);
    shared.insert(newcomer);
  }
  EXPECT_EQ(shared.size(), kVisitorGroups);
  EXPECT_TRUE(places.contains(place(1, 0))) << "those who were there keep theirs";
}

TEST_F(VisitorTables, HaveNoOtherPlaces) {
  EXPECT_EQ(committed_at(*table, 0), nullptr);
  EXPECT_EQ(committed_at(*table, kVisitorSlots + kVisitorGroups + 1), nullptr);
  EXPECT_EQ(committed_at(*table, ~uint64_t{0}), nullptr);
  EXPECT_EQ(committed_at(*table, 1), &table->slots[0].committed);
  EXPECT_EQ(committed_at(*table, kVisitorSlots + kVisitorGroups), &table->groups[kVisitorGroups - 1]);
}

}  // namespace
}  // namespace bailian
