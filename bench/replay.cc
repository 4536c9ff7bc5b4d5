#include "bench/replay.h"

#include <cmath>
#include <iterator>
#include <random>
#include <vector>

namespace bench {
namespace {

Judgement ReplayOnce(std::span<const double> log_ratios, const ReplayOptions& options,
                     std::mt19937_64& random) {
  std::uniform_int_distribution<size_t> any(0, log_ratios.size() - 1);
  std::vector<double> drawn;
  Judgement judgement{};
  while (!judgement.final) {
    double value = log_ratios[any(random)];
    if (options.toss && (random() & 1) != 0) value = -value;
    drawn.push_back(value + std::log(options.ratio));
    const int pairs = static_cast<int>(drawn.size());
    if (!IsLook(pairs)) continue;
    judgement =
        Judge(drawn, options.margin, options.lower_is_better, pairs == *std::rbegin(kLooks));
  }
  return judgement;
}

}  // namespace

ReplayTally Replay(std::span<const double> log_ratios, const ReplayOptions& options, int verdicts,
                   uint64_t seed) {
  std::mt19937_64 random(seed);
  ReplayTally tally = {.verdicts = verdicts};
  int64_t pairs = 0;
  for (int i = 0; i < verdicts; ++i) {
    const Judgement judgement = ReplayOnce(log_ratios, options, random);
    ++tally.counts[judgement.verdict];
    pairs += judgement.pairs;
  }
  tally.mean_pairs = static_cast<double>(pairs) / verdicts;
  return tally;
}

}  // namespace bench
