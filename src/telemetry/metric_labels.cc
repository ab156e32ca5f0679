#include "telemetry/metric_labels.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace bailian {

std::string_view model_label(std::string_view model) {
  constexpr size_t kMaxModelBytes = 64;
  const auto is_plain = [](char c) {
    return is_alnum(c) || std::string_view("-_.:/@+").find(c) != std::string_view::npos;
  };
  if (model.empty()) return "unknown";
  if (model.size() > kMaxModelBytes) return kOtherModel;
  return std::all_of(model.begin(), model.end(), is_plain) ? model : kOtherModel;
}

const char* status_class(int status) {
  constexpr std::array kClasses = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
  const auto hundreds = static_cast<size_t>(std::max(status, 0) / 100);
  return kClasses.at(hundreds < kClasses.size() ? hundreds : 0);
}

const char* mode_of(const AccessRecord& record) {
  return record.endpoint == Endpoint::kChatStream ? "stream" : "json";
}

}  // namespace bailian
