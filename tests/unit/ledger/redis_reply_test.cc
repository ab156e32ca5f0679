#include "ledger/redis_reply.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace bailian {
namespace {

using Kind = RedisReply::Kind;

RedisReply text(std::string value) { return {Kind::kText, 0, std::move(value), {}}; }
RedisReply number(int64_t value) { return {Kind::kInteger, value, {}, {}}; }
RedisReply error(std::string value) { return {Kind::kError, 0, std::move(value), {}}; }
RedisReply array(std::vector<RedisReply> items) { return {Kind::kArray, 0, {}, std::move(items)}; }

struct Read {
  std::vector<RedisReply> replies;
  std::string fault;
};

Read read(std::string_view bytes, size_t piece_bytes) {
  RedisReplyReader reader;
  Read result;
  while (!bytes.empty()) {
    const std::string_view piece = bytes.substr(0, piece_bytes);
    bytes.remove_prefix(piece.size());
    reader.feed(std::string(piece));
    while (auto reply = reader.next()) result.replies.push_back(std::move(*reply));
  }
  result.fault = reader.fault();
  return result;
}

TEST(RedisReplyReader, EveryKindOfReplyIsReadWhereverItIsCut) {
  const std::string bytes =
      "+OK\r\n"
      ":-42\r\n"
      "$5\r\na\r\nbc\r\n"
      "$0\r\n\r\n"
      "$-1\r\n"
      "*-1\r\n"
      "*0\r\n"
      "-NOAUTH Authentication required.\r\n"
      "*3\r\n:1\r\n*2\r\n$1\r\nx\r\n*0\r\n+last\r\n"
      ":7\r\n";
  const std::vector<RedisReply> expected = {
      text("OK"),
      number(-42),
      text("a\r\nbc"),
      text(""),
      RedisReply{},
      RedisReply{},
      array({}),
      error("NOAUTH Authentication required."),
      array({number(1), array({text("x"), array({})}), text("last")}),
      number(7),
  };
  for (size_t piece = 1; piece <= bytes.size(); ++piece) {
    const Read result = read(bytes, piece);
    EXPECT_EQ(result.fault, "");
    EXPECT_EQ(result.replies, expected) << "in pieces of " << piece;
  }
}

TEST(RedisReplyReader, WhatIsNoReplyIsRefusedForGood) {
  const std::string hostile[] = {
      "HTTP/1.1 400 Bad Request\r\n",
      "\r\n",
      ":\r\n",
      ":12x\r\n",
      ":99999999999999999999\r\n",
      "$x\r\n",
      "$-2\r\n",
      "$99999999999999999999\r\n",
      "$2147483647\r\n",
      "$3\r\nabcde",
      "*x\r\n",
      "*-2\r\n",
      "*2147483647\r\n",
      "*99999999999999999999\r\n",
      "*131072\r\n*1\r\n",
      "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
      "%1\r\n+a\r\n+b\r\n",  // RESP3
      ",3.14\r\n",
      "_\r\n",
      "+" + std::string(70'000, 'x'),
  };
  for (const std::string& bytes : hostile) {
    for (const size_t piece : {size_t{1}, bytes.size()}) {
      const Read result = read(bytes, piece);
      EXPECT_TRUE(result.replies.empty()) << bytes.substr(0, 40);
      EXPECT_NE(result.fault, "") << bytes.substr(0, 40);
    }
  }
  RedisReplyReader reader;
  reader.feed("?\r\n");
  EXPECT_FALSE(reader.next());
  reader.feed("+OK\r\n");
  EXPECT_FALSE(reader.next()) << "after a fault nothing is believed";
}

TEST(RedisReplyReader, AReplyInManyStringsIsLimitedToo) {
  std::string bytes = "*1000\r\n";
  const std::string item = "$8192\r\n" + std::string(8192, 'x') + "\r\n";
  RedisReplyReader reader;
  reader.feed(bytes);
  size_t fed = 0;
  while (reader.fault().empty() && fed < 1000) {
    reader.feed(item);
    EXPECT_FALSE(reader.next());
    ++fed;
  }
  EXPECT_NE(reader.fault(), "");
  EXPECT_LE(fed, RedisReplyReader::kMaxReplyBytes / item.size() + 2);
}

TEST(RedisReplyReader, TheLimitIsPerReply) {
  const std::string item = "$8192\r\n" + std::string(8192, 'x') + "\r\n";
  RedisReplyReader reader;
  for (size_t i = 0; i < 2 * RedisReplyReader::kMaxReplyBytes / item.size(); ++i) {
    reader.feed(item);
    ASSERT_TRUE(reader.next());
  }
  EXPECT_EQ(reader.fault(), "");
}

TEST(RedisReply, ANumberIsAnIntegerOrItsDigits) {
  EXPECT_EQ(number_in(number(5)), 5U);
  EXPECT_EQ(number_in(text("18446744073709551615")), UINT64_MAX);
  EXPECT_EQ(number_in(text("0")), 0U);
  for (const RedisReply& none : {number(-1), text(""), text("-1"), text("1.5"), text("1e9"), text(" 1"),
                                 text("18446744073709551616"), error("1"), RedisReply{}, array({number(1)})})
    EXPECT_EQ(number_in(none), std::nullopt) << none.text;
}

TEST(RedisReply, ACommandIsWrittenWithTheLengthOfEachWord) {
  std::string out;
  append_redis_command(out, {"SET", "", "a\r\nb"});
  EXPECT_EQ(out, "*3\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\na\r\nb\r\n");
}

}  // namespace
}  // namespace bailian
