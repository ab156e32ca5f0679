// How the ledger's file comes into being, is checked, and is shared by processes.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <new>
#include <thread>
#include <vector>

#include "base/file.h"
#include "ledger/file_lock.h"
#include "ledger/table.h"
#include "ledger/visitors.h"

namespace bailian {
namespace {

static_assert(std::endian::native == std::endian::little, "the ledger's file is little-endian");

constexpr std::array<char, 16> kMagic = {'b', 'a', 'i', 'l', 'i', 'a', 'n',  '-',
                                         'l', 'e', 'd', 'g', 'e', 'r', '\n', 0};
constexpr uint64_t kVersion = 1;
// Of everything that decides where a number lies in the file.
constexpr uint64_t kLayout = sizeof(TableLayout) ^ sizeof(Entry) << 32 ^ kDays << 48 ^ kInputs << 56;

// Each is on a byte of its own, far behind the end of the file.
constexpr int64_t kTableLock = int64_t{1} << 40;
constexpr int64_t kWriterLock = kTableLock + 1;
constexpr int64_t kProcessLocks = kTableLock + 2;

constexpr std::array<uint64_t, 4> kStart = {std::bit_cast<std::array<uint64_t, 2>>(kMagic)[0],
                                            std::bit_cast<std::array<uint64_t, 2>>(kMagic)[1], kVersion,
                                            kLayout};

int64_t lock_of(uint64_t process) { return kProcessLocks + static_cast<int64_t>(process); }

// Zeros from `offset` on, or a start that was not finished: left behind by a process that died while it made
// the file.
bool is_unfinished(int fd, size_t size) {
  if (size > sizeof(TableLayout)) return false;
  std::vector<uint64_t> piece(8192);
  for (size_t offset = 0; offset < size;) {
    std::fill(piece.begin(), piece.end(), 0);
    const ssize_t got = ::pread(fd, piece.data(), piece.size() * 8, static_cast<off_t>(offset));
    if (got <= 0) return false;
    for (size_t i = 0; i < piece.size(); ++i) {
      const bool is_start = offset == 0 && i < kStart.size() && piece[i] == kStart[i];
      if (piece[i] != 0 && !is_start) return false;
    }
    offset += static_cast<size_t>(got);
  }
  return true;
}

// A command that root runs makes the service's file, not root's. Root without that right keeps the file.
void hand_over(int fd, const std::string& path) {
  struct stat folder {};
  const std::string parent = std::filesystem::path(path).parent_path().string();
  if (::geteuid() != 0 || ::stat(parent.empty() ? "." : parent.c_str(), &folder) != 0) return;
  (void)!::fchown(fd, folder.st_uid, folder.st_gid);
}

}  // namespace

Table::Table(const std::string& path) : path_(path) {
  fd_ = UniqueFd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd_) throw_errno(fmt::format("cannot open {}", path));
  const Lock locked = lock();
  create_or_check();
  join();
  close_leases_of(process_);  // of an earlier process with the same number
  if (entries() == 0) {
    layout_->header.entries.store(1, std::memory_order_release);
  }
}

Table::~Table() {
  for (size_t chunk = 0; chunk < kChunks; ++chunk) {
    if (layout_->owners[chunk].load(std::memory_order_acquire) != process_) continue;
    bool is_free = true;
    for (size_t i = 0; i < kChunkSlots; ++i)
      is_free = is_free && layout_->leases[chunk * kChunkSlots + i].tag.load(std::memory_order_acquire) == 0;
    // Otherwise the next process takes them for those of a dead one.
    if (is_free) layout_->owners[chunk].store(0, std::memory_order_release);
  }
  ::munmap(layout_, sizeof(TableLayout));
}

Table::Lock Table::lock() {
  std::unique_lock mutex(mutex_);
  // A lock of a file can be awaited, but not with a time limit: that would take a signal or a thread.
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  while (!try_lock_byte(fd_.get(), kTableLock)) {
    if (std::chrono::steady_clock::now() > end) {
      errno = ETIMEDOUT;
      throw_errno(fmt::format("cannot lock {}", path_));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return {std::move(mutex), fd_.get()};
}

std::optional<Table::Lock> Table::try_lock() {
  std::unique_lock mutex(mutex_, std::try_to_lock);
  if (!mutex || !try_lock_byte(fd_.get(), kTableLock)) return std::nullopt;
  return Lock(std::move(mutex), fd_.get());
}

Table::Lock::~Lock() {
  if (mutex_) unlock_byte(fd_, kTableLock);
}

void Table::create_or_check() {
  struct stat file {};
  if (::fstat(fd_.get(), &file) != 0) throw_errno(fmt::format("cannot read {}", path_));
  const auto size = static_cast<size_t>(file.st_size);
  std::array<uint64_t, 4> start{};
  if (!S_ISREG(file.st_mode) || ::pread(fd_.get(), start.data(), sizeof start, 0) < 0)
    throw NotALedger(fmt::format("{} is not a file", path_));

  const bool is_new = start != kStart && is_unfinished(fd_.get(), size);
  if (!is_new) {
    if (start[0] != kStart[0] || start[1] != kStart[1])
      throw NotALedger(fmt::format("{} is not a ledger; it was not changed", path_));
    if (start != kStart || size != sizeof(TableLayout)) {
      throw NotALedger(fmt::format("{} is a ledger of another version ({}, this is {}); it was not changed",
                                   path_, start[2], kVersion));
    }
  } else {
    hand_over(fd_.get(), path_);
    const int error = ::posix_fallocate(fd_.get(), 0, sizeof(TableLayout));
    if (error != 0) {
      (void)!::ftruncate(fd_.get(), 0);  // leaves the room to others
      errno = error;
      throw_errno(fmt::format("cannot make room for {}", path_));
    }
  }
  map_file();
  if (!is_new) return;
  TableHeader& header = layout_->header;
  header.version.store(kStart[2], std::memory_order_relaxed);
  header.layout.store(kStart[3], std::memory_order_relaxed);
  header.magic[0].store(kStart[0], std::memory_order_release);
  header.magic[1].store(kStart[1], std::memory_order_release);
}

void Table::map_file() {
  void* const memory = ::mmap(nullptr, sizeof(TableLayout), PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  if (memory == MAP_FAILED) throw_errno(fmt::format("cannot map {}", path_));
  layout_ = static_cast<TableLayout*>(memory);
}

void Table::join() {
  for (uint64_t process = 1; process <= kProcesses; ++process) {
    if (!try_lock_byte(fd_.get(), lock_of(process))) continue;
    process_ = process;
    return;
  }
  ::munmap(layout_, sizeof(TableLayout));
  errno = EUSERS;
  throw_errno(fmt::format("cannot share {}", path_));
}

bool Table::owns_any_chunk(uint64_t owner) const {
  for (const Count& cell : layout_->owners) {
    if (cell.load(std::memory_order_acquire) == owner) return true;
  }
  return false;
}

Table::Recovered Table::sweep(const Lock&) {
  Recovered all;
  for (uint64_t process = 1; process <= kProcesses; ++process) {
    if (process == process_ || !owns_any_chunk(process)) continue;
    if (!try_lock_byte(fd_.get(), lock_of(process))) continue;  // it is alive
    const Recovered recovered = close_leases_of(process);
    unlock_byte(fd_.get(), lock_of(process));
    all.leases += recovered.leases;
    all.tokens += recovered.tokens;
  }
  return all;
}

bool Table::is_alone(const Lock&) {
  for (uint64_t process = 1; process <= kProcesses; ++process) {
    if (process == process_) continue;
    if (!try_lock_byte(fd_.get(), lock_of(process))) return false;
    unlock_byte(fd_.get(), lock_of(process));
  }
  return true;
}

bool Table::is_under_way_elsewhere(std::string_view idempotency_id) const {
  // By the lowest bit of the day on which the other lease was opened.
  const std::array keys = {hash_of_key(layout_->visitors[0], idempotency_id),
                           hash_of_key(layout_->visitors[1], idempotency_id)};
  for (size_t chunk = 0; chunk < kChunks; ++chunk) {
    const uint64_t owner = layout_->owners[chunk].load(std::memory_order_seq_cst);
    if (owner == 0 || owner == process_ || owner > kProcesses) continue;
    for (size_t i = 0; i < kChunkSlots; ++i) {
      const LeaseSlot& slot = layout_->leases[chunk * kChunkSlots + i];
      const uint64_t word = slot.tag.load(std::memory_order_seq_cst);
      if (word == 0 || slot.key.load(std::memory_order_acquire) != keys[LeaseTag::of(word).day & 1]) continue;
      if (is_byte_locked(fd_.get(), lock_of(owner))) return true;  // else its process has died
    }
  }
  return false;
}

bool Table::is_journal_writer() {
  if (!is_writer_) is_writer_ = try_lock_byte(fd_.get(), kWriterLock);
  return is_writer_;
}

}  // namespace bailian
