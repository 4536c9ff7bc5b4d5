#pragma once

#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "bench/compare.h"
#include "bench/record.h"

namespace bench {

// Where the time went.
struct TimeSpent {
  int64_t wall_ns = 0, measured_ns = 0, warmup_ns = 0;
};

// The result as "ringside.compare/2" has it, but for what the program says of itself.
nlohmann::ordered_json ResultJson(const CompareOptions& options, const std::vector<Record>& records,
                                  const TimeSpent& time);

}  // namespace bench
