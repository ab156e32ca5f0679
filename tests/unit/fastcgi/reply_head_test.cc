#include "fastcgi/reply_head.h"

#include <gtest/gtest.h>

namespace bailian {
namespace {

TEST(ReplyHead, HasStatusHeadersAndLength) {
  const Reply reply = {429, {{"A", "1"}, {"B", "2"}}, "body"};
  EXPECT_EQ(reply_head(reply, 4),
            "Status: 429 Too Many Requests\r\nA: 1\r\nB: 2\r\nContent-Length: 4\r\n\r\n");
  EXPECT_EQ(reply_head(reply), "Status: 429 Too Many Requests\r\nA: 1\r\nB: 2\r\n\r\n");
}

TEST(ReplyHead, HasNoLengthWhereThereIsNoBody) {
  EXPECT_EQ(reply_head({204, {}, {}}, 0), "Status: 204 No Content\r\n\r\n");
  EXPECT_EQ(reply_head({304, {}, {}}, 0), "Status: 304 Not Modified\r\n\r\n");
  EXPECT_EQ(reply_head({200, {}, {}}, 0), "Status: 200 OK\r\nContent-Length: 0\r\n\r\n");
}

TEST(ReplyHead, NamesEveryStatus) {
  for (const auto& [status, phrase] : {std::pair{200, "OK"},
                                       {400, "Bad Request"},
                                       {504, "Gateway Timeout"},
                                       {199, "Unknown"},
                                       {402, "Unknown"},
                                       {999, "Unknown"}}) {
    EXPECT_EQ(reply_head({status, {}, {}}), "Status: " + std::to_string(status) + " " + phrase + "\r\n\r\n");
  }
}

}  // namespace
}  // namespace bailian
