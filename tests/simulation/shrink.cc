#include "simulation/shrink.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace bailian::simulation {

Script shrink(Script script, const std::function<bool(const Script&)>& fails, int max_runs) {
  int runs = 0;
  const auto try_one = [&](Script candidate) {
    while (!candidate.empty() && candidate.back() == 0) candidate.pop_back();  // 0 is implied
    if (candidate == script || runs >= max_runs) return false;
    ++runs;
    if (!fails(candidate)) return false;
    script = std::move(candidate);
    return true;
  };
  for (bool better = true; better && runs < max_runs;) {
    better = false;
    for (size_t size = std::max<size_t>(1, script.size() / 2); size > 0; size /= 2) {
      for (size_t at = 0; at < script.size() && runs < max_runs;) {
        const size_t end = std::min(script.size(), at + size);
        const auto from = static_cast<std::ptrdiff_t>(at);
        const auto to = static_cast<std::ptrdiff_t>(end);
        Script without = script;
        without.erase(without.begin() + from, without.begin() + to);
        Script plain = script;
        std::fill(plain.begin() + from, plain.begin() + to, 0U);
        if (try_one(std::move(without)) || try_one(std::move(plain))) {
          better = true;
        } else {
          at = end;
        }
      }
    }
    for (size_t at = 0; at < script.size() && runs < max_runs; ++at) {
      for (const bool halves : {true, false}) {
        while (at < script.size() && script[at] > 0) {
          Script candidate = script;
          candidate[at] = halves ? script[at] / 2 : script[at] - 1;
          if (!try_one(std::move(candidate))) break;
          better = true;
        }
      }
    }
  }
  return script;
}

}  // namespace bailian::simulation
