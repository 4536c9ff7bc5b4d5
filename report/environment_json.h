#pragma once

#include <nlohmann/json_fwd.hpp>

#include "stats/environment.h"

namespace report {

// The environment of a result, as results/SCHEMA.md describes it.
nlohmann::ordered_json EnvironmentJson(const stats::Environment& environment);

}  // namespace report
