#include "options.h"

#include <algorithm>
#include <charconv>
#include <span>
#include <string_view>

namespace bailian::simulator {
namespace {

milliseconds parse_milliseconds(std::string_view name, std::string_view value) {
  constexpr std::uint32_t kDay = 86'400'000;
  std::uint32_t result = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result);
  if (error != std::errc() || end != value.data() + value.size() || result > kDay) {
    throw UsageError(std::string(name) + " wants milliseconds, not \"" + std::string(value) + "\"");
  }
  return milliseconds(result);
}

void parse_listen(std::string_view value, Options& options) {
  const auto colon = value.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == value.size()) {
    throw UsageError("--listen wants HOST:PORT, not \"" + std::string(value) + "\"");
  }
  std::string_view host = value.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  options.host = host;
  options.port = value.substr(colon + 1);
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  if (options.port.size() > 5 || !std::all_of(options.port.begin(), options.port.end(), is_digit) ||
      std::stoul(options.port) > 65535) {
    throw UsageError("--listen wants a port from 0 to 65535, not \"" + options.port + "\"");
  }
}

void set_option(std::string_view name, std::string_view value, Options& options) {
  if (name == "--listen") {
    parse_listen(value, options);
  } else if (name == "--api-key") {
    options.api_key = value;
  } else if (name == "--app-id") {
    options.app_id = value;
  } else if (name == "--quotas") {
    options.quotas = value;
  } else if (name == "--examples") {
    options.examples = value;
  } else if (name == "--interval") {
    options.interval = parse_milliseconds(name, value);
  } else if (name == "--delay") {
    options.delay = parse_milliseconds(name, value);
  } else {
    throw UsageError("unknown option \"" + std::string(name) + "\"");
  }
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Options options;
  const std::span<char*> arguments(argv, static_cast<std::size_t>(argc));
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    if (argument == "--help" || argument == "-h") {
      options.action = Options::Action::kHelp;
      return options;
    }
    if (argument == "--version") {
      options.action = Options::Action::kVersion;
      return options;
    }
    const auto equals = argument.find('=');
    if (equals != std::string_view::npos) {
      set_option(argument.substr(0, equals), argument.substr(equals + 1), options);
      continue;
    }
    const bool has_value = i + 1 < arguments.size();
    set_option(argument, has_value ? arguments[i + 1] : "0", options);
    if (!has_value) throw UsageError(std::string(argument) + " wants a value");
    ++i;
  }
  return options;
}

}  // namespace bailian::simulator
