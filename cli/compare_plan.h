#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "bench/compare.h"
#include "cli/compare_flags.h"

namespace cli {

// What the flags, and the matrix that they name, ask to be played: all but what only the machine
// can say (`plan.interrupt_fd`, and a client backend "auto"). Everything that can be known to be
// wrong before a server is started is: flags of arms and of the load generator, too.
// InvalidArgument: one sentence with what to write instead.
absl::StatusOr<bench::CompareOptions> PlanComparison(CompareFlags* f);

// Whether each backend that an arm names, at either end, and each feature that an arm of this build
// asks for, is there on this machine: else the comparison is skipped. Unavailable: which arm lacks
// what.
absl::Status CheckAvailable(const std::vector<bench::Arm>& arms);

}  // namespace cli
