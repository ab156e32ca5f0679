#pragma once

#include <chrono>
#include <list>

#include "base/callback.h"
#include "base/event_loop.h"

namespace bailian {

/// Looks at the open answers of one loop once a second: an answer that the owner has paused at once must end,
/// also while its upstream is silent. Loop thread only.
class PauseWatch {
 public:
  static constexpr std::chrono::seconds kInterval{1};

  explicit PauseWatch(EventLoop& loop) : next_look_(loop, bind<&PauseWatch::look>(this)) {}

  /// Looks at one answer, for as long as this exists.
  class Entry {
   public:
    /// `look` must not throw, nor destroy an entry. `watch` must outlive this. Throws std::bad_alloc.
    Entry(PauseWatch& watch, Callback<void()> look);
    ~Entry() { watch_.looks_.erase(place_); }
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;

   private:
    PauseWatch& watch_;
    std::list<Callback<void()>>::iterator place_;
  };

 private:
  void look();
  void start_timer();

  std::list<Callback<void()>> looks_;
  Timer next_look_;  // runs while there are answers
  bool is_running_ = false;
};

}  // namespace bailian
