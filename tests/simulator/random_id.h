#pragma once

#include <random>
#include <string>

namespace bailian::simulator {

class RandomId {
 public:
  RandomId() : engine_(std::random_device()()) {}

  std::string hex(std::size_t digits);
  std::string uuid();

 private:
  std::mt19937_64 engine_;
};

}  // namespace bailian::simulator
