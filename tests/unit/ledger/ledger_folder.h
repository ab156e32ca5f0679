#pragma once

#include <sys/mount.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

namespace bailian {

/// A new folder for a ledger, until it is destroyed.
class LedgerFolder {
 public:
  LedgerFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "ledger-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~LedgerFolder() {
    ::umount2(path_.c_str(), MNT_DETACH);  // if a test has mounted something there
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  LedgerFolder(const LedgerFolder&) = delete;
  LedgerFolder& operator=(const LedgerFolder&) = delete;

  [[nodiscard]] std::string path() const { return path_; }
  [[nodiscard]] std::string ledger() const { return path_ + "/ledger"; }
  [[nodiscard]] std::string journal() const { return ledger() + ".journal"; }

 private:
  std::string path_;
};

}  // namespace bailian
