#include "simulation/upstream.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace bailian::simulation {

Upstream* upstream = nullptr;

namespace {

constexpr std::string_view kEvents = "text/event-stream;charset=UTF-8";
constexpr std::string_view kJson = "application/json";

std::string event(std::string_view kind, int status, const std::string& data) {
  return fmt::format("id:1\nevent:{}\n:HTTP_STATUS/{}\ndata:{}\n\n", kind, status, data);
}

// A result event with `text`, and with the usage of the attempt if it has one.
std::string increment(const Attempt& attempt, std::string_view text, std::string_view finish_reason,
                      std::string_view thought = {}) {
  std::string usage;
  if (attempt.usage.output_tokens > 0)
    usage = fmt::format(
        R"("usage":{{"models":[{{"input_tokens":{},"output_tokens":{},"model_id":"qwen-plus"}}]}},)",
        attempt.usage.input_tokens, attempt.usage.output_tokens);
  const std::string thoughts =
      thought.empty() ? ""
                      : fmt::format(R"("thoughts":[{{"action_type":"reasoning","thought":"{}"}}],)", thought);
  return event(
      "result", 200,
      fmt::format(
          R"({{"output":{{{}"session_id":"s1","finish_reason":"{}","text":"{}"}},{}"request_id":"u1"}})",
          thoughts, finish_reason, text, usage));
}

std::string error_json(std::string_view code, std::string_view message) {
  return fmt::format(R"({{"code":"{}","message":"{}","request_id":"u1"}})", code, message);
}

struct Refusal {
  int status;
  std::string_view code;
  std::string_view message;
  bool is_free;
  bool is_of_target = true;
};
constexpr Refusal kRefusals[] = {
    {429, "Throttling", "Requests throttling triggered.", true},
    {429, "Throttling.RateQuota", "Requests rate limit exceeded, please try again later.", true},
    {429, "limit_requests", "You exceeded your current requests list.", true},
    {503, "ModelUnavailable", "Model is unavailable, please try again later.", false},
    {503, "ModelServingError", "Too many requests.", false},
    {500, "InternalError.Algo", "inference error", false},
    {400, "DataInspectionFailed", "Output data may contain inappropriate content.", false, false},
    {400, "Arrearage", "Access denied, please make sure your account is in good standing.", false},
    {400, "BadRequest.sk-5e1f0a3b7c9d2468", "The code has the key.", false, false},
    {401, "InvalidApiKey", "Invalid API-key sk-5e1f0a3b7c9d2468 provided.", false},
    {404, "WorkSpaceNotFound", "The workspace is not found.", false},
    {429, "Throttling.AllocationQuota", "Free allocated quota exceeded.", false},
    {429, "LimitRequests", "Your budget is used up: see Budget Management.", false},
};

}  // namespace

struct Upstream::Play {
  int descriptor;
  int id;
  Question& question;
  Attempt& attempt;
  std::vector<Step> steps{};
  size_t next = 0;
};

void Connection::on_close() { world->trace("upstream: connection {} is closed by the product", id_); }

std::unique_ptr<Connection> Upstream::connect() {
  auto connection = std::make_unique<Connection>();
  connection->id_ = ++connections_;
  return connection;
}

Connection* Upstream::find(int descriptor, int id) const {
  auto* const connection = dynamic_cast<Connection*>(world->file(descriptor));
  return connection != nullptr && connection->id_ == id ? connection : nullptr;
}

void Upstream::opened(int descriptor) {
  auto& connection = *dynamic_cast<Connection*>(world->file(descriptor));
  enum Fate { kAccepted, kSlowly, kRefused, kSilent, kUntrusted };
  static constexpr Fate kFates[] = {kAccepted, kAccepted, kAccepted, kAccepted, kAccepted, kAccepted,
                                    kAccepted, kAccepted, kSlowly,   kRefused,  kSilent,   kUntrusted};
  const Fate fate = world->choices.of(kFates);
  world->trace("upstream: connection {}: {}", connection.id_,
               fate == kRefused     ? "will be refused"
               : fate == kSilent    ? "will not be answered"
               : fate == kUntrusted ? "has a bad certificate"
                                    : "will be accepted");
  if (fate == kSilent) return;
  connection.is_untrusted = fate == kUntrusted;
  // Sometimes the kernel takes a request in parts.
  if (world->choices.one_in(16)) connection.upload_room = world->choices.below(200);
  const Duration delay = fate == kSlowly ? world->some_delay() : 1us;
  world->after(delay, [this, descriptor, id = connection.id_, fate] {
    Connection* const found = find(descriptor, id);
    if (found == nullptr) return;
    found->state = fate == kRefused ? Connection::State::kRefused : Connection::State::kConnected;
    found->has_edge = true;
  });
  if (connection.upload_room == SIZE_MAX) return;
  const bool breaks = world->choices.one_in(2);
  world->after(delay + world->some_delay(), [this, descriptor, id = connection.id_, breaks] {
    Connection* const found = find(descriptor, id);
    if (found == nullptr) return;
    if (breaks) found->is_closed = found->is_reset = true;
    found->upload_room = SIZE_MAX;
  });
}

void Upstream::keep(int descriptor) {
  auto& connection = *dynamic_cast<Connection*>(world->file(descriptor));
  connection.is_answering = false;
  if (world->choices.below(3) == 0) return;
  static constexpr Duration kLifetimes[] = {15s, 1ms, 1s};
  world->after(world->choices.of(kLifetimes), [this, descriptor, id = connection.id_] {
    Connection* const found = find(descriptor, id);
    if (found == nullptr || found->is_answering) return;
    world->trace("upstream: connection {} is closed", id);
    found->is_closed = true;
  });
}

void Upstream::receive(int descriptor, std::string_view url, std::string_view headers,
                       std::string_view body) {
  const auto& connection = *dynamic_cast<Connection*>(world->file(descriptor));
  Question& question = record->named_in(body);
  const std::string_view app = question.is_for_other_bot ? kOtherApp : "app";
  if (question.urls.empty() || url != question.urls.back() ||
      !url.starts_with(fmt::format("http://127.0.0.1:9/api/v1/apps/{}", app)) ||
      !url.ends_with("/completion"))
    violated(fmt::format("sends a request to {}", url));
  if (headers.find(fmt::format("Authorization: Bearer {}\n", kApiKey)) == headers.npos)
    violated("sends a request without the key");
  const bool asks_for_events = headers.find("X-DashScope-SSE: enable\n") != headers.npos;
  if (asks_for_events != question.is_upstream_stream()) violated("asks for the wrong kind of answer");

  Attempt& attempt = question.attempts.emplace_back();
  attempt.received_at = world->now();
  const auto play = std::make_shared<Play>(Play{descriptor, connection.id_, question, attempt});
  world->choices.below(16) < 10 ? plan_answer(*play) : plan_error(*play);
  world->trace("upstream: question {} arrives, attempt {}", question.number, question.attempts.size());
  world->after(play->steps.front().delay, [this, play] { run(play); });
}

// There is no such page; or the connection ends, or nothing comes.
void Upstream::receive_head(int descriptor, std::string_view url, std::string_view headers) {
  const auto& connection = *dynamic_cast<Connection*>(world->file(descriptor));
  if (url != "http://127.0.0.1:9/api/v1" || !headers.empty())
    violated(fmt::format("sends a HEAD request to {} with {}", url, headers));
  enum End { kAnswers, kCloses, kResets, kIsSilent };
  static constexpr End kEnds[] = {kAnswers, kAnswers, kAnswers, kAnswers, kAnswers,
                                  kAnswers, kCloses,  kResets,  kIsSilent};
  const End end = world->choices.of(kEnds);
  world->trace("upstream: a warm-up arrives on connection {}", connection.id_);
  if (end == kIsSilent) return;
  const Duration delay = world->choices.one_in(2) ? 1us : world->some_delay();
  world->after(delay, [this, descriptor, id = connection.id_, end] {
    Connection* const found = find(descriptor, id);
    if (found == nullptr || found->is_closed) return;
    if (end == kAnswers) {
      found->head = Head{404, std::string(kJson), 0, world->choices.one_in(8)};
      found->is_answering = found->has_end = true;
    } else {
      found->is_closed = true;
      found->is_reset = end == kResets;
    }
    found->has_edge = true;
  });
}

// Takes the next step of the play.
void Upstream::run(std::shared_ptr<Play> play) {
  Connection* const connection = find(play->descriptor, play->id);
  if (connection == nullptr || connection->is_closed) return;
  Step& step = play->steps[play->next++];
  if (step.head) {
    connection->head = step.head;
    connection->is_answering = true;
    world->trace("upstream: {} {}", step.head->status, step.head->content_type);
  }
  if (!step.bytes.empty()) {
    const size_t data = step.bytes.find("data:");
    world->trace("upstream: {}", step.bytes.substr(data == std::string::npos ? 0 : data, 100));
  }
  connection->body += step.bytes;
  if (step.ends) connection->has_end = true;
  if (step.closes || step.resets) {
    connection->is_closed = true;
    connection->is_reset = step.resets;
    world->trace("upstream: connection {} is {}", play->id, step.resets ? "reset" : "closed");
  }
  if (step.after) {
    const Time received_at = play->attempt.received_at;
    play->attempt = std::move(*step.after);
    play->attempt.received_at = received_at;
    if (play->attempt.has_stop) play->question.stop_sent_at = world->now();
  }
  connection->has_edge = true;
  if (play->next == play->steps.size()) return;
  const Duration delay = play->steps[play->next].delay;
  world->after(delay, [this, play = std::move(play)] { run(play); });
}

namespace {

Duration between_tokens() {
  if (world->choices.below(8) < 7) return std::chrono::microseconds(world->choices.below(50));
  return world->some_delay();
}

}  // namespace

// An answer that may be complete, break off, fail or fall silent at any point.
void Upstream::plan_answer(Play& play) {
  Choices& choices = world->choices;
  const bool streams = play.question.is_upstream_stream();
  enum End { kStops, kStopsAtLength, kCloses, kResets, kFails, kThrottles, kFallsSilent };
  static constexpr End kEnds[] = {kStops,  kStops,     kStops,       kStops, kStops,
                                  kStops,  kStops,     kStops,       kStops, kCloses,
                                  kResets, kThrottles, kFallsSilent, kFails, kStopsAtLength};
  const End end = choices.of(kEnds);
  static constexpr uint32_t kTokens[] = {2, 1, 3, 5, 8, 40};
  const uint32_t tokens = choices.of(kTokens);
  const bool is_large = choices.one_in(12);
  const bool has_thoughts = choices.one_in(6);
  const bool has_usage = !choices.one_in(8);
  static constexpr uint64_t kInputTokens[] = {31, 31, 31, 70'000, 5'000'000'000};
  const uint64_t input_tokens = choices.of(kInputTokens);
  // Each event has the whole text so far. The product can tell only after three of them.
  const bool repeats = streams && end == kStops && tokens > 2 && choices.one_in(16);
  const int number = play.question.number;
  const size_t nth = play.question.attempts.size();

  Head head{200, std::string(streams ? kEvents : kJson), 0, choices.one_in(16)};
  Attempt planned;
  std::string wire;
  std::vector<size_t> ends;    // of the events
  std::vector<Attempt> after;  // each event
  const auto add = [&](const std::string& bytes) {
    wire += bytes;
    ends.push_back(wire.size());
    after.push_back(planned);
  };
  for (uint32_t i = 0; i < tokens; ++i) {
    if (has_usage)
      planned.usage = {input_tokens,
                       planned.usage.output_tokens + 1 + (is_large ? 40'000 : choices.below(3))};
    planned.is_billed = true;
    if (has_thoughts && i < tokens / 2 && planned.text.empty()) {
      const std::string thought = fmt::format("({}.{}.{})", number, nth, i);
      planned.thought += thought;
      if (streams) add(increment(planned, "", "null", thought));
      continue;
    }
    std::string piece = fmt::format("<{}.{}.{}杭>", number, nth, i);
    if (is_large) piece.append(size_t{1500} * choices.below(6), 'x');
    planned.text += piece;
    if (streams) add(increment(planned, repeats ? planned.text : piece, "null"));
  }
  if (end == kStops || end == kStopsAtLength) {
    planned.has_stop = true;
    const std::string_view reason = end == kStops ? "stop" : "length";
    if (streams) {
      add(increment(planned, repeats ? planned.text : "", reason));
    } else {
      std::string whole = increment(planned, planned.text, reason, planned.thought);
      const size_t start = whole.find("data:") + 5;
      add(whole.substr(start, whole.size() - start - 2));
    }
  } else if (!streams && (end == kFails || end == kThrottles)) {
    // With a usage: part of the answer was generated and is billed.
    add(fmt::format(
        R"({{"code":"{}","message":"broken","usage":{{"models":[{{"input_tokens":31,"output_tokens":2}}]}}}})",
        end == kFails ? "InternalError" : "Throttling"));
    head.status = end == kFails ? 500 : 429;
    head.ends_with_connection = false;  // cut off, the usage would be missing
  } else if (!streams) {
    planned.text.clear();
    planned.thought.clear();
    add(R"({"output":{"session_id":"s1","finish_)");
  } else if (end == kFails) {
    add(event("error", 500, error_json("InternalError", "broken")));
  } else if (end == kThrottles) {
    add(event("error", 429, error_json("Throttling", "Requests throttling triggered.")));
  }

  // The bytes are cut at any point.
  play.steps.push_back({.delay = between_tokens(), .head = std::move(head)});
  size_t sent = 0;
  for (size_t i = 0; i < ends.size(); ++i) {
    if (choices.one_in(6) && ends[i] - sent > 1) {
      const size_t cut = sent + 1 + choices.below(static_cast<uint32_t>(ends[i] - sent - 1));
      play.steps.push_back({.delay = between_tokens(), .bytes = wire.substr(sent, cut - sent)});
      sent = cut;
    }
    Step step{.delay = between_tokens(), .bytes = wire.substr(sent, ends[i] - sent)};
    step.after = std::move(after[i]);
    play.steps.push_back(std::move(step));
    sent = ends[i];
  }
  if (end == kFallsSilent) return;
  Step last{.delay = choices.one_in(4) ? world->some_delay() : 0us};
  // Anything may follow the finish reason.
  if (planned.has_stop && choices.one_in(12)) last.bytes.assign(choices.one_in(2) ? 100 : 100'000, '\n');
  if (planned.has_stop && choices.one_in(12)) return;
  last.ends = planned.has_stop || end == kFails || end == kThrottles;
  last.resets = end == kResets;
  last.closes = end == kCloses || play.steps.front().head->ends_with_connection;
  play.steps.push_back(std::move(last));
}

// No answer: an error in any of its forms, a gateway's page, or nothing at all.
void Upstream::plan_error(Play& play) {
  Choices& choices = world->choices;
  const bool streams = play.question.is_upstream_stream();
  Step step{.delay = choices.one_in(2) ? between_tokens() : world->some_delay()};
  enum Form { kAsJson, kAsEvent, kAsPage, kAsNothing, kAsClose, kAsReset, kAsSilence };
  static constexpr Form kForms[] = {kAsJson, kAsJson,    kAsJson,  kAsEvent, kAsEvent,
                                    kAsPage, kAsNothing, kAsClose, kAsReset, kAsSilence};
  const Form form = choices.of(kForms);
  step.ends = true;
  switch (form) {
    case kAsJson:
    case kAsEvent: {
      const Refusal& refusal = kRefusals[choices.below(std::size(kRefusals))];
      const std::string json = error_json(refusal.code, refusal.message);
      const bool as_event = form == kAsEvent && streams;
      step.head =
          Head{as_event && choices.one_in(2) ? 200 : refusal.status, std::string(as_event ? kEvents : kJson)};
      step.bytes = as_event ? event("error", refusal.status, json) : json;
      Attempt failed;
      failed.is_free_failure = refusal.is_free;
      failed.is_of_target = refusal.is_of_target;
      failed.is_final = !refusal.is_of_target;
      if (refusal.status == 429 && choices.one_in(4)) {
        static constexpr long kWaits[] = {1, 3, 10, 11, 200};
        step.head->retry_after_s = choices.of(kWaits);
        if (refusal.is_free) failed.retry_after = std::chrono::seconds(step.head->retry_after_s);
      }
      step.after = failed;
      break;
    }
    case kAsPage:
      step.head = Head{choices.one_in(2) ? 502 : 200, "text/html"};
      step.after.emplace();
      step.after->is_of_target = step.head->status == 502;
      step.after->is_final = !step.after->is_of_target;
      step.bytes = "<html><body>Bad Gateway</body></html>";
      break;
    case kAsNothing:
      step.head = Head{200, std::string(kEvents)};
      step.after.emplace();
      step.after->is_final = true;
      break;
    case kAsClose:
      step.closes = true;
      step.ends = false;
      break;
    case kAsReset:
      step.resets = true;
      step.ends = false;
      break;
    case kAsSilence:
      step.ends = false;
      break;
  }
  play.steps.push_back(std::move(step));
}

}  // namespace bailian::simulation
