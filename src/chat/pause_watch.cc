#include "chat/pause_watch.h"

namespace bailian {

PauseWatch::Entry::Entry(PauseWatch& watch, Callback<void()> look) : watch_(watch) {
  watch_.start_timer();
  place_ = watch_.looks_.insert(watch_.looks_.end(), look);
}

void PauseWatch::start_timer() {
  if (is_running_) return;
  next_look_.start(kInterval);
  is_running_ = true;
}

void PauseWatch::look() {
  is_running_ = false;
  if (!looks_.empty()) start_timer();
  for (const auto& look : looks_) look();
}

}  // namespace bailian
