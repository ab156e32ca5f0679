#include "chat/stream_limit.h"

namespace bailian {

StreamLimit::Permit StreamLimit::take() {
  const int taken = taken_.fetch_add(1) + 1;
  if (taken > limit_) {
    --taken_;
    return {};
  }
  for (int peak = peak_; peak < taken && !peak_.compare_exchange_weak(peak, taken);) {
  }
  return Permit(*this);
}

}  // namespace bailian
