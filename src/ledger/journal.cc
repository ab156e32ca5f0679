#include "ledger/journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "base/file.h"
#include "ledger/table.h"

namespace bailian {
namespace {

constexpr off_t kMaxBytes = 1 << 20;        // then it is written anew
constexpr size_t kMaxReadBytes = 64 << 20;  // a longer one is not ours
constexpr Day kKeptDays = static_cast<Day>(kDays);

void write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t size = ::write(fd, text.data(), text.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) throw_errno("cannot write the ledger's journal");
    text.remove_prefix(static_cast<size_t>(size));
  }
  if (::fdatasync(fd) != 0) throw_errno("cannot write the ledger's journal");
}

UniqueFd open_file(const std::string& path, int flags) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | flags, 0600));
  if (!fd) throw_errno(fmt::format("cannot open {}", path));
  return fd;
}

struct stat status_of(int fd) {
  struct stat file {};
  if (::fstat(fd, &file) != 0) throw_errno("cannot read the ledger's journal");
  return file;
}

std::string twice(const std::string& text) { return text + text; }

}  // namespace

ParsedJournal Journal::read(const std::string& path) {
  const auto text = read_file(path, kMaxReadBytes);
  if (!text) {
    if (errno == ENOENT) return {};
    throw_errno(fmt::format("cannot read {}", path));
  }
  ParsedJournal parsed = parse_journal(*text);
  if (parsed.kind == ParsedJournal::Kind::kForeign)
    throw NotALedger(fmt::format("{} is not the journal of a ledger; it was not changed", path));
  if (parsed.kind == ParsedJournal::Kind::kNewer)
    throw NotALedger(fmt::format("{} is the journal of a newer version; it was not changed", path));
  return parsed;
}

void Journal::write(const JournalContents& settled) {
  if (!fd_ || status_of(fd_.get()).st_nlink == 0) open();  // it was removed
  JournalContents grown;
  for (const auto& [key, totals] : settled.totals) {
    const auto noted = noted_.totals.find(key);
    DayTotals raised = noted == noted_.totals.end() ? DayTotals() : noted->second;
    raised.raise_to(totals);
    if (noted == noted_.totals.end() || raised != noted->second) grown.totals[key] = raised;
  }
  if (settled.day != noted_.day || settled.day_ends != noted_.day_ends) {
    grown.day = settled.day;
    grown.day_ends = settled.day_ends;
  }
  if (grown.totals.empty() && grown.day == 0) return;
  append(grown);
  if (status_of(fd_.get()).st_size > kMaxBytes) rewrite();
}

void Journal::open() {
  noted_ = read(path_).contents;
  struct stat file {};
  if (::stat(path_.c_str(), &file) != 0 || file.st_size == 0) return rewrite();
  fd_ = open_file(path_, 0);
}

void Journal::append(const JournalContents& contents) {
  const off_t size = status_of(fd_.get()).st_size;
  try {
    write_all(fd_.get(), twice(journal_lines(contents)));
  } catch (...) {
    (void)!::ftruncate(fd_.get(), size);  // what was written of it is written again
    throw;
  }
  for (const auto& [key, totals] : contents.totals) noted_.totals[key] = totals;
  if (contents.day > 0) {
    noted_.day = contents.day;
    noted_.day_ends = contents.day_ends;
  }
}

// Only what is still kept, in a new file that takes the place of the old one when it is whole.
void Journal::rewrite() {
  std::erase_if(noted_.totals,
                [this](const auto& total) { return total.first.first + kKeptDays <= noted_.day; });
  const std::string fresh = path_ + ".new";
  ::unlink(fresh.c_str());
  UniqueFd fd = open_file(fresh, O_CREAT | O_EXCL);
  const std::string parent = std::filesystem::path(path_).parent_path().string();
  const UniqueFd folder(::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat owner {};
  if (::geteuid() == 0 && folder && ::fstat(folder.get(), &owner) == 0)
    (void)!::fchown(fd.get(), owner.st_uid, owner.st_gid);  // a command that root runs
  try {
    write_all(fd.get(), journal_start() + twice(journal_lines(noted_)));
    if (::rename(fresh.c_str(), path_.c_str()) != 0) throw_errno(fmt::format("cannot rename {}", fresh));
  } catch (...) {
    ::unlink(fresh.c_str());
    throw;
  }
  if (folder) ::fsync(folder.get());
  fd_ = std::move(fd);
}

}  // namespace bailian
