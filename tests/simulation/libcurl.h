#pragma once

#include "simulation/record.h"

namespace bailian::simulation {

/// libcurl was given a transfer for the question: checks that there may be one.
void note_transfer_begins(Question& question);
/// libcurl is about to send a request for it.
void note_request(const Question& question);

}  // namespace bailian::simulation
