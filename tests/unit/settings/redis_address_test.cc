#include "settings/redis_address.h"

#include <gtest/gtest.h>

#include <string>

namespace bailian {
namespace {

RedisAddress parsed(const std::string& text) {
  const auto address = parse_redis_address(text);
  if (const ValueFault* fault = fault_in(address)) ADD_FAILURE() << text << ": " << fault->sentence;
  return fault_in(address) != nullptr ? RedisAddress{} : std::get<RedisAddress>(address);
}

RedisAddress tcp(std::string host, uint16_t port, int database = 0) {
  return {TcpAddress{std::move(host), port}, false, {}, {}, database};
}

TEST(RedisAddress, EveryFormIsRead) {
  EXPECT_EQ(parsed("redis://cache"), tcp("cache", 6379));
  EXPECT_EQ(parsed("redis://cache/"), tcp("cache", 6379));
  EXPECT_EQ(parsed("redis://10.0.0.5:7000/3"), tcp("10.0.0.5", 7000, 3));
  EXPECT_EQ(parsed("redis://[::1]"), tcp("::1", 6379));
  EXPECT_EQ(parsed("redis://[fd00::5]:7000/1"), tcp("fd00::5", 7000, 1));
  EXPECT_EQ(parsed("unix:///run/redis.sock"),
            (RedisAddress{UnixAddress{"/run/redis.sock"}, false, {}, {}, 0}));
  EXPECT_EQ(parsed("unix:///run/a%20b?db=2"), (RedisAddress{UnixAddress{"/run/a b"}, false, {}, {}, 2}));

  const RedisAddress tls = parsed("rediss://bot:s%40cret%2F%25@cache.example");
  EXPECT_TRUE(tls.is_tls);
  EXPECT_EQ(tls.user, "bot");
  EXPECT_EQ(tls.password, "s@cret/%");
  EXPECT_EQ(tls.server, ListenAddress(TcpAddress{"cache.example", 6379}));

  const RedisAddress local = parsed("unix://:pw@/run/redis.sock");
  EXPECT_EQ(local.user, "");
  EXPECT_EQ(local.password, "pw");
}

TEST(RedisAddress, FaultsAreNamedAndNeverRepeatThePassword) {
  const char* faulty[] = {
      "redis://",
      "redis:///3",
      "redis://:6379",
      "redis://cache:0",
      "redis://cache:65536",
      "redis://cache:x",
      "redis://cache/x",
      "redis://cache/-1",
      "redis://cache/1/2",
      "redis://fd00::5",
      "redis://[::1",
      "redis://hunter2@cache",
      "redis://user:@cache",
      "redis://:hunter2%@cache",
      "redis://:hunter2%4@cache",
      "redis://:hunter2%zz@cache",
      "redis://:hunter2%00@cache",
      "redis://:hunter2@",
      "redis://:hunter2@cache?x=1",
      "redis://:hunter2@ca che",
      "redis://:hünter2@cache",
      "unix://run/redis.sock",
      "unix:///",
      "unix:///run/redis.sock?database=2",
      "unix:///run/redis.sock?db=",
      "unix:///run/redis.sock?db=2x",
      "memcached://cache",
      "",
  };
  for (const char* text : faulty) {
    const auto address = parse_redis_address(text);
    const ValueFault* fault = fault_in(address);
    ASSERT_NE(fault, nullptr) << text;
    EXPECT_FALSE(fault->sentence.empty()) << text;
    EXPECT_EQ(fault->sentence.find("hunter2"), std::string::npos) << text;
  }
  EXPECT_NE(fault_in(parse_redis_address("unix:///" + std::string(200, 'x'))), nullptr);
}

TEST(RedisAddress, WrittenForLogsItHasNoPassword) {
  EXPECT_EQ(to_string(parsed("redis://bot:hunter2@cache")), "redis://cache:6379");
  EXPECT_EQ(to_string(parsed("rediss://:hunter2@[::1]:7000/3")), "rediss://[::1]:7000/3");
  EXPECT_EQ(to_string(parsed("unix://:hunter2@/run/redis.sock?db=2")), "unix:///run/redis.sock?db=2");
  EXPECT_EQ(to_string(parsed("unix:///run/redis.sock")), "unix:///run/redis.sock");
}

TEST(RedisAddress, APathIsNoRedis) {
  EXPECT_FALSE(is_redis_url("/var/lib/bailian-fcgi/ledger"));
  EXPECT_FALSE(is_redis_url("redis"));
  EXPECT_TRUE(is_redis_url("redis://"));
  EXPECT_TRUE(is_redis_url("rediss://x"));
  EXPECT_FALSE(is_redis_url("unix:x"));
}

}  // namespace
}  // namespace bailian
