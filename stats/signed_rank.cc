#include "stats/signed_rank.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>

namespace stats {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// probability[s]: that the ranks given a positive sign, each by the toss of a coin, sum to s.
std::vector<double> NullDistribution(std::span<const int> ranks) {
  std::vector<double> probability(std::accumulate(ranks.begin(), ranks.end(), size_t{1}));
  probability[0] = 1;
  size_t top = 0;
  for (const size_t rank : ranks) {
    top += rank;
    for (size_t s = top; s >= rank; --s)
      probability[s] = (probability[s] + probability[s - rank]) / 2;
    for (size_t s = 0; s < rank; ++s) probability[s] /= 2;
  }
  return probability;
}

// Twice the mid-rank of each absolute value, so that it is whole, in rising order; and the sum of
// those of positive values.
struct DoubledRanks {
  std::vector<int> ranks;
  int positive = 0;
};

DoubledRanks RankAbsolute(std::span<const double> differences) {
  std::vector<double> values;
  for (const double d : differences) {
    if (d != 0) values.push_back(d);
  }
  std::sort(values.begin(), values.end(),
            [](double a, double b) { return std::abs(a) < std::abs(b); });
  DoubledRanks result;
  for (size_t first = 0, next; first < values.size(); first = next) {
    next = first + 1;
    while (next < values.size() && std::abs(values[next]) == std::abs(values[first])) ++next;
    const int doubled = static_cast<int>(first + 1 + next);
    for (size_t i = first; i < next; ++i) {
      result.ranks.push_back(doubled);
      if (values[i] > 0) result.positive += doubled;
    }
  }
  return result;
}

double TwoSidedP(std::span<const double> differences) {
  DoubledRanks doubled = RankAbsolute(differences);
  const int total = std::accumulate(doubled.ranks.begin(), doubled.ranks.end(), 0);
  int statistic = std::min(doubled.positive, total - doubled.positive);
  if (std::ranges::all_of(doubled.ranks, [](int rank) { return rank % 2 == 0; })) {
    for (int& rank : doubled.ranks) rank /= 2;
    statistic /= 2;
  }
  const std::vector<double> null = NullDistribution(doubled.ranks);
  return std::min(1.0, 2 * std::accumulate(null.begin(), null.begin() + statistic + 1, 0.0));
}

std::vector<double> SortedWalshAverages(std::span<const double> x) {
  std::vector<double> averages;
  averages.reserve(x.size() * (x.size() + 1) / 2);
  for (size_t i = 0; i < x.size(); ++i) {
    for (size_t j = i; j < x.size(); ++j) averages.push_back(std::midpoint(x[i], x[j]));
  }
  std::sort(averages.begin(), averages.end());
  return averages;
}

double MedianOfSorted(const std::vector<double>& values) {
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : std::midpoint(values[half - 1], values[half]);
}

}  // namespace

PairedEstimate SignedRank(std::span<const double> differences, double confidence) {
  const int n = static_cast<int>(differences.size());
  const std::vector<double> averages = SortedWalshAverages(differences);
  PairedEstimate result{MedianOfSorted(averages), -kInfinity, kInfinity, TwoSidedP(differences), n};
  const int critical = SignedRankCritical(n, 1 - confidence);
  if (critical >= 0) {
    result.low = averages[critical];
    result.high = averages[averages.size() - 1 - critical];
  }
  return result;
}

int SignedRankCritical(int n, double alpha) {
  std::vector<int> ranks(n);
  std::iota(ranks.begin(), ranks.end(), 1);
  const std::vector<double> null = NullDistribution(ranks);
  int critical = -1;
  double below = 0;
  for (const double probability : null) {
    below += probability;
    if (below > alpha / 2) break;
    ++critical;
  }
  return critical;
}

std::vector<double> HolmAdjust(std::span<const double> p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] < p[b]; });
  std::vector<double> adjusted(p.size());
  double largest = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    const double scaled = static_cast<double>(p.size() - i) * p[order[i]];
    adjusted[order[i]] = largest = std::max(largest, std::min(1.0, scaled));
  }
  return adjusted;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return MedianOfSorted(values);
}

}  // namespace stats
