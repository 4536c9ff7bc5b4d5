#include "bench/rate_search.h"

#include <algorithm>
#include <cmath>

namespace bench {

absl::StatusOr<double> HighestRate(double guess,
                                   const std::function<absl::StatusOr<bool>(double)>& keeps) {
  guess = std::clamp(guess, kRateMin, kRateMax);
  auto kept = keeps(guess);
  if (!kept.ok()) return kept.status();
  double low = guess, high = guess;  // kept, broken; once both are known
  if (*kept) {
    while (*kept) {
      low = high;
      if (low >= kRateMax) return low;
      high = std::min(low * kRateStep, kRateMax);
      kept = keeps(high);
      if (!kept.ok()) return kept.status();
    }
  } else {
    while (!*kept) {
      high = low;
      if (high <= kRateMin) return 0;
      low = std::max(high / kRateStep, kRateMin);
      kept = keeps(low);
      if (!kept.ok()) return kept.status();
    }
  }
  while (high / low > kRatePrecision) {
    const double middle = std::sqrt(low * high);
    kept = keeps(middle);
    if (!kept.ok()) return kept.status();
    (*kept ? low : high) = middle;
  }
  return low;
}

}  // namespace bench
