#include "settings/redis_address.h"

#include <fmt/format.h>
#include <sys/un.h>

#include <array>
#include <optional>
#include <utility>

#include "base/text.h"

namespace bailian {
namespace {

constexpr std::string_view kTcp = "redis://";
constexpr std::string_view kTls = "rediss://";
constexpr std::string_view kUnix = "unix://";
constexpr uint16_t kDefaultPort = 6379;
constexpr int kMaxDatabase = 1'000'000;

std::optional<int> hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  const char letter = to_lower(c);
  if (letter >= 'a' && letter <= 'f') return letter - 'a' + 10;
  return std::nullopt;
}

// Nothing if a % is not followed by two digits, or stands for NUL.
std::optional<std::string> decode(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const auto high = hex_digit(text[i + 1]);
    const auto low = hex_digit(text[i + 2]);
    if (!high || !low || (*high == 0 && *low == 0)) return std::nullopt;
    decoded += static_cast<char>(*high * 16 + *low);
    i += 2;
  }
  return decoded;
}

bool parse_database(std::string_view text, int& database) {
  const auto number = parse_number<int>(text);
  if (!number || *number < 0 || *number > kMaxDatabase) return false;
  database = *number;
  return true;
}

// Takes `USER:PASSWORD@`, if it is there, off the front of `rest`.
std::optional<ValueFault> take_login(std::string_view& rest, RedisAddress& address) {
  const size_t slash = rest.find('/');
  const size_t at = rest.substr(0, slash).rfind('@');
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view login = rest.substr(0, at);
  rest.remove_prefix(at + 1);
  const size_t colon = login.find(':');
  if (colon == std::string_view::npos)
    return refused("the part before @ is USER:PASSWORD, or :PASSWORD without a user");
  auto user = decode(login.substr(0, colon));
  auto password = decode(login.substr(colon + 1));
  if (!user || !password) return refused("in user and password, a % is written %25");
  if (password->empty()) return refused("the password before @ is empty");
  address.user = std::move(*user);
  address.password = std::move(*password);
  return std::nullopt;
}

// HOST[:PORT][/DB]
std::optional<ValueFault> take_tcp(std::string_view rest, RedisAddress& address) {
  std::string_view path = rest;
  const std::string_view authority = split_off(path, '/');
  if (!path.empty() && !parse_database(path, address.database))
    return refused(fmt::format("the database after the / is a number from 0 to {}", kMaxDatabase));
  std::string_view host = authority;
  TcpAddress tcp{{}, kDefaultPort};
  const size_t colon = authority.rfind(':');
  const size_t bracket = authority.rfind(']');
  if (colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket)) {
    const auto port = parse_number<uint16_t>(authority.substr(colon + 1));
    if (!port || *port == 0) return refused("the port is a number from 1 to 65535");
    tcp.port = *port;
    host = authority.substr(0, colon);
  }
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return refused("an IPv6 address is written in brackets");
  }
  if (host.empty() || host.find_first_of("[]@?#%") != std::string_view::npos)
    return refused("the host is missing, or has a character that no host has");
  tcp.host = host;
  address.server = std::move(tcp);
  return std::nullopt;
}

// /PATH[?db=DB]
std::optional<ValueFault> take_unix(std::string_view rest, RedisAddress& address) {
  std::string_view query = rest;
  auto path = decode(split_off(query, '?'));
  if (!query.empty() && (!query.starts_with("db=") || !parse_database(query.substr(3), address.database)))
    return refused(
        fmt::format("after the path only ?db= is known, with a number from 0 to {}", kMaxDatabase));
  if (!path || path->size() < 2 || !path->starts_with('/'))
    return refused("the path of the unix socket begins with /: unix:///run/redis/redis.sock");
  if (path->size() >= sizeof(sockaddr_un::sun_path)) {
    return refused(fmt::format("the path is longer than {} bytes, the maximum for a unix socket",
                               sizeof(sockaddr_un::sun_path) - 1));
  }
  address.server = UnixAddress{std::move(*path)};
  return std::nullopt;
}

}  // namespace

bool is_redis_url(std::string_view text) {
  return text.starts_with(kTcp) || text.starts_with(kTls) || text.starts_with(kUnix);
}

Parsed<RedisAddress> parse_redis_address(const std::string& text) {
  if (!is_redis_url(text)) return refused("expected redis://HOST, rediss://HOST or unix:///PATH");
  if (!is_visible_ascii(text)) return refused("a character is not visible ASCII: write it as %XX");
  RedisAddress address;
  const bool is_unix = text.starts_with(kUnix);
  address.is_tls = text.starts_with(kTls);
  std::string_view rest = text;
  rest.remove_prefix(rest.find("//") + 2);
  if (auto fault = take_login(rest, address)) return *fault;
  if (auto fault = is_unix ? take_unix(rest, address) : take_tcp(rest, address)) return *fault;
  return address;
}

std::string to_string(const RedisAddress& address) {
  if (std::holds_alternative<UnixAddress>(address.server)) {
    const std::string url = fmt::format("{}{}", kUnix, to_string(address.server));
    return address.database == 0 ? url : fmt::format("{}?db={}", url, address.database);
  }
  const std::string url = fmt::format("{}{}", address.is_tls ? kTls : kTcp, to_string(address.server));
  return address.database == 0 ? url : fmt::format("{}/{}", url, address.database);
}

}  // namespace bailian
