#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "settings/address.h"
#include "settings/parse_value.h"

namespace bailian {

/// A Redis server, one of its databases, and who logs in there.
struct RedisAddress {
  ListenAddress server;  // where it listens
  bool is_tls = false;   // only over TCP
  std::string user;      // empty: the default user
  std::string password;  // empty: none is sent
  int database = 0;

  bool operator==(const RedisAddress&) const = default;
};

/// Whether the text means a Redis server, right or wrong, and not a file: it begins with one of the schemes.
bool is_redis_url(std::string_view text);

/// `redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]`, the same with `rediss://` for TLS, and
/// `unix://[[USER]:PASSWORD@]/PATH[?db=DB]`. %XX stands for a byte of the user, password or path. A fault
/// never repeats the text, which may hold the password.
Parsed<RedisAddress> parse_redis_address(const std::string& text);

/// The address as a URL without user and password, for logs and people.
std::string to_string(const RedisAddress& address);

}  // namespace bailian
