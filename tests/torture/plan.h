#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

// The memory page that the tests share with the library preloaded into the responder. It is mapped from the
// file named by FAIL_NTH.
namespace bailian::torture {

enum Call : uint32_t {
  kMemory,  // malloc, calloc, realloc and similar
  kRead,
  kRecv,
  kSend,
  kConnect,
  kSocket,
  kPair,  // pipe, pipe2, socketpair
  kAccept,
  kEpollCreate,
  kEpollCtl,
  kEpollWait,
  kEventfd,
  kMemfdCreate,
  kPwrite,
  kFtruncate,
  kGetrandom,
  kOpen,
  kBind,
  kListen,
  kThread,
  kResolve,
  kWrite,
  kFsync,
  kFchmod,
  kRename,
  kLink,
  kTemporaryFile,
  kRealpath,
  kRecvmsg,
  kSetsockopt,
  kDup,
  kFork,
  kExec,
  kCalls
};

// Instead of an errno: the call succeeds with at most this many bytes (negated).
inline constexpr int kOneByte = -1;
inline constexpr int kPieces = -700;

inline constexpr int32_t kNoProcess = -1;

struct Plan {
  std::atomic<bool> counting;    // while false, and before main(), no call fails
  std::atomic<bool> from_main;   // counting starts with main()
  std::atomic<bool> for_good;    // all calls from the n-th on fail
  std::atomic<int32_t> process;  // only this process's calls fail; 0: all
  std::atomic<uint32_t> call;
  std::atomic<int32_t> error;
  std::atomic<uint64_t> nth;  // 0: none fails
  std::atomic<uint64_t> failed;
  std::atomic<uint64_t> calls[kCalls];
};

}  // namespace bailian::torture
