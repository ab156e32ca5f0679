#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "settings/parse_value.h"

namespace bailian {

struct UnixAddress {
  std::string path;
  bool operator==(const UnixAddress&) const = default;
};
struct TcpAddress {
  std::string host;  // a name or a number, IPv6 without brackets
  uint16_t port = 0;
  bool operator==(const TcpAddress&) const = default;
};
using ListenAddress = std::variant<UnixAddress, TcpAddress>;

/// `[::1]:9000`, `host:port`, or the path of a unix socket (which holds a slash).
Parsed<ListenAddress> parse_listen_address(const std::string& text);
constexpr std::string_view kDefaultListen = "/run/bailian-fcgi/bailian-fcgi.sock";
std::string to_string(const ListenAddress& address);

/// A name or number of this machine's loopback, IPv6 with or without brackets.
bool is_loopback(std::string_view host);

}  // namespace bailian
