#pragma once

#include <string_view>

#include "base/access_record.h"

namespace bailian {

// Values of labels of the metrics.

inline constexpr std::string_view kOtherModel = "other";
/// `model`. The upstream chooses the name, so one that is longer than 64 bytes or has unusual characters
/// becomes kOtherModel.
std::string_view model_label(std::string_view model);

/// `status`: 2xx, for instance; none: nothing was sent.
const char* status_class(int status);

/// `mode`: how a chat was asked for.
const char* mode_of(const AccessRecord& record);

}  // namespace bailian
