#include "commands/ledger_access.h"

#include <fmt/format.h>
#include <grp.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/exit_error.h"
#include "base/file.h"
#include "base/text.h"
#include "settings/redis_address.h"

namespace bailian {
namespace {

bool lacks_right(const Config& config) {
  return is_file_ledger(config) && ::access(config.ledger.c_str(), R_OK | W_OK) != 0 && errno == EACCES;
}

[[noreturn]] void refuse(const Config& config, const std::string& fault) {
  if (lacks_right(config)) {
    throw ExitError(EX_NOPERM,
                    fmt::format("no right to use the ledger {}: run this as root or as the user of "
                                "the service",
                                config.ledger));
  }
  throw ExitError(EX_IOERR, fmt::format("the ledger cannot be used: {}", fault));
}

void become_owner_of_ledger(const Config& config) {
  if (::geteuid() != 0 || !is_file_ledger(config)) return;
  const std::string folder = std::filesystem::absolute(config.ledger).parent_path();
  struct stat owner {};
  if (::stat(folder.c_str(), &owner) != 0 || owner.st_uid == 0) return;
  if (::setgroups(0, nullptr) != 0 || ::setgid(owner.st_gid) != 0 || ::setuid(owner.st_uid) != 0)
    throw_errno(fmt::format("become the owner of {}", folder));
}

}  // namespace

Config load_without_keys(const SettingsSource& source) {
  return load_settings(source, KeyFileReader::kNobody).config;
}

bool is_file_ledger(const Config& config) { return !is_redis_url(config.ledger); }

std::unique_ptr<Ledger> open_ledger_as_owner(const Config& config) {
  if (config.ledger.empty()) return nullptr;
  become_owner_of_ledger(config);
  std::unique_ptr<Ledger> ledger = open_ledger(config, LedgerUse::kCommand);
  ledger->apply(config);
  return ledger;
}

std::unique_ptr<Ledger> open_usable_ledger(const Config& config) {
  auto ledger = open_ledger_as_owner(config);
  if (!ledger) throw ExitError(EX_CONFIG, "LEDGER is empty: nothing is counted");
  if (const std::string fault = ledger->fault(); !fault.empty()) refuse(config, fault);
  return ledger;
}

std::string bot_in_ledger(const Config& config, const std::optional<std::string>& bot) {
  if (!bot) return "";
  if (find_bot(config, *bot) == nullptr)
    throw ExitError(EX_USAGE, fmt::format("--bot: there is no bot {}", printable(*bot)));
  return *bot;
}

}  // namespace bailian
