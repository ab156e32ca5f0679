#include "dashscope/answer_text.h"

#include <utility>

#include "base/text.h"

namespace bailian {
namespace {

// Evidence that pieces are cumulative: they repeat this many bytes and grow twice, or they grow this many
// times. Fewer may be a coincidence, as in laughter or powers of ten: `1` `10` `100`.
constexpr size_t kStrongBytes = 16;
constexpr int kStrongGrowths = 4;
constexpr int kSomeGrowths = 2;

// A longer text is not kept just to correct a wrong guess.
constexpr size_t kMaxJoinedBytes = 4096;

}  // namespace

std::string_view AnswerText::take(std::string_view piece, bool last) {
  if (piece.empty()) return last ? release() : std::string_view();
  switch (kind_) {
    case Kind::kEmpty:
      returned_.add(piece);
      kind_ = last ? Kind::kIncremental : Kind::kOpen;
      if (!last) join(piece);
      return piece;
    case Kind::kOpen:
      return take_open(piece, last);
    case Kind::kIncremental:
      if (last && returned_.begins(piece)) return rest_of(piece);
      returned_.add(piece);
      return piece;
    case Kind::kCumulative:
      return take_cumulative(piece);
    case Kind::kWorkflow:
      return returned_.begins(piece) ? rest_of(piece) : std::string_view();
  }
  return {};
}

std::string_view AnswerText::take_message(std::string_view piece) {
  std::string_view text = piece;
  if (kind_ == Kind::kOpen) {
    joined_ += piece;
    text = release();
  } else {
    returned_.add(piece);
  }
  kind_ = Kind::kWorkflow;
  return text;
}

std::string_view AnswerText::release() {
  if (kind_ != Kind::kOpen) return {};
  kind_ = Kind::kIncremental;
  released_ = std::exchange(joined_, {}).substr(returned_.bytes());
  returned_.add(released_);
  return released_;
}

std::string_view AnswerText::take_open(std::string_view piece, bool last) {
  const std::string_view latest = std::string_view(joined_).substr(joined_.size() - latest_bytes_);
  const bool repeats = piece.starts_with(latest);
  // The last increment is empty, so a last piece that repeats the text is the whole answer.
  if (last && (repeats || piece.starts_with(joined_))) {
    kind_ = Kind::kCumulative;
    return rest_of(piece);
  }
  const bool stands_still =
      piece == latest && growths_ >= kSomeGrowths && joined_.size() + piece.size() <= kMaxJoinedBytes;
  const bool grows = repeats && piece.size() > latest.size();
  if (last || (!grows && !stands_still)) {
    if (joined_.size() == returned_.bytes()) {
      kind_ = Kind::kIncremental;
      free_memory(joined_);
      returned_.add(piece);
      return piece;
    }
    joined_ += piece;
    return release();
  }
  const bool is_long = latest.size() >= kStrongBytes;
  join(piece);
  if (!grows) return {};
  ++growths_;
  if (growths_ < kStrongGrowths && (growths_ < kSomeGrowths || !is_long)) return {};
  kind_ = Kind::kCumulative;
  if (joined_.size() > kMaxJoinedBytes) free_memory(joined_);
  return rest_of(piece);
}

std::string_view AnswerText::take_cumulative(std::string_view piece) {
  if (returned_.begins(piece)) {
    if (!joined_.empty()) join(piece);
    if (joined_.size() > kMaxJoinedBytes) free_memory(joined_);
    return rest_of(piece);
  }
  // They were increments all along, which may still begin with the text returned so far.
  if (!joined_.empty() && returned_.begins(joined_)) {
    joined_ += piece;
    kind_ = Kind::kOpen;
    return release();
  }
  is_contradictory_ = true;
  return {};
}

std::string_view AnswerText::rest_of(std::string_view whole) {
  const std::string_view rest = whole.substr(returned_.bytes());
  returned_.add(rest);
  return rest;
}

void AnswerText::join(std::string_view piece) {
  joined_ += piece;
  latest_bytes_ = piece.size();
}

// FNV-1a.
void AnswerText::Digest::add(std::string_view text) {
  constexpr uint64_t kPrime = 0x100000001b3;
  for (const char c : text) hash_ = (hash_ ^ static_cast<unsigned char>(c)) * kPrime;
  bytes_ += text.size();
}

bool AnswerText::Digest::begins(std::string_view text) const {
  if (text.size() < bytes_) return false;
  Digest start;
  start.add(text.substr(0, bytes_));
  return start.hash_ == hash_;
}

}  // namespace bailian
