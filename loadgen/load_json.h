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

}  // namespace loadgen
