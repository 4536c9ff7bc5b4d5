#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bench/metrics.h"
#include "bench/round.h"
#include "bench/scenario.h"
#include "bench/verdict.h"

// What was played and judged of a scenario so far.
namespace bench {

// All arms once, adjacent.
struct Block {
  double begin_s = 0;                            // since the first
  std::vector<size_t> order;                     // in which arms were played
  std::vector<std::optional<RoundResult>> arms;  // none: not played, its verdict had been reached
};

// An arm against the first one.
struct Comparison {
  size_t arm = 0;
  Judgement judgement = {};
  bool judged = false, done = false;
  int looked_at = 0;    // pairs, at the last look
  int void_in_row = 0;  // rounds of this arm
  std::string gave_up;  // why it is done without a verdict
};

struct Record {
  Scenario scenario;
  std::vector<Block> blocks;
  std::vector<Comparison> comparisons;  // of the second arm on, in order
  std::vector<double> rate_guesses;     // of each arm, for searches
  int64_t block_ns = 0;                 // how long the last one took
  int first_void_in_row = 0;            // rounds of the first arm

  bool done() const;
};

// log(arm / first arm) of a metric, for each block in which neither was void and both are known.
std::vector<double> LogRatios(const Record& record, size_t arm, size_t metric);

// A metric of an arm in each block in which it wasn't void; NaN where it isn't known.
std::vector<double> Values(const Record& record, size_t arm, size_t metric);

// Blocks in which the arm and the first one were played and neither was void.
int Pairs(const Record& record, size_t arm);

}  // namespace bench
