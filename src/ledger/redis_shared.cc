#include "ledger/redis_shared.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "base/file.h"

namespace bailian {

RedisShared::RedisShared() : wake_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!wake_fd) throw_errno("eventfd");
}

void RedisShared::wake() noexcept {
  if (is_woken.exchange(true, std::memory_order_seq_cst)) return;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_fd.get(), &one, sizeof one);
}

RedisCaps redis_caps(const RedisSettings& settings, std::string_view bot) {
  RedisCaps caps;
  caps.total_day = settings.total_caps.day.value_or(kNoCap);
  caps.total_month = settings.total_caps.month.value_or(kNoCap);
  if (const auto found = settings.bots.find(bot); found != settings.bots.end()) {
    caps.bot_day = found->second.caps.day.value_or(kNoCap);
    caps.bot_month = found->second.caps.month.value_or(kNoCap);
    caps.visitor_day = found->second.caps.visitor_day.value_or(kNoCap);
  }
  return caps;
}

}  // namespace bailian
