#pragma once

#include "absl/status/status.h"
#include "stress/backlog.h"
#include "stress/result.h"

namespace stress {

// Bursts of 1, 2, 4, ... connects at once, up to options.burst, against each accepting server,
// until one of a burst is lost or late. Adds "bursts" to the result's own part, its counts, its
// finding and what ended it. Connections to our own server carry a message whose echo is verified.
// Errors: Target::Start()'s.
absl::Status Bursts(const BacklogOptions& options, const Context& context, Result* result);

}  // namespace stress
