#include "settings/settings_source.h"

#include <fmt/format.h>
#include <unistd.h>

#include <variant>
#include <vector>

namespace bailian {
namespace {

std::vector<std::string> environment() {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) variables.emplace_back(*variable);
  return variables;
}

ListenAddress listen_option(const std::string& text) {
  const auto address = parse_listen_address(text);
  const ValueFault* const fault = fault_in(address);
  if (fault == nullptr) return std::get<ListenAddress>(address);
  throw ConfigError(
      {"--listen: " +
       (!fault->sentence.empty()
            ? fault->sentence
            : fmt::format("expected a socket path with a slash, host:port or [::1]:port, found \"{}\"",
                          text))});
}

void warn_of_open_address(const SettingsSource& source, LoadedConfig& loaded) {
  const auto* const tcp = std::get_if<TcpAddress>(&loaded.config.listen);
  if (tcp == nullptr || is_loopback(tcp->host)) return;
  loaded.warnings.push_back(fmt::format(
      "{}: other machines can connect to {}, and FastCGI has no passwords: whoever connects can chat on your "
      "bill. Use a socket path or 127.0.0.1, or admit only nginx's machine",
      source.listen ? "--listen" : "FCGI_LISTEN", to_string(loaded.config.listen)));
}

}  // namespace

LoadedConfig load_settings(const SettingsSource& source, KeyFileReader reader) {
  LoadedConfig loaded = load_config(environment(), source.env_file, reader);
  if (source.listen) loaded.config.listen = listen_option(*source.listen);
  warn_of_open_address(source, loaded);
  return loaded;
}

ListenAddress service_address(const SettingsSource& source) {
  return source.listen ? listen_option(*source.listen) : load_settings(source).config.listen;
}

}  // namespace bailian
