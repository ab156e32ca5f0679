#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "simulation/record.h"
#include "simulation/socket.h"

namespace bailian::simulation {

/// The schedule as its visitors see it.
class Site {
 public:
  virtual ~Site() = default;
  /// Connects to the product. False: it accepts no more connections.
  virtual bool connect(std::unique_ptr<Socket> socket) = 0;
  [[nodiscard]] virtual const Config& settings() const = 0;
  /// Whether the product may close a connection early: it drains or has ended, or descriptors or memory were
  /// exhausted.
  [[nodiscard]] virtual bool is_disturbed() const = 0;
  /// Whether the product was told to stop.
  [[nodiscard]] virtual bool is_stopping() const = 0;
  /// When the drain began.
  [[nodiscard]] virtual std::optional<Time> draining_since() const = 0;
  virtual void on_visitor_over() = 0;
};

/// One visitor behind a web server: a FastCGI connection and the requests on it.
class Visitor final : public Peer {
 public:
  Visitor(Site& site, int number);

  /// Connects after a delay.
  void begin();
  /// Its connection has ended.
  [[nodiscard]] bool is_over() const { return is_over_; }
  /// Checks the time limits of the connection.
  void check_limits() const;
  /// The product accepts no more connections, or has ended.
  void turn_away();

  void on_accepted() override;
  void on_received(uint64_t total) override;
  void on_end_received() override;
  void on_sent() override;
  void on_closed() override;
  void on_shut_down() override;

 private:
  enum class Kind { kChat, kHealth, kStatus, kUnknownPath, kBadJson, kProfile, kPreflight };
  enum class Reader { kPrompt, kSlow, kNever };
  enum class Leaving { kNever, kCloses, kResets, kAborts };
  enum class Stops { kNever, kInHead, kInBody };

  void connect();
  void ask();
  void ask_again();
  std::string request(const Question* question, std::string_view body, std::string_view path);
  void send_in_parts(std::string bytes);
  void leave();
  void read_later();
  void read();
  void take(std::string_view bytes);
  bool take_record();
  void take_output(std::string_view bytes);
  void take_event(std::string_view event);
  void take_whole_answer();
  void end_answer();
  void end_connection();
  void be_over();
  [[nodiscard]] bool has_ended() const { return question_ == nullptr || question_->has_end; }

  Site& site_;
  const int number_;
  Reader reader_ = Reader::kPrompt;
  bool is_local_ = true;
  int requests_left_ = 1;
  bool keeps_ = false;

  Socket* socket_ = nullptr;
  std::string arrived_;  // but was unread when the connection was closed
  bool is_closed_ = false;
  bool has_left_ = false;
  bool is_over_ = false;
  bool will_read_ = false;

  // The request.
  Kind kind_ = Kind::kChat;
  Leaving leaving_ = Leaving::kNever;
  Stops stops_ = Stops::kNever;
  Question* question_ = nullptr;
  uint64_t sent_ = 0;  // bytes, since the connection began
  int unsent_parts_ = 0;
  uint64_t params_end_ = 0;
  uint64_t request_end_ = 0;
  std::optional<uint64_t> abort_end_;
  std::optional<Time> accepted_at_;
  std::optional<Time> params_received_at_;
  std::optional<Time> parked_at_;

  // The answer.
  std::string records_;
  bool has_head_ = false;
  std::string head_;
  std::string output_;  // after the head; whole events are removed
  Time last_data_at_{};
  Duration lateness_then_{};
};

}  // namespace bailian::simulation
