#pragma once

#include <string_view>

namespace bailian::simulator {

std::string_view help_text();

}  // namespace bailian::simulator
