// Replaces the parts of libcurl that deal with connections and time; the rest is the real libcurl. Follows
// libcurl 7.88 in which callbacks it runs, when, and inside which call.

#include <curl/curl.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstring>
#include <deque>
#include <new>
#include <utility>
#include <vector>

#include "simulation/judge.h"
#include "simulation/upstream.h"

using namespace bailian::simulation;
using bailian::simulation::Connection;

namespace {

struct Multi;

struct Easy {
  // The options.
  std::string url;
  const char* body = nullptr;
  size_t body_bytes = 0;
  curl_slist* headers = nullptr;
  curl_write_callback on_write = nullptr;
  void* write_data = nullptr;
  curl_prereq_callback on_request = nullptr;
  void* request_data = nullptr;
  curl_sockopt_callback on_socket = nullptr;
  void* socket_data = nullptr;
  void* private_data = nullptr;
  char* error = nullptr;
  bool is_fresh = false;
  long connect_timeout_ms = 300'000;
  long max_idle_s = 118;
  size_t buffer_bytes = 16384;
  bool uses_proxy = true;  // as if http_proxy were set
  bool is_http1 = false;
  bool is_head = false;

  // The transfer.
  enum class State { kNone, kPending, kConnecting, kSending, kReceiving, kDone };
  State state = State::kNone;
  Multi* multi = nullptr;
  Question* question = nullptr;  // what it asks; for a HEAD `nothing`
  Question nothing;
  int connection = -1;  // its descriptor
  bool is_reused = false;
  bool began_on_kept = false;
  bool is_asked = false;  // the prereq callback has been called for this connection
  bool is_paused = false;
  long connects = 0;
  size_t sent_bytes = 0;
  size_t most_sent_bytes = 0;
  int resends = 0;
  std::optional<Head> head;
  std::string held;  // arrived while the transfer was paused
  Time due = Time::max();
  Time connect_by = Time::max();
  CURLcode result = CURLE_OK;
  long os_errno = 0;
  CURLMsg message{};
};

struct Multi {
  curl_socket_callback on_socket = nullptr;
  void* socket_data = nullptr;
  curl_multi_timer_callback on_timer = nullptr;
  void* timer_data = nullptr;

  struct Kept {
    int descriptor;
    Time since;
  };
  struct Watched {
    int descriptor;
    int what;
  };
  std::vector<Easy*> transfers;
  std::vector<Kept> kept;  // connections that no transfer uses
  std::vector<Watched> watched;
  std::deque<Easy*> done;
  Time timer = Time::max();
};

Easy& as_easy(CURL* handle) { return *static_cast<Easy*>(handle); }
Multi& as_multi(CURLM* handle) { return *static_cast<Multi*>(handle); }

Connection* connection_of(int descriptor) { return dynamic_cast<Connection*>(world->file(descriptor)); }

// Calls back into the product.
template <typename Function, typename... Args>
auto call(Function function, Args... args) {
  const InsideProduct inside;
  return function(args...);
}

// --- sockets and time ---

// Asks the product to watch the descriptor for `what`.
void watch(Easy& easy, int descriptor, int what) {
  Multi& multi = *easy.multi;
  const auto known = std::find_if(multi.watched.begin(), multi.watched.end(),
                                  [=](const Multi::Watched& one) { return one.descriptor == descriptor; });
  const int before = known != multi.watched.end() ? known->what : CURL_POLL_NONE;
  if (before == what) return;
  if (what == CURL_POLL_NONE) {
    multi.watched.erase(known);
  } else if (known != multi.watched.end()) {
    known->what = what;
  } else {
    multi.watched.push_back({descriptor, what});
  }
  call(multi.on_socket, static_cast<CURL*>(&easy), descriptor,
       what == CURL_POLL_NONE ? CURL_POLL_REMOVE : what, multi.socket_data, static_cast<void*>(nullptr));
}

void update_timer(Multi& multi) {
  Time due = Time::max();
  for (const Easy* const easy : multi.transfers) due = std::min(due, easy->due);
  if (due == multi.timer) return;
  multi.timer = due;
  long ms = -1;
  if (due != Time::max())
    ms = std::max<long>(0, std::chrono::ceil<std::chrono::milliseconds>(due - world->now()).count());
  call(multi.on_timer, static_cast<CURLM*>(&multi), ms, multi.timer_data);
}

void close_connection(int descriptor) { world->close(descriptor); }

// --- a transfer ---

void note_end(Question& question) {
  question.ended_at = world->now();
  question.was_paused_at_end = question.is_paused;
  question.lateness_at_end = world->lateness_before_iteration();
}

// The product knows what the upstream has sent so far.
void note_read(Question& question) {
  if (question.attempts.size() <= question.attempts_before) return;
  const Attempt& attempt = question.attempts.back();
  if (attempt.is_billed || attempt.is_final) question.has_read_end = true;
}

void finish(Easy& easy, CURLcode result) {
  Multi& multi = *easy.multi;
  const bool is_broken =
      easy.state == Easy::State::kReceiving && result != CURLE_OK && result != CURLE_WRITE_ERROR;
  if (is_broken) easy.question->has_read_end = true;
  if (result == CURLE_OK || result == CURLE_WRITE_ERROR) note_read(*easy.question);
  easy.state = Easy::State::kDone;
  easy.result = result;
  easy.due = Time::max();
  multi.done.push_back(&easy);
  note_end(*easy.question);
  easy.question->may_start_afresh = easy.began_on_kept && !easy.head && easy.most_sent_bytes > 0 &&
                                    easy.most_sent_bytes < easy.body_bytes &&
                                    (result == CURLE_SEND_ERROR || result == CURLE_ABORTED_BY_CALLBACK);
  world->trace("libcurl: question {}: {}", easy.question->number, curl_easy_strerror(result));
  if (easy.connection < 0) return;
  const int descriptor = std::exchange(easy.connection, -1);
  watch(easy, descriptor, CURL_POLL_NONE);
  const Connection& connection = *connection_of(descriptor);
  if (result == CURLE_OK && !connection.is_closed && !easy.head->ends_with_connection) {
    multi.kept.push_back({descriptor, world->now()});
    upstream->keep(descriptor);
  } else {
    close_connection(descriptor);
  }
}

bool take_kept_connection(Easy& easy) {
  Multi& multi = *easy.multi;
  while (!multi.kept.empty()) {
    const Multi::Kept kept = multi.kept.back();
    multi.kept.pop_back();
    const bool is_old = world->now() - kept.since > std::chrono::seconds(easy.max_idle_s);
    if (is_old || connection_of(kept.descriptor)->is_closed) {
      close_connection(kept.descriptor);
      continue;
    }
    easy.connection = kept.descriptor;
    return true;
  }
  return false;
}

void start(Easy& easy) {
  easy.is_asked = false;
  easy.is_reused = !easy.is_fresh && take_kept_connection(easy);
  if (easy.resends == 0) easy.began_on_kept = easy.is_reused;
  easy.state = Easy::State::kSending;
  if (easy.is_reused) return;
  const int descriptor = world->open(upstream->connect());
  if (descriptor < 0) {
    easy.os_errno = EMFILE;
    return finish(easy, CURLE_COULDNT_CONNECT);
  }
  if (call(easy.on_socket, easy.socket_data, descriptor, CURLSOCKTYPE_IPCXN) != CURL_SOCKOPT_OK) {
    close_connection(descriptor);
    return finish(easy, CURLE_ABORTED_BY_CALLBACK);
  }
  ++easy.connects;
  easy.connection = descriptor;
  easy.state = Easy::State::kConnecting;
  easy.connect_by = world->now() + std::chrono::milliseconds(easy.connect_timeout_ms);
  easy.due = easy.connect_by;
  upstream->opened(descriptor);
  watch(easy, descriptor, CURL_POLL_OUT);
}

void connect(Easy& easy) {
  const Connection& connection = *connection_of(easy.connection);
  if (connection.state == Connection::State::kRefused) {
    easy.os_errno = ECONNREFUSED;
    return finish(easy, CURLE_COULDNT_CONNECT);
  }
  if (connection.state == Connection::State::kConnecting) {
    if (world->now() >= easy.connect_by) finish(easy, CURLE_OPERATION_TIMEDOUT);
    return;
  }
  easy.due = Time::max();
  if (connection.is_untrusted) return finish(easy, CURLE_SSL_CONNECT_ERROR);
  easy.state = Easy::State::kSending;
}

// A kept connection has ended before any byte of the response: libcurl sends the request again on another
// connection.
void send_again(Easy& easy) {
  constexpr int kMaxResends = 5;
  const int descriptor = std::exchange(easy.connection, -1);
  watch(easy, descriptor, CURL_POLL_NONE);
  close_connection(descriptor);
  if (++easy.resends > kMaxResends) return finish(easy, CURLE_SEND_ERROR);
  easy.sent_bytes = 0;
  easy.state = Easy::State::kPending;
}

std::string header_lines(const Easy& easy) {
  std::string lines;
  for (const curl_slist* one = easy.headers; one != nullptr; one = one->next) lines.append(one->data) += '\n';
  return lines;
}

void send(Easy& easy) {
  if (!std::exchange(easy.is_asked, true)) {
    if (call(easy.on_request, easy.request_data, easy.error, easy.error, 0, 0) != CURL_PREREQFUNC_OK)
      return finish(easy, CURLE_ABORTED_BY_CALLBACK);
    ++easy.question->requests;
    if (!easy.is_head) note_request(*easy.question);
    if (easy.uses_proxy) violated("the request goes to a proxy from the environment");
  }
  Connection& connection = *connection_of(easy.connection);
  if (connection.is_closed) {
    if (connection.is_reset && easy.sent_bytes > 0) return finish(easy, CURLE_SEND_ERROR);
    return easy.is_reused ? send_again(easy) : finish(easy, CURLE_SEND_ERROR);
  }
  const size_t body_bytes = easy.is_head ? 0 : easy.body_bytes;
  const size_t bytes = std::min(connection.upload_room, body_bytes - easy.sent_bytes);
  easy.sent_bytes += bytes;
  easy.most_sent_bytes = std::max(easy.most_sent_bytes, easy.sent_bytes);
  if (connection.upload_room != SIZE_MAX) connection.upload_room -= bytes;
  if (easy.sent_bytes < body_bytes) return watch(easy, easy.connection, CURL_POLL_OUT | CURL_POLL_IN);
  easy.state = Easy::State::kReceiving;
  watch(easy, easy.connection, CURL_POLL_IN);
  if (easy.is_head) return upstream->receive_head(easy.connection, easy.url, header_lines(easy));
  upstream->receive(easy.connection, easy.url, header_lines(easy), {easy.body, easy.body_bytes});
}

// False: the transfer has ended.
bool hand_over(Easy& easy, std::string_view bytes) {
  world->note_arrival();
  world->note_progress();
  if (!easy.question->is_paused) easy.question->last_read = world->now();
  std::string copy(bytes);
  const size_t taken = call(easy.on_write, copy.data(), size_t{1}, copy.size(), easy.write_data);
  if (taken == bytes.size()) return true;
  finish(easy, CURLE_WRITE_ERROR);
  return false;
}

void receive(Easy& easy) {
  if (easy.is_paused) return;
  Connection& connection = *connection_of(easy.connection);
  if (connection.head && !easy.head) {
    easy.head = std::exchange(connection.head, std::nullopt);
    easy.question->last_read = world->now();
  }
  std::string bytes = connection.body.substr(0, easy.buffer_bytes);
  connection.body.erase(0, bytes.size());
  // libcurl calls back once for each chunk of the response.
  while (!bytes.empty()) {
    const size_t chunk = world->choices.one_in(8)
                             ? 1 + world->choices.below(static_cast<uint32_t>(bytes.size()))
                             : bytes.size();
    if (easy.is_paused) {
      easy.held += bytes;
      break;
    }
    if (!hand_over(easy, std::string_view(bytes).substr(0, chunk))) return;
    bytes.erase(0, chunk);
  }
  if (!connection.body.empty() || !easy.held.empty()) return;
  note_read(*easy.question);
  if (connection.has_end) {
    connection.has_end = false;
    return finish(easy, CURLE_OK);
  }
  if (!connection.is_closed) return;
  if (connection.is_reset || !easy.head) {
    if (easy.is_reused && !easy.head) return send_again(easy);
    return finish(easy, connection.is_reset ? CURLE_RECV_ERROR : CURLE_GOT_NOTHING);
  }
  finish(easy, easy.head->ends_with_connection ? CURLE_OK : CURLE_PARTIAL_FILE);
}

// Advances the transfer as far as possible.
void run(Easy& easy) {
  Easy::State before = Easy::State::kNone;
  while (before != easy.state && easy.state != Easy::State::kDone) {
    before = easy.state;
    switch (easy.state) {
      case Easy::State::kPending:
        easy.due = Time::max();
        start(easy);
        break;
      case Easy::State::kConnecting:
        connect(easy);
        break;
      case Easy::State::kSending:
        send(easy);
        break;
      case Easy::State::kReceiving:
        easy.due = Time::max();
        receive(easy);
        break;
      case Easy::State::kNone:
      case Easy::State::kDone:
        break;
    }
  }
}

}  // namespace

extern "C" {

CURLcode curl_global_init(long) { return CURLE_OK; }
void curl_global_cleanup() {}
CURLSH* curl_share_init() { return reinterpret_cast<CURLSH*>(&world); }
CURLSHcode curl_share_setopt(CURLSH*, CURLSHoption, ...) { return CURLSHE_OK; }
CURLSHcode curl_share_cleanup(CURLSH*) { return CURLSHE_OK; }

CURL* curl_easy_init() {
  const OutsideProduct outside;
  return allocation_fails() ? nullptr : new Easy;
}

void curl_easy_cleanup(CURL* handle) {
  const OutsideProduct outside;
  if (as_easy(handle).multi != nullptr) violated("an easy handle is freed while it is in a multi handle");
  delete &as_easy(handle);
}

CURLcode curl_easy_setopt(CURL* handle, CURLoption option, ...) {
  const OutsideProduct outside;
  Easy& easy = as_easy(handle);
  std::va_list arguments;
  va_start(arguments, option);  // NOLINT(clang-diagnostic-varargs): the type is libcurl's
  switch (option) {
    case CURLOPT_URL:
      if (allocation_fails()) return CURLE_OUT_OF_MEMORY;
      easy.url = va_arg(arguments, const char*);
      break;
    case CURLOPT_HTTPHEADER:
      easy.headers = va_arg(arguments, curl_slist*);
      break;
    case CURLOPT_NOBODY:
      easy.is_head = va_arg(arguments, long) != 0;
      break;
    case CURLOPT_POST:
      if (va_arg(arguments, long) != 0) easy.is_head = false;
      break;
    case CURLOPT_POSTFIELDS:
      easy.body = va_arg(arguments, const char*);
      break;
    case CURLOPT_POSTFIELDSIZE_LARGE:
      easy.body_bytes = static_cast<size_t>(va_arg(arguments, curl_off_t));
      break;
    case CURLOPT_WRITEFUNCTION:
      easy.on_write = va_arg(arguments, curl_write_callback);
      break;
    case CURLOPT_WRITEDATA:
      easy.write_data = va_arg(arguments, void*);
      break;
    case CURLOPT_PREREQFUNCTION:
      easy.on_request = va_arg(arguments, curl_prereq_callback);
      break;
    case CURLOPT_PREREQDATA:
      easy.request_data = va_arg(arguments, void*);
      break;
    case CURLOPT_SOCKOPTFUNCTION:
      easy.on_socket = va_arg(arguments, curl_sockopt_callback);
      break;
    case CURLOPT_SOCKOPTDATA:
      easy.socket_data = va_arg(arguments, void*);
      break;
    case CURLOPT_PRIVATE:
      easy.private_data = va_arg(arguments, void*);
      break;
    case CURLOPT_ERRORBUFFER:
      easy.error = va_arg(arguments, char*);
      break;
    case CURLOPT_FRESH_CONNECT:
      easy.is_fresh = va_arg(arguments, long) != 0;
      break;
    case CURLOPT_CONNECTTIMEOUT_MS:
      easy.connect_timeout_ms = va_arg(arguments, long);
      break;
    case CURLOPT_MAXAGE_CONN:
      easy.max_idle_s = va_arg(arguments, long);
      break;
    case CURLOPT_BUFFERSIZE:
      easy.buffer_bytes = static_cast<size_t>(va_arg(arguments, long));
      break;
    case CURLOPT_PROXY:
      easy.uses_proxy = *va_arg(arguments, const char*) != '\0';
      break;
    case CURLOPT_HTTP_VERSION:
      easy.is_http1 = va_arg(arguments, long) == CURL_HTTP_VERSION_1_1;
      break;
    default:
      break;
  }
  va_end(arguments);
  return CURLE_OK;
}

CURLcode curl_easy_getinfo(CURL* handle, CURLINFO info, ...) {
  const OutsideProduct outside;
  const Easy& easy = as_easy(handle);
  std::va_list arguments;
  va_start(arguments, info);  // NOLINT(clang-diagnostic-varargs): the type is libcurl's
  void* const out = va_arg(arguments, void*);
  va_end(arguments);
  switch (info) {
    case CURLINFO_PRIVATE:
      *static_cast<void**>(out) = easy.private_data;
      break;
    case CURLINFO_RESPONSE_CODE:
      *static_cast<long*>(out) = easy.head ? easy.head->status : 0;
      break;
    case CURLINFO_RETRY_AFTER:
      *static_cast<curl_off_t*>(out) = easy.head ? easy.head->retry_after_s : 0;
      break;
    case CURLINFO_CONTENT_TYPE:
      *static_cast<const char**>(out) = easy.head ? easy.head->content_type.c_str() : nullptr;
      break;
    case CURLINFO_SIZE_UPLOAD_T:
      *static_cast<curl_off_t*>(out) = static_cast<curl_off_t>(easy.sent_bytes);
      break;
    case CURLINFO_NUM_CONNECTS:
      *static_cast<long*>(out) = easy.connects;
      break;
    case CURLINFO_OS_ERRNO:
      *static_cast<long*>(out) = easy.os_errno;
      break;
    default:
      violated(fmt::format("unexpected curl_easy_getinfo {}", static_cast<int>(info)));
  }
  return CURLE_OK;
}

CURLcode curl_easy_pause(CURL* handle, int action) {
  const OutsideProduct outside;
  Easy& easy = as_easy(handle);
  if (easy.multi == nullptr || easy.state == Easy::State::kDone) return CURLE_BAD_FUNCTION_ARGUMENT;
  easy.is_paused = action == CURLPAUSE_RECV;
  easy.question->is_paused = easy.is_paused;
  world->trace("libcurl: question {} is {}", easy.question->number, easy.is_paused ? "paused" : "resumed");
  if (easy.is_paused) {
    if (easy.connection >= 0) watch(easy, easy.connection, CURL_POLL_NONE);
    return CURLE_OK;
  }
  easy.question->last_read = world->now();
  const std::string held = std::exchange(easy.held, {});
  if (!held.empty()) {
    std::string copy = held;
    if (call(easy.on_write, copy.data(), size_t{1}, copy.size(), easy.write_data) != held.size())
      return CURLE_WRITE_ERROR;
  }
  if (easy.is_paused || easy.multi == nullptr) return CURLE_OK;
  if (easy.connection >= 0) watch(easy, easy.connection, CURL_POLL_IN);
  easy.due = world->now();
  update_timer(*easy.multi);
  return CURLE_OK;
}

CURLM* curl_multi_init() {
  const OutsideProduct outside;
  return allocation_fails() ? nullptr : new Multi;
}

CURLMcode curl_multi_setopt(CURLM* handle, CURLMoption option, ...) {
  const OutsideProduct outside;
  Multi& multi = as_multi(handle);
  std::va_list arguments;
  va_start(arguments, option);  // NOLINT(clang-diagnostic-varargs): the type is libcurl's
  switch (option) {
    case CURLMOPT_SOCKETFUNCTION:
      multi.on_socket = va_arg(arguments, curl_socket_callback);
      break;
    case CURLMOPT_SOCKETDATA:
      multi.socket_data = va_arg(arguments, void*);
      break;
    case CURLMOPT_TIMERFUNCTION:
      multi.on_timer = va_arg(arguments, curl_multi_timer_callback);
      break;
    case CURLMOPT_TIMERDATA:
      multi.timer_data = va_arg(arguments, void*);
      break;
    default:
      break;
  }
  va_end(arguments);
  return CURLM_OK;
}

CURLMcode curl_multi_cleanup(CURLM* handle) {
  const OutsideProduct outside;
  Multi& multi = as_multi(handle);
  if (!multi.transfers.empty()) violated("a multi handle is freed while it has transfers");
  for (const Multi::Kept& kept : multi.kept) close_connection(kept.descriptor);
  delete &multi;
  return CURLM_OK;
}

CURLMcode curl_multi_add_handle(CURLM* multi_handle, CURL* easy_handle) {
  const OutsideProduct outside;
  Multi& multi = as_multi(multi_handle);
  Easy& easy = as_easy(easy_handle);
  if (easy.multi != nullptr) return CURLM_ADDED_ALREADY;
  if (allocation_fails()) return CURLM_OUT_OF_MEMORY;
  if (easy.body == nullptr && !easy.is_head) violated("sends a request without a body");
  easy.question = easy.is_head ? &easy.nothing : &record->named_in({easy.body, easy.body_bytes});
  ++easy.question->transfers;
  easy.is_head ? note_warm_up_begins() : note_transfer_begins(*easy.question, easy.url);
  easy.multi = &multi;
  easy.state = Easy::State::kPending;
  easy.is_paused = false;
  easy.question->is_paused = false;
  easy.connects = 0;
  easy.sent_bytes = easy.most_sent_bytes = 0;
  easy.resends = 0;
  easy.head.reset();
  easy.held.clear();
  easy.os_errno = 0;
  easy.due = world->now();
  multi.transfers.push_back(&easy);
  update_timer(multi);
  return CURLM_OK;
}

CURLMcode curl_multi_remove_handle(CURLM* multi_handle, CURL* easy_handle) {
  const OutsideProduct outside;
  Multi& multi = as_multi(multi_handle);
  Easy& easy = as_easy(easy_handle);
  if (easy.multi != &multi) return CURLM_BAD_EASY_HANDLE;
  std::erase(multi.transfers, &easy);
  std::erase(multi.done, &easy);
  if (easy.connection >= 0) {
    const int descriptor = std::exchange(easy.connection, -1);
    watch(easy, descriptor, CURL_POLL_NONE);
    // Over HTTP/2 libcurl keeps the connection, and resets the stream only when the connection is used again.
    if (easy.is_http1)
      close_connection(descriptor);
    else
      violated("a transfer is cancelled over HTTP/2, which the upstream may not see");
  }
  if (easy.state != Easy::State::kDone) note_end(*easy.question);
  if (easy.is_head) --record->warm_up().under_way;
  easy.multi = nullptr;
  easy.state = Easy::State::kNone;
  --easy.question->transfers;
  return CURLM_OK;
}

CURLMcode curl_multi_socket_action(CURLM* handle, curl_socket_t socket, int, int* running) {
  const OutsideProduct outside;
  Multi& multi = as_multi(handle);
  const std::vector<Easy*> transfers = multi.transfers;
  for (Easy* const easy : transfers) {
    const bool is_meant =
        socket == CURL_SOCKET_TIMEOUT ? easy->due <= world->now() : easy->connection == socket;
    if (is_meant) run(*easy);
  }
  update_timer(multi);
  *running = static_cast<int>(multi.transfers.size());
  return CURLM_OK;
}

CURLMsg* curl_multi_info_read(CURLM* handle, int* left) {
  Multi& multi = as_multi(handle);
  if (multi.done.empty()) return nullptr;
  Easy& easy = *multi.done.front();
  multi.done.pop_front();
  *left = static_cast<int>(multi.done.size());
  easy.message.msg = CURLMSG_DONE;
  easy.message.easy_handle = &easy;
  easy.message.data.result = easy.result;
  return &easy.message;
}

}  // extern "C"
