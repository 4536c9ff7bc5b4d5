#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "report/text.h"

// "ringside.stress/1" as a person reads it: what all experiments have in common, and each one's own
// rows.
namespace report {

// What all have in common, around the experiment's rows.
std::string StressText(const Json& stress, const std::string& rows);

std::string BacklogRows(const Json& stress);
std::string ChurnRows(const Json& stress);
std::string HoldRows(const Json& stress);
std::string SlowRows(const Json& stress);
std::string FdsRows(const Json& stress);

}  // namespace report
