#include "torture.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/mman.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <system_error>

#include "../e2e/answer.h"

namespace bailian::torture {
namespace {

bool is_quick() {
  static const char* const how = std::getenv("TORTURE");  // NOLINT(concurrency-mt-unsafe)
  return how != nullptr && std::string_view(how) == "quick";
}

size_t open_files(pid_t pid) {
  const std::filesystem::directory_iterator files("/proc/" + std::to_string(pid) + "/fd");
  return static_cast<size_t>(std::distance(begin(files), end(files)));
}

size_t rss_kib(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return std::stoul(line.substr(6));
  throw std::runtime_error("the responder is gone");
}

}  // namespace

const std::vector<Failure>& failures_in_service() {
  // Of memory only without a sanitizer, which has its own.
  static const std::vector<Failure> all = [] {
    std::vector<Failure> failures;
    if (!kSanitized) {
      failures.push_back({"memory: out once", kMemory, ENOMEM});
      failures.push_back({"memory: out for good", kMemory, ENOMEM, true});
    }
    failures.insert(failures.end(), {{"recv: reset", kRecv, ECONNRESET},
                                     {"recv: EIO", kRecv, EIO},
                                     {"recv: interrupted", kRecv, EINTR},
                                     {"recv: a byte", kRecv, kOneByte},
                                     {"recv: small pieces", kRecv, kPieces, true},
                                     {"send: reset", kSend, ECONNRESET},
                                     {"send: broken pipe", kSend, EPIPE},
                                     {"send: EIO", kSend, EIO},
                                     {"send: interrupted", kSend, EINTR},
                                     {"send: no room", kSend, EAGAIN},
                                     {"send: a byte", kSend, kOneByte},
                                     {"send: small pieces", kSend, kPieces, true},
                                     {"connect: refused", kConnect, ECONNREFUSED},
                                     {"connect: timed out", kConnect, ETIMEDOUT},
                                     {"connect: no port left", kConnect, EADDRNOTAVAIL},
                                     {"connect: interrupted", kConnect, EINTR},
                                     {"socket: no descriptors", kSocket, EMFILE},
                                     {"socket: no buffers", kSocket, ENOBUFS, true},
                                     {"socketpair: no descriptors", kSocketpair, EMFILE},
                                     {"accept4: no descriptors", kAccept, EMFILE},
                                     {"accept4: gone already", kAccept, ECONNABORTED},
                                     {"accept4: no memory", kAccept, ENOMEM},
                                     {"accept4: interrupted", kAccept, EINTR},
                                     {"epoll_ctl: no memory", kEpollCtl, ENOMEM},
                                     {"epoll_ctl: too many watches", kEpollCtl, ENOSPC, true},
                                     {"epoll_wait: interrupted", kEpollWait, EINTR},
                                     {"epoll_wait: no memory", kEpollWait, ENOMEM},
                                     {"read: EIO", kRead, EIO},
                                     {"read: interrupted", kRead, EINTR},
                                     {"read: a byte", kRead, kOneByte},
                                     {"memfd_create: no descriptors", kMemfdCreate, EMFILE, true},
                                     {"pwrite: no space", kPwrite, ENOSPC},
                                     {"pwrite: interrupted", kPwrite, EINTR},
                                     {"pwrite: a byte", kPwrite, kOneByte},
                                     {"ftruncate: EIO", kFtruncate, EIO},
                                     {"getrandom: interrupted", kGetrandom, EINTR},
                                     {"getrandom: a byte", kGetrandom, kOneByte},
                                     {"pthread_create: too many", kThread, EAGAIN},
                                     {"getaddrinfo: try again", kResolve, EAI_AGAIN},
                                     {"getaddrinfo: no memory", kResolve, EAI_MEMORY}});
    return failures;
  }();
  return all;
}

const std::vector<Failure>& failures_at_start() {
  static const std::vector<Failure> all = [] {
    auto failures = failures_in_service();
    failures.insert(failures.end(), {{"epoll_create1: no descriptors", kEpollCreate, EMFILE},
                                     {"eventfd: no descriptors", kEventfd, ENFILE},
                                     {"memfd_create: no memory", kMemfdCreate, ENOMEM},
                                     {"open: no descriptors", kOpen, EMFILE},
                                     {"open: not allowed", kOpen, EACCES},
                                     {"bind: in use", kBind, EADDRINUSE},
                                     {"bind: no space", kBind, ENOSPC},
                                     {"listen: in use", kListen, EADDRINUSE},
                                     {"socketpair: none", kSocketpair, EMFILE, true}});
    return failures;
  }();
  return all;
}

uint64_t next_n(uint64_t n, bool few) {
  if (few && is_quick()) return 4 * n;
  if (few || is_quick()) return n < 6 ? n + 1 : n + n / 2;
  return n < 60 ? n + 1 : n + n / 10;
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
  // What is preloaded comes before the sanitizer, and calls it.
  command.env.emplace_back("ASAN_OPTIONS=verify_asan_link_order=0");
}

void SharedPlan::count() {
  disarm();
  for (auto& count : plan_->calls) count = 0;
  plan_->nth = 0;
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

// --- Torture ---

void Torture::start(Settings settings) {
  settings_ = std::move(settings);
  // No scenario waits for what was lost longer than this.
  settings_.merge(Settings{{"CONNECT_TIMEOUT", "1"},
                           {"FIRST_TOKEN_TIMEOUT", "1"},
                           {"IDLE_TIMEOUT", "1"},
                           {"TIMEOUT", "3"},
                           {"CLIENT_STALL_TIMEOUT", "0.5"},
                           {"DRAIN_TIMEOUT", "2"},
                           {"HEARTBEAT", "0"},
                           {"UPSTREAM_RETRIES", "0"}});
  settings_.merge(site_settings(dir_, simulator_));
  responder_.emplace(command());
}

void Torture::restart() {
  const bool counts = plan_->counting.exchange(false);
  responder_.reset();
  responder_.emplace(command());
  plan_->counting = counts;
}

Command Torture::command() const {
  auto command = responder_command(dir_, settings_);
  plan_.preload(command);
  return command;
}

void Torture::survive(const std::function<void()>& scenario, Ends ends, Times times) {
  const auto begin = std::chrono::steady_clock::now();
  calm_ = true;
  constexpr int kWarmUp = 4;
  plan_.count();
  for (int i = 0; i < kWarmUp; ++i) {
    plan_->counting = true;
    ASSERT_NO_THROW(run_once(scenario, ends)) << "with nothing failing";
    if (HasFailure()) return;
  }
  const size_t files = ends == Ends::kServing ? open_files(responder().process().pid()) : 0;
  const size_t rss = ends == Ends::kServing ? rss_kib(responder().process().pid()) : 0;

  uint64_t runs = 0;
  calm_ = false;
  for (const Failure& failure : failures_in_service()) {
    if (!plan_.was_called(failure.call)) continue;
    for (uint64_t n = 1;; n = next_n(n, times == Times::kFew)) {
      SCOPED_TRACE(std::string(failure.what) + ", call " + std::to_string(n));
      plan_.arm(failure, n);
      try {
        run_once(scenario, ends);
      } catch (const std::exception& error) {
        ADD_FAILURE() << error.what();
      }
      plan_.disarm();
      if (HasFailure()) {
        std::cerr << "--- responder\n"
                  << responder().log().substr(responder().log().size() -
                                              std::min<size_t>(responder().log().size(), 3000));
        return;
      }
      if (plan_->failed == 0) break;
      ++runs;
    }
  }
  calm_ = true;
  run_once(scenario, ends);

  std::ostringstream summary;
  const auto took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin);
  summary << testing::UnitTest::GetInstance()->current_test_info()->name() << ": " << runs
          << " failures survived in " << took.count() << " s";
  if (ends == Ends::kServing) {
    const size_t files_now = open_files(responder().process().pid());
    const size_t rss_now = rss_kib(responder().process().pid());
    constexpr size_t kMoreFiles = 4;  // idle connections to the upstream come and go
    EXPECT_LE(files_now, files + kMoreFiles);
    constexpr size_t kMoreKib = 4096;
    EXPECT_TRUE(kSanitized || rss_now <= rss + kMoreKib) << rss << " -> " << rss_now << " KiB";
    summary << ", RSS " << rss << " -> " << rss_now << " KiB, files " << files << " -> " << files_now;
    responder().process().signal(SIGTERM);
    EXPECT_EQ(responder().process().wait(), 0) << responder().log();
    check_log(responder().log());
  }
  std::cerr << summary.str() << "\n";
}

void Torture::run_once(const std::function<void()>& scenario, Ends ends) {
  scenario();
  stop_failing();
  settle(ends);
}

void Torture::settle(Ends ends) {
  simulator_.release();
  if (ends == Ends::kEnded) {
    const int code = responder().process().wait();
    EXPECT_EQ(code, 0) << responder().log();
    EXPECT_FALSE(has_sanitizer_report(responder().log())) << responder().log();
  } else {
    EXPECT_TRUE(responder().process().is_running()) << responder().log();
    auto peer = connect();
    peer.send(fcgi::request("GET", kHealthPath));
    EXPECT_EQ(peer.read_reply().response.status, 200);
  }
  EXPECT_TRUE(simulator_.falls_to("open", 0));
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

// `out`: the events so far. Whatever is cut at their end is not looked at.
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

bool Torture::expect_stream(FcgiPeer& peer, std::string_view text) {
  std::optional<Response> response;
  const bool whole = see(peer, response);
  if (whole && response->status != 200) {
    EXPECT_FALSE(is_calm()) << response->body;
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

bool Torture::ask(std::string_view path, std::string_view body, int status, std::string_view body_part) {
  auto peer = connect();
  send(peer, fcgi::request(body.empty() ? "GET" : "POST", path, body));
  return expect_reply(peer, status, body_part);
}

bool Torture::chat(std::string_view prompt, std::string_view text) {
  return ask(kChatPath, chat_body(prompt), 200, json_string(text));
}

bool Torture::stream(std::string_view prompt, std::string_view text) {
  auto peer = connect();
  send(peer, fcgi::request("POST", kStreamPath, chat_body(prompt)));
  return expect_stream(peer, text);
}

void Torture::await_upstream(const FcgiPeer& peer, std::string_view counter, int64_t count) {
  const Deadline deadline;
  while (simulator_.count(counter) < count) {
    pollfd heard{peer.socket().get(), POLLIN, 0};
    constexpr int kLookAgainMs = 2;
    if (::poll(&heard, 1, kLookAgainMs) > 0) return;
    if (deadline.left_ms() == 0) throw WaitedInVain("waited in vain for the upstream");
  }
}

void Torture::send(const FcgiPeer& peer, std::string_view bytes) {
  try {
    peer.send(bytes);
  } catch (const std::system_error&) {
    // What it still has to say is read next.
  }
}

}  // namespace bailian::torture
