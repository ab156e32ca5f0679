#pragma once

#include "dialects/dialect.h"

namespace bailian {

/// The JSON of the WordPress plugin that this program replaces. Old front ends fix its names and texts.
extern const Dialect kMyapi;

}  // namespace bailian
