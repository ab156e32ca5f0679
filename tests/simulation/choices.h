#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace bailian::simulation {

/// The only source of randomness in a schedule: the same seed or script gives the same schedule.
class Choices {
 public:
  explicit Choices(uint64_t seed) : state_(seed) {}
  /// Takes the choices from `script`. After its end every choice is 0.
  explicit Choices(std::vector<uint32_t> script) : script_(std::move(script)), is_scripted_(true) {}

  /// A number less than `bound`. 0 is the plainest choice: nothing fails, nobody leaves.
  uint32_t below(uint32_t bound) {
    uint32_t value = 0;
    if (!is_scripted_) {
      value = static_cast<uint32_t>((next() >> 32) * bound >> 32);
    } else if (taken_.size() < script_.size()) {
      value = script_[taken_.size()] % bound;
    }
    taken_.push_back(value);
    if (on_choice) on_choice(value);
    return value;
  }
  bool one_in(uint32_t count) { return below(count) == count - 1; }
  template <typename T, size_t kCount>
  const T& of(const T (&values)[kCount]) {
    return values[below(kCount)];
  }

  /// Called with each choice.
  std::function<void(uint32_t)> on_choice;
  /// All choices so far. As a script they repeat the schedule.
  [[nodiscard]] const std::vector<uint32_t>& taken() const { return taken_; }

 private:
  // SplitMix64 (Steele, Lea, Flood 2014). Unlike std::mt19937, it costs nothing to seed.
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }

  uint64_t state_ = 0;
  std::vector<uint32_t> script_;
  bool is_scripted_ = false;
  std::vector<uint32_t> taken_;
};

}  // namespace bailian::simulation
