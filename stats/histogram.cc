#include "stats/histogram.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

namespace stats {
namespace {

// HdrHistogram allocates whole powers of two, so an encoded array has this length too.
constexpr size_t kBuckets = 28 * 1024;

struct Ranks {
  uint64_t low;   // 0: no lower bound.
  uint64_t high;  // n + 1: no upper bound.
};

// The ranks whose values bound quantile `q` of n independent values, `tail` on each side: the
// largest `low` with P(X <= low - 1) <= tail and the smallest `high` with P(X >= high) <= tail,
// where X, the number of values at or below the quantile, is Binomial(n, q).
//
// The probabilities are summed outward from the mode, relative to it, until they vanish, and then
// normalised: some 20 standard deviations of steps, and exact where lgamma() of a large n is not.
Ranks BinomialRanks(uint64_t n, double q, double tail) {
  if (q <= 0) return {0, 1};
  if (q >= 1) return {n, n + 1};
  constexpr double kVanished = 1e-22;
  const double odds = q / (1 - q);
  const double size = static_cast<double>(n);
  const auto mode = std::min(n, static_cast<uint64_t>((size + 1) * q));
  // P(k + 1) / P(k).
  auto ratio = [&](uint64_t k) { return odds * static_cast<double>(n - k) / (k + 1.0); };

  double total = 1;
  uint64_t first = mode, last = mode;
  double p_first = 1, p_last = 1;
  while (first > 0 && p_first > kVanished) total += p_first /= ratio(--first);
  while (last < n && p_last > kVanished) total += p_last *= ratio(last++);

  Ranks ranks{first, last + 1};
  for (double sum = p_first; sum <= tail * total; sum += p_first) {
    p_first *= ratio(ranks.low++);
  }
  for (double sum = p_last; sum <= tail * total; sum += p_last) {
    p_last /= ratio(--ranks.high - 1);
  }
  return ranks;
}

}  // namespace

Histogram::Histogram() : counts_(kBuckets) {
  static_assert(IndexOf(kHighest) < kBuckets);
  static_assert(kHdrSubBucketCount == kSubBuckets);
  static_assert(kHdrBucketCount == ShiftOf(IndexOf(kHighest)) + 1);
  static_assert(LowestOf(IndexOf(kHighest)) <= kHighest);
  static_assert(HighestOf(IndexOf(kHighest)) >= kHighest);
}

void Histogram::RecordBucket(size_t index, uint64_t times) noexcept {
  if (index > IndexOf(kHighest)) return Record(std::numeric_limits<int64_t>::max(), times);
  if (times == 0) return;
  min_ = std::min(min_, LowestOf(index));
  max_ = std::max(max_, std::min(HighestOf(index), kHighest));
  count_ += times;
  counts_[index] += times;
}

void Histogram::Merge(const Histogram& other) noexcept {
  if (other.count_ == 0) return;
  const size_t last = IndexOf(other.max_);
  for (size_t i = IndexOf(other.min_); i <= last; ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
  clamped_ += other.clamped_;
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
}

void Histogram::Reset() noexcept {
  std::fill(counts_.begin(), counts_.end(), 0);
  count_ = 0;
  clamped_ = 0;
  min_ = kHighest;
  max_ = 0;
}

double Histogram::Mean() const {
  double sum = 0;
  ForEachBucket([&](int64_t low, int64_t high, uint64_t count) {
    sum += (static_cast<double>(low) + static_cast<double>(high)) / 2 * static_cast<double>(count);
  });
  return count_ == 0 ? 0 : sum / static_cast<double>(count_);
}

double Histogram::StdDev() const {
  const double mean = Mean();
  double sum = 0;
  ForEachBucket([&](int64_t low, int64_t high, uint64_t count) {
    const double deviation = (static_cast<double>(low) + static_cast<double>(high)) / 2 - mean;
    sum += deviation * deviation * static_cast<double>(count);
  });
  return count_ == 0 ? 0 : std::sqrt(sum / static_cast<double>(count_));
}

int64_t Histogram::Percentile(double p) const {
  if (count_ == 0) return 0;
  if (p <= 0) return min_;
  // p and the product are rounded: 99.9 % of 1000 must be rank 999 and not 1000, so a few ulp are
  // taken off before rounding up.
  const double exact = std::min(p, 100.0) / 100 * static_cast<double>(count_);
  const double rank = std::ceil(exact * (1 - 4 * std::numeric_limits<double>::epsilon()));
  const auto whole = std::clamp<uint64_t>(static_cast<uint64_t>(rank), 1, count_);
  return std::min(HighestOf(IndexAtRank(whole)), max_);
}

PercentileInterval Histogram::Confidence(double p, double confidence) const {
  assert(confidence > 0 && confidence < 1);
  const Ranks ranks = BinomialRanks(count_, p / 100, (1 - confidence) / 2);
  PercentileInterval interval{0, max_, ranks.high <= count_};
  if (ranks.low > 0) interval.low = std::max(LowestOf(IndexAtRank(ranks.low)), min_);
  if (interval.enough) interval.high = std::min(HighestOf(IndexAtRank(ranks.high)), max_);
  return interval;
}

uint64_t Histogram::CountAtOrBelow(int64_t ns) const {
  if (ns < 0 || count_ == 0) return 0;
  if (ns >= max_) return count_;
  uint64_t below = 0;
  const size_t last = IndexOf(ns);
  for (size_t i = IndexOf(min_); i <= last; ++i) below += counts_[i];
  return below;
}

size_t Histogram::IndexAtRank(uint64_t rank) const {
  assert(rank >= 1 && rank <= count_);
  size_t i = IndexOf(min_);
  for (uint64_t below = counts_[i]; below < rank; below += counts_[i]) ++i;
  return i;
}

}  // namespace stats
