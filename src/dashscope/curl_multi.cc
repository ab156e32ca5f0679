#include "dashscope/curl_multi.h"

#include <cassert>

#include "dashscope/curl_pool.h"
#include "dashscope/http_client.h"

namespace bailian {
namespace {

// To reuse a connection libcurl searches all connections that the multi handle has to the host, so the cost
// of a new stream grows with the number of streams.
constexpr size_t kMaxTransfersPerMulti = 512;
constexpr long kMaxConnectionsPerMulti = 2 * kMaxTransfersPerMulti;

Transfer* transfer_of(CURL* easy) {
  Transfer* transfer = nullptr;
  curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
  return transfer;
}

short interest_of(int poll) {
  return static_cast<short>(((poll & CURL_POLL_IN) != 0 ? IoEvent::kRead : 0) |
                            ((poll & CURL_POLL_OUT) != 0 ? IoEvent::kWrite : 0));
}

static_assert(CURL_POLL_INOUT == (CURL_POLL_IN | CURL_POLL_OUT) && (CURL_POLL_REMOVE & CURL_POLL_INOUT) == 0);

}  // namespace

CurlMulti::CurlMulti(CurlPool& pool)
    : pool_(pool),
      timer_(pool.loop(), bind<&CurlMulti::on_timeout>(this)),
      handle_(checked(curl_multi_init()), &curl_multi_cleanup) {
  curl_multi_setopt(handle_.get(), CURLMOPT_SOCKETFUNCTION, &CurlMulti::on_socket);
  curl_multi_setopt(handle_.get(), CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(handle_.get(), CURLMOPT_TIMERFUNCTION, &CurlMulti::on_timer);
  curl_multi_setopt(handle_.get(), CURLMOPT_TIMERDATA, this);
  curl_multi_setopt(handle_.get(), CURLMOPT_MAXCONNECTS, kMaxConnectionsPerMulti);
  timer_.start(kNothingDue);
}

bool CurlMulti::has_room() const { return !is_retired_ && transfers_ < kMaxTransfersPerMulti; }

void CurlMulti::add(Transfer& transfer) {
  assert(!is_retired_);
  is_idle_ = false;
  if (curl_multi_add_handle(handle_.get(), transfer.easy_.get()) != CURLM_OK) throw std::bad_alloc();
  ++transfers_;
  transfer.previous_ = nullptr;
  transfer.next_ = std::exchange(first_, &transfer);
  if (transfer.next_ != nullptr) transfer.next_->previous_ = &transfer;
}

void CurlMulti::remove(Transfer& transfer) noexcept {
  assert(transfers_ > 0);
  curl_multi_remove_handle(handle_.get(), transfer.easy_.get());
  if (--transfers_ == 0) pool_.expect_idle();
  if (is_retired_) pool_.schedule_failures();
  (transfer.previous_ != nullptr ? transfer.previous_->next_ : first_) = transfer.next_;
  if (transfer.next_ != nullptr) transfer.next_->previous_ = transfer.previous_;
}

void CurlMulti::on_timeout() {
  timer_.start(kNothingDue);
  act(CURL_SOCKET_TIMEOUT, 0);
}

void CurlMulti::act(curl_socket_t socket, int ready) {
  assert(!pool_.inside_libcurl_);
  int running = 0;
  *pool_.error_ = '\0';
  pool_.inside_libcurl_ = true;
  const CURLMcode code = curl_multi_socket_action(handle_.get(), socket, ready, &running);
  pool_.inside_libcurl_ = false;
  if (code != CURLM_OK) retire(code);
  report_finished();
}

// Works around a libcurl 7.88 bug: after an out-of-memory error while registering a socket, libcurl divides
// by zero when it next handles the transfer that owns the socket, or another one whose socket has the same
// number. libcurl does not say which transfer that is, so we fail those that have no registered socket, or,
// if there are none, all. The others continue, but this handle takes no new ones.
void CurlMulti::retire(CURLMcode code) {
  is_retired_ = true;
  pool_.schedule_failures();
  const auto has_no_socket = [](const Transfer& one) { return !one.has_socket_ && !one.is_paused_; };
  if (code == CURLM_OUT_OF_MEMORY && finish_if(has_no_socket)) return;
  finish_if([](const Transfer&) { return true; });
}

bool CurlMulti::finish_if(bool (*matches)(const Transfer&)) {
  bool any = false;
  for (Transfer* one = first_; one != nullptr;) {
    Transfer* const next = one->next_;
    if (matches(*one)) {
      any = true;
      one->finish(one->failure_ != CURLE_OK ? one->failure_ : CURLE_OUT_OF_MEMORY, "");
    }
    one = next;
  }
  return any;
}

void CurlMulti::finish_failed() {
  finish_if([](const Transfer& one) { return one.failure_ != CURLE_OK; });
}

void CurlMulti::report_finished() {
  int left = 0;
  bool is_only_one = true;
  while (const CURLMsg* message = curl_multi_info_read(handle_.get(), &left)) {
    is_only_one = is_only_one && left == 0;
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    transfer_of(message->easy_handle)->finish(code, is_only_one ? pool_.error_ : "");
  }
}

// If this returned -1, libcurl would end all transfers of the multi handle, not only the one concerned.
int CurlMulti::on_socket(CURL* easy, curl_socket_t socket, int what, void* self, void*) noexcept {
  auto& multi = *static_cast<CurlMulti*>(self);
  Transfer* const transfer = transfer_of(easy);  // none if an idle connection is closed
  if (transfer != nullptr) transfer->note_socket(what != CURL_POLL_REMOVE);
  try {
    if (interest_of(what) != 0) {
      multi.pool_.watch(multi, socket, interest_of(what));
    } else {
      multi.pool_.unwatch(socket);
    }
  } catch (const std::exception&) {
    if (transfer != nullptr) transfer->fail_later(CURLE_OUT_OF_MEMORY);
  }
  return 0;
}

// Setting a running timer allocates nothing, so timer_ always runs: -1 makes libcurl end all transfers of the
// multi handle.
int CurlMulti::on_timer(CURLM*, long timeout_ms, void* self) noexcept {
  auto& multi = *static_cast<CurlMulti*>(self);
  try {
    multi.timer_.start(timeout_ms < 0 ? kNothingDue : std::chrono::milliseconds(timeout_ms));
    return 0;
  } catch (const std::exception&) {
    return -1;
  }
}

}  // namespace bailian
