#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

// What the tests and the library preloaded into the responder have in common: a page of memory, mapped from
// the file that FAIL_NTH names.
namespace bailian::torture {

enum Call : uint32_t {
  kMemory,  // malloc, calloc, realloc and their like
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

// In place of an errno: the call succeeds, but with no more than this many bytes, made negative.
inline constexpr int kOneByte = -1;
inline constexpr int kPieces = -700;

inline constexpr int32_t kNoProcess = -1;

struct Plan {
  std::atomic<bool> counting;    // while false, everything is as ever, and before main() too
  std::atomic<bool> from_main;   // counting begins when main() does
  std::atomic<bool> for_good;    // not only the n-th fails, but all that follow too
  std::atomic<int32_t> process;  // only its calls; 0: those of all
  std::atomic<uint32_t> call;
  std::atomic<int32_t> error;
  std::atomic<uint64_t> nth;  // 0: none fails
  std::atomic<uint64_t> failed;
  std::atomic<uint64_t> calls[kCalls];
};

}  // namespace bailian::torture
