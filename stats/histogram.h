#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace stats {

// Bounds that hold the true percentile with the confidence asked for, in ns.
struct PercentileInterval {
  int64_t low;   // 0 when the sample is too small for a bound: a latency is never below it.
  int64_t high;  // Only the largest value seen, no bound, unless `enough`.
  bool enough;   // The sample is large enough for an upper bound.
};

// Counts latencies in ns with a relative error below 1/1024 (3 significant digits).
//
// The buckets are those of HdrHistogram with lowest discernible value 1, highest trackable value
// 100 s and 3 significant digits: values below 2048 ns have a bucket each; every further doubling
// is split into 1024 buckets of equal width. So an array of counts means the same to its tools.
// Format and semantics: https://github.com/HdrHistogram/HdrHistogram, AbstractHistogram.java.
//
// All memory (229 KB) is allocated, and touched, by the constructor. One thread at a time: give
// each thread its own and Merge() them.
class Histogram {
 public:
  static constexpr int64_t kHighest = 100'000'000'000;
  static constexpr int kSignificantDigits = 3;
  // What HdrHistogram calls the bucketCount and subBucketCount of this layout.
  static constexpr int kHdrBucketCount = 27;
  static constexpr int kHdrSubBucketCount = 2048;

  Histogram();

  // Counts one value. Below 0 it counts as 0, above kHighest as kHighest (see clamped()).
  void Record(int64_t ns) noexcept { Record(ns, 1); }

  // Counts one value `times` times.
  void Record(int64_t ns, uint64_t times) noexcept {
    if (ns < 0) ns = 0;
    if (ns > kHighest) [[unlikely]] {
      ns = kHighest;
      clamped_ += times;
    }
    if (times == 0) [[unlikely]]
      return;
    if (ns < min_) min_ = ns;
    if (ns > max_) max_ = ns;
    count_ += times;
    counts_.data()[IndexOf(ns)] += times;
  }

  // Counts `times` values of which only the bucket is known, by its index in HdrHistogram's order.
  // The exact extremes are lost: min() is then at most the bucket's lowest value, and max() at
  // least its highest (but no more than kHighest). A bucket above that of kHighest counts as
  // kHighest, and as clamped().
  void RecordBucket(size_t index, uint64_t times) noexcept;

  // Adds all of `other`: the result is what recording both's values in one would have given.
  void Merge(const Histogram& other) noexcept;

  // Forgets all values.
  void Reset() noexcept;

  uint64_t count() const { return count_; }

  // How many values were above kHighest.
  uint64_t clamped() const { return clamped_; }

  // The smallest and the largest value as counted, exact; 0 when empty.
  int64_t min() const { return count_ == 0 ? 0 : min_; }
  int64_t max() const { return max_; }

  // The mean in ns from the middles of the buckets, within 0.05 %; 0 when empty.
  double Mean() const;

  // The standard deviation of the values (not an estimate of what they were drawn from) in ns, from
  // the middles of the buckets; 0 when empty.
  double StdDev() const;

  // The value at or below which `p` percent of the values lie, p in [0, 100]: the highest value of
  // the bucket that holds the value of rank ceil(p / 100 * count()), and never above max(). The
  // 0th percentile is min(). 0 when empty.
  int64_t Percentile(double p) const;

  // An interval for percentile `p` of what the values were drawn from, whatever its distribution:
  // two order statistics with binomial ranks, (1 - confidence) / 2 in each tail. At 95 % an upper
  // bound takes 368 values for p99, 3688 for p99.9. It assumes independent values; those of one
  // connection seldom are, which makes the true interval wider.
  // Source: David, Nagaraja, "Order Statistics" (3rd ed., 2003), section 7.1.
  PercentileInterval Confidence(double p, double confidence = 0.95) const;

  // How many values are in the bucket of `ns` or in a lower one.
  uint64_t CountAtOrBelow(int64_t ns) const;

  // Calls f(lowest value, highest value, count) for each non-empty bucket, in rising order.
  template <class F>
  void ForEachBucket(F f) const {
    if (count_ == 0) return;
    for (size_t i = IndexOf(min_), last = IndexOf(max_); i <= last; ++i) {
      if (counts_[i] != 0) f(LowestOf(i), HighestOf(i), counts_[i]);
    }
  }

  // The count of each bucket, empty ones too, in HdrHistogram's order.
  std::span<const uint64_t> counts() const { return counts_; }

  bool operator==(const Histogram&) const = default;

 private:
  static constexpr int kSubBucketBits = 11;  // 2^11 is the first power of two above 2 * 10^3.
  static constexpr uint64_t kSubBuckets = 1 << kSubBucketBits;
  static constexpr int kHalfBits = kSubBucketBits - 1;

  // The bucket of a value in [0, kHighest].
  static constexpr size_t IndexOf(int64_t ns) {
    const auto value = static_cast<uint64_t>(ns);
    const int shift = std::bit_width(value | (kSubBuckets - 1)) - kSubBucketBits;
    return (static_cast<size_t>(shift) << kHalfBits) + (value >> shift);
  }

  static constexpr int ShiftOf(size_t index) {
    return index < kSubBuckets ? 0 : static_cast<int>(index >> kHalfBits) - 1;
  }

  static constexpr int64_t LowestOf(size_t index) {
    const int shift = ShiftOf(index);
    return static_cast<int64_t>((index - (static_cast<size_t>(shift) << kHalfBits)) << shift);
  }

  static constexpr int64_t HighestOf(size_t index) { return LowestOf(index + 1) - 1; }

  // The bucket that holds the value of this rank, 1 to count().
  size_t IndexAtRank(uint64_t rank) const;

  std::vector<uint64_t> counts_;
  uint64_t count_ = 0;
  uint64_t clamped_ = 0;
  int64_t min_ = kHighest;
  int64_t max_ = 0;
};

}  // namespace stats
