#include "simulation/visitor.h"

#include <fastcgi.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/json.h"
#include "unit/fcgi_wire.h"

namespace bailian::simulation {
namespace {

constexpr uint16_t kRequestId = 1;
constexpr size_t kReadBytes = 4096;  // as nginx: fastcgi_buffer_size

std::string path_of_chat(const Question& question) {
  return fmt::format("/myapi{}/v1/chat-bot{}",
                     question.is_for_other_bot ? fmt::format("/bots/{}", kOtherBot) : "",
                     question.mode == AnswerMode::kStream ? "/stream" : "");
}

std::string_view member(const JsonDocument& json, std::string_view name) {
  const JsonValue* const value = find_member(json, name);
  return value != nullptr && value->IsString() ? as_view(*value) : std::string_view();
}

bool is_true(const JsonDocument& json, std::string_view name) {
  const JsonValue* const value = find_member(json, name);
  return value != nullptr && value->IsTrue();
}

JsonDocument parsed(std::string_view text) {
  JsonDocument json;
  if (const auto fault = parse_json(text, json))
    violated(fmt::format("sends invalid JSON, {}: {}", text, fault->what));
  return json;
}

// Of an answer that the ledger has ended. It closes no bot: what comes next is a new question.
bool is_refusal(std::string_view code) { return code == "budget_used_up" || code == "paused"; }

}  // namespace

Visitor::Visitor(Site& site, int number) : site_(site), number_(number) {
  Choices& choices = world->choices;
  static constexpr Reader kReaders[] = {Reader::kPrompt, Reader::kPrompt, Reader::kPrompt, Reader::kPrompt,
                                        Reader::kPrompt, Reader::kPrompt, Reader::kPrompt, Reader::kPrompt,
                                        Reader::kSlow,   Reader::kSlow,   Reader::kNever};
  reader_ = choices.of(kReaders);
  is_local_ = !choices.one_in(8);
  keeps_ = choices.one_in(4);
  if (keeps_) requests_left_ = 1 + static_cast<int>(choices.below(2));
}

void Visitor::begin() {
  world->after(number_ == 0 ? 0s : world->some_delay(), [this] { connect(); });
}

void Visitor::connect() {
  static constexpr size_t kCapacities[] = {200'000, 200'000, 4096, 700};
  const size_t capacity = reader_ == Reader::kPrompt ? 200'000 : world->choices.of(kCapacities);
  auto socket = std::make_unique<Socket>(*this, is_local_, capacity);
  socket_ = socket.get();
  world->trace("visitor {} connects{}{}", number_, is_local_ ? "" : " over TCP",
               reader_ == Reader::kSlow    ? ", reads slowly"
               : reader_ == Reader::kNever ? ", never reads"
                                           : "");
  if (!site_.connect(std::move(socket))) return turn_away();
  ask();
}

// --- the request ---

void Visitor::ask() {
  Choices& choices = world->choices;
  static constexpr Kind kKinds[] = {
      Kind::kChat,        Kind::kChat,    Kind::kChat,    Kind::kChat,    Kind::kChat,     Kind::kChat,
      Kind::kChat,        Kind::kChat,    Kind::kChat,    Kind::kChat,    Kind::kChat,     Kind::kChat,
      Kind::kChat,        Kind::kHealth,  Kind::kStatus,  Kind::kChat,    Kind::kChat,     Kind::kChat,
      Kind::kUnknownPath, Kind::kBadJson, Kind::kProfile, Kind::kProfile, Kind::kPreflight};
  kind_ = choices.of(kKinds);
  leaving_ = choices.one_in(4) ? static_cast<Leaving>(1 + choices.below(3)) : Leaving::kNever;
  stops_ = sent_ == 0 && choices.one_in(20) ? static_cast<Stops>(1 + choices.below(2)) : Stops::kNever;
  --requests_left_;
  question_ = &record->add();
  question_->is_chat = kind_ == Kind::kChat;
  question_->is_kept = keeps_;
  question_->mode = choices.one_in(4) ? AnswerMode::kJson : AnswerMode::kStream;
  question_->wants_thoughts = choices.one_in(4);
  question_->is_slow = reader_ != Reader::kPrompt;
  std::string body;
  question_->is_for_other_bot = question_->is_chat && choices.one_in(4);
  const std::string chat_path = path_of_chat(*question_);
  std::string_view path = chat_path;
  if (kind_ == Kind::kChat)
    body = fmt::format(R"({{"last_prompt":"{}","include_thoughts":{}}})", Record::mark(question_->number),
                       question_->wants_thoughts);
  if (kind_ == Kind::kBadJson) body = R"({"last_prompt":)";
  if (kind_ == Kind::kHealth) path = "/health";
  if (kind_ == Kind::kProfile) path = "/myapi/v1/chat-bot-config";
  if (kind_ == Kind::kStatus) path = "/status?full";
  const std::string long_path = "/nowhere/" + std::string(choices.below(600), 'x');
  if (kind_ == Kind::kUnknownPath) path = long_path;
  world->trace("visitor {} asks question {}: {}{}{}", number_, question_->number, path,
               keeps_ ? ", keeps the connection" : "",
               stops_ != Stops::kNever ? ", and stops within the request" : "");
  std::string bytes = request(question_, body, path);
  if (stops_ == Stops::kInHead) bytes.resize(choices.below(static_cast<uint32_t>(params_end_ - sent_)));
  if (stops_ == Stops::kInBody) bytes.resize(bytes.size() - 1 - choices.below(8));
  send_in_parts(std::move(bytes));
  if (leaving_ != Leaving::kNever) world->after(world->some_delay(), [this] { leave(); });
}

// An old front end asks for a whole answer when a stream has failed.
void Visitor::ask_again() {
  Question& failed = *question_;
  question_ = &record->add();
  question_->is_chat = true;
  question_->is_kept = true;
  question_->is_slow = reader_ != Reader::kPrompt;
  question_->mode = AnswerMode::kJson;
  question_->repeats = &failed;
  question_->is_for_other_bot = failed.is_for_other_bot;
  failed.repeated_by = question_;
  failed.is_remembered = failed.attempts.size() > failed.attempts_before &&
                         !failed.attempts.back().is_free_failure && !is_refusal(failed.error_code);
  leaving_ = Leaving::kNever;
  stops_ = Stops::kNever;
  world->trace("visitor {} asks question {} again as {}", number_, failed.number, question_->number);
  send_in_parts(request(question_, fmt::format(R"({{"last_prompt":"{}"}})", Record::mark(failed.number)),
                        path_of_chat(*question_)));
}

std::string Visitor::request(const Question* question, std::string_view body, std::string_view path) {
  static constexpr uint32_t kPaddings[] = {1, 1, 1, 1, 1, 1, 300, 9000};
  const std::string padding(world->choices.below(world->choices.of(kPaddings)), 'p');
  const bool posts = !body.empty();
  std::string bytes = wire::begin(kRequestId, keeps_ ? FCGI_KEEP_CONN : 0);
  bytes += wire::params(kRequestId, {{"REQUEST_METHOD", posts                       ? "POST"
                                                        : kind_ == Kind::kPreflight ? "OPTIONS"
                                                                                    : "GET"},
                                     {"REQUEST_URI", std::string(path)},
                                     {"REMOTE_ADDR", fmt::format("192.0.2.{}", number_ + 1)},
                                     {"REQUEST_ID", fmt::format("q{}", question->number)},
                                     {"CONTENT_LENGTH", posts ? fmt::format("{}", body.size()) : ""},
                                     {"HTTP_COOKIE", padding}});
  params_end_ = sent_ + bytes.size();
  bytes += wire::stdin_stream(kRequestId, body);
  request_end_ = sent_ + bytes.size();
  return bytes;
}

void Visitor::send_in_parts(std::string bytes) {
  has_head_ = false;
  head_.clear();
  output_.clear();
  params_received_at_.reset();
  parked_at_.reset();
  sent_ += bytes.size();
  Time when = world->now();
  while (!bytes.empty()) {
    const bool cuts = bytes.size() > 1 && world->choices.one_in(5);
    const size_t size =
        cuts ? 1 + world->choices.below(static_cast<uint32_t>(bytes.size() - 1)) : bytes.size();
    ++unsent_parts_;
    world->at(when, [this, part = bytes.substr(0, size)] {
      --unsent_parts_;
      if (socket_ != nullptr) socket_->send(part);
    });
    bytes.erase(0, size);
    if (!bytes.empty()) when += std::min<Duration>(world->some_delay(), 8s);
  }
  last_data_at_ = when;
}

void Visitor::leave() {
  if (socket_ == nullptr || has_left_ || question_->has_end) return;
  if (leaving_ == Leaving::kAborts) {
    if (stops_ != Stops::kNever || unsent_parts_ > 0) return;  // nginx aborts only whole requests
    world->trace("visitor {} aborts question {}", number_, question_->number);
    const std::string abort = wire::record(FCGI_ABORT_REQUEST, kRequestId, "");
    sent_ += abort.size();
    abort_end_ = sent_;
    question_->has_left = true;
    requests_left_ = 0;
    socket_->send(abort);
    return;
  }
  world->trace("visitor {} leaves", number_);
  has_left_ = question_->has_left = true;
  socket_->hang_up(leaving_ == Leaving::kResets);
}

void Visitor::on_accepted() { accepted_at_ = world->now(); }

void Visitor::on_received(uint64_t total) {
  if (!params_received_at_ && total >= params_end_) params_received_at_ = world->now();
  if (!question_->asked_at && stops_ == Stops::kNever && total >= request_end_) {
    question_->asked_at = world->now();
    question_->settings = site_.settings();
    question_->lateness_then = world->lateness();
    if (site_.is_stopping()) question_->stopped_at = world->now();
  }
  if (abort_end_ && total >= *abort_end_ && !question_->left_at) question_->left_at = world->now();
}

void Visitor::on_end_received() {
  if (question_ != nullptr && !question_->left_at) question_->left_at = world->now();
}

// --- the answer ---

void Visitor::on_sent() {
  if (!will_read_ && !has_left_) read_later();
}

void Visitor::read_later() {
  if (reader_ == Reader::kNever && !is_closed_) return;
  will_read_ = true;
  const Duration delay = reader_ == Reader::kSlow && !is_closed_
                             ? world->some_delay()
                             : std::chrono::microseconds(world->choices.below(100));
  world->after(delay, [this] { read(); });
}

void Visitor::read() {
  will_read_ = false;
  if (has_left_ || is_over_) return;
  const size_t size = reader_ == Reader::kSlow && !is_closed_ ? 1 + world->choices.below(500) : kReadBytes;
  std::string bytes = arrived_.substr(0, size);
  arrived_.erase(0, bytes.size());
  if (bytes.empty() && socket_ != nullptr) bytes = socket_->receive(size);
  if (!bytes.empty()) {
    take(bytes);
  } else if (is_closed_) {
    return end_connection();
  }
  if (is_over_) return;
  const bool has_more = !arrived_.empty() || (socket_ != nullptr && socket_->unread_bytes() > 0);
  if ((has_more || is_closed_) && !will_read_) read_later();
}

void Visitor::take(std::string_view bytes) {
  if (bytes.find(kApiKey) != bytes.npos) violated("sends the key to a visitor");
  question_->received_bytes += bytes.size();
  records_ += bytes;
  while (take_record()) {
  }
  // nginx passes on each read at once.
  const bool is_whole = output_.empty() || output_.ends_with("\n\n");
  if (is_local_ && reader_ == Reader::kPrompt && question_->is_chat &&
      question_->mode == AnswerMode::kStream && has_head_ && question_->status == 200 &&
      (!is_whole || !records_.empty()) && !is_closed_)
    violated(fmt::format("an event reaches the browser in two chunks: {}", output_));
}

bool Visitor::take_record() {
  if (records_.size() < FCGI_HEADER_LEN) return false;
  const auto byte = [this](size_t at) { return static_cast<unsigned char>(records_[at]); };
  const size_t content = size_t{byte(4)} << 8 | byte(5);
  const size_t size = FCGI_HEADER_LEN + content + byte(6);
  const unsigned type = byte(1);
  if (byte(0) != 1) violated("sends a record of a wrong FastCGI version");
  // nginx passes on the part that has arrived. Here it waits for the rest of the record.
  if (records_.size() < size) return false;
  const std::string first = std::exchange(records_, records_.substr(size));
  if (type == FCGI_GET_VALUES_RESULT) {
    requests_left_ = 0;
    return true;
  }
  if (question_->has_end) violated("sends a record after FCGI_END_REQUEST");
  if (type == FCGI_END_REQUEST) {
    end_answer();
  } else if (type == FCGI_STDOUT) {
    take_output(std::string_view(first).substr(FCGI_HEADER_LEN, content));
  } else {
    violated(fmt::format("sends a record of type {}", type));
  }
  return true;
}

void Visitor::take_output(std::string_view bytes) {
  output_ += bytes;
  if (!has_head_) {
    const size_t end = output_.find("\r\n\r\n");
    if (end == output_.npos) return;
    has_head_ = true;
    head_ = output_.substr(0, end + 2);
    output_.erase(0, end + 4);
    question_->status = 200;
    if (head_.starts_with("Status: "))
      std::from_chars(head_.data() + 8, head_.data() + 11, question_->status);
    world->trace("visitor {}: {}", number_, head_.substr(0, head_.find('\r')));
  }
  if (!question_->is_chat || question_->mode == AnswerMode::kJson || question_->status != 200) return;
  const Config& settings = *question_->settings;
  const Duration silence = world->now() - std::max(last_data_at_, *question_->asked_at);
  const Duration lost = world->lateness() - lateness_then_;
  if (reader_ == Reader::kPrompt && settings.heartbeat > Seconds::zero() &&
      silence > to_duration(settings.heartbeat) + lost + 1s)
    violated(fmt::format("is silent for {} s, longer than HEARTBEAT", Seconds(silence).count()));
  last_data_at_ = world->now();
  lateness_then_ = world->lateness();
  for (size_t end = output_.find("\n\n"); end != output_.npos; end = output_.find("\n\n")) {
    take_event(std::string_view(output_).substr(0, end));
    output_.erase(0, end + 2);
  }
}

void Visitor::take_event(std::string_view event) {
  world->trace("visitor {}: {}", number_, event.substr(0, 100));
  if (question_->is_told_complete || !question_->error_code.empty())
    violated("sends an event after the last one");
  if (event.starts_with(':')) return;
  if (!event.starts_with("data: ")) violated(fmt::format("sends a malformed event: {}", event));
  const JsonDocument json = parsed(event.substr(6));
  question_->text += member(json, "content");
  question_->thought += member(json, "thought");
  if (!is_true(json, "finished")) return;
  if (is_true(json, "success")) {
    question_->is_told_complete = true;
  } else {
    question_->error_code = member(json, "code");
  }
}

void Visitor::take_whole_answer() {
  const JsonDocument json = parsed(output_);
  if (question_->status == 200) {
    if (!is_true(json, "success")) violated("reports a failure with status 200");
    question_->is_told_complete = !is_true(json, "truncated");
    if (!question_->is_told_complete) question_->error_code = member(json, "code");
    question_->text = member(json, "result");
    question_->thought = member(json, "thought");
  } else {
    question_->error_code = member(json, "code");
  }
}

void Visitor::end_answer() {
  question_->has_end = true;
  world->trace("visitor {}: the answer ends", number_);
  const bool is_whole = question_->mode == AnswerMode::kJson || question_->status != 200;
  if (question_->is_chat && question_->status != 0 && is_whole && !abort_end_) take_whole_answer();
  if (abort_end_) return;
  const bool has_failed_stream =
      question_->is_chat && question_->mode == AnswerMode::kStream && !question_->error_code.empty();
  // Like nginx, only a peer that reads all there is can tell that it was not asked to close the connection.
  const bool may_ask = keeps_ && is_local_ && reader_ == Reader::kPrompt;
  if (may_ask && has_failed_stream && world->choices.one_in(2)) {
    ask_again();
  } else if (may_ask && requests_left_ > 0) {
    ask();
  } else if (keeps_ && socket_ != nullptr) {
    parked_at_ = world->now();
    // nginx closes a connection after a minute without use. A broken peer never does.
    if (world->choices.below(4) < 3)
      world->after(world->some_delay(), [this] {
        if (socket_ == nullptr) return;
        take(socket_->receive(SIZE_MAX));
        has_left_ = true;
        socket_->hang_up(false);
      });
  }
}

void Visitor::on_shut_down() {
  is_closed_ = true;
  if (!will_read_ && !has_left_) read_later();
}

void Visitor::on_closed() {
  if (socket_ == nullptr) return;
  arrived_ = socket_->receive(SIZE_MAX);
  socket_ = nullptr;
  is_closed_ = true;
  if (has_left_) return be_over();
  world->trace("visitor {}: the connection is closed", number_);
  const auto waited = [](std::optional<Time> since, Duration limit) {
    return !since || world->now() - *since + world->lateness() >= limit - 1s;
  };
  if (!site_.is_disturbed() && accepted_at_) {
    if (stops_ != Stops::kNever && params_received_at_ && !waited(params_received_at_, 30s))
      violated("closes a connection with half a request in under 30 s");
    if (stops_ != Stops::kNever && !params_received_at_ && !waited(accepted_at_, 10s))
      violated("closes a silent connection in under 10 s");
    if (parked_at_ && reader_ == Reader::kPrompt && !waited(parked_at_, 300s))
      violated("closes a parked connection in under 300 s");
  }
  if (!will_read_) read_later();
}

void Visitor::check_limits() const {
  if (socket_ == nullptr || !accepted_at_ || has_left_) return;
  const auto is_late = [](std::optional<Time> since, Duration limit) {
    return since && world->now() - *since > limit + world->lateness() + 2s;
  };
  if (stops_ != Stops::kNever && question_->has_end) return;
  if (stops_ != Stops::kNever && is_late(params_received_at_, 30s))
    violated("keeps a connection with half a request for over 30 s");
  if (stops_ != Stops::kNever && !params_received_at_ && is_late(accepted_at_, 10s))
    violated("keeps a silent connection for over 10 s");
  if (parked_at_ && is_late(parked_at_, 300s)) violated("keeps a parked connection for over 300 s");
  const auto draining_since = site_.draining_since();
  if (!draining_since) return;
  if (parked_at_ && is_late(std::max(*parked_at_, *draining_since), 2s))
    violated("a parked connection delays the drain");
  if (stops_ != Stops::kNever && is_late(std::max(*accepted_at_, *draining_since), 1s))
    violated("half a request delays the drain");
}

void Visitor::end_connection() {
  if (question_ != nullptr && !question_->has_end) question_->is_cut = true;
  be_over();
}

void Visitor::turn_away() {
  socket_ = nullptr;
  is_closed_ = true;
  requests_left_ = 0;
  keeps_ = false;
  if (has_left_) be_over();
  while (!is_over_) read();
}

void Visitor::be_over() {
  if (std::exchange(is_over_, true)) return;
  site_.on_visitor_over();
}

}  // namespace bailian::simulation
