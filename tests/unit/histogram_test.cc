#include "stats/histogram.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

namespace stats {
namespace {

// The reference: the value of rank ceil(p / 100 * n), in exact arithmetic of p in thousandths.
int64_t SortedPercentile(const std::vector<int64_t>& sorted, int64_t p_thousandths) {
  const auto n = static_cast<int64_t>(sorted.size());
  const int64_t rank = std::max<int64_t>(1, (p_thousandths * n + 99'999) / 100'000);
  return sorted[rank - 1];
}

// Values of every magnitude, whatever the size rapidcheck is at: first the number of bits.
rc::Gen<int64_t> AnyValue() {
  return rc::gen::resize(rc::kNominalSize, rc::gen::mapcat(rc::gen::inRange(0, 38), [](int bits) {
                           return rc::gen::inRange<int64_t>(0, int64_t{1} << bits);
                         }));
}

rc::Gen<int64_t> AnyLatency() {
  return rc::gen::map(AnyValue(),
                      [](int64_t value) { return std::min(value, Histogram::kHighest); });
}

Histogram Of(const std::vector<int64_t>& values) {
  Histogram histogram;
  for (const int64_t value : values) histogram.Record(value);
  return histogram;
}

TEST(Histogram, EmptyIsAllZero) {
  const Histogram empty;
  EXPECT_EQ(empty.count(), 0u);
  EXPECT_EQ(empty.min(), 0);
  EXPECT_EQ(empty.max(), 0);
  EXPECT_EQ(empty.Mean(), 0);
  EXPECT_EQ(empty.Percentile(50), 0);
  EXPECT_EQ(empty.CountAtOrBelow(Histogram::kHighest), 0u);
  EXPECT_FALSE(empty.Confidence(50).enough);
  empty.ForEachBucket([](int64_t, int64_t, uint64_t) { ADD_FAILURE(); });
}

TEST(Histogram, ExtremesAreKeptExactly) {
  for (const int64_t value : {int64_t{0}, int64_t{1}, int64_t{2047}, int64_t{2048}, int64_t{2049},
                              Histogram::kHighest - 1, Histogram::kHighest}) {
    const Histogram histogram = Of({value});
    EXPECT_EQ(histogram.min(), value);
    EXPECT_EQ(histogram.max(), value);
    EXPECT_EQ(histogram.Percentile(0), value);
    EXPECT_EQ(histogram.Percentile(50), value);
    EXPECT_EQ(histogram.Percentile(100), value);
    EXPECT_EQ(histogram.clamped(), 0u);
  }
}

TEST(Histogram, ValuesOutOfRangeAreClamped) {
  const Histogram histogram = Of({-1, std::numeric_limits<int64_t>::min(), Histogram::kHighest + 1,
                                  std::numeric_limits<int64_t>::max()});
  EXPECT_EQ(histogram.count(), 4u);
  EXPECT_EQ(histogram.clamped(), 2u);
  EXPECT_EQ(histogram.min(), 0);
  EXPECT_EQ(histogram.max(), Histogram::kHighest);
  EXPECT_EQ(histogram.CountAtOrBelow(0), 2u);
}

// The indices that HdrHistogram's countsArrayIndex() gives for these values.
TEST(Histogram, BucketsAreThoseOfHdrHistogram) {
  EXPECT_EQ(Histogram().counts().size(), 28u * 1024);
  const std::vector<std::pair<int64_t, size_t>> expected = {
      {0, 0},       {1, 1},       {2047, 2047},       {2048, 2048},
      {2049, 2048}, {2050, 2049}, {4095, 3071},       {4096, 3072},
      {4100, 3073}, {8192, 4096}, {1'000'000, 11169}, {Histogram::kHighest, 28114}};
  for (const auto& [value, index] : expected) {
    EXPECT_EQ(Of({value}).counts()[index], 1u) << value;
  }
}

TEST(Histogram, BucketsAreContiguousAndNarrow) {
  Histogram all;
  for (int64_t value = 0; value <= Histogram::kHighest;
       value += std::max<int64_t>(1, value >> 11)) {
    all.Record(value);
  }
  all.Record(Histogram::kHighest);
  int64_t next = 0;
  all.ForEachBucket([&](int64_t low, int64_t high, uint64_t) {
    EXPECT_EQ(low, next);
    EXPECT_LE((high - low) * 1024, low);
    next = high + 1;
  });
  EXPECT_GT(next, Histogram::kHighest);
}

TEST(Histogram, PercentilesMatchTheSortedValues) {
  EXPECT_TRUE(rc::check([] {
    auto values = *rc::gen::nonEmpty(rc::gen::container<std::vector<int64_t>>(AnyLatency()));
    const int64_t p = *rc::gen::inRange<int64_t>(0, 100'001);
    const Histogram histogram = Of(values);
    std::sort(values.begin(), values.end());
    const int64_t truth = SortedPercentile(values, p);
    const int64_t reported = histogram.Percentile(static_cast<double>(p) / 1000);
    if (p > 0) RC_ASSERT(reported >= truth);
    RC_ASSERT(reported - truth <= truth / 1024);
    RC_ASSERT(reported <= values.back());
    RC_ASSERT(histogram.min() == values.front());
    RC_ASSERT(histogram.max() == values.back());
    const double mean = std::accumulate(values.begin(), values.end(), 0.0) / values.size();
    RC_ASSERT(std::abs(histogram.Mean() - mean) <= mean / 2000);
  }));
}

TEST(Histogram, CountAtOrBelowMatchesTheSortedValues) {
  EXPECT_TRUE(rc::check([] {
    const auto values = *rc::gen::container<std::vector<int64_t>>(AnyLatency());
    const int64_t limit = *AnyLatency();
    const auto below = [&](int64_t bound) {
      return static_cast<uint64_t>(
          std::ranges::count_if(values, [&](int64_t value) { return value <= bound; }));
    };
    const uint64_t counted = Of(values).CountAtOrBelow(limit);
    RC_ASSERT(counted >= below(limit));
    RC_ASSERT(counted <= below(limit + limit / 1024));
  }));
}

TEST(Histogram, MergingEqualsRecordingAll) {
  EXPECT_TRUE(rc::check([] {
    const auto a = *rc::gen::container<std::vector<int64_t>>(AnyValue());
    const auto b = *rc::gen::container<std::vector<int64_t>>(AnyValue());
    Histogram merged = Of(a);
    merged.Merge(Of(b));
    std::vector<int64_t> all = a;
    all.insert(all.end(), b.begin(), b.end());
    RC_ASSERT(merged == Of(all));
  }));
}

TEST(Histogram, RecordingSeveralTimesEqualsRepeating) {
  Histogram at_once, repeated;
  at_once.Record(5000, 3);
  at_once.Record(Histogram::kHighest + 1, 2);
  at_once.Record(1, 0);
  for (int i = 0; i < 3; ++i) repeated.Record(5000);
  for (int i = 0; i < 2; ++i) repeated.Record(Histogram::kHighest + 1);
  EXPECT_EQ(at_once, repeated);
}

TEST(Histogram, OfABucketOnlyItsBoundsAreKnown) {
  Histogram histogram;
  histogram.RecordBucket(2048, 3);
  EXPECT_EQ(histogram.counts()[2048], 3u);
  EXPECT_EQ(histogram.count(), 3u);
  EXPECT_EQ(histogram.min(), 2048);
  EXPECT_EQ(histogram.max(), 2049);
  histogram.RecordBucket(7, 0);
  EXPECT_EQ(histogram.min(), 2048);
  histogram.RecordBucket(28114, 1);
  EXPECT_EQ(histogram.max(), Histogram::kHighest);
  EXPECT_EQ(histogram.clamped(), 0u);
  histogram.RecordBucket(28115, 2);
  EXPECT_EQ(histogram.counts()[28114], 3u);
  EXPECT_EQ(histogram.clamped(), 2u);
  EXPECT_EQ(histogram.max(), Histogram::kHighest);
}

TEST(Histogram, TheStandardDeviationIsThatOfTheValues) {
  EXPECT_EQ(Histogram().StdDev(), 0);
  EXPECT_EQ(Of({1000, 1000}).StdDev(), 0);
  EXPECT_DOUBLE_EQ(Of({2, 4, 4, 4, 5, 5, 7, 9}).StdDev(), 2);
  EXPECT_TRUE(rc::check([] {
    const auto values = *rc::gen::nonEmpty(rc::gen::container<std::vector<int64_t>>(AnyLatency()));
    double mean = 0, square = 0;
    for (const int64_t value : values) mean += static_cast<double>(value) / values.size();
    for (const int64_t value : values) square += (value - mean) * (value - mean) / values.size();
    // Each value is off by half its bucket, at most 1/2048 of the largest.
    const double largest = *std::ranges::max_element(values);
    RC_ASSERT(std::abs(Of(values).StdDev() - std::sqrt(square)) <= 1e-9 + largest / 1024);
  }));
}

TEST(Histogram, ResetForgetsAll) {
  Histogram histogram = Of({1, 5000, Histogram::kHighest + 1});
  histogram.Reset();
  EXPECT_EQ(histogram, Histogram());
}

// Without care the product 99.9 * 1000 / 100 rounds up to rank 1000.
TEST(Histogram, WholeRanksSurviveRounding) {
  for (const int64_t n : {10, 100, 200, 1000, 2000}) {
    Histogram histogram;
    for (int64_t value = 1; value <= n; ++value) histogram.Record(value);
    std::vector<int64_t> values(n);
    std::iota(values.begin(), values.end(), 1);
    for (int64_t p = 100; p <= 100'000; p += 100) {
      ASSERT_EQ(histogram.Percentile(static_cast<double>(p) / 1000), SortedPercentile(values, p))
          << "p" << p << "/1000 of " << n;
    }
  }
}

// The ranks of the sign test's interval at 95 %, from tables of the binomial distribution.
TEST(Confidence, RanksOfTheMedianAreThoseTabulated) {
  struct Row {
    int64_t n, low, high;
  };
  for (const Row& row : {Row{6, 1, 6}, Row{9, 2, 8}, Row{10, 2, 9}, Row{20, 6, 15}, Row{30, 10, 21},
                         Row{50, 18, 33}, Row{100, 40, 61}}) {
    Histogram histogram;
    for (int64_t value = 1; value <= row.n; ++value) histogram.Record(value);
    const PercentileInterval interval = histogram.Confidence(50);
    EXPECT_TRUE(interval.enough) << row.n;
    EXPECT_EQ(interval.low, row.low) << row.n;
    EXPECT_EQ(interval.high, row.high) << row.n;
  }
}

TEST(Confidence, SaysWhenTheSampleIsTooSmall) {
  struct Row {
    double p;
    uint64_t smallest;
  };
  for (const Row& row : {Row{50, 6}, Row{99, 368}, Row{99.9, 3688}, Row{99.99, 36887}}) {
    Histogram histogram;
    histogram.Record(1000, row.smallest - 1);
    EXPECT_FALSE(histogram.Confidence(row.p).enough) << row.p;
    histogram.Record(1000);
    EXPECT_TRUE(histogram.Confidence(row.p).enough) << row.p;
  }
}

TEST(Confidence, BoundsOfTheExtremePercentilesAreOneSided) {
  const Histogram histogram = Of({10, 20, 30});
  EXPECT_FALSE(histogram.Confidence(100).enough);
  EXPECT_EQ(histogram.Confidence(100).low, 30);
  EXPECT_EQ(histogram.Confidence(0).low, 0);
  EXPECT_EQ(histogram.Confidence(0).high, 10);
}

// For a billion values the ranks follow the normal approximation: n q -+ 1.96 sqrt(n q (1 - q)).
TEST(Confidence, HoldsForBillions) {
  Histogram histogram;
  const uint64_t rank = 990'000'000, slack = 6167;
  histogram.Record(100, rank - slack - 20);
  histogram.Record(200, 40);
  histogram.Record(300, 2 * slack - 40);
  histogram.Record(400, 40);
  histogram.Record(500, 1'000'000'000 - histogram.count());
  const PercentileInterval interval = histogram.Confidence(99);
  EXPECT_EQ(interval.low, 200);
  EXPECT_EQ(interval.high, 400);
}

TEST(Confidence, CoversTheTruePercentile) {
  std::mt19937_64 random(20240607);
  std::exponential_distribution<double> latency(1e-6);
  const double truth = -std::log(0.01) * 1e6;
  constexpr int kTrials = 2000;
  int covered = 0;
  Histogram histogram;
  for (int trial = 0; trial < kTrials; ++trial) {
    histogram.Reset();
    for (int i = 0; i < 1000; ++i) histogram.Record(static_cast<int64_t>(latency(random)));
    const PercentileInterval interval = histogram.Confidence(99);
    covered += interval.low <= truth && truth <= interval.high;
  }
  EXPECT_GE(covered, kTrials * 94 / 100);
  EXPECT_LE(covered, kTrials * 98 / 100);
}

}  // namespace
}  // namespace stats
