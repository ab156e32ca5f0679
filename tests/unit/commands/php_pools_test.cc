#include "commands/php_pools.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace bailian {

static void PrintTo(const PhpPool& pool, std::ostream* out) {
  *out << pool.name << "/" << pool.user << "/" << pool.group;
}

namespace {

using Pools = std::vector<PhpPool>;

TEST(PhpPools, AreReadAsDebianShipsThem) {
  EXPECT_EQ(parse_php_pools("; Start a new pool named 'www'.\n[www]\n\n;prefix = /path\nuser = www-data\n"
                            "group = www-data\nlisten = /run/php/php8.2-fpm.sock\nlisten.owner = nobody\n"
                            "listen.group = nogroup\nphp_admin_value[user] = x\n;user = root\n"),
            (Pools{{"www", "www-data", "www-data"}}));
}

TEST(PhpPools, ThereMayBeSeveralInAFile) {
  EXPECT_EQ(parse_php_pools("user = nobody\n[global]\nuser = root\npid = /run/x\n[a]\nuser=alice\n[b]\n"
                            "\tgroup\t= web\r\n user = 33 \r\n[c]\nlisten = 9000\n[d]\nuser = dora"),
            (Pools{{"a", "alice", ""}, {"b", "33", "web"}, {"d", "dora", ""}}));
}

TEST(PhpPools, ValuesAreWrittenInManyWays) {
  EXPECT_EQ(parse_php_pools("[shop]\nuser = \"www;data\" ; quoted\ngroup = '$pool' # x\n"),
            (Pools{{"shop", "www;data", "shop"}}));
  EXPECT_EQ(parse_php_pools("[shop]\nuser = web-$pool-$pool ; a user for each\n"),
            (Pools{{"shop", "web-shop-shop", ""}}));
  EXPECT_EQ(parse_php_pools("[shop]\nuser = first\nuser = second\n"), (Pools{{"shop", "second", ""}}));
}

TEST(PhpPools, WhateverElseIsInTheFileIsPassedOver) {
  for (const char* text :
       {"", "\n", "[", "[]", "[]\nuser = x", "user = x", "[www", "[www]\nuser", "[www]\nuser =", "[www]\n= x",
        "[www]\nuser = \"", "[www]\nuser = ;x", "[www]\n#user = x", "[global]\nuser = x"})
    EXPECT_EQ(parse_php_pools(text), Pools{}) << text;
  EXPECT_EQ(parse_php_pools("[" + std::string(2000, 'a') + "]\nuser = $pool$pool\n"), Pools{});
  EXPECT_EQ(parse_php_pools(std::string("[a\0b]\nuser = x\0y", 16)),
            (Pools{{std::string("a\0b", 3), std::string("x\0y", 3), ""}}));
}

}  // namespace
}  // namespace bailian
