#include "load.h"

#include <charconv>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <vector>

#include "../bench/connection.h"
#include "harness/deadline.h"
#include "harness/json.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

using bench::Clock;

constexpr double kStreamsPerSecond = 400;  // while streams are opened
constexpr double kChatsPerSecond = 20;
constexpr double kHealthsPerSecond = 20;
constexpr size_t kPieceChars = 3;
constexpr std::string_view kPace = "interval=500 delay=100";
constexpr std::chrono::seconds kLongestStream{60};

enum class Kind { kStream, kChat, kHealth };

struct Refused : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct Cut : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct Wrong : std::runtime_error {
  using std::runtime_error::runtime_error;
};

std::string body_of_chunks(std::string_view rest) {
  std::string body;
  for (;;) {
    const size_t line_end = rest.find("\r\n");
    if (line_end == std::string_view::npos) throw Cut("no end of the chunks");
    size_t size = 0;
    std::from_chars(rest.data(), rest.data() + line_end, size, 16);
    rest.remove_prefix(line_end + 2);
    if (size == 0) return body;
    if (rest.size() < size + 2) throw Cut("a chunk is cut");
    body += rest.substr(0, size);
    rest.remove_prefix(size + 2);
  }
}

std::string body_of(const std::string& answer) {
  if (answer.empty()) throw Refused("closed without an answer");
  const size_t head_end = answer.find("\r\n\r\n");
  if (head_end == std::string::npos) throw Cut("no whole head: " + answer);
  if (!answer.starts_with("HTTP/1.1 200 ")) throw Refused(answer);
  const std::string_view head = std::string_view(answer).substr(0, head_end);
  const std::string_view rest = std::string_view(answer).substr(head_end + 4);
  if (head.find("Transfer-Encoding: chunked") != std::string_view::npos) return body_of_chunks(rest);
  const size_t length_at = head.find("Content-Length: ");
  if (length_at == std::string_view::npos) throw Wrong("no length: " + answer);
  if (rest.size() != static_cast<size_t>(std::stoi(std::string(head.substr(length_at + 16)))))
    throw Cut("the body is shorter than it says");
  return std::string(rest);
}

std::string text_of_events(std::string_view body) {
  constexpr std::string_view kData = "data: ";
  std::string text;
  bool finished = false;
  while (!body.empty()) {
    const size_t end = body.find("\n\n");
    if (end == std::string_view::npos) throw Cut("an event is cut: " + std::string(body));
    const std::string_view event = body.substr(0, end);
    body.remove_prefix(end + 2);
    if (event == ": keep-alive") continue;
    if (finished || !event.starts_with(kData)) throw Wrong("no such event is due: " + std::string(event));
    const auto json = parse_json(event.substr(kData.size()));
    finished = bool_at(json, "/finished");
    if (!bool_at(json, "/success")) throw Cut(std::string(event));
    if (!finished) text += text_at(json, "/content");
  }
  if (!finished) throw Cut("no last event after: " + text);
  return text;
}

// One request and all bytes of its answer.
class Visitor : public bench::Connection {
 public:
  Visitor(bench::Poller& poller, const bench::Target& target, Kind kind, const std::string& request,
          std::string expected)
      : Visitor(poller, target, kind, std::make_unique<std::string>(request), std::move(expected)) {}

  Kind kind() const { return kind_; }
  bool has_begun() const { return !answer_.empty(); }
  bool has_ended() const { return ended_; }
  Clock::time_point opened() const { return opened_; }

  // Throws Refused, Cut or Wrong.
  void check() const {
    const auto body = body_of(answer_);
    if (kind_ == Kind::kHealth) return;
    const auto text = kind_ == Kind::kStream ? text_of_events(body) : text_at(parse_json(body), "/result");
    if (text != expected_) throw Wrong("\"" + expected_ + "\" was due, not \"" + text + "\"");
  }

 private:
  Visitor(bench::Poller& poller, const bench::Target& target, Kind kind, std::unique_ptr<std::string> request,
          std::string expected)
      : Connection(poller, target, *request),
        kind_(kind),
        request_(std::move(request)),
        expected_(std::move(expected)) {}

  void on_bytes(std::string_view bytes, Clock::time_point) override { answer_ += bytes; }
  void on_end() override { ended_ = true; }

  const Kind kind_;
  const std::unique_ptr<std::string> request_;
  const std::string expected_;
  const Clock::time_point opened_ = Clock::now();
  std::string answer_;
  bool ended_ = false;
};

class Crowd {
 public:
  explicit Crowd(uint16_t port) : host_("http://127.0.0.1:" + std::to_string(port)) {}

  void send(Kind kind) {
    static const std::vector<std::string> kClose{"Connection: close"};
    const auto number = std::to_string(++asked_);
    // Between 7 and 17 s long, so that they end one by one.
    const auto text = kind == Kind::kStream ? "visitor " + number + ' ' + std::string(30 + asked_ % 60, 's')
                                            : "visitor " + number;
    const auto prompt = "[[sim text=echo piece=" + std::to_string(kPieceChars) + ' ' +
                        std::string(kind == Kind::kStream ? kPace : "interval=0") + "]] " + text;
    const bench::Target& target = kind == Kind::kStream ? stream_ : kind == Kind::kChat ? chat_ : health_;
    const auto request = kind == Kind::kHealth ? target.request("GET", kClose, {})
                                               : target.request("POST", kClose, chat_body(prompt));
    visitors_.push_back(std::make_unique<Visitor>(poller_, target, kind, request, text));
    if (kind == Kind::kStream) ++streams_;
  }

  size_t streams() const { return streams_; }
  size_t visitors() const { return visitors_.size(); }

  // Serves the requests that are ready and adds those that have ended to the totals.
  void serve(Totals& totals) {
    poller_.wait(std::chrono::milliseconds(5));
    const auto now = Clock::now();
    std::erase_if(visitors_, [&](const std::unique_ptr<Visitor>& visitor) {
      if (!visitor->has_ended() && now - visitor->opened() < kLongestStream) return false;
      if (visitor->kind() == Kind::kStream) --streams_;
      count(*visitor, totals);
      return true;
    });
  }

 private:
  static void count(const Visitor& visitor, Totals& totals) {
    const auto note = [&](size_t& counter, const std::exception& fault) {
      ++counter;
      if (totals.first_fault.empty()) totals.first_fault = fault.what();
    };
    try {
      if (!visitor.has_ended()) throw Cut("an answer does not end");
      visitor.check();
      ++(visitor.kind() == Kind::kStream ? totals.streams
         : visitor.kind() == Kind::kChat ? totals.chats
                                         : totals.healths);
    } catch (const Refused& fault) {
      note(totals.refused, fault);
    } catch (const Cut& fault) {
      note(totals.cut, fault);
    } catch (const std::exception& fault) {
      note(totals.wrong, fault);
    }
  }

  const std::string host_;
  const bench::Target stream_{host_ + kStreamPath};
  const bench::Target chat_{host_ + kChatPath};
  const bench::Target health_{host_ + kHealthPath};
  bench::Poller poller_;
  size_t asked_ = 0;
  size_t streams_ = 0;
  std::vector<std::unique_ptr<Visitor>> visitors_;
};

size_t due(Clock::time_point since, double per_second) {
  return static_cast<size_t>(std::chrono::duration<double>(Clock::now() - since).count() * per_second);
}

}  // namespace

Load::Load(uint16_t port, size_t streams) : port_(port), streams_(streams), thread_([this] { run(); }) {}

Load::~Load() {
  if (thread_.joinable()) finish();
}

void Load::run() {
  Crowd crowd(port_);
  const auto start = Clock::now();
  size_t streams_sent = 0;
  size_t chats_sent = 0;
  size_t healths_sent = 0;
  while (!ending_ || crowd.visitors() > 0) {
    if (!ending_) {
      while (crowd.streams() < streams_ && streams_sent < due(start, kStreamsPerSecond)) {
        crowd.send(Kind::kStream);
        ++streams_sent;
      }
      for (const auto chats = due(start, kChatsPerSecond); chats_sent < chats; ++chats_sent)
        crowd.send(Kind::kChat);
      for (const auto healths = due(start, kHealthsPerSecond); healths_sent < healths; ++healths_sent)
        crowd.send(Kind::kHealth);
    }
    crowd.serve(totals_);
    {
      const std::lock_guard lock(mutex_);
      open_streams_ = crowd.streams();
      answers_ = totals_.streams + totals_.chats + totals_.healths;
    }
    changed_.notify_all();
  }
}

void Load::await_streams() {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, Deadline::kPatience, [this] { return open_streams_ >= streams_; }))
    throw std::runtime_error("not all streams get opened");
}

void Load::await_answers(size_t more) {
  std::unique_lock lock(mutex_);
  const size_t enough = answers_ + more;
  if (!changed_.wait_for(lock, Deadline::kPatience, [&] { return answers_ >= enough; }))
    throw std::runtime_error("answers stay away");
}

Totals Load::finish() {
  ending_ = true;
  thread_.join();
  return totals_;
}

}  // namespace bailian::e2e
