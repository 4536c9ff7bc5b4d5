#pragma once

#include <functional>

#include "absl/status/statusor.h"

namespace bench {

inline constexpr double kRateStep = 1.25;       // between two rates while bounds are looked for
inline constexpr double kRatePrecision = 1.03;  // the bounds' ratio at which a search ends
inline constexpr double kRateMin = 1;           // requests a second
inline constexpr double kRateMax = 1e9;

// The highest rate that keeps an objective, in requests a second, to kRatePrecision: from `guess`
// up by kRateStep while it is kept, or down until it is, then by halves in the logarithm. 0: none
// is kept, down to kRateMin. `keeps` tries one rate; its error ends the search.
//
// One try decides each step, so noise moves the answer: it is meant to be repeated, and judged as
// any metric of a round.
absl::StatusOr<double> HighestRate(double guess,
                                   const std::function<absl::StatusOr<bool>(double)>& keeps);

}  // namespace bench
