#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

// Where a series of results, one after the other in time, changed its level.
namespace stats {

// A segment has at least so many values: shorter series have no change points.
inline constexpr size_t kSegmentMin = 5;

struct ChangePoint {
  size_t at;       // the first value after the change
  double p_value;  // by the permutations; at least 1 / (kPermutations + 1)
};

inline constexpr int kPermutations = 499;

// The places at which the distribution of the values changed, in order. E-divisive: a segment is
// divided where the energy distance of its two parts is largest, if that is larger than in all but
// `significance` of as many permutations of its values; then each part likewise. It assumes no
// distribution, but that values are independent as long as nothing changes: slow drifts are taken
// for steps. Of the whole of a series without any change a share of `significance` has one. Values
// must be finite. Time is O(n²) for each permutation.
//
// Sources: Matteson, James, "A nonparametric approach for multiple change point analysis of
// multivariate data" (2014); for results of benchmarks: Daly, Brown, Ingo, O'Leary, Bradford, "The
// use of change point detection to identify software performance regressions in a continuous
// integration system" (2020). Unlike there, each segment is tested by itself.
std::vector<ChangePoint> FindChangePoints(std::span<const double> series,
                                          double significance = 0.01, uint64_t seed = 1);

}  // namespace stats
