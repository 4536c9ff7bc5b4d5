#pragma once

#include <functional>
#include <optional>

#include "absl/status/statusor.h"
#include "loadgen/load.h"
#include "stress/memory_guard.h"
#include "stress/result.h"

namespace stress {

// A load, as far as it went.
struct LoadRun {
  loadgen::LoadResult result;
  bool interrupted = false;    // the user ended it
  std::optional<Limit> limit;  // the guard ended it
};

// Runs a load to its end, or until the user wants one or memory runs low. Calls look(at_s, load)
// some ten times a second and at the end, with the time since the begin. Errors: those of a load
// that can't run at all.
using LookAtLoad = std::function<void(double at_s, const loadgen::Load& load)>;
absl::StatusOr<LoadRun> RunLoad(const loadgen::LoadOptions& options, MemoryGuard& guard,
                                const Context& context, const LookAtLoad& look);

}  // namespace stress
