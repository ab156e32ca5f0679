#include "torture.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <set>
#include <sstream>
#include <stdexcept>
#include <system_error>

#include "harness/answer.h"
#include "harness/work_dir.h"

namespace bailian::torture {
namespace {

bool is_quick() {
  static const char* const how = std::getenv("TORTURE");  // NOLINT(concurrency-mt-unsafe)
  return how != nullptr && std::string_view(how) == "quick";
}

std::set<std::string> tcp_sockets() {
  std::set<std::string> sockets;
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::istringstream lines(read_file(table));
    for (std::string line; std::getline(lines, line);) {
      std::istringstream fields(line);
      std::string field;
      constexpr int kInode = 10;
      for (int i = 0; i < kInode; ++i) fields >> field;
      sockets.insert("socket:[" + field + "]");
    }
  }
  return sockets;
}

// Idle connections to the upstream come and go; nothing else here uses TCP.
size_t files_but_tcp(pid_t pid) {
  const auto tcp = tcp_sockets();
  std::error_code denied;  // for all but root
  const std::filesystem::directory_iterator files("/proc/" + std::to_string(pid) + "/fd", denied);
  return static_cast<size_t>(std::count_if(begin(files), end(files), [&](const auto& file) {
    return !tcp.contains(std::filesystem::read_symlink(file, denied));
  }));
}

}  // namespace

const std::vector<Failure>& all_failures() {
  struct Error {
    int error;
    bool for_good = false;
  };
  struct Errors {
    Call call;
    const char* name;
    std::vector<Error> errors;
  };
  static const std::vector<Errors> by_call = {
      {kMemory, "memory", {{ENOMEM}, {ENOMEM, true}}},
      {kRecv, "recv", {{ECONNRESET}, {EIO}, {EINTR}, {kOneByte}, {kPieces, true}}},
      {kSend, "send", {{ECONNRESET}, {EPIPE}, {EIO}, {EINTR}, {EAGAIN}, {kOneByte}, {kPieces, true}}},
      {kConnect, "connect", {{ECONNREFUSED}, {ETIMEDOUT}, {EADDRNOTAVAIL}, {EINTR}}},
      {kSocket, "socket", {{EMFILE}, {ENOBUFS, true}}},
      {kPair, "pipe or socketpair", {{EMFILE}, {EMFILE, true}}},
      {kAccept, "accept4", {{EMFILE}, {ECONNABORTED}, {ENOMEM}, {EINTR}}},
      {kEpollCreate, "epoll_create1", {{EMFILE}}},
      {kEpollCtl, "epoll_ctl", {{ENOMEM}, {ENOSPC, true}}},
      {kEpollWait, "epoll_wait", {{EINTR}, {ENOMEM}}},
      {kEventfd, "eventfd", {{ENFILE}}},
      {kRead, "read", {{EIO}, {EINTR}, {kOneByte}}},
      {kWrite, "write", {{ENOSPC}, {ENOSPC, true}, {EIO}, {EINTR}, {EAGAIN}, {kOneByte}}},
      {kMemfdCreate, "memfd_create", {{EMFILE, true}, {ENOMEM}}},
      {kPwrite, "pwrite", {{ENOSPC}, {EINTR}, {kOneByte}}},
      {kFtruncate, "ftruncate", {{EIO}}},
      {kFsync, "fsync", {{EIO}}},
      {kFchmod, "fchmod", {{EPERM}}},
      {kRename, "rename", {{EACCES}}},
      {kLink, "link", {{EEXIST}, {EMLINK}}},
      {kTemporaryFile, "mkostemp", {{EEXIST}, {ENOSPC}}},
      {kRealpath, "realpath", {{EACCES}}},
      {kRecvmsg, "recvmsg", {{EINTR}, {ENOMEM}}},
      {kSetsockopt, "setsockopt", {{ENOMEM}, {ENOMEM, true}}},
      {kDup, "fcntl", {{EMFILE}}},
      {kFork, "fork", {{EAGAIN}, {ENOMEM}}},
      {kExec, "execve", {{ENOMEM}, {E2BIG}}},
      {kGetrandom, "getrandom", {{EINTR}, {kOneByte}}},
      {kOpen, "open", {{EMFILE}, {EACCES}}},
      {kBind, "bind", {{EADDRINUSE}, {ENOSPC}}},
      {kListen, "listen", {{EADDRINUSE}}},
      {kThread, "pthread_create", {{EAGAIN}}},
      {kResolve, "getaddrinfo", {{EAI_AGAIN}, {EAI_MEMORY}}}};
  static const std::vector<Failure> all = [] {
    std::vector<Failure> failures;
    for (const auto& [call, name, errors] : by_call)
      for (const auto& [error, for_good] : errors) failures.push_back({call, name, error, for_good});
    return failures;
  }();
  return all;
}

std::string describe(const Failure& failure) {
  const std::string what = failure.call == kResolve    ? ::gai_strerror(failure.error)
                           : failure.error == kOneByte ? "one byte"
                           : failure.error == kPieces  ? "small pieces"
                                                       : std::generic_category().message(failure.error);
  return std::string(failure.name) + ": " + what + (failure.for_good ? ", for good" : "");
}

uint64_t next_n(uint64_t n, bool few) {
  if (few && is_quick()) return 4 * n;
  if (few || is_quick()) return n < 6 ? n + 1 : n + n / 2;
  return n < 60 ? n + 1 : n + n / 10;
}

void await(const std::string& what, const std::function<bool()>& happens) {
  for (const Deadline deadline; !happens();) {
    if (deadline.left_ms() == 0) throw WaitedInVain("timed out waiting for " + what);
    constexpr int kLookAgainMs = 2;
    ::poll(nullptr, 0, kLookAgainMs);
  }
}

// --- SharedPlan ---

SharedPlan::SharedPlan(const std::string& path) : path_(path) {
  const Fd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  void* page = ::mmap(nullptr, sizeof(Plan), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (page == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap " + path);
  plan_ = static_cast<Plan*>(page);
}

SharedPlan::~SharedPlan() { ::munmap(plan_, sizeof(Plan)); }

void SharedPlan::preload(Command& command) const {
  command.env.push_back("LD_PRELOAD=" + sibling_program("fail_nth.so"));
  command.env.push_back("FAIL_NTH=" + path_);
  // The preloaded library comes before the sanitizer, and calls it.
  command.env.emplace_back("ASAN_OPTIONS=verify_asan_link_order=0");
}

void SharedPlan::count() {
  disarm();
  for (auto& count : plan_->calls) count = 0;
  plan_->nth = 0;
  plan_->process = 0;
}

void SharedPlan::arm(const Failure& failure, uint64_t n, bool from_main) {
  count();
  plan_->call = failure.call;
  plan_->error = failure.error;
  plan_->for_good = failure.for_good;
  plan_->nth = n;
  plan_->failed = 0;
  (from_main ? plan_->from_main : plan_->counting) = true;
}

// --- TortureBase ---

uint64_t TortureBase::fail_each(const std::function<void()>& run, From from, Times times) {
  uint64_t failed = 0;
  for (const Failure& failure : all_failures()) {
    if (!plan_.was_called(failure.call)) continue;
    for (uint64_t n = 1;; n = next_n(n, times == Times::kFew)) {
      SCOPED_TRACE(describe(failure) + ", call " + std::to_string(n));
      plan_.arm(failure, n, from == From::kMain);
      try {
        run();
      } catch (const std::exception& error) {
        ADD_FAILURE() << error.what();
      }
      plan_.disarm();
      if (HasFailure()) return failed;
      if (plan_->failed == 0) break;
      ++failed;
    }
  }
  return failed;
}

Command TortureBase::failing_command(Settings settings, const std::vector<std::string>& arguments) const {
  settings.merge(site_settings(dir_, simulator_));
  auto command = responder_command(dir_, settings, arguments);
  plan_.preload(command);
  return command;
}

std::optional<FcgiPeer> TortureBase::first_peer(Process& process) const {
  std::optional<FcgiPeer> peer;
  await("a listening socket", [&] {
    try {
      peer.emplace(address());
    } catch (const std::system_error&) {
    }
    return peer || !process.is_running();
  });
  return peer;
}

bool TortureBase::is_served(Process& process) const {
  auto peer = first_peer(process);
  if (!peer) return false;
  try {
    peer->send(fcgi::request("GET", kHealthPath));
    return peer->read_reply().response.status == 200;
  } catch (const WaitedInVain&) {
    throw;
  } catch (const std::exception&) {
    return false;
  }
}

// --- Torture ---

void Torture::start(Settings settings) {
  settings_ = std::move(settings);
  if (const auto workers = settings_.find("WORKERS"); workers != settings_.end())
    loops_ = std::stoul(workers->second);
  // So that no scenario waits longer for a lost event.
  settings_.merge(Settings{{"CONNECT_TIMEOUT", "1"},
                           {"FIRST_TOKEN_TIMEOUT", "1"},
                           {"IDLE_TIMEOUT", "1"},
                           {"TIMEOUT", "3"},
                           {"CLIENT_STALL_TIMEOUT", "0.5"},
                           {"DRAIN_TIMEOUT", "2"},
                           {"HEARTBEAT", "0"},
                           {"UPSTREAM_RETRIES", "0"}});
  restart();
}

void Torture::restart() {
  const bool counts = plan()->counting.exchange(false);
  responder_.reset();
  responder_.emplace(failing_command(settings_));
  if (!is_served(*responder_)) throw std::runtime_error("the responder does not start: " + log());
  plan()->counting = counts;
}

void Torture::survive(const std::function<void()>& scenario, Ends ends, Times times) {
  const auto begin = std::chrono::steady_clock::now();
  calm_ = true;
  constexpr int kWarmUp = 4;
  plan().count();
  for (int i = 0; i < kWarmUp; ++i) {
    plan()->counting = true;
    ASSERT_NO_THROW(run_once(scenario, ends)) << "with nothing failing";
    if (HasFailure()) return;
  }
  const size_t files = ends == Ends::kServing ? files_but_tcp(responder().pid()) : 0;
  const int64_t rss = ends == Ends::kServing ? responder().memory_kib() : 0;

  calm_ = false;
  const uint64_t runs = fail_each([&] { run_once(scenario, ends); }, From::kNow, times);
  if (HasFailure()) {
    constexpr size_t kEnough = 3000;
    const std::string said = log();
    std::cerr << "--- responder\n" << said.substr(said.size() - std::min(said.size(), kEnough));
    return;
  }
  calm_ = true;
  run_once(scenario, ends);

  std::ostringstream summary;
  const auto took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin);
  summary << testing::UnitTest::GetInstance()->current_test_info()->name() << ": " << runs
          << " failures survived in " << took.count() << " s";
  if (ends == Ends::kServing) {
    const size_t files_now = files_but_tcp(responder().pid());
    const int64_t rss_now = responder().memory_kib();
    EXPECT_LE(files_now, files + kFilesOfLedger + (loops_ - 1) * kFilesOfFirstChat);
    constexpr int64_t kMoreKib = 4096;
    EXPECT_TRUE(is_sanitized() || rss_now <= rss + kMoreKib) << rss << " -> " << rss_now << " KiB";
    summary << ", RSS " << rss << " -> " << rss_now << " KiB, files " << files << " -> " << files_now;
    responder().signal(SIGTERM);
    EXPECT_EQ(responder().wait(), 0) << log();
    check_log(log());
  }
  std::cerr << summary.str() << "\n";
}

void Torture::run_once(const std::function<void()>& scenario, Ends ends) {
  scenario();
  stop_failing();
  settle(ends);
}

void Torture::settle(Ends ends) {
  simulator().release();
  if (ends == Ends::kEnded) {
    const int code = responder().wait();
    EXPECT_EQ(code, 0) << log();
    EXPECT_FALSE(has_sanitizer_report(log())) << log();
  } else {
    EXPECT_TRUE(is_served(responder())) << log();
  }
  EXPECT_TRUE(simulator().falls_to("open", 0));
}

// True when the answer is whole.
bool Torture::see(FcgiPeer& peer, std::optional<Response>& response) {
  try {
    response = peer.read_reply().response;
    return true;
  } catch (const WaitedInVain&) {
    throw;
  } catch (const std::exception&) {
    if (is_calm()) throw;
    return false;
  }
}

bool Torture::expect_reply(FcgiPeer& peer, int status, std::string_view body_part) {
  std::optional<Response> response;
  if (!see(peer, response)) return false;
  if (response->status == status) {
    EXPECT_NE(response->body.find(body_part), std::string::npos) << response->body;
    return true;
  }
  EXPECT_FALSE(is_calm()) << response->status << response->body;
  EXPECT_GE(response->status, 500) << response->body;
  if (response->status < 500) return false;
  EXPECT_FALSE(bool_at(response->json(), "/success")) << response->body;
  return false;
}

// `out` has the events so far. A cut event at the end is ignored.
void Torture::check_events(std::string_view out, bool whole, std::string_view text, bool success) {
  std::string said;
  bool finished = false;
  for (size_t end = out.find("\n\n"); end != out.npos; end = out.find("\n\n")) {
    auto event = out.substr(0, end);
    out.remove_prefix(end + 2);
    if (event.starts_with(": ")) continue;
    EXPECT_FALSE(finished) << "after the last event: " << event;
    ASSERT_TRUE(event.starts_with("data: ")) << event;
    const auto json = parse_json(event.substr(6));
    finished = bool_at(json, "/finished");
    if (!finished) {
      said += text_at(json, "/content");
    } else if (bool_at(json, "/success")) {
      EXPECT_TRUE(success) << event;
      EXPECT_EQ(said, text) << "told to be complete";
    } else {
      EXPECT_TRUE(!success || !is_calm()) << event;
    }
  }
  EXPECT_TRUE(text.starts_with(said)) << said;
  if (!whole) return;
  EXPECT_TRUE(finished) << "ended without a last event";
  EXPECT_EQ(out, "") << "a cut event";
}

bool Torture::expect_stream(FcgiPeer& peer, std::string_view text, bool may_fail) {
  std::optional<Response> response;
  const bool whole = see(peer, response);
  if (whole && response->status != 200) {
    EXPECT_TRUE(may_fail || !is_calm()) << response->body;
    EXPECT_FALSE(bool_at(response->json(), "/success")) << response->body;
    return false;
  }
  const std::string out = whole ? response->body : peer.answer_so_far();
  const size_t head_end = whole ? 0 : out.find("\r\n\r\n");
  if (head_end == out.npos) return false;
  check_events(std::string_view(out).substr(whole ? 0 : head_end + 4), whole, text, true);
  return whole;
}

bool Torture::expect_failed_stream(FcgiPeer& peer, std::string_view text) {
  std::optional<Response> response;
  if (!see(peer, response)) return false;
  if (response->status != 200) {
    EXPECT_FALSE(bool_at(response->json(), "/success")) << response->body;
  } else {
    check_events(response->body, true, text, false);
  }
  return true;
}

bool Torture::read_text(FcgiPeer& peer) {
  try {
    while (peer.answer_so_far().find("\"content\"") == std::string::npos) {
      if (peer.read_stdout().empty()) return false;
    }
    return true;
  } catch (const WaitedInVain&) {
    throw;
  } catch (const std::exception&) {
    if (is_calm()) throw;
    return false;
  }
}

FcgiPeer Torture::ask_for_stream(std::string_view prompt) const {
  auto peer = connect();
  send(peer, fcgi::request("POST", kStreamPath, chat_body(prompt)));
  return peer;
}

FcgiPeer Torture::live_stream() {
  auto peer = ask_for_stream("[[sim events=3 hold=1]]");
  read_text(peer);
  return peer;
}

std::string Torture::get(std::string_view path) const {
  auto peer = connect();
  peer.send(fcgi::request("GET", path));
  return peer.read_reply().response.body;
}

bool Torture::ask(std::string_view path, std::string_view body, int status, std::string_view body_part) {
  auto peer = connect();
  send(peer, fcgi::request(body.empty() ? "GET" : "POST", path, body));
  return expect_reply(peer, status, body_part);
}

bool Torture::chat(std::string_view prompt, std::string_view text) {
  return ask(kChatPath, chat_body(prompt), 200, json_string(text));
}

bool Torture::stream(std::string_view prompt, std::string_view text) {
  auto peer = ask_for_stream(prompt);
  return expect_stream(peer, text);
}

void Torture::await_upstream(const FcgiPeer& peer, std::string_view counter, int64_t count) {
  const Deadline deadline;
  while (simulator().count(counter) < count) {
    pollfd heard{peer.socket().get(), POLLIN, 0};
    constexpr int kLookAgainMs = 2;
    if (::poll(&heard, 1, kLookAgainMs) > 0) return;
    if (deadline.left_ms() == 0) throw WaitedInVain("timed out waiting for the upstream");
  }
}

void Torture::send(const FcgiPeer& peer, std::string_view bytes) {
  try {
    peer.send(bytes);
  } catch (const std::system_error&) {
    // The rest of its answer is read next.
  }
}

}  // namespace bailian::torture
