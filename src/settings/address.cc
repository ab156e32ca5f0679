#include "settings/address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/un.h>

#include <charconv>

#include "base/text.h"

namespace bailian {
namespace {

void require(bool good) {
  if (!good) throw std::invalid_argument("");
}

uint16_t parse_port(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  require(error == std::errc() && end == text.data() + text.size());
  return port;
}

}  // namespace

bool is_loopback(std::string_view host) {
  in_addr number{};
  const bool is_127 =
      host.starts_with("127.") && ::inet_pton(AF_INET, std::string(host).c_str(), &number) == 1;
  return host == "localhost" || host == "[::1]" || host == "::1" || is_127;
}

ListenAddress parse_listen_address(std::string_view text) {
  if (text.find('/') != std::string_view::npos) {
    require(text.find('\0') == std::string_view::npos);
    if (text.size() >= sizeof(sockaddr_un::sun_path)) {
      throw SettingFault(
          fmt::format("the path is longer than {} bytes, the most that a unix socket's may have",
                      sizeof(sockaddr_un::sun_path) - 1));
    }
    return UnixAddress{std::string(text)};
  }
  const size_t colon = text.rfind(':');
  require(colon != std::string_view::npos);
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else {
    require(host.find(':') == std::string_view::npos);
  }
  require(!host.empty() && is_visible_ascii(host));
  return TcpAddress{std::string(host), parse_port(text.substr(colon + 1))};
}

std::string to_string(const ListenAddress& address) {
  if (const auto* local = std::get_if<UnixAddress>(&address)) return local->path;
  const auto& tcp = std::get<TcpAddress>(address);
  if (tcp.host.find(':') != std::string::npos) return fmt::format("[{}]:{}", tcp.host, tcp.port);
  return fmt::format("{}:{}", tcp.host, tcp.port);
}

}  // namespace bailian
