#include "chat/flight.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <deque>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace bailian {
namespace {

using State = AnswerRecording::State;

/// Stands in for the upstream: the test decides what arrives.
class FakeSource final : public AnswerSource {
 public:
  FakeSource(AnswerHandler& receiver, const Target& asked, FakeSource*& place)
      : handler(receiver), place_(place), target_(asked) {
    EXPECT_EQ(place_, nullptr) << "two at a time";
    place_ = this;
  }
  ~FakeSource() override { place_ = nullptr; }

  bool pause() override {
    EXPECT_FALSE(is_paused);
    return is_paused = true;
  }
  void resume() override {
    EXPECT_TRUE(is_paused);
    is_paused = false;
  }
  void cancel() noexcept override {}
  [[nodiscard]] const Target* target() const override { return &target_; }
  [[nodiscard]] bool has_lost_session() const override { return false; }
  [[nodiscard]] const Answer& answer() const override { return details; }

  AnswerHandler& handler;
  Answer details;
  bool is_paused = false;

 private:
  FakeSource*& place_;
  const Target& target_;
};

/// A chat, which notes in short form what its answer is.
class Visitor final : public AnswerHandler {
 public:
  std::string log;
  std::unique_ptr<AnswerReader> reader;
  bool is_paused = false;
  bool fails_on_text = false;
  Answer last;

  void on_text(std::string_view text) override {
    EXPECT_FALSE(is_paused);
    if (fails_on_text) throw std::bad_alloc();
    log += text;
  }
  void on_finished(const Answer& answer) override {
    last = answer;
    log += '.';
  }
  void on_failed(const UpstreamError& error) override { log += "!" + error.code; }
  void on_refused(const HttpError& error) override { log += "?" + std::string(error.code()); }
  void on_exception(const std::exception&) noexcept override { log += '#'; }
  void on_request(const Target&) noexcept override { log += '>'; }
};

class FlightTest : public testing::Test {
 protected:
  FlightTest() { snapshot_ = std::make_shared<ConfigSnapshot>(loop_, config(), state_, received_); }

  static Config config() {
    Config config;
    config.targets[0].api_key = "sk-0123456789abcdef";
    config.targets[0].app_id = "app";
    config.targets[0].base_url = "https://a";
    config.parameters_json = "{}";
    config.answer_cache = AnswerCaching::kButtons;
    config.answer_cache_ttl = Seconds(3600);
    config.answer_cache_bytes = 1 << 20;
    return config;
  }

  SharedAnswers::Request question() const {
    SharedAnswers::Request request;
    request.cache_key = AnswerCache::Key{scope_, "hello"};
    return request;
  }
  Admission admit(EventLoop& loop, SharedAnswers::Request request) {
    return answers_.admit(std::move(request), snapshot_->config, loop, Clock::now());
  }
  Admission admit() { return admit(loop_, question()); }

  // The visitor gets the answer; the first one asks for it, and the others join.
  void open(Visitor& visitor, Admission admission) {
    visitor.reader = std::make_unique<AnswerReader>(loop_, std::move(admission.subscription), admission.role,
                                                    snapshot_->config, visitor);
    if (admission.duty) start(*visitor.reader, std::move(admission.duty));
  }
  void start(AnswerReader& asker, FlightDuty duty) {
    const Flight::Ask ask = [this](AnswerHandler& handler) {
      if (refusal_) throw *refusal_;
      ++asked_;
      return std::make_unique<FakeSource>(handler, snapshot_->config.targets[0], source_);
    };
    flights_->start(loop_, state_, snapshot_, snapshot_->bots.front(), "r", std::move(duty), asker, ask);
  }

  // Runs each step in an iteration of the loop of its own, and after the last one once more.
  void play(std::deque<std::function<void()>> steps) {
    drive([&] {
      if (steps.empty()) return false;
      const auto step = std::move(steps.front());
      steps.pop_front();
      step();
      return true;
    });
  }
  void drive(const std::function<bool()>& step) {
    std::function<void()> task = [&] { step() ? loop_.post(task) : loop_.stop(); };
    loop_.post(task);
    loop_.run();
  }

  EventLoop loop_{std::chrono::nanoseconds::zero()};
  Tally received_;
  ServiceState state_{config()};
  std::shared_ptr<ConfigSnapshot> snapshot_;
  std::shared_ptr<const AnswerScope> scope_ = make_answer_scope(config());
  SharedAnswers answers_;
  FakeSource* source_ = nullptr;
  int asked_ = 0;
  std::optional<HttpError> refusal_;
  std::optional<Flights> flights_{std::in_place, loop_};
};

Answer complete() {
  Answer answer;
  answer.finish_reason = "stop";
  answer.session_id = "s";
  answer.has_usage = true;
  answer.usage = {3, 4};
  return answer;
}

TEST_F(FlightTest, TheUpstreamIsAskedOnceForAllWhoAskMeanwhile) {
  Visitor first;
  Visitor second;
  Visitor third;
  play({[&] { open(first, admit()); }, [&] { source_->handler.on_text("a"); }, [&] { open(second, admit()); },
        [&] {
          EXPECT_EQ(second.log, "a");
          source_->handler.on_text("b");
          source_->details = complete();
          source_->handler.on_finished(source_->details);
        },
        [&] { open(third, admit()); }, [&] { EXPECT_EQ(source_, nullptr); }});
  EXPECT_EQ(asked_, 1);
  for (const Visitor* visitor : {&first, &second, &third}) EXPECT_EQ(visitor->log, "ab.");
  EXPECT_EQ(first.last.session_id, "s");
  EXPECT_EQ(first.last.usage.output_tokens, 4U);
  for (const Visitor* other : {&second, &third}) {
    EXPECT_EQ(other->last.session_id, "") << "another visitor's conversation";
    EXPECT_EQ(other->last.usage.input_tokens + other->last.usage.output_tokens, 0U);
    EXPECT_EQ(other->last.finish_reason, "stop");
  }
}

TEST_F(FlightTest, AVisitorWhoRepeatsAKeyGetsTheSessionAndTheUsageToo) {
  Visitor first;
  Visitor joins;
  Visitor replays;
  const auto keyed = [] {
    SharedAnswers::Request request;
    request.idempotency_id = "k";
    request.fingerprint = 1;
    return request;
  };
  play({[&] { open(first, admit(loop_, keyed())); },
        [&] {
          source_->details.session_id = "s";
          source_->handler.on_text("a");
          Admission admission = admit(loop_, keyed());
          EXPECT_EQ(admission.idempotent, "joined");
          open(joins, std::move(admission));
        },
        [&] {
          EXPECT_EQ(joins.reader->answer().session_id, "s") << "each piece names the session";
          source_->details = complete();
          source_->handler.on_finished(source_->details);
        },
        [&] {
          Admission admission = admit(loop_, keyed());
          EXPECT_EQ(admission.idempotent, "replayed");
          open(replays, std::move(admission));
        },
        [&] {
          auto other = keyed();
          other.fingerprint = 2;
          try {
            admit(loop_, other);
            ADD_FAILURE();
          } catch (const HttpError& error) {
            EXPECT_EQ(error.status(), 422);
            EXPECT_EQ(error.code(), "idempotency_mismatch");
          }
        }});
  EXPECT_EQ(asked_, 1);
  for (const Visitor* visitor : {&first, &joins, &replays}) {
    EXPECT_EQ(visitor->log, "a.");
    EXPECT_EQ(visitor->last.session_id, "s");
    EXPECT_EQ(visitor->last.usage.output_tokens, 4U);
  }
}

TEST_F(FlightTest, AFreshAnswerPassesTheCacheByAndRefreshesIt) {
  Visitor first;
  Visitor fresh;
  Visitor next;
  const auto finish = [&](const char* text) {
    source_->handler.on_text(text);
    source_->details = complete();
    source_->handler.on_finished(source_->details);
  };
  play({[&] { open(first, admit()); }, [&] { finish("old"); },
        [&] {
          auto request = question();
          request.is_fresh = true;
          open(fresh, admit(loop_, std::move(request)));
        },
        [&] { finish("new"); }, [&] { open(next, admit()); }, [] {}});
  EXPECT_EQ(asked_, 2);
  EXPECT_EQ(first.log, "old.");
  EXPECT_EQ(fresh.log, "new.");
  EXPECT_EQ(next.log, "new.");
}

TEST_F(FlightTest, OnlyACompleteAnswerThatNoContentCheckTouchedIsKept) {
  struct Case {
    const char* name;
    std::function<void(Answer&)> change;
    const char* text;
    const char* next;  // admission
  };
  const std::vector<Case> cases = {
      {"whole", [](Answer&) {}, "a", "hit"},
      {"cut", [](Answer& a) { a.finish_reason = "length"; }, "a", "miss"},
      {"filtered", [](Answer& a) { a.finish_reason = "content_filter"; }, "a", "miss"},
      {"rejected", [](Answer& a) { a.is_rejected = true; }, "a", "miss"},
      {"empty", [](Answer&) {}, "", "miss"},
  };
  std::deque<Visitor> visitors;
  std::deque<std::function<void()>> steps;
  for (const Case& test : cases) {
    SharedAnswers::Request request = question();
    request.cache_key->prompt = test.name;
    Visitor& visitor = visitors.emplace_back();
    steps.emplace_back([&, request] { open(visitor, admit(loop_, request)); });
    steps.emplace_back([&] {
      if (*test.text != '\0') source_->handler.on_text(test.text);
      source_->details = complete();
      test.change(source_->details);
      source_->handler.on_finished(source_->details);
    });
    steps.emplace_back([&, request] { EXPECT_EQ(admit(loop_, request).cache, test.next) << test.name; });
  }
  play(std::move(steps));
}

TEST_F(FlightTest, ARefusalAtOnceIsTheAskersAndOfThoseWhoJoined) {
  refusal_ = HttpError(429, "budget_used_up", "The budget is used up");
  Visitor asker;
  Visitor joined;
  play({[&] {
          Admission first = admit();
          open(joined, admit());
          EXPECT_THROW(open(asker, std::move(first)), HttpError);
        },
        [] {}});
  EXPECT_EQ(joined.log, "?budget_used_up");
  EXPECT_EQ(asker.log, "") << "its constructor has thrown";
  EXPECT_EQ(asked_, 0);
  EXPECT_EQ(admit().cache, "miss");
}

TEST_F(FlightTest, AQuestionWhoseChatCannotBeMadeLeavesNobodyWaiting) {
  Visitor joined;
  play({[&] {
          const Admission first = admit();
          open(joined, admit());
        },
        [] {}});
  EXPECT_EQ(joined.log, "#");
  EXPECT_EQ(admit().cache, "miss");
}

TEST_F(FlightTest, AVisitorWithoutMemoryFailsAlone) {
  Visitor first;
  Visitor second;
  play({[&] { open(first, admit()); },
        [&] {
          open(second, admit());
          first.fails_on_text = true;
        },
        [&] { source_->handler.on_text("a"); },
        [&] {
          first.reader.reset();
          source_->handler.on_text("b");
        },
        [&] {
          source_->handler.on_failed({UpstreamFault::kFailed, "x", "", "", false});
        }});
  EXPECT_EQ(first.log, "#");
  EXPECT_EQ(second.log, "ab!x");
}

TEST_F(FlightTest, AttemptsAreTheAskersWhileItIsThere) {
  Visitor first;
  Visitor second;
  play({[&] {
          open(first, admit());
          open(second, admit());
        },
        [&] {
          source_->handler.on_request(*source_->target());
          first.reader.reset();
        },
        [&] { source_->handler.on_request(*source_->target()); }});
  EXPECT_EQ(first.log, ">");
  EXPECT_EQ(second.log, "");
  EXPECT_NE(state_.metrics.text({}).find(R"(bailian_upstream_requests_total{bot="default",target="1"} 1)"),
            std::string::npos);
}

TEST_F(FlightTest, WhatAnAnswerCostIsCountedOnceWhoeverLeaves) {
  Visitor first;
  Visitor second;
  play({[&] {
          open(first, admit());
          open(second, admit());
        },
        [&] {
          source_->handler.on_text("a");
          first.reader.reset();
        },
        [&] {
          source_->details = complete();
          source_->details.model = "qwen";
          source_->handler.on_finished(source_->details);
        }});
  const std::string text = state_.metrics.text({});
  EXPECT_NE(text.find(R"(bailian_tokens_total{bot="default",model="qwen",type="input"} 3)"),
            std::string::npos);
  EXPECT_NE(text.find(R"(bailian_tokens_total{bot="default",model="qwen",type="output"} 4)"),
            std::string::npos);
}

TEST_F(FlightTest, ErrorsShowNoKey) {
  Visitor visitor;
  play({[&] { open(visitor, admit()); },
        [&] {
          source_->handler.on_failed({UpstreamFault::kAuth, "sk-0123456789abcdef", "", "", false});
        }});
  EXPECT_EQ(visitor.log.find("sk-0123456789abcdef"), std::string::npos);
  EXPECT_EQ(visitor.log.front(), '!');
}

// --- every order of what may happen ---

/// Runs every sequence of a few events, compares each visitor with a model after each iteration of the loop.
class FlightOrders : public FlightTest {
 protected:
  // p: a piece; f e r m: the answer finishes, fails, is refused, breaks; j J: the second, third visitor asks;
  // A B C: a visitor leaves; x y: the first, second stops reading or goes on; s: the loop ends.
  static constexpr std::string_view kEvents = "pfermjJABCxys";
  enum { kLeft = -1 };

  struct Person {
    Visitor visitor;
    bool is_there = false;
    int flight = 0;
  };

  void begin(std::string_view sequence) {
    sequence_ = sequence;
    request_ = question();
    request_.cache_key->prompt = sequence;
    model_ = {};
    people_ = {};
    join(0);
  }

  void join(int who) {
    Person& person = people_.at(static_cast<size_t>(who));
    Admission admission = admit(loop_, request_);
    const bool can_share = model_.is_asked && (model_.end == 0 || model_.end == 'f') && !model_.is_abandoned;
    EXPECT_EQ(admission.role, can_share ? ReaderRole::kOther : ReaderRole::kAsker) << sequence_;
    if (model_.is_asked && !can_share) return;  // a new flight, which is not followed
    model_.is_asked = true;
    open(person.visitor, std::move(admission));
    person.is_there = true;
  }
  void leave(size_t who) {
    people_.at(who).visitor.reader.reset();
    people_.at(who).is_there = false;
  }
  void toggle(size_t who) {
    Person& person = people_.at(who);
    if (!person.is_there) return;
    if (person.visitor.is_paused) {
      person.visitor.is_paused = false;
      person.visitor.reader->resume();
    } else {
      person.visitor.is_paused = person.visitor.reader->pause();
    }
  }

  void happen(char event) {
    switch (event) {
      case 'p':
        if (source_ == nullptr) return;
        model_.text += static_cast<char>('0' + model_.text.size());
        return source_->handler.on_text(model_.text.substr(model_.text.size() - 1));
      case 'f':
        if (source_ == nullptr) return;
        model_.end = event;
        // An answer without text would not be kept.
        if (model_.text.empty()) happen('p');
        source_->details = complete();
        return source_->handler.on_finished(source_->details);
      case 'e':
        if (source_ == nullptr) return;
        model_.end = event;
        return source_->handler.on_failed({UpstreamFault::kFailed, "", "", "", false});
      case 'r':
        if (source_ == nullptr) return;
        model_.end = event;
        return source_->handler.on_refused(HttpError(429, "r", ""));
      case 'm':
        if (source_ == nullptr) return;
        model_.end = event;
        return source_->handler.on_exception(std::bad_alloc());
      case 'j':
      case 'J':
        if (people_.at(event == 'j' ? 1 : 2).visitor.log.empty() &&
            !people_.at(event == 'j' ? 1 : 2).is_there)
          join(event == 'j' ? 1 : 2);
        return;
      case 'A':
      case 'B':
      case 'C':
        return leave(static_cast<size_t>(event - 'A'));
      case 'x':
      case 'y':
        return toggle(static_cast<size_t>(event - 'x'));
      default:
        if (source_ != nullptr) model_.end = 'm';
        flights_.reset();
        flights_.emplace(loop_);
        return;
    }
  }

  // After an iteration.
  void check() {
    const auto there = std::ranges::count_if(people_, &Person::is_there);
    const auto paused = std::ranges::count_if(
        people_, [](const Person& person) { return person.is_there && person.visitor.is_paused; });
    if (model_.end == 0 && there == 0) model_.is_abandoned = true;
    const bool goes_on = model_.end == 0 && !model_.is_abandoned;
    EXPECT_EQ(source_ != nullptr, goes_on) << sequence_;
    if (source_ != nullptr) {
      EXPECT_EQ(source_->is_paused, paused == there) << sequence_;
    }
    static const std::map<char, std::string> kEnds = {
        {0, ""}, {'f', "."}, {'e', "!"}, {'r', "?r"}, {'m', "#"}};
    for (const Person& person : people_) {
      if (!person.is_there || person.visitor.is_paused) continue;
      EXPECT_EQ(person.visitor.log, model_.text + kEnds.at(model_.end)) << sequence_;
    }
  }

  // The next sequence in the order of kEvents; false after the last.
  static bool advance(std::string& sequence) {
    for (char& event : sequence) {
      const size_t next = kEvents.find(event) + 1;
      event = kEvents[next % kEvents.size()];
      if (next < kEvents.size()) return true;
    }
    return false;
  }

  struct Model {
    std::string text;
    char end = 0;  // the event; 0: none
    bool is_asked = false;
    bool is_abandoned = false;
  };
  std::string sequence_;
  SharedAnswers::Request request_;
  Model model_;
  std::array<Person, 3> people_;
};

TEST_F(FlightOrders, GiveEveryVisitorTheWholeAnswerAndEndItWithTheLast) {
  std::string sequence(4, kEvents.front());
  size_t at = 0;
  begin(sequence);
  drive([&] {
    check();
    if (HasFailure()) return false;
    if (at < sequence.size()) {
      happen(sequence[at++]);
      return true;
    }
    if (at++ == sequence.size()) {
      for (size_t who = 0; who < people_.size(); ++who) leave(who);
      return true;
    }
    EXPECT_EQ(source_, nullptr) << sequence;
    at = 0;
    if (!advance(sequence)) return false;
    begin(sequence);
    return true;
  });
}

// --- several loops ---

/// A loop with a thread of its own.
class OtherLoop {
 public:
  ~OtherLoop() {
    loop.stop();
    thread_.join();
  }
  void call(const std::function<void()>& task) {
    std::promise<void> done;
    loop.post([&] {
      task();
      done.set_value();
    });
    done.get_future().wait();
  }
  EventLoop loop{std::chrono::nanoseconds::zero()};

 private:
  std::thread thread_{[this] { loop.run(); }};
};

/// A visitor of another loop.
class FarVisitor {
 public:
  FarVisitor(OtherLoop& other, AnswerRecording::Subscription subscription, const Config& config)
      : other_(other) {
    other.call([&] {
      visitor.reader = std::make_unique<AnswerReader>(other.loop, std::move(subscription), ReaderRole::kOther,
                                                      config, visitor);
    });
  }
  ~FarVisitor() { leave(); }
  void leave() {
    other_.call([&] { visitor.reader.reset(); });
  }
  std::string log() {
    std::string copy;
    other_.call([&] { copy = visitor.log; });
    return copy;
  }
  Visitor visitor;

 private:
  OtherLoop& other_;
};

class FlightsOfLoops : public FlightTest {
 protected:
  // Waits on the loop's thread until it holds.
  void until(const std::function<bool()>& holds, std::function<void()> then) {
    if (holds()) return then();
    loop_.post([this, holds, then = std::move(then)] { until(holds, then); });
  }
};

TEST_F(FlightsOfLoops, AnAnswerReachesEveryLoop) {
  OtherLoop other;
  Visitor first;
  std::optional<FarVisitor> far;
  play({[&] { open(first, admit()); },
        [&] {
          source_->handler.on_text("a");
          far.emplace(other, admit(other.loop, question()).subscription, snapshot_->config);
          source_->handler.on_text("b");
          first.reader.reset();
        },
        [&] {
          ASSERT_NE(source_, nullptr) << "the other one still reads";
          source_->handler.on_text("c");
          source_->details = complete();
          source_->handler.on_finished(source_->details);
        }});
  while (far->log() != "abc.") std::this_thread::yield();
  EXPECT_EQ(asked_, 1);
}

TEST_F(FlightsOfLoops, TheLastOneOfAnotherLoopEndsTheAnswer) {
  OtherLoop other;
  Visitor first;
  std::optional<FarVisitor> far;
  loop_.post([&] {
    open(first, admit());
    far.emplace(other, admit(other.loop, question()).subscription, snapshot_->config);
    first.reader.reset();
    loop_.post([&] {
      EXPECT_NE(source_, nullptr);
      far->leave();
      until([&] { return source_ == nullptr; }, [&] { loop_.stop(); });
    });
  });
  loop_.run();
  EXPECT_EQ(admit().cache, "miss");
}

TEST_F(FlightsOfLoops, ASlowVisitorOfAnotherLoopHoldsNobodyUp) {
  OtherLoop other;
  Visitor first;
  std::optional<FarVisitor> far;
  loop_.post([&] {
    open(first, admit());
    far.emplace(other, admit(other.loop, question()).subscription, snapshot_->config);
    source_->handler.on_text("a");
    until([&] { return far->log() == "a"; },
          [&] {
            other.call([&] { far->visitor.is_paused = far->visitor.reader->pause(); });
            source_->handler.on_text("b");
            EXPECT_EQ(first.log, "ab");
            EXPECT_FALSE(source_->is_paused);
            first.is_paused = first.reader->pause();
            until([&] { return source_->is_paused; },
                  [&] {
                    other.call([&] {
                      far->visitor.is_paused = false;
                      far->visitor.reader->resume();
                    });
                    EXPECT_EQ(far->log(), "ab");
                    until([&] { return !source_->is_paused; }, [&] { loop_.stop(); });
                  });
          });
  });
  loop_.run();
}

TEST_F(FlightsOfLoops, AReaderMayLeaveWhileItIsNotified) {
  const Recorded recorded = start_recording(loop_);
  OtherLoop other;
  const auto read = [&](void* place, Visitor& visitor) {
    return new (place) AnswerReader(other.loop, AnswerRecording::Subscription(recorded), ReaderRole::kOther,
                                    snapshot_->config, visitor);
  };
  // The memory of each is spoilt after its end: whoever still knows it crashes, also without a sanitizer.
  struct Place {
    alignas(AnswerReader) std::array<unsigned char, sizeof(AnswerReader)> bytes;
  };
  std::vector<Place> places(200);
  // As these are notified first, most of the others leave between the beginning and the end of that.
  std::vector<Place> staying(100);
  Visitor visitor;
  std::atomic<uint64_t> deliveries{0};
  std::atomic<bool> all_left{false};
  const auto come_and_go = [&] {
    std::vector<AnswerReader*> stay;
    for (Place& place : staying) stay.push_back(read(place.bytes.data(), visitor));
    for (Place& place : places) {
      AnswerReader* const reader = read(place.bytes.data(), visitor);
      for (const uint64_t seen = deliveries; deliveries == seen;) std::this_thread::yield();
      std::destroy_at(reader);
      place.bytes.fill(0);
    }
    for (AnswerReader* const reader : stay) std::destroy_at(reader);
    all_left = true;
  };
  other.loop.post(come_and_go);
  for (; !all_left; ++deliveries) recorded.recording->deliver();
  other.call([] {});  // its loop has called whom it was told of
}

// Two loops ask, join and leave at any moment. Everyone gets the beginning of one answer, or all of it.
TEST_F(FlightsOfLoops, VisitorsComeAndGoAtAnyMoment) {
  constexpr int kRounds = 300;
  OtherLoop other;
  std::minstd_rand random(4711);
  int round = 0;
  std::optional<FarVisitor> far;
  Visitor first;
  const std::string whole = "0123456789.";
  int piece = 0;
  int first_leaves_at = 0;
  drive([&] {
    if (piece == 0) {
      far.reset();
      first.reader.reset();
      first.log.clear();
      if (round++ == kRounds) return false;
    }
    if (piece == 1) {
      if (source_ != nullptr) return true;  // the last round's
      auto request = question();
      request.cache_key->prompt = std::to_string(round);
      open(first, admit(loop_, request));
      far.emplace(other, admit(other.loop, request).subscription, snapshot_->config);
      const int leaves_at = static_cast<int>(random() % 14);
      other.loop.post([&far, leaves_at, spins = random() % 2000] {
        for (unsigned i = 0; i < spins; ++i) std::this_thread::yield();
        if (leaves_at < 7) far->visitor.reader.reset();
      });
      first_leaves_at = static_cast<int>(random() % 14);
    }
    if (piece >= 2 && piece < 12 && source_ != nullptr) source_->handler.on_text(std::to_string(piece - 2));
    if (piece == first_leaves_at) first.reader.reset();
    if (piece == 12 && source_ != nullptr) {
      source_->details = complete();
      source_->handler.on_finished(source_->details);
    }
    if (++piece < 14) return true;
    piece = 0;
    const bool far_reads_on = [&] {
      bool reads = false;
      other.call([&] { reads = far->visitor.reader != nullptr; });
      return reads;
    }();
    if (far_reads_on) {
      EXPECT_EQ(far->log(), whole) << round;
    }
    EXPECT_EQ(whole.find(first.log), 0U) << first.log;
    EXPECT_EQ(whole.find(far->log()), 0U);
    return !HasFailure();
  });
}

}  // namespace
}  // namespace bailian
