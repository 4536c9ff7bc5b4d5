#pragma once

#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "loadgen/evidence.h"
#include "loadgen/load.h"
#include "loadgen/run_verdict.h"

namespace loadgen {

// A run as "ringside.load/1", or of several classes as "ringside.load_mix/1": results/SCHEMA.md.
nlohmann::ordered_json ToJson(const LoadOptions& options, const LoadResult& result,
                              const Evidence& evidence);
nlohmann::ordered_json MixToJson(const std::vector<LoadOptions>& classes,
                                 const std::vector<LoadResult>& results, const Evidence& evidence);

// What went wrong: "total", "by_errno" and the other kinds.
nlohmann::ordered_json ErrorsJson(const LoadResult& result);

// What the kernel counted: "counters", and the gauges "before" and "after".
nlohmann::ordered_json KernelJson(const stats::KernelDifference& kernel);

}  // namespace loadgen
