#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace bailian::simulator {

enum class Step {
  kText,      // an event with a piece of the answer's text
  kOther,     // an event without, or a body that is not a stream
  kOverrun,   // bytes to send in a chunk that promises more than it holds; the last
  kFinished,  // nothing was added and nothing will be
};

// The next step of the connection when a script has finished.
enum class Ending { kDone, kClose, kReset, kSilence };

// The body of one answer, event by event. A script uses no clock and no socket.
class Script {
 public:
  virtual ~Script() = default;
  // Appends the next event to `out`.
  virtual Step next(std::string& out) = 0;
  virtual Ending ending() const { return Ending::kDone; }
  // How many times next() will return kText.
  virtual std::size_t text_events() const { return 0; }
};

// Bytes known beforehand.
class FixedScript : public Script {
 public:
  explicit FixedScript(std::string body);
  // Cut after each blank line, so that a stream is paced like any other.
  static std::unique_ptr<FixedScript> events(const std::string& stream);

  Step next(std::string& out) override;
  std::size_t text_events() const override;

 private:
  std::vector<std::string> pieces_;
  std::size_t at_ = 0;
  bool is_stream_ = false;
};

// `:keepalive` comments without end.
class KeepaliveScript : public Script {
 public:
  Step next(std::string& out) override;
};

// 64 MB of one line, then the connection closes.
class EndlessLineScript : public Script {
 public:
  Step next(std::string& out) override;
  Ending ending() const override { return Ending::kClose; }

 private:
  std::size_t sent_bytes_ = 0;
};

// Rewrites the events of another script in the form of example 16: a BOM, comments, CRLF, a space after the
// colon, no HTTP_STATUS line, and a last event with data only.
class CrlfScript : public Script {
 public:
  explicit CrlfScript(std::unique_ptr<Script> inner) : inner_(std::move(inner)) {}

  Step next(std::string& out) override;
  Ending ending() const override { return inner_->ending(); }
  std::size_t text_events() const override { return inner_->text_events(); }

 private:
  std::unique_ptr<Script> inner_;
  std::string event_;
  bool started_ = false;
};

}  // namespace bailian::simulator
