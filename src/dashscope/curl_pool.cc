#include "dashscope/curl_pool.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "dashscope/http_client.h"

namespace bailian {
namespace {

// Each stream has a read buffer, so this decides its memory. The event of a token has about 300 bytes: four
// of them still arrive in one read.
constexpr long kReadBufferBytes = 1280;
// Alibaba Cloud's load balancers close a connection after 15 s without traffic. If they do so while a request
// is on its way, the request is lost, as it is unknown whether it was processed. Therefore no request is sent
// on a connection that has been idle for longer than this.
constexpr long kMaxIdleSeconds = 10;
// Still usable when a visitor, whose page has just been loaded, asks.
constexpr std::chrono::seconds kFreshFor{kMaxIdleSeconds / 2};
// A connection that has been idle from one check to the next is closed.
constexpr std::chrono::seconds kIdleCheck{15};
constexpr size_t kMaxIdleHandles = 64;
constexpr std::chrono::seconds kMaxDrainTime{1};

CURLcode on_ssl_context(CURL*, void* context, void* trust) {
  static_cast<const TrustStore*>(trust)->use_in(context);
  return CURLE_OK;
}

// libcurl would read the file again for each multi handle, and for each connection if it has a CApath, as
// Debian's has: 20 ms and 900 KiB each time.
void set_trust(CURL* easy, const TrustStore& trust) {
  set_option(easy, CURLOPT_CAPATH, static_cast<char*>(nullptr));
  set_option(easy, CURLOPT_CAINFO, trust.is_usable() ? nullptr : TrustStore::file());
  if (!trust.is_usable()) return;
  set_option(easy, CURLOPT_SSL_CTX_FUNCTION, &on_ssl_context);
  set_option(easy, CURLOPT_SSL_CTX_DATA, &trust);
}

// Sets the options that all transfers have in common. `error` has CURL_ERROR_SIZE bytes and outlives the
// handle.
void set_common_options(CURL* easy, CURLSH* share, char* error) {
  set_option(easy, CURLOPT_SHARE, share);
  set_option(easy, CURLOPT_ERRORBUFFER, error);
  set_option(easy, CURLOPT_NOSIGNAL, 1L);
  set_option(easy, CURLOPT_FOLLOWLOCATION, 0L);
  set_option(easy, CURLOPT_PROXY, "");  // ignores http_proxy and the like
  set_option(easy, CURLOPT_USERAGENT, "bailian-fcgi/" BAILIAN_VERSION);
#if LIBCURL_VERSION_NUM >= 0x075500
  set_option(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
  set_option(easy, CURLOPT_PROTOCOLS, static_cast<long>(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
  // Otherwise a cancel during a name lookup waits for the thread of libcurl's resolver.
  set_option(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
  // Over HTTP/2, libcurl 7.88 delays a cancel until the connection is next active, and a paused transfer does
  // not slow down the peer.
  set_option(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set_option(easy, CURLOPT_BUFFERSIZE, kReadBufferBytes);
  set_option(easy, CURLOPT_UPLOAD_BUFFERSIZE, kUploadBufferBytes);
  set_option(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  set_option(easy, CURLOPT_MAXAGE_CONN, kMaxIdleSeconds);
}

struct HostAndPort {
  std::string host;
  std::string port;
};

// The host of `url`, unless that is an address already.
std::optional<HostAndPort> host_to_resolve(const std::string& url) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> parsed(checked(curl_url()), &curl_url_cleanup);
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

CurlPool::CurlPool(EventLoop& loop, const std::string& url)
    : loop_(loop),
      after_failures_(loop, bind<&CurlPool::finish_failed>(this)),
      drain_timer_(loop, bind<&CurlPool::on_drain_timeout>(this)),
      idle_check_(loop, bind<&CurlPool::on_idle_check>(this)),
      trust_(TrustStore::for_url(url)),
      share_(checked(curl_share_init()), &curl_share_cleanup) {
  if (auto host = host_to_resolve(url))
    resolver_.emplace(loop, std::move(host->host), std::move(host->port), bind<&CurlPool::on_resolved>(this));
  idle_handles_.reserve(kMaxIdleHandles);
  idle_check_.start(kNothingDue);
  curl_share_setopt(share_.get(), CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
  curl_share_setopt(share_.get(), CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
}

CURL* CurlPool::take_handle() {
  if (!idle_handles_.empty()) {
    CURL* easy = idle_handles_.back().release();
    idle_handles_.pop_back();
    return easy;
  }
  std::unique_ptr<CURL, FreeHandle> easy(checked(curl_easy_init()));
  set_common_options(easy.get(), share_.get(), error_);
  if (trust_) set_trust(easy.get(), *trust_);
  return easy.release();
}

void CurlPool::put_back(CURL* easy) noexcept {
  std::unique_ptr<CURL, FreeHandle> owned(easy);
  curl_easy_setopt(easy, CURLOPT_PRIVATE, nullptr);
  if (idle_handles_.size() < kMaxIdleHandles) idle_handles_.push_back(std::move(owned));
}

void CurlPool::note_kept_connection() noexcept {
  if (!has_fresh_connection()) kept_connections_ = 0;  // libcurl may have closed older ones
  ++kept_connections_;
  last_kept_ = std::chrono::steady_clock::now();
}

bool CurlPool::has_fresh_connection() const noexcept {
  return kept_connections_ > 0 && std::chrono::steady_clock::now() - last_kept_ < kFreshFor;
}

CurlMulti& CurlPool::multi_with_room() {
  for (const auto& multi : multis_) {
    if (multi->has_room()) return *multi;
  }
  return *multis_.emplace_back(std::make_unique<CurlMulti>(*this));
}

std::shared_ptr<curl_slist> CurlPool::addresses() {
  if (!resolver_ || resolver_->addresses() == known_addresses_text_) return known_addresses_;
  std::shared_ptr<curl_slist> list(checked(curl_slist_append(nullptr, resolver_->addresses().c_str())),
                                   &curl_slist_free_all);
  known_addresses_text_ = resolver_->addresses();
  return known_addresses_ = std::move(list);
}

// If the lookup has failed, old addresses are used.
void CurlPool::on_resolved() {
  while (!waiting_.empty()) {
    Transfer& transfer = *waiting_.front();
    try {
      if (resolver_->addresses().empty()) {
        transfer.finish(CURLE_COULDNT_RESOLVE_HOST, resolver_->error().c_str());
      } else {
        waiting_.erase(waiting_.begin());
        transfer.start();
      }
    } catch (const std::exception&) {
      transfer.finish(CURLE_OUT_OF_MEMORY, "");
    }
  }
}

void CurlPool::drain(std::unique_ptr<Transfer> transfer) {
  if (drained_.empty()) drain_timer_.start(kMaxDrainTime);
  drained_.push_back({std::move(transfer), std::chrono::steady_clock::now() + kMaxDrainTime});
}

void CurlPool::destroy_drained(const Transfer& transfer) noexcept {
  std::erase_if(drained_, [&](const Drained& one) { return one.transfer.get() == &transfer; });
}

void CurlPool::on_drain_timeout() {
  const auto now = std::chrono::steady_clock::now();
  while (!drained_.empty() && drained_.front().until <= now) drained_.pop_front();
  if (!drained_.empty()) drain_timer_.start(drained_.front().until - now);
}

// libcurl itself closes old connections only when it begins the next transfer. After the last question to
// this host they would stay, with their descriptors and TLS buffers, although the peer has long closed them.
void CurlPool::expect_idle() noexcept {
  if (!std::exchange(expects_idle_, true)) idle_check_.start(kIdleCheck);
}

void CurlPool::on_idle_check() {
  idle_check_.start(kNothingDue);
  expects_idle_ = false;
  std::erase_if(multis_, [](const auto& multi) { return multi->was_idle(); });
  if (std::ranges::any_of(multis_, [](const auto& multi) { return multi->is_empty(); })) expect_idle();
}

void CurlPool::finish_failed() {
  // By index, because a handler may start another transfer, which may add a multi handle.
  for (size_t i = 0; i < multis_.size(); ++i) multis_[i]->finish_failed();
  std::erase_if(multis_, [](const auto& multi) { return multi->is_retired() && multi->is_empty(); });
}

void CurlPool::watch(CurlMulti& multi, curl_socket_t socket, short interest) {
  Socket& watched = sockets_.try_emplace(socket, loop_, socket).first->second;
  watched.multi = &multi;
  watched.io.watch(socket, interest);
}

void CurlPool::unwatch(curl_socket_t socket) noexcept {
  if (const auto known = sockets_.find(socket); known != sockets_.end()) known->second.io.unwatch();
}

void CurlPool::Socket::on_ready(short ready) {
  if (ready == IoEvent::kRead) loop.count_arrival();
  multi->act(number, ((ready & IoEvent::kRead) != 0 ? CURL_CSELECT_IN : 0) |
                         ((ready & IoEvent::kWrite) != 0 ? CURL_CSELECT_OUT : 0));
}

}  // namespace bailian
