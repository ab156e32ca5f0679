#include "settings/address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/un.h>

#include <utility>

#include "base/text.h"

namespace bailian {
bool is_loopback(std::string_view host) {
  in_addr number{};
  const bool is_127 =
      host.starts_with("127.") && ::inet_pton(AF_INET, std::string(host).c_str(), &number) == 1;
  return host == "localhost" || host == "[::1]" || host == "::1" || is_127;
}

Parsed<ListenAddress> parse_listen_address(const std::string& text) {
  if (text.find('/') != std::string::npos) {
    if (text.find('\0') != std::string::npos) return not_expected();
    if (text.size() >= sizeof(sockaddr_un::sun_path)) {
      return refused(fmt::format("the path is longer than {} bytes, the maximum for a unix socket",
                                 sizeof(sockaddr_un::sun_path) - 1));
    }
    return ListenAddress(UnixAddress{text});
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return not_expected();
  std::string host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string::npos) {
    return not_expected();
  }
  const auto port = parse_number<uint16_t>(std::string_view(text).substr(colon + 1));
  if (host.empty() || !is_visible_ascii(host) || !port) return not_expected();
  return ListenAddress(TcpAddress{std::move(host), *port});
}

std::string to_string(const ListenAddress& address) {
  if (const auto* local = std::get_if<UnixAddress>(&address)) return local->path;
  const auto& tcp = std::get<TcpAddress>(address);
  if (tcp.host.find(':') != std::string::npos) return fmt::format("[{}]:{}", tcp.host, tcp.port);
  return fmt::format("{}:{}", tcp.host, tcp.port);
}

}  // namespace bailian
