#include "dashscope/http_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <cassert>
#include <new>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "dashscope/curl_pool.h"

namespace bailian {
namespace {

constexpr size_t kMaxDiscardedBytes = size_t{64} << 10;
constexpr std::chrono::seconds kLibcurlsConnectTimeout{300};  // by default
constexpr std::chrono::seconds kMaxConnectTimeout{86'400};

TransferFault fault_of(CURLcode code) {
  switch (code) {
    case CURLE_OK:
      return TransferFault::kNone;
    case CURLE_OPERATION_TIMEDOUT:  // only the connect timeout is set
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

// Describes why a transfer has failed. `error`: what libcurl wrote into the error buffer; may be empty.
std::string describe(CURLcode code, const char* error, CURL* easy) {
  if (code == CURLE_OK) return {};
  if (code == CURLE_ABORTED_BY_CALLBACK) return "the connection ended before an answer arrived";
  std::string text = *error != '\0' ? error : curl_easy_strerror(code);
  // libcurl's text contains neither "refused" nor "no route", but libcurl keeps errno.
  long number = 0;
  if (code == CURLE_COULDNT_CONNECT) curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &number);
  if (number != 0) text += ": " + std::generic_category().message(static_cast<int>(number));
  return text;
}

}  // namespace

// --- CurlLibrary, RequestTemplate ---

CurlLibrary::CurlLibrary() {
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
    throw std::runtime_error("cannot initialise libcurl");
}

CurlLibrary::~CurlLibrary() { curl_global_cleanup(); }

RequestTemplate::RequestTemplate(std::string url, const std::vector<std::string>& headers)
    : url_(std::move(url)), headers_(nullptr, &curl_slist_free_all) {
  for (const std::string& header : headers) {
    curl_slist* const list = curl_slist_append(headers_.get(), header.c_str());
    if (list == nullptr) throw std::bad_alloc();
    if (!headers_) headers_.reset(list);
  }
}

// --- HttpClient ---

HttpClient::HttpClient(EventLoop& loop, const std::string& url)
    : pool_(std::make_unique<CurlPool>(loop, url)) {}

HttpClient::~HttpClient() = default;

std::unique_ptr<Transfer> HttpClient::send(HttpMethod method, const RequestTemplate& endpoint,
                                           std::shared_ptr<const std::string> body,
                                           std::chrono::milliseconds connect_timeout,
                                           TransferHandler& handler) {
  assert(pool_->loop().in_loop_thread());
  return std::unique_ptr<Transfer>(
      new Transfer(*pool_, method, endpoint, std::move(body), connect_timeout, handler));
}

bool HttpClient::has_fresh_connection() const { return pool_->has_fresh_connection(); }

// --- Transfer: start and end ---

void Transfer::PutBack::operator()(void* easy) const noexcept { pool.put_back(easy); }

Transfer::Transfer(CurlPool& pool, HttpMethod method, const RequestTemplate& endpoint,
                   std::shared_ptr<const std::string> body, std::chrono::milliseconds connect_timeout,
                   TransferHandler& handler)
    : pool_(pool),
      handler_(&handler),
      body_(std::move(body)),
      is_post_(method == HttpMethod::kPost),
      easy_(pool.take_handle(), PutBack{pool}),
      connect_timeout_(connect_timeout) {
  CURL* const easy = easy_.get();
  set_option(easy, CURLOPT_FRESH_CONNECT, 0L);
  set_option(easy, CURLOPT_URL, endpoint.url_.c_str());
  set_option(easy, CURLOPT_HTTPHEADER, endpoint.headers_.get());
  if (is_post_) {
    set_option(easy, CURLOPT_POST, 1L);
    set_option(easy, CURLOPT_POSTFIELDS, body_->data());
    set_option(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body_->size()));
  } else {
    set_option(easy, method == HttpMethod::kHead ? CURLOPT_NOBODY : CURLOPT_HTTPGET, 1L);
  }
  set_option(easy, CURLOPT_WRITEFUNCTION, &Transfer::on_write);
  set_option(easy, CURLOPT_WRITEDATA, this);
  set_option(easy, CURLOPT_PREREQFUNCTION, &Transfer::on_request);
  set_option(easy, CURLOPT_PREREQDATA, this);
  set_option(easy, CURLOPT_SOCKOPTFUNCTION, &Transfer::on_new_socket);
  set_option(easy, CURLOPT_SOCKOPTDATA, this);
  set_option(easy, CURLOPT_PRIVATE, this);
  if (connect_timeout_ > kLibcurlsConnectTimeout)
    set_option(easy, CURLOPT_CONNECTTIMEOUT, kMaxConnectTimeout.count());
  begin_to_connect();
  if (pool_.has_addresses()) {
    start();
    return;
  }
  connect_timer_->start(connect_timeout_);
  pool_.wait_for_addresses(*this);
}

// Not by libcurl's CURLOPT_CONNECTTIMEOUT, unless its default is too short: that timer stays in its tree for
// the whole time, even after the connection is made, and then every token of every stream searches the tree.
void Transfer::begin_to_connect() {
  connect_deadline_ = std::chrono::steady_clock::now() + connect_timeout_;
  connect_timer_.emplace(pool_.loop(), bind<&Transfer::on_connect_timeout>(this));
}

void Transfer::start() {
  addresses_ = pool_.addresses();
  set_option(easy_.get(), CURLOPT_RESOLVE, addresses_.get());
  const auto left = connect_deadline_ - std::chrono::steady_clock::now();
  connect_timer_->start(may_try_another_address(left) ? left / 2 : left);
  run_in(pool_.multi_with_room());
}

// libcurl itself goes on to the next address only if one refuses the connection.
bool Transfer::may_try_another_address(std::chrono::nanoseconds left) const {
  return pool_.has_several_addresses() && left >= std::chrono::milliseconds(100);
}

void Transfer::on_connect_timeout() {
  const auto left = connect_deadline_ - std::chrono::steady_clock::now();
  try {
    if (state_ == State::kRunning && may_try_another_address(left)) {
      pool_.avoid_first_of(addresses_.get());
      leave();
      return start();
    }
    if (left > left.zero()) return connect_timer_->start(left);  // the loop's timers may be a little early
  } catch (const std::exception& error) {
    return handler_->on_exception(error);
  }
  finish(CURLE_OPERATION_TIMEDOUT, "");
}

void Transfer::run_in(CurlMulti& multi) {
  assert(state_ == State::kResolving || state_ == State::kDone);
  multi.add(*this);
  multi_ = &multi;
  state_ = State::kRunning;
}

void Transfer::leave() noexcept {
  assert(state_ != State::kDone);
  if (state_ == State::kResolving) {
    pool_.stop_waiting(*this);
  } else {
    multi_->remove(*this);
  }
  state_ = State::kDone;
}

Transfer::~Transfer() {
  assert(pool_.loop().in_loop_thread());
  assert(!pool_.inside_libcurl_);
  if (state_ != State::kDone) leave();
}

void Transfer::fail_later(int curl_code) noexcept {
  assert(state_ == State::kRunning);
  failure_ = curl_code;
  pool_.schedule_failures();
}

void Transfer::finish(int curl_code, const char* error) noexcept {
  assert(!pool_.inside_libcurl_);
  const auto code = static_cast<CURLcode>(curl_code);
  TransferResult result{head(), fault_of(code), {}, is_reused_};
  if (code == CURLE_OK) pool_.note_kept_connection();
  leave();
  if (handler_ == nullptr) return pool_.destroy_drained(*this);
  TransferHandler& handler = *handler_;
  try {
    if (exception_) std::rethrow_exception(exception_);
    if (starts_afresh(curl_code)) return;
    if (code != CURLE_OK && requests_ > 0) result.fault = TransferFault::kBroken;
    result.detail = describe(code, error, easy_.get());
    handler.on_done(result);
  } catch (const std::exception& thrown) {
    handler.on_exception(thrown);
  }
}

// --- Transfer: the request is sent once ---

// If a kept connection ends before the first byte of a response, libcurl sends the request again, on up to
// five other connections, even if the peer has received it. But the peer may have closed the connection while
// it processed the request, and bill it. Therefore each request is sent once; one that was certainly not
// processed starts_afresh().
int Transfer::on_request(void* self, char*, char*, int, int) noexcept {
  auto& transfer = *static_cast<Transfer*>(self);
  if (++transfer.requests_ > 1 && transfer.is_post_) return CURL_PREREQFUNC_ABORT;
  long connects = 0;
  curl_easy_getinfo(transfer.easy_.get(), CURLINFO_NUM_CONNECTS, &connects);
  transfer.is_reused_ = connects == 0;
  if (transfer.is_reused_) transfer.pool_.note_reused_connection();
  transfer.connect_timer_.reset();
  if (transfer.handler_ != nullptr) transfer.handler_->on_request();
  return CURL_PREREQFUNC_OK;
}

// Refuses to connect for a request that on_request() would refuse to send.
int Transfer::on_new_socket(void* self, int, int) noexcept {
  const auto& transfer = *static_cast<Transfer*>(self);
  return transfer.is_post_ && transfer.requests_ > 0 ? CURL_SOCKOPT_ERROR : CURL_SOCKOPT_OK;
}

void Transfer::note_socket(bool is_watched) {
  has_socket_ = is_watched;
  if (!is_watched) note_sent_bytes();
}

// libcurl's counter starts at zero again when it sends the request again.
void Transfer::note_sent_bytes() {
  curl_off_t sent = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_SIZE_UPLOAD_T, &sent);
  sent_bytes_ = std::max(sent_bytes_, static_cast<size_t>(sent));
}

// The peer cannot process a request that is incomplete. A count of zero body bytes proves nothing: not all
// versions of libcurl count reliably.
bool Transfer::is_surely_not_processed(int curl_code) const {
  const bool was_not_sent_again = curl_code == CURLE_SEND_ERROR || curl_code == CURLE_ABORTED_BY_CALLBACK;
  return was_not_sent_again && sent_bytes_ > 0 && sent_bytes_ < body_->size();
}

// Sends the request again, on a new connection, if the peer has closed a kept one meanwhile: the visitor does
// not notice.
bool Transfer::starts_afresh(int curl_code) {
  if (!is_reused_ || head().status != 0 || !body_ || multi_->is_retired()) return false;
  note_sent_bytes();
  if (!is_surely_not_processed(curl_code)) return false;
  set_option(easy_.get(), CURLOPT_FRESH_CONNECT, 1L);
  failure_ = CURLE_OK;
  requests_ = 0;
  sent_bytes_ = 0;
  is_reused_ = false;
  begin_to_connect();
  start();
  return true;
}

// --- Transfer: the response ---

void Transfer::set_paused(bool paused) {
  assert(pool_.loop().in_loop_thread());
  if (state_ == State::kDone || std::exchange(is_paused_, paused) == paused) return;
  const bool was_inside = std::exchange(pool_.inside_libcurl_, true);
  const CURLcode code = curl_easy_pause(easy_.get(), paused ? CURLPAUSE_RECV : CURLPAUSE_CONT);
  pool_.inside_libcurl_ = was_inside;
  // For example because on_data has refused data that libcurl held: libcurl does not report that again.
  if (code != CURLE_OK) fail_later(code);
}

void Transfer::drain(std::unique_ptr<Transfer> transfer) noexcept {
  transfer->handler_ = nullptr;
  if (transfer->state_ == State::kDone) return;
  transfer->resume();
  CurlPool& pool = transfer->pool_;
  try {
    pool.drain(std::move(transfer));
  } catch (const std::exception&) {
    return;  // out of memory: the transfer is cancelled
  }
}

// The boundary between libcurl and the handler, whose exceptions finish() hands back to it.
size_t Transfer::on_write(char* bytes, size_t size, size_t count, void* self) noexcept {
  auto& transfer = *static_cast<Transfer*>(self);
  constexpr size_t kEndTransfer = 0;
  try {
    return transfer.take({bytes, size * count}) ? size * count : kEndTransfer;
  } catch (const std::exception&) {
    transfer.exception_ = std::current_exception();
    return kEndTransfer;
  }
}

bool Transfer::take(std::string_view bytes) {
  if (exception_) return false;
  if (body_) free_sent_body();
  if (handler_ != nullptr) return handler_->on_data(head(), bytes);
  discarded_bytes_ += bytes.size();
  return discarded_bytes_ <= kMaxDiscardedBytes;
}

// A conversation may have a megabyte, and its answer takes minutes. After the first byte of the response
// libcurl does not send the request again.
void Transfer::free_sent_body() {
  curl_off_t sent = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_SIZE_UPLOAD_T, &sent);
  if (static_cast<size_t>(sent) != body_->size()) return;
  body_.reset();
  // For TLS libcurl has a separate send buffer. Setting its size frees it.
  curl_easy_setopt(easy_.get(), CURLOPT_UPLOAD_BUFFERSIZE, kUploadBufferBytes);
}

const ResponseHead& Transfer::head() {
  if (head_.status != 0) return head_;
  long status = 0;
  curl_off_t retry_after = 0;
  const char* content_type = nullptr;
  curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(easy_.get(), CURLINFO_RETRY_AFTER, &retry_after);
  curl_easy_getinfo(easy_.get(), CURLINFO_CONTENT_TYPE, &content_type);
  head_.status = static_cast<int>(status);
  head_.retry_after = std::chrono::seconds(retry_after);
  if (content_type != nullptr) head_.content_type = content_type;
  return head_;
}

std::string percent_encode(std::string_view text) {
  const std::unique_ptr<char, decltype(&curl_free)> encoded(
      curl_easy_escape(nullptr, text.data(), static_cast<int>(text.size())), &curl_free);
  if (!encoded) throw std::bad_alloc();
  return encoded.get();
}

}  // namespace bailian
