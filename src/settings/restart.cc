#include "settings/restart.h"

namespace bailian {

std::vector<std::string_view> keep_what_needs_a_restart(const Config& running, Config& read) {
  std::vector<std::string_view> changed;
  const auto keep = [&](std::string_view key, auto member, bool have_bots_their_own = false) {
    if (read.*member == running.*member) return;
    changed.push_back(key);
    for (Config& bot : read.bots) {
      if (!have_bots_their_own) bot.*member = running.*member;
    }
    read.*member = running.*member;
  };
  keep("HOST", &Config::host);
  keep("PORT", &Config::port);
  keep("FCGI_LISTEN", &Config::listen);
  keep("FCGI_SOCKET_MODE", &Config::socket_mode);
  keep("WORKERS", &Config::workers);
  keep("MAX_STREAMS", &Config::max_streams, true);
  keep("TOKEN_COALESCE", &Config::token_coalesce);
  keep("LOG_FORMAT", &Config::log_format);
  keep("LOG_FILE", &Config::log_file);
  keep("LEDGER", &Config::ledger);
  return changed;
}

}  // namespace bailian
