#include "damaged_script.h"

#include <algorithm>
#include <utility>

namespace bailian::simulator {
namespace {

constexpr std::size_t kUsualAfter = 2;
constexpr std::size_t kHugeBytes = 10'000'000;
constexpr std::size_t kDepth = 100'000;

void halve(std::string& event, std::size_t) { event.resize(event.size() / 2); }

void drop(std::string& event, std::size_t) { event.clear(); }

// Into the first text of the event.
void insert_text(std::string_view raw, std::string& event) {
  for (const std::string_view member : {R"("content":")", R"("text":")"}) {
    const auto found = event.find(member);
    if (found == std::string::npos) continue;
    event.insert(found + member.size(), raw);
    return;
  }
}

// Replaces the data, or a body that is only JSON, with `json`.
void replace_json(const std::string& json, std::string& event) {
  const auto begin = std::min(event.find('{'), event.size());
  const auto end = event.find_last_of('}');
  event.replace(begin, end == std::string::npos ? 0 : end + 1 - begin, json);
}

// The event stays whole, but its JSON ends too early.
void break_json(std::string& event, std::size_t) {
  const auto begin = std::min(event.find('{'), event.size());
  const auto end = event.find_last_of('}');
  replace_json(event.substr(begin, (std::min(end, event.size()) - begin) / 2), event);
}

void nest(std::string& event, std::size_t) {
  replace_json(R"({"output":{"text":)" + std::string(kDepth, '[') + std::string(kDepth, ']') + "}}", event);
}

}  // namespace

std::optional<Damage> damage_of(Fault fault, std::optional<std::size_t> after, bool is_stream) {
  const std::size_t usual = after.value_or(kUsualAfter);
  switch (fault) {
    case Fault::kResetMidway:
      return Damage{usual, halve, Ending::kReset};
    case Fault::kCut:
      return Damage{usual, halve, Ending::kDone};
    case Fault::kTruncatedChunk:
      return Damage{usual, halve, Ending::kClose, true};
    case Fault::kStall:
      return Damage{after.value_or(1), is_stream ? drop : halve, Ending::kSilence};
    case Fault::kBadJson:
      return Damage{usual, break_json, std::nullopt};
    case Fault::kBadUtf8:
      return Damage{usual, [](std::string& e, std::size_t) { insert_text("\xFF\xC3(\xE4\xBD", e); },
                    std::nullopt};
    case Fault::kLoneSurrogate:
      return Damage{usual, [](std::string& e, std::size_t) { insert_text("\\ud83d", e); }, std::nullopt};
    case Fault::kDeep:
      return Damage{usual, nest, std::nullopt};
    case Fault::kHuge:
      return Damage{usual, [](std::string& e, std::size_t) { insert_text(std::string(kHugeBytes, 'x'), e); },
                    std::nullopt};
    default:
      return std::nullopt;
  }
}

DamagedScript::DamagedScript(std::unique_ptr<Script> inner, Damage damage)
    : inner_(std::move(inner)), damage_(std::move(damage)) {
  damage_.after = std::min(damage_.after, inner_->text_events());
}

Ending DamagedScript::ending() const {
  return is_damaged_ && damage_.ending ? *damage_.ending : inner_->ending();
}

Step DamagedScript::next(std::string& out) {
  if (is_damaged_ && damage_.ending) return Step::kFinished;
  if (!is_damaged_ && texts_ == damage_.after) return next_damaged(out);
  const Step step = inner_->next(out);
  ++events_;
  if (step == Step::kText) ++texts_;
  return step;
}

Step DamagedScript::next_damaged(std::string& out) {
  is_damaged_ = true;
  const Step step = inner_->next(event_);
  if (step == Step::kFinished) return step;
  damage_.edit(event_, ++events_);
  out += std::exchange(event_, {});
  return damage_.overruns ? Step::kOverrun : damage_.ending ? Step::kOther : step;
}

}  // namespace bailian::simulator
