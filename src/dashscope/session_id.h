#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "settings/config.h"

namespace bailian {

// A session belongs to the application that has made it. If a bot has several targets, the id that a browser
// gets ends with a code for the session's target: `~` and 24 hexadecimal digits. It depends on the key, so
// nobody without it can make one, for instance to choose a target; it does not depend on the number or the
// order of the targets, so it is good after a restart and on another host.

/// `session_id`, an id of this target, as a browser gets it. Throws std::bad_alloc.
std::string mark_session(std::string_view session_id, const Target& target);

/// A session id as a browser has sent it.
struct SentSession {
  std::string_view id;           // the upstream's: a part of what was sent
  std::optional<size_t> target;  // whose it is; none: of no target here
};
/// Reads any bytes. An id without a code is one of the first target: there was no other when it was made.
/// Throws std::bad_alloc.
SentSession read_session(std::string_view sent, std::span<const Target* const> targets);

}  // namespace bailian
