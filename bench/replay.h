#pragma once

#include <cstdint>
#include <map>
#include <span>

#include "bench/verdict.h"

// Comparisons that are played again from recorded pairs, to see how often a verdict is wrong.
namespace bench {

// How a verdict is reached from pairs that are drawn from `log_ratios`, with replacement: looks
// after 10, 20, 40 and 80 of them, as compare has.
struct ReplayOptions {
  double ratio = 1;   // by which B is made larger than it was
  bool toss = false;  // which arm is called B is tossed for each pair: for identical arms
  double margin = 0.05;
  bool lower_is_better = true;
};

// What came of many.
struct ReplayTally {
  int verdicts = 0;
  std::map<Verdict, int> counts;
  double mean_pairs = 0;

  double Share(Verdict verdict) const {
    const auto found = counts.find(verdict);
    return found == counts.end() ? 0 : static_cast<double>(found->second) / verdicts;
  }
};

// REQUIRES: log_ratios isn't empty, verdicts > 0.
ReplayTally Replay(std::span<const double> log_ratios, const ReplayOptions& options, int verdicts,
                   uint64_t seed);

}  // namespace bench
