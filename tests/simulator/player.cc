#include "player.h"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <utility>

namespace bailian::simulator {
namespace {

// When a client reads more slowly than the pace, its stream waits and does not grow.
constexpr std::size_t kMaxBacklogBytes = 256U << 10U;
// Events without a pace that leave in one write.
constexpr std::size_t kWriteBytes = 16U << 10U;
constexpr std::size_t kOverrunBytes = 1000;

// The number behind the last `name` in the JSON of `event`; 0 if there is none.
std::int64_t number_in(std::string_view event, std::string_view name) {
  const auto at = event.rfind(name);
  std::int64_t number = 0;
  if (at != std::string_view::npos)
    std::from_chars(event.data() + at + name.size(), event.data() + event.size(), number);
  return number;
}

}  // namespace

Player::Player(event_base* base, Connection& connection, Stats& stats, Gate& gate, const HttpRequest& request,
               Plan plan)
    : connection_(connection),
      stats_(stats),
      gate_(gate),
      plan_(std::move(plan)),
      timer_(base, on_timer, this),
      epoch_(stats.epoch()) {
  request_.has_chunks = request.has_chunks;
  request_.closes = request.closes;
  stats_.add(Field::kOpen);
  if (plan_.start == Start::kHang) {
    phase_ = Phase::kSilent;
  } else if (plan_.hold == 0U) {
    hold();
  } else {
    timer_.start(plan_.delay);
  }
}

Player::~Player() {
  gate_.leave(timer_);
  stats_.add(Field::kOpen, -1);
}

void Player::count(Field field, std::int64_t amount) {
  if (epoch_ == stats_.epoch()) stats_.add(field, amount);
}

// The usage of an answer grows from event to event: contract.md §3.2. An event that is broken says nothing.
void Player::count_usage(std::string_view event) {
  const bool is_whole =
      plan_.head.is_stream ? event.ends_with("\n\n") || event.ends_with("\n\r\n") : event.ends_with('}');
  const auto output = number_in(event, "\"output_tokens\":");
  if (!is_whole || output == 0) return;
  const auto input = number_in(event, "\"input_tokens\":");
  count(Field::kInputTokens, input - std::exchange(input_tokens_, input));
  count(Field::kOutputTokens, output - std::exchange(output_tokens_, output));
}

void Player::on_client_gone() {
  if (epoch_ == stats_.epoch()) stats_.add_cut();
}

void Player::on_timer(evutil_socket_t, short, void* self) {
  auto& player = *static_cast<Player*>(self);
  player.connection_.act(player.on_tick());
}

Next Player::on_tick() {
  switch (phase_) {
    case Phase::kWaiting:
    case Phase::kHeld:
      return begin();
    case Phase::kStreaming:
    case Phase::kEnding:
      return pump(true);
    case Phase::kSilent:
      break;
  }
  return Next::kWait;
}

Next Player::on_drained() {
  const bool has_begun = has_head_ && phase_ != Phase::kSilent;
  return has_begun ? pump(false) : Next::kWait;
}

// For the first time, or after the gate has opened.
Next Player::begin() {
  timer_.stop();
  if (plan_.start == Start::kReset) return conclude();
  if (!has_head_) write_head();
  phase_ = Phase::kStreaming;
  set_pace();
  return pump(true);
}

void Player::set_pace() {
  if (plan_.interval > milliseconds(0)) timer_.start(plan_.interval);
}

void Player::write_head() {
  has_head_ = true;
  Headers headers = plan_.from_proxy ? proxy_headers(plan_.head.content_type) : gateway_headers(plan_.head);
  headers.insert(headers.end(), plan_.more_headers.begin(), plan_.more_headers.end());
  wire_ += http_head(plan_.head.status, headers, request_);
}

// Writes what is due. Paced answers generate events in each tick, others whenever the last ones were sent.
Next Player::pump(bool is_tick) {
  const bool is_paced = plan_.interval > milliseconds(0);
  bool may_produce = is_tick || !is_paced;
  const bool may_frame = may_produce || !plan_.dribble;
  while (wire_.size() < kWriteBytes) {
    if (may_frame && frame()) {
      if (plan_.chunk_bytes != 0) break;
    } else if (may_produce && produce()) {
      may_produce = !is_paced;
    } else {
      break;
    }
  }
  end_body();
  if (!wire_.empty()) {
    connection_.write(wire_);
    wire_.clear();
    if (wire_.capacity() > kWriteBytes) wire_.shrink_to_fit();
    return Next::kWait;
  }
  const bool is_done = phase_ == Phase::kEnding && is_ended_ && connection_.backlog_bytes() == 0;
  return is_done ? conclude() : Next::kWait;
}

// Whether there may be new bytes to frame.
bool Player::produce() {
  if (phase_ != Phase::kStreaming || connection_.backlog_bytes() > kMaxBacklogBytes) return false;
  const std::size_t waiting = body_.size() - framed_bytes_;
  if (plan_.chunk_bytes != 0 && waiting >= plan_.chunk_bytes) return false;
  for (std::size_t i = 0; i < plan_.batch && phase_ == Phase::kStreaming; ++i) take_event();
  return true;
}

void Player::take_event() {
  const std::size_t before = body_.size();
  switch (plan_.script->next(body_)) {
    case Step::kText:
      if (++texts_ == plan_.hold) hold();
      break;
    case Step::kOther:
      break;
    case Step::kOverrun:
      overruns_ = true;
      phase_ = Phase::kEnding;
      break;
    case Step::kFinished:
      phase_ = Phase::kEnding;
      break;
  }
  if (plan_.head.is_stream && body_.size() > before) count(Field::kEvents);
  count_usage(std::string_view(body_).substr(before));
}

void Player::hold() {
  plan_.hold.reset();
  phase_ = Phase::kHeld;
  timer_.stop();
  gate_.enter(timer_);
}

// Moves one chunk from the body to the wire when it is complete or nothing follows for now.
bool Player::frame() {
  const std::size_t waiting = body_.size() - framed_bytes_;
  const bool is_partial = waiting < plan_.chunk_bytes && phase_ == Phase::kStreaming;
  if (waiting == 0 || is_partial) return false;
  if (plan_.chunk_bytes != 0 && connection_.backlog_bytes() != 0) return false;

  const std::size_t length = plan_.chunk_bytes == 0 ? waiting : std::min(waiting, plan_.chunk_bytes);
  const auto bytes = std::string_view(body_).substr(framed_bytes_, length);
  if (request_.has_chunks) {
    append_chunk(bytes, overruns_ && length == waiting ? kOverrunBytes : 0, wire_);
  } else {
    wire_ += bytes;
  }
  framed_bytes_ += length;
  if (framed_bytes_ == body_.size()) {
    body_.clear();
    framed_bytes_ = 0;
    if (body_.capacity() > kWriteBytes) body_.shrink_to_fit();
  }
  return true;
}

void Player::end_body() {
  if (phase_ != Phase::kEnding || is_ended_ || framed_bytes_ < body_.size()) return;
  is_ended_ = true;
  timer_.stop();
  if (plan_.script->ending() == Ending::kSilence) {
    phase_ = Phase::kSilent;
  } else if (plan_.script->ending() == Ending::kDone && request_.has_chunks) {
    wire_ += kLastChunk;
  }
}

Next Player::conclude() {
  count(Field::kCompleted);
  if (plan_.start == Start::kReset) return Next::kReset;
  assert(plan_.script->ending() != Ending::kSilence);
  switch (plan_.script->ending()) {
    case Ending::kReset:
      return Next::kReset;
    case Ending::kClose:
      return Next::kClose;
    default:
      return plan_.close_idle ? Next::kFinishThenClose : Next::kFinish;
  }
}

}  // namespace bailian::simulator
