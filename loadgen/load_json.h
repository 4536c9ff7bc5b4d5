#pragma once

#include <nlohmann/json_fwd.hpp>

#include "loadgen/load.h"

namespace loadgen {

// A run as results/SCHEMA.md describes it: schema "ringside.load/1".
nlohmann::ordered_json ToJson(const LoadOptions& options, const LoadResult& result);

}  // namespace loadgen
