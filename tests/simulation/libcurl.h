#pragma once

#include "simulation/record.h"

namespace bailian::simulation {

/// Checks that a transfer for the question may begin. To be called when libcurl gets it.
void note_transfer_begins(Question& question);
/// Checks that a request for the question may be sent. To be called before libcurl sends it.
void note_request(const Question& question);

}  // namespace bailian::simulation
