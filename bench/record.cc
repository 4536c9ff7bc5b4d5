#include "bench/record.h"

#include <algorithm>
#include <cmath>

namespace bench {
namespace {

const RoundResult* Counted(const Block& block, size_t arm) {
  const auto& round = block.arms[arm];
  return round.has_value() && round->void_why.empty() ? &*round : nullptr;
}

}  // namespace

bool Record::done() const {
  return std::all_of(comparisons.begin(), comparisons.end(),
                     [](const Comparison& comparison) { return comparison.done; });
}

std::vector<double> LogRatios(const Record& record, size_t arm, size_t metric) {
  std::vector<double> logs;
  for (const Block& block : record.blocks) {
    const RoundResult* first = Counted(block, 0);
    const RoundResult* other = Counted(block, arm);
    if (first == nullptr || other == nullptr) continue;
    const double a = first->figures.values[metric], b = other->figures.values[metric];
    if (a > 0 && b > 0) logs.push_back(std::log(b / a));
  }
  return logs;
}

std::vector<double> Values(const Record& record, size_t arm, size_t metric) {
  std::vector<double> values;
  for (const Block& block : record.blocks) {
    if (const RoundResult* round = Counted(block, arm)) {
      values.push_back(round->figures.values[metric]);
    }
  }
  return values;
}

int Pairs(const Record& record, size_t arm) {
  int pairs = 0;
  for (const Block& block : record.blocks) {
    pairs += Counted(block, 0) != nullptr && Counted(block, arm) != nullptr;
  }
  return pairs;
}

}  // namespace bench
