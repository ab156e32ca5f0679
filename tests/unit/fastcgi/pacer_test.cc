#include "fastcgi/pacer.h"

#include <gtest/gtest.h>

#include <vector>

namespace bailian {
namespace {

using std::chrono::milliseconds;

TEST(Pacer, LimitsNothingUnlessTheStreamIsPaced) {
  Pacer pacer;
  pacer.on_sent(1000000, Clock::now());
  EXPECT_EQ(pacer.room(), SIZE_MAX);
  EXPECT_FALSE(pacer.has_unread());
}

TEST(Pacer, FillsOneReadOfThePeer) {
  struct Row {
    std::vector<size_t> sent;
    size_t room;
  };
  for (const auto& [sent, room] : {Row{{}, 4096}, Row{{1}, 4095}, Row{{4000, 96}, 0}, Row{{4096}, 0},
                                   Row{{100, 200, 300}, 3496}, Row{{5000}, 0}, Row{{4096, 4096}, 0}}) {
    Pacer pacer(true);
    for (const size_t bytes : sent) pacer.on_sent(bytes, Clock::now());
    EXPECT_EQ(pacer.room(), room);
    EXPECT_EQ(pacer.has_unread(), !sent.empty());
    pacer.on_peer_read_all();
    EXPECT_EQ(pacer.room(), 4096U);
    EXPECT_FALSE(pacer.has_unread());
  }
}

TEST(Pacer, TrustsTheKernelsCountAfterAPause) {
  const auto sent_at = Clock::now();
  Pacer pacer(true);
  EXPECT_FALSE(pacer.may_recount(sent_at)) << "nothing was sent";
  pacer.on_sent(150, sent_at);
  struct Row {
    milliseconds since;
    bool may_recount;
  };
  for (const auto& [since, may_recount] :
       {Row{milliseconds(0), false}, Row{milliseconds(9), false}, Row{milliseconds(10), true}}) {
    EXPECT_EQ(pacer.may_recount(sent_at + since), may_recount) << since.count();
  }
  pacer.on_sent(150, sent_at + milliseconds(10));
  EXPECT_FALSE(pacer.may_recount(sent_at + milliseconds(19)));
  EXPECT_TRUE(pacer.may_recount(sent_at + milliseconds(20)));
}

TEST(Pacer, TakesOneUnreadByteForNone) {
  EXPECT_TRUE(Pacer::is_nothing(0));
  EXPECT_TRUE(Pacer::is_nothing(1));
  EXPECT_FALSE(Pacer::is_nothing(2));
}

}  // namespace
}  // namespace bailian
