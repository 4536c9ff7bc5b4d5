#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/status.h"

namespace report {

// Whether a result is all that results/SCHEMA.md says of its schema: every name that is always
// there, with a value of its type, and indices and names of metrics that lead somewhere. Names that
// it doesn't know are fine: new ones may be added. What passes here can be reported without a look
// at whether it is there.
//
// Known are "ringside.compare/2", "ringside.load/1", "ringside.load_mix/1" and
// "ringside.interval/1" (any other is an error: Unimplemented). An InvalidArgument names the first
// place that is wrong: "scenarios[0].rounds[3].arms[1].p99_ns: a number or null is wanted".
absl::Status CheckSchema(const nlohmann::ordered_json& result);

}  // namespace report
