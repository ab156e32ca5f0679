#pragma once

#include <memory>

#include "base/event_loop.h"
#include "base/exchange.h"
#include "chat/config_snapshot.h"
#include "chat/service_state.h"

namespace bailian {

// The pages for operator and monitoring. `snapshot` is that of the loop which answers. Loop thread only;
// throw std::bad_alloc.

Reply health_page(const ServiceState& state);
Reply ready_page(const ServiceState& state, const Config& config);
Reply metrics_page(const ServiceState& state, const ConfigSnapshot& snapshot);

/// The exchange that writes /status. `headers`: of its reply.
std::unique_ptr<Exchange> status_page(EventLoop& loop, const ServiceState& state,
                                      const ConfigSnapshot& snapshot, const Request& request,
                                      ClientStream& client, const Headers& headers);

}  // namespace bailian
