#include "dashscope/http_client.h"

#include <arpa/inet.h>
#include <curl/curl.h>

#include <algorithm>
#include <cassert>
#include <cstdlib>
#include <deque>
#include <new>
#include <stdexcept>
#include <system_error>
#include <unordered_map>

#include "dashscope/resolver.h"

namespace bailian {
namespace {

// Small reads keep a stream's memory small: a token's event has some 300 bytes, so four still come in one.
constexpr long kReadBufferBytes = 1280;
constexpr long kUploadBufferBytes = 16384;
constexpr size_t kMaxIdleHandles = 64;
// To find a connection that can be used again libcurl looks at all that the multi handle has to the host, so
// the price of a new stream grows with the streams beside it. But over TLS each multi handle parses a CA
// bundle of its own, which takes 20 ms and 900 KiB.
constexpr size_t kTransfersPerMulti = 512;
constexpr long kMaxConnectionsPerMulti = 2 * kTransfersPerMulti;
// Alibaba Cloud's load balancers close a connection that was idle for 15 s. A request that crosses such an
// end is lost, as nobody knows whether it was taken; so none is sent on a connection of that age.
constexpr long kMaxIdleSeconds = 10;
constexpr std::chrono::seconds kLinger{1};
constexpr size_t kMaxUnheardBytes = size_t{64} << 10;
constexpr std::chrono::milliseconds kNothingDue = std::chrono::hours(1);

template <typename Value>
void set(CURL* easy, CURLoption option, Value value) {
  const CURLcode code = curl_easy_setopt(easy, option, value);
  if (code == CURLE_OUT_OF_MEMORY) throw std::bad_alloc();
  if (code != CURLE_OK) throw std::logic_error(curl_easy_strerror(code));
}

const char* ca_bundle() {
  const char* chosen =
      std::getenv("SSL_CERT_FILE");  // NOLINT(concurrency-mt-unsafe): the environment is never changed
  return chosen != nullptr && *chosen != '\0' ? chosen : curl_version_info(CURLVERSION_NOW)->cainfo;
}

// What every transfer has in common; a handle keeps it for its next transfer.
void prepare(CURL* easy, CURLSH* share, char* error) {
  set(easy, CURLOPT_SHARE, share);
  set(easy, CURLOPT_ERRORBUFFER, error);
  set(easy, CURLOPT_NOSIGNAL, 1L);
  set(easy, CURLOPT_POST, 1L);
  set(easy, CURLOPT_FOLLOWLOCATION, 0L);
  set(easy, CURLOPT_PROXY, "");  // the environment's proxies are for other programs
  set(easy, CURLOPT_USERAGENT, "bailian-fcgi/" BAILIAN_VERSION);
#if LIBCURL_VERSION_NUM >= 0x075500
  set(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
  set(easy, CURLOPT_PROTOCOLS, static_cast<long>(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
  // A cancel while a name is being looked up must not wait for the resolver's thread.
  set(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
  // Over HTTP/2 libcurl 7.88 holds a cancel back until the connection is next active, and pausing does not
  // slow the peer down.
  set(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(easy, CURLOPT_BUFFERSIZE, kReadBufferBytes);
  set(easy, CURLOPT_UPLOAD_BUFFERSIZE, kUploadBufferBytes);
  set(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  set(easy, CURLOPT_MAXAGE_CONN, kMaxIdleSeconds);
  // A CApath, which Debian builds in, makes libcurl read the bundle anew for every connection: 22 ms each.
  set(easy, CURLOPT_CAPATH, static_cast<char*>(nullptr));
  set(easy, CURLOPT_CAINFO, ca_bundle());
}

TransferFault fault_of(CURLcode code) {
  switch (code) {
    case CURLE_OK:
      return TransferFault::kNone;
    case CURLE_OPERATION_TIMEDOUT:  // the connect timeout is the only one that libcurl is given
      return TransferFault::kConnectTimeout;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
      return TransferFault::kConnect;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return TransferFault::kUntrusted;
    default:
      return TransferFault::kBroken;
  }
}

// libcurl says neither "refused" nor "no route", but keeps the number.
std::string system_error(CURL* easy) {
  long number = 0;
  curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &number);
  return number != 0 ? ": " + std::generic_category().message(static_cast<int>(number)) : "";
}

struct HostAndPort {
  std::string host;
  std::string port;
};

// Nothing when there is nothing to look up.
std::optional<HostAndPort> host_to_look_up(const std::string& url) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> parsed(curl_url(), &curl_url_cleanup);
  if (!parsed) throw std::bad_alloc();
  const auto part = [&](CURLUPart which, unsigned flags) {
    char* text = nullptr;
    curl_url_get(parsed.get(), which, &text, flags);
    const std::unique_ptr<char, decltype(&curl_free)> owned(text, &curl_free);
    return std::string(text != nullptr ? text : "");
  };
  if (curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return std::nullopt;
  HostAndPort found{part(CURLUPART_HOST, 0), part(CURLUPART_PORT, CURLU_DEFAULT_PORT)};
  in_addr number{};
  if (found.host.empty() || found.host.front() == '[' ||
      ::inet_pton(AF_INET, found.host.c_str(), &number) == 1)
    return std::nullopt;
  return found;
}

}  // namespace

// --- RequestTemplate ---

RequestTemplate::RequestTemplate(std::string url, const std::vector<std::string>& headers)
    : url_(std::move(url)) {
  for (const std::string& header : headers) {
    curl_slist* longer = curl_slist_append(headers_, header.c_str());
    if (longer == nullptr) {
      curl_slist_free_all(headers_);
      throw std::bad_alloc();
    }
    headers_ = longer;
  }
}

RequestTemplate::~RequestTemplate() { curl_slist_free_all(headers_); }

// --- what the transfers of one loop share ---

struct HttpClient::CurlPool {
  CurlPool(EventLoop& event_loop, const std::string& url);
  ~CurlPool();
  CurlPool(const CurlPool&) = delete;
  CurlPool& operator=(const CurlPool&) = delete;

  CURL* take_handle() {
    if (!idle_handles.empty()) {
      CURL* easy = idle_handles.back();
      idle_handles.pop_back();
      return easy;
    }
    std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> easy(curl_easy_init(), &curl_easy_cleanup);
    if (!easy) throw std::bad_alloc();
    prepare(easy.get(), share, error);
    return easy.release();
  }

  void give_handle_back(CURL* easy) noexcept {
    if (idle_handles.size() < kMaxIdleHandles) {
      idle_handles.push_back(easy);
    } else {
      curl_easy_cleanup(easy);
    }
  }

  // The first with room, so that under little load all connections wait for their next use in one place.
  Multi& multi_with_room();
  void watch(Multi& multi, curl_socket_t socket, short interest);

  void linger(std::unique_ptr<Transfer> transfer) {
    if (lingering.empty()) linger_timer.start(kLinger);
    lingering.push_back({std::move(transfer), std::chrono::steady_clock::now() + kLinger});
  }

  void drop_lingering() {
    const auto now = std::chrono::steady_clock::now();
    while (!lingering.empty() && lingering.front().until <= now) lingering.pop_front();
    if (!lingering.empty()) linger_timer.start(lingering.front().until - now);
  }

  void forget_lingering(const Transfer* transfer) {
    std::erase_if(lingering, [&](const Lingering& one) { return one.transfer.get() == transfer; });
  }

  void finish_failed();
  // Throws when it can't be found out.
  bool knows_addresses() { return !resolver || resolver->is_ready(); }
  std::shared_ptr<curl_slist> addresses();
  void start_waiting();

  struct Lingering {
    std::unique_ptr<Transfer> transfer;
    std::chrono::steady_clock::time_point until;
  };
  struct Watcher;

  EventLoop& loop;
  std::optional<Resolver> resolver;
  std::vector<Transfer*> waiting;  // for the addresses
  std::shared_ptr<curl_slist> known_addresses;
  std::string known_addresses_text;
  Timer linger_timer;
  CURLSH* share;
  // One for each descriptor number that was ever used, kept for the next socket of that number.
  std::unordered_map<curl_socket_t, std::unique_ptr<Watcher>> watchers;
  std::vector<std::unique_ptr<Multi>> multis;
  std::vector<CURL*> idle_handles;
  std::deque<Lingering> lingering;  // the oldest first
  EndOfIteration after_failures;
  bool inside_libcurl = false;
  // The words for the last failure. One buffer does for all: they are looked at after each call into libcurl,
  // and not when that has ended more than one transfer.
  char error[CURL_ERROR_SIZE] = {};
};

struct HttpClient::Multi {
  explicit Multi(CurlPool& of_all)
      : shared(of_all), timer(shared.loop, bind<&Multi::on_time>(this)), handle(curl_multi_init()) {
    if (handle == nullptr) throw std::bad_alloc();
    curl_multi_setopt(handle, CURLMOPT_SOCKETFUNCTION, &Multi::on_socket);
    curl_multi_setopt(handle, CURLMOPT_SOCKETDATA, this);
    curl_multi_setopt(handle, CURLMOPT_TIMERFUNCTION, &Multi::on_timer);
    curl_multi_setopt(handle, CURLMOPT_TIMERDATA, this);
    curl_multi_setopt(handle, CURLMOPT_MAXCONNECTS, kMaxConnectionsPerMulti);
    timer.start(kNothingDue);
  }

  ~Multi() { curl_multi_cleanup(handle); }

  Multi(const Multi&) = delete;
  Multi& operator=(const Multi&) = delete;

  void add(Transfer& transfer) {
    if (curl_multi_add_handle(handle, transfer.easy_) != CURLM_OK) throw std::bad_alloc();
    ++transfers;
    transfer.previous_ = nullptr;
    transfer.next_ = std::exchange(first, &transfer);
    if (transfer.next_ != nullptr) transfer.next_->previous_ = &transfer;
  }

  void remove(Transfer& transfer) {
    curl_multi_remove_handle(handle, transfer.easy_);
    --transfers;
    if (is_retired) shared.after_failures.schedule();
    (transfer.previous_ != nullptr ? transfer.previous_->next_ : first) = transfer.next_;
    if (transfer.next_ != nullptr) transfer.next_->previous_ = transfer.previous_;
  }

  void on_time() {
    timer.start(kNothingDue);
    act(CURL_SOCKET_TIMEOUT, 0);
  }

  void act(curl_socket_t socket, int ready) {
    int running = 0;
    shared.inside_libcurl = true;
    *shared.error = '\0';
    const CURLMcode code = curl_multi_socket_action(handle, socket, ready, &running);
    shared.inside_libcurl = false;
    if (code != CURLM_OK) end_lost(code);
    report_finished();
  }

  // libcurl 7.88 divides by zero when it comes back to a transfer whose socket it had no memory to note, or
  // to another one whose socket gets the same number. It doesn't say which transfer that is, but it has had
  // no socket watched; if all are, it may be any. The others go on, and no new ones come.
  void end_lost(CURLMcode code) {
    is_retired = true;
    shared.after_failures.schedule();
    const auto is_unwatched = [](const Transfer& one) { return !one.watched_ && !one.paused_; };
    if (code == CURLM_OUT_OF_MEMORY && end_if(is_unwatched)) return;
    end_if([](const Transfer&) { return true; });
  }

  bool end_if(const auto& is_concerned) {
    bool any = false;
    for (Transfer* one = first; one != nullptr;) {
      Transfer* const next = one->next_;
      if (is_concerned(*one)) {
        any = true;
        one->finish(one->failure_ != CURLE_OK ? one->failure_ : CURLE_OUT_OF_MEMORY, "");
      }
      one = next;
    }
    return any;
  }

  void report_finished() {
    int left = 0;
    bool only_one = true;
    while (const CURLMsg* message = curl_multi_info_read(handle, &left)) {
      only_one = only_one && left == 0;
      if (message->msg != CURLMSG_DONE) continue;
      Transfer* transfer = nullptr;
      const CURLcode code = message->data.result;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
      transfer->finish(code, only_one ? shared.error : "");
    }
  }

  // Told -1, libcurl would end every transfer of the multi handle; only the one concerned shall.
  static int on_socket(CURL* easy, curl_socket_t socket, int what, void* self, void*) noexcept {
    auto& multi = *static_cast<Multi*>(self);
    Transfer* transfer = nullptr;  // none: a kept connection is closed
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
    if (transfer != nullptr) transfer->watched_ = what != CURL_POLL_REMOVE;
    if (transfer != nullptr && what == CURL_POLL_REMOVE) transfer->note_sent();
    try {
      multi.shared.watch(multi, socket, interest(what));
    } catch (const std::exception&) {
      if (transfer != nullptr) transfer->fail_later(CURLE_OUT_OF_MEMORY);
    }
    return 0;
  }

  static short interest(int what) {
    switch (what) {
      case CURL_POLL_IN:
        return IoEvent::kRead;
      case CURL_POLL_OUT:
        return IoEvent::kWrite;
      case CURL_POLL_INOUT:
        return IoEvent::kRead | IoEvent::kWrite;
      default:
        return 0;
    }
  }

  // A timer that is running takes no memory to be set, so this one always is. Told -1, libcurl ends every
  // transfer of the multi handle.
  static int on_timer(CURLM*, long timeout_ms, void* self) noexcept {
    auto& multi = *static_cast<Multi*>(self);
    try {
      multi.timer.start(timeout_ms < 0 ? kNothingDue : std::chrono::milliseconds(timeout_ms));
      return 0;
    } catch (const std::exception&) {
      return -1;
    }
  }

  CurlPool& shared;
  Timer timer;
  CURLM* handle;
  size_t transfers = 0;
  bool is_retired = false;  // takes no more transfers, and is freed after the last
  Transfer* first = nullptr;
};

struct HttpClient::CurlPool::Watcher {
  Watcher(EventLoop& event_loop, curl_socket_t watched)
      : loop(event_loop), socket(watched), io(loop, bind<&Watcher::on_ready>(this)) {}

  void on_ready(short ready) {
    if (ready == IoEvent::kRead) loop.count_arrival();
    multi->act(socket, ((ready & IoEvent::kRead) != 0 ? CURL_CSELECT_IN : 0) |
                           ((ready & IoEvent::kWrite) != 0 ? CURL_CSELECT_OUT : 0));
  }

  EventLoop& loop;
  const curl_socket_t socket;
  IoEvent io;
  Multi* multi = nullptr;
};

HttpClient::CurlPool::CurlPool(EventLoop& event_loop, const std::string& url)
    : loop(event_loop),
      linger_timer(loop, bind<&CurlPool::drop_lingering>(this)),
      share(curl_share_init()),
      after_failures(loop, bind<&CurlPool::finish_failed>(this)) {
  if (share == nullptr) throw std::bad_alloc();
  if (auto host = host_to_look_up(url))
    resolver.emplace(loop, std::move(host->host), std::move(host->port),
                     bind<&CurlPool::start_waiting>(this));
  idle_handles.reserve(kMaxIdleHandles);
  curl_share_setopt(share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
  curl_share_setopt(share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
}

HttpClient::CurlPool::~CurlPool() {
  lingering.clear();
  for (CURL* easy : idle_handles) curl_easy_cleanup(easy);
  multis.clear();
  curl_share_cleanup(share);
}

HttpClient::Multi& HttpClient::CurlPool::multi_with_room() {
  for (const auto& multi : multis) {
    if (!multi->is_retired && multi->transfers < kTransfersPerMulti) return *multi;
  }
  return *multis.emplace_back(std::make_unique<Multi>(*this));
}

std::shared_ptr<curl_slist> HttpClient::CurlPool::addresses() {
  if (!resolver || resolver->addresses() == known_addresses_text) return known_addresses;
  std::shared_ptr<curl_slist> list(curl_slist_append(nullptr, resolver->addresses().c_str()),
                                   &curl_slist_free_all);
  if (!list) throw std::bad_alloc();
  known_addresses_text = resolver->addresses();
  return known_addresses = std::move(list);
}

// What can't be looked up anew has the old addresses.
void HttpClient::CurlPool::start_waiting() {
  while (!waiting.empty()) {
    Transfer& transfer = *waiting.front();
    try {
      if (resolver->addresses().empty()) {
        transfer.finish(CURLE_COULDNT_RESOLVE_HOST, resolver->error().c_str());
      } else {
        waiting.erase(waiting.begin());
        transfer.start();
      }
    } catch (const std::exception&) {
      transfer.finish(CURLE_OUT_OF_MEMORY, "");
    }
  }
}

void HttpClient::CurlPool::finish_failed() {
  const auto has_failed = [](const Transfer* one) { return one->failure_ != CURLE_OK; };
  for (auto one = waiting.begin();
       (one = std::find_if(waiting.begin(), waiting.end(), has_failed)) != waiting.end();)
    (*one)->finish((*one)->failure_, "");
  // By index: who hears of a failure may ask for another transfer.
  for (size_t i = 0; i < multis.size(); ++i) {
    multis[i]->end_if([](const Transfer& one) { return one.failure_ != CURLE_OK; });
  }
  std::erase_if(multis, [](const auto& multi) { return multi->is_retired && multi->transfers == 0; });
}

void HttpClient::CurlPool::watch(Multi& multi, curl_socket_t socket, short interest) {
  if (interest == 0) {
    if (const auto known = watchers.find(socket); known != watchers.end()) known->second->io.unwatch();
    return;
  }
  auto& watcher = watchers[socket];
  if (!watcher) watcher = std::make_unique<Watcher>(loop, socket);
  watcher->multi = &multi;
  watcher->io.watch(socket, interest);
}

// --- Transfer ---

Transfer::Transfer(HttpClient& client, const RequestTemplate& endpoint,
                   std::shared_ptr<const std::string> body, std::chrono::milliseconds connect_timeout,
                   TransferHandler& handler)
    : shared_(*client.shared_), handler_(&handler), body_(std::move(body)), easy_(shared_.take_handle()) {
  try {
    set(easy_, CURLOPT_FRESH_CONNECT, 0L);
    set(easy_, CURLOPT_URL, endpoint.url_.c_str());
    set(easy_, CURLOPT_HTTPHEADER, endpoint.headers_);
    set(easy_, CURLOPT_POSTFIELDS, body_->data());
    set(easy_, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body_->size()));
    set(easy_, CURLOPT_WRITEFUNCTION, &Transfer::on_write);
    set(easy_, CURLOPT_WRITEDATA, this);
    set(easy_, CURLOPT_PREREQFUNCTION, &Transfer::on_request);
    set(easy_, CURLOPT_PREREQDATA, this);
    // No connection is made for a request that will not be sent again.
    set(
        easy_, CURLOPT_SOCKOPTFUNCTION, +[](void* self, curl_socket_t, curlsocktype) noexcept -> int {
          return static_cast<Transfer*>(self)->requests_ > 0 ? CURL_SOCKOPT_ERROR : CURL_SOCKOPT_OK;
        });
    set(easy_, CURLOPT_SOCKOPTDATA, this);
    set(easy_, CURLOPT_PRIVATE, this);
    connect_deadline_ = std::chrono::steady_clock::now() + connect_timeout;
    if (shared_.knows_addresses()) {
      start();
      return;
    }
    lookup_limit_.emplace(shared_.loop, bind<&Transfer::on_lookup_timeout>(this));
    lookup_limit_->start(connect_timeout);
    shared_.waiting.push_back(this);
  } catch (...) {
    curl_easy_cleanup(easy_);
    throw;
  }
}

void Transfer::start() {
  lookup_limit_.reset();
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(connect_deadline_ - std::chrono::steady_clock::now());
  set(easy_, CURLOPT_CONNECTTIMEOUT_MS, std::max(1L, static_cast<long>(left.count())));
  addresses_ = shared_.addresses();
  set(easy_, CURLOPT_RESOLVE, addresses_.get());
  HttpClient::Multi& multi = shared_.multi_with_room();
  multi.add(*this);
  multi_ = &multi;
}

// Of whatever it waits in.
void Transfer::leave() noexcept {
  if (multi_ != nullptr) {
    multi_->remove(*this);
  } else {
    std::erase(shared_.waiting, this);
  }
}

Transfer::~Transfer() {
  assert(!shared_.inside_libcurl);
  if (!done_) leave();
  curl_easy_setopt(easy_, CURLOPT_PRIVATE, nullptr);
  shared_.give_handle_back(easy_);
}

void Transfer::pause(bool paused) {
  if (done_ || std::exchange(paused_, paused) == paused) return;
  // Going on, libcurl hands over at once what it holds.
  const bool was_inside = std::exchange(shared_.inside_libcurl, true);
  const CURLcode code = curl_easy_pause(easy_, paused ? CURLPAUSE_RECV : CURLPAUSE_CONT);
  shared_.inside_libcurl = was_inside;
  // Among others when on_data wants no more of what was held: libcurl tells only us, and not at the end.
  if (code != CURLE_OK) fail_later(code);
}

void Transfer::let_finish(std::unique_ptr<Transfer> transfer) noexcept {
  transfer->handler_ = nullptr;
  if (transfer->done_) return;
  transfer->pause(false);
  HttpClient::CurlPool& shared = transfer->shared_;
  try {
    shared.linger(std::move(transfer));
  } catch (const std::exception&) {
    return;  // then it is cancelled
  }
}

size_t Transfer::on_write(char* bytes, size_t size, size_t count, void* self) noexcept {
  auto& transfer = *static_cast<Transfer*>(self);
  const size_t total = size * count;
  if (transfer.body_) transfer.free_what_was_sent();
  constexpr size_t kEndTransfer = 0;
  if (transfer.handler_ == nullptr) {
    transfer.unheard_bytes_ += total;
    return transfer.unheard_bytes_ <= kMaxUnheardBytes ? total : kEndTransfer;
  }
  if (transfer.exception_) return kEndTransfer;
  try {
    return transfer.handler_->on_data(transfer.head(), {bytes, total}) ? total : kEndTransfer;
  } catch (const std::exception&) {
    transfer.exception_ = std::current_exception();
    return kEndTransfer;
  }
}

// A conversation may have a megabyte, and its answer takes minutes. Once the response is there, libcurl does
// not send again.
void Transfer::free_what_was_sent() {
  curl_off_t sent = 0;
  curl_easy_getinfo(easy_, CURLINFO_SIZE_UPLOAD_T, &sent);
  if (static_cast<size_t>(sent) != body_->size()) return;
  body_.reset();
  // Over TLS libcurl sends from a buffer of its own, which it frees when it is told the size of the next.
  curl_easy_setopt(easy_, CURLOPT_UPLOAD_BUFFERSIZE, kUploadBufferBytes);
}

const ResponseHead& Transfer::head() {
  if (head_.status != 0) return head_;
  long status = 0;
  curl_off_t retry_after = 0;
  const char* content_type = nullptr;
  curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(easy_, CURLINFO_RETRY_AFTER, &retry_after);
  curl_easy_getinfo(easy_, CURLINFO_CONTENT_TYPE, &content_type);
  head_.status = static_cast<int>(status);
  head_.retry_after = std::chrono::seconds(retry_after);
  if (content_type != nullptr) head_.content_type = content_type;
  return head_;
}

// When a kept connection ends before the first byte of an answer, libcurl sends the request again, on up to
// five other connections, whether or not the peer had taken it. But a peer may also end a connection over the
// work it does for a request, and bill that. So each request goes out once; what was surely not taken
// starts_afresh.
int Transfer::on_request(void* self, char*, char*, int, int) noexcept {
  auto& transfer = *static_cast<Transfer*>(self);
  if (++transfer.requests_ > 1) return CURL_PREREQFUNC_ABORT;
  long connects = 0;
  curl_easy_getinfo(transfer.easy_, CURLINFO_NUM_CONNECTS, &connects);
  transfer.is_reused_ = connects == 0;
  if (transfer.handler_ != nullptr) transfer.handler_->on_request();
  return CURL_PREREQFUNC_OK;
}

// libcurl counts anew when it begins anew.
void Transfer::note_sent() {
  curl_off_t sent = 0;
  curl_easy_getinfo(easy_, CURLINFO_SIZE_UPLOAD_T, &sent);
  sent_bytes_ = std::max(sent_bytes_, static_cast<size_t>(sent));
}

// A request without its end asks for nothing. That nothing of the body was sent, a version of libcurl may
// only seem to say.
bool Transfer::is_surely_not_taken(int curl_code) const {
  const bool was_not_sent_again = curl_code == CURLE_SEND_ERROR || curl_code == CURLE_ABORTED_BY_CALLBACK;
  return was_not_sent_again && sent_bytes_ > 0 && sent_bytes_ < body_->size();
}

// An upstream that closes kept connections must not be seen by the next visitors.
bool Transfer::starts_afresh(int curl_code) {
  note_sent();
  if (!is_reused_ || head().status != 0 || !body_ || multi_->is_retired || !is_surely_not_taken(curl_code))
    return false;
  try {
    set(easy_, CURLOPT_FRESH_CONNECT, 1L);
    failure_ = CURLE_OK;
    requests_ = 0;
    sent_bytes_ = 0;
    is_reused_ = false;
    multi_->add(*this);
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

void Transfer::on_lookup_timeout() { fail_later(CURLE_OPERATION_TIMEDOUT); }

void Transfer::fail_later(int curl_code) {
  failure_ = curl_code;
  shared_.after_failures.schedule();
}

void Transfer::finish(int curl_code, const char* error) noexcept {
  if (done_) return;
  const auto code = static_cast<CURLcode>(curl_code);
  TransferResult result{head(), fault_of(code), {}};
  leave();
  if (starts_afresh(curl_code)) return;
  done_ = true;
  if (code != CURLE_OK && requests_ > 0) result.fault = TransferFault::kBroken;
  if (handler_ == nullptr) return shared_.forget_lingering(this);
  TransferHandler& handler = *handler_;
  try {
    if (exception_) std::rethrow_exception(exception_);
    if (code == CURLE_ABORTED_BY_CALLBACK) {
      result.detail = "the connection ended before an answer came";
    } else if (code != CURLE_OK) {
      result.detail = *error != '\0' ? error : curl_easy_strerror(code);
      if (code == CURLE_COULDNT_CONNECT) result.detail += system_error(easy_);
    }
    handler.on_done(result);
  } catch (const std::exception& thrown) {
    handler.on_exception(thrown);
  }
}

// --- HttpClient ---

HttpClient::HttpClient(EventLoop& loop, const std::string& url)
    : shared_(std::make_unique<CurlPool>(loop, url)) {}
HttpClient::~HttpClient() = default;

std::unique_ptr<Transfer> HttpClient::post(const RequestTemplate& endpoint,
                                           std::shared_ptr<const std::string> body,
                                           std::chrono::milliseconds connect_timeout,
                                           TransferHandler& handler) {
  return std::unique_ptr<Transfer>(new Transfer(*this, endpoint, std::move(body), connect_timeout, handler));
}

std::string percent_encode(std::string_view text) {
  const std::unique_ptr<char, decltype(&curl_free)> encoded(
      curl_easy_escape(nullptr, text.data(), static_cast<int>(text.size())), &curl_free);
  if (!encoded) throw std::bad_alloc();
  return encoded.get();
}

}  // namespace bailian
