#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace bailian {

/// A new folder for a ledger, until it is destroyed.
class LedgerFolder {
 public:
  LedgerFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "ledger-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~LedgerFolder() { std::filesystem::remove_all(path_); }
  LedgerFolder(const LedgerFolder&) = delete;
  LedgerFolder& operator=(const LedgerFolder&) = delete;

  [[nodiscard]] std::string path() const { return path_; }
  [[nodiscard]] std::string ledger() const { return path_ + "/ledger"; }
  [[nodiscard]] std::string journal() const { return ledger() + ".journal"; }

 private:
  std::string path_;
};

}  // namespace bailian
