#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "base/unique_fd.h"
#include "ledger/journal_text.h"

namespace bailian {

/// The file beside the table in which one process notes what was used, so that a lost table, or one that a
/// power cut has set back, counts no less than what was noted. Each batch is written twice, the second copy
/// behind the whole first one. For one thread; it blocks.
class Journal {
 public:
  explicit Journal(std::string path) : path_(std::move(path)) {}

  /// What the file says; nothing if there is none. Throws NotALedger for what is not a journal or a newer
  /// one, and std::system_error.
  [[nodiscard]] static ParsedJournal read(const std::string& path);

  /// Notes what has grown, and syncs it. Throws std::system_error; then it is tried again the next time.
  void write(const JournalContents& settled);

 private:
  void open();
  void append(const JournalContents& contents);
  void rewrite();

  const std::string path_;
  UniqueFd fd_;            // none: not opened yet
  JournalContents noted_;  // all that the file says
};

}  // namespace bailian
