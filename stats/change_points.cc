#include "stats/change_points.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace stats {
namespace {

struct Division {
  size_t at = 0;
  double distance = -1;  // below any where there is no place to split
};

// The energy distance of two samples by the sums of their distances.
double EnergyDistance(double between, double within_a, double within_b, size_t a, size_t b) {
  const auto n = static_cast<double>(a), m = static_cast<double>(b);
  const double mean_a = within_a / (n * (n - 1) / 2), mean_b = within_b / (m * (m - 1) / 2);
  return n * m / (n + m) * (2 * between / (n * m) - mean_a - mean_b);
}

// Where the two parts differ most.
Division BestSplit(std::span<const double> values) {
  const size_t n = values.size();
  double total = 0, left = 0, right = 0;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < i; ++j) total += std::abs(values[i] - values[j]);
  }
  right = total;
  Division best;
  for (size_t at = 1; at + kSegmentMin <= n; ++at) {  // values[at - 1] goes to the left
    const double moved = values[at - 1];
    for (size_t i = 0; i + 1 < at; ++i) left += std::abs(moved - values[i]);
    for (size_t i = at; i < n; ++i) right -= std::abs(moved - values[i]);
    if (at < kSegmentMin) continue;
    const double distance = EnergyDistance(total - left - right, left, right, at, n - at);
    if (distance > best.distance) best = {at, distance};
  }
  return best;
}

void Divide(std::span<const double> values, size_t offset, double significance,
            std::mt19937_64* random, std::vector<ChangePoint>* found) {
  if (values.size() < 2 * kSegmentMin) return;
  const Division best = BestSplit(values);
  if (best.distance <= 0) return;
  std::vector<double> shuffled(values.begin(), values.end());
  int as_large = 0;
  for (int i = 0; i < kPermutations; ++i) {
    std::shuffle(shuffled.begin(), shuffled.end(), *random);
    as_large += BestSplit(shuffled).distance >= best.distance;
    if (as_large + 1 > significance * (kPermutations + 1)) return;
  }
  Divide(values.first(best.at), offset, significance, random, found);
  found->push_back({offset + best.at, (as_large + 1.0) / (kPermutations + 1)});
  Divide(values.subspan(best.at), offset + best.at, significance, random, found);
}

}  // namespace

std::vector<ChangePoint> FindChangePoints(std::span<const double> series, double significance,
                                          uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<ChangePoint> found;
  Divide(series, 0, significance, &random, &found);
  return found;
}

}  // namespace stats
