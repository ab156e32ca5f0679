// Observes every change of state of Chat and Completion. chat/chat.cc and dashscope/completion.cc are
// compiled with -finstrument-functions, this file with -fno-access-control.

#include "simulation/coverage.h"

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <utility>

#include "chat/chat.h"
#include "chat/metered_answer.h"
#include "dashscope/completion.h"
#include "service/worker.h"
#include "simulation/record.h"

namespace bailian::simulation {
namespace {

Worker* observed = nullptr;
Coverage* coverage = nullptr;

void note(const Chat& chat) {
  const int number = std::atoi(chat.chat_.request_id.c_str() + 1);
  Question& question = record->questions()[static_cast<size_t>(number)];
  const auto phase = static_cast<size_t>(chat.phase_);
  if (phase != question.chat_phase) ++coverage->chat.at(std::exchange(question.chat_phase, phase)).at(phase);
  const auto* completion = dynamic_cast<const Completion*>(chat.source_.get());
  if (const auto* const metered = dynamic_cast<const MeteredAnswer*>(chat.source_.get()))
    completion = metered->completion_.get();
  if (completion == nullptr) return;
  const auto state = static_cast<size_t>(completion->state_);
  if (state != question.completion_state)
    ++coverage->completion.at(std::exchange(question.completion_state, state)).at(state);
}

void note_all() {
  if (observed == nullptr || coverage == nullptr) return;
  const OutsideProduct outside;
  for (const auto& connections : observed->listener_.connections_) {
    for (const FcgiConnection& connection : connections) {
      if (const auto* const chat = dynamic_cast<const Chat*>(connection.exchange_.get())) note(*chat);
    }
  }
}

// A pointer to a non-virtual member function begins with the address of the function (Itanium C++ ABI, 2.3).
template <typename Method>
void* address_of(Method method) {
  return std::bit_cast<std::array<void*, 2>>(method).front();
}

struct Transition {
  size_t from;
  size_t to;
};

template <typename State>
constexpr Transition transition(State from, State to) {
  return {static_cast<size_t>(from), static_cast<size_t>(to)};
}

using enum ChatPhase;
constexpr Transition kChat[] = {
    transition(kWaiting, kOpen),        transition(kWaiting, kCollecting), transition(kWaiting, kFinished),
    transition(kOpen, kStreaming),      transition(kOpen, kFinished),      transition(kStreaming, kPaused),
    transition(kStreaming, kFinished),  transition(kPaused, kStreaming),   transition(kPaused, kFinished),
    transition(kCollecting, kFinished),
};
constexpr const char* kChatNames[] = {"waiting", "open", "streaming", "paused", "collecting", "finished"};

using State = Completion::State;
constexpr Transition kCompletion[] = {
    transition(State::kWaiting, State::kAnswering),    transition(State::kWaiting, State::kBackingOff),
    transition(State::kWaiting, State::kEnded),        transition(State::kAnswering, State::kPaused),
    transition(State::kAnswering, State::kBackingOff), transition(State::kAnswering, State::kEnded),
    transition(State::kPaused, State::kAnswering),     transition(State::kPaused, State::kEnded),
    transition(State::kBackingOff, State::kWaiting),   transition(State::kBackingOff, State::kEnded),
};
constexpr const char* kCompletionNames[] = {"waiting", "answering", "paused", "backing off", "ended"};

bool print(const char* what, std::span<const Transition> expected, const Coverage::Transitions& seen,
           std::span<const char* const> names) {
  size_t count = 0;
  for (const auto& [from, to] : expected) {
    const uint64_t times = seen.at(from).at(to);
    count += times > 0;
    std::printf("  %-11s %-11s to %-11s %12lu\n", what, names[from], names[to], times);
  }
  std::printf("  %-11s %zu of %zu transitions\n", what, count, expected.size());
  return count == expected.size();
}

}  // namespace

void observe_chats(Worker* worker) { observed = worker; }
void count_transitions(Coverage& counts) { coverage = &counts; }

bool print_coverage(const Coverage& counts) {
  const bool chat = print("chat", kChat, counts.chat, kChatNames);
  const bool completion = print("completion", kCompletion, counts.completion, kCompletionNames);
  return chat && completion;
}

}  // namespace bailian::simulation

extern "C" {

void __cyg_profile_func_enter(void*, void*) {}
void __cyg_profile_func_exit(void* function, void*) {
  static void* const chat = bailian::simulation::address_of(&bailian::Chat::enter);
  static void* const completion = bailian::simulation::address_of(&bailian::Completion::enter);
  if (function == chat || function == completion) bailian::simulation::note_all();
}
}
