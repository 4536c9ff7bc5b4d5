#include "stats/signed_rank.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace stats {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Exact critical values of W as published, e.g. by McCornack, "Extended tables of the Wilcoxon
// matched pair signed rank statistic" (1965), for n = 5 to 25.
TEST(SignedRankCritical, MatchesThePublishedTables) {
  struct Table {
    double alpha;
    std::vector<int> critical;
  };
  const Table tables[] = {
      {0.05, {-1, 0, 2, 3, 5, 8, 10, 13, 17, 21, 25, 29, 34, 40, 46, 52, 58, 65, 73, 81, 89}},
      {0.02, {-1, -1, 0, 1, 3, 5, 7, 9, 12, 15, 19, 23, 27, 32, 37, 43, 49, 55, 62, 69, 76}},
      {0.01, {-1, -1, -1, 0, 1, 3, 5, 7, 9, 12, 15, 19, 23, 27, 32, 37, 42, 48, 54, 61, 68}},
  };
  for (const Table& table : tables) {
    ASSERT_EQ(table.critical.size(), 21u);
    for (int n = 5; n <= 25; ++n) {
      EXPECT_EQ(SignedRankCritical(n, table.alpha), table.critical[n - 5])
          << "n " << n << " alpha " << table.alpha;
    }
  }
}

TEST(SignedRankCritical, ApproachesTheNormalDistribution) {
  const double n = 200;
  const double mean = n * (n + 1) / 4;
  const double deviation = std::sqrt(n * (n + 1) * (2 * n + 1) / 24);
  EXPECT_NEAR(SignedRankCritical(200, 0.05), mean - 1.95996 * deviation, 3);
}

// Hollander, Wolfe, "Nonparametric Statistical Methods", example 3.1: depression scores before and
// after a tranquilliser. R's wilcox.test(x, y, paired = TRUE, conf.int = TRUE) says V = 40,
// p = 0.03906, 0.46 (0.010, 0.786).
TEST(SignedRank, MatchesTheTextbookExample) {
  const std::vector<double> before = {1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30};
  const std::vector<double> after = {0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29};
  std::vector<double> differences;
  for (size_t i = 0; i < before.size(); ++i) differences.push_back(before[i] - after[i]);
  const PairedEstimate result = SignedRank(differences, 0.95);
  EXPECT_EQ(result.pairs, 9);
  EXPECT_DOUBLE_EQ(result.p_value, 2 * 10.0 / 512);
  EXPECT_NEAR(result.estimate, 0.46, 1e-9);
  EXPECT_NEAR(result.low, 0.010, 1e-9);
  EXPECT_NEAR(result.high, 0.786, 1e-9);
}

// All 2^n signs, counted one by one.
double BruteForceP(const std::vector<double>& values) {
  std::vector<double> nonzero;
  for (const double value : values) {
    if (value != 0) nonzero.push_back(value);
  }
  const size_t n = nonzero.size();
  std::vector<double> ranks(n);
  double observed = 0, total = 0;
  for (size_t i = 0; i < n; ++i) {
    double below = 0, equal = 0;
    for (const double other : nonzero) {
      below += std::abs(other) < std::abs(nonzero[i]);
      equal += std::abs(other) == std::abs(nonzero[i]);
    }
    ranks[i] = below + (equal + 1) / 2;
    total += ranks[i];
    if (nonzero[i] > 0) observed += ranks[i];
  }
  const double distance = std::abs(observed - total / 2);
  double extreme = 0;
  for (unsigned signs = 0; signs < 1u << n; ++signs) {
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += (signs >> i & 1) != 0 ? ranks[i] : 0;
    extreme += std::abs(sum - total / 2) >= distance;
  }
  return extreme / static_cast<double>(1u << n);
}

TEST(SignedRank, PValueIsExactWithTiesAndZeros) {
  EXPECT_TRUE(rc::check([] {
    const int size = *rc::gen::inRange(0, 11);
    const auto whole = *rc::gen::container<std::vector<int>>(size, rc::gen::inRange(-4, 5));
    const std::vector<double> values(whole.begin(), whole.end());
    RC_ASSERT(std::abs(SignedRank(values, 0.95).p_value - BruteForceP(values)) < 1e-12);
  }));
}

TEST(SignedRank, TooFewPairsHaveNoBounds) {
  const std::vector<double> five = {1, 2, 3, 4, 5};
  const PairedEstimate result = SignedRank(five, 0.95);
  EXPECT_EQ(result.low, -kInfinity);
  EXPECT_EQ(result.high, kInfinity);
  EXPECT_DOUBLE_EQ(result.estimate, 3);
  EXPECT_DOUBLE_EQ(result.p_value, 2.0 / 32);

  const PairedEstimate none = SignedRank({}, 0.95);
  EXPECT_TRUE(std::isnan(none.estimate));
  EXPECT_EQ(none.low, -kInfinity);
  EXPECT_EQ(none.high, kInfinity);
  EXPECT_EQ(none.p_value, 1);
  EXPECT_EQ(none.pairs, 0);
}

TEST(SignedRank, AllZeroIsNoDifference) {
  const PairedEstimate result = SignedRank(std::vector<double>(10), 0.95);
  EXPECT_EQ(result.estimate, 0);
  EXPECT_EQ(result.low, 0);
  EXPECT_EQ(result.high, 0);
  EXPECT_EQ(result.p_value, 1);
}

TEST(SignedRank, NegatingTheDifferencesMirrorsTheResult) {
  EXPECT_TRUE(rc::check([] {
    const auto whole = *rc::gen::container<std::vector<int16_t>>(rc::gen::arbitrary<int16_t>());
    RC_PRE(!whole.empty());
    std::vector<double> values(whole.begin(), whole.end());
    const PairedEstimate result = SignedRank(values, 0.9);
    for (double& value : values) value = -value;
    const PairedEstimate mirrored = SignedRank(values, 0.9);
    RC_ASSERT(mirrored.estimate == -result.estimate);
    RC_ASSERT(mirrored.low == -result.high);
    RC_ASSERT(mirrored.high == -result.low);
    RC_ASSERT(mirrored.p_value == result.p_value);
    RC_ASSERT(result.low <= result.estimate && result.estimate <= result.high);
  }));
}

// Heavy tails, where a t interval would do badly. The discrete test covers 95 % or a little more.
TEST(SignedRank, IntervalCoversTheCentre) {
  std::mt19937_64 random(20240607);
  std::cauchy_distribution<double> noise(0.3, 1.0);
  constexpr int kTrials = 4000;
  for (const int n : {10, 20, 40}) {
    int covered = 0;
    std::vector<double> values(n);
    for (int trial = 0; trial < kTrials; ++trial) {
      for (double& value : values) value = noise(random);
      const PairedEstimate result = SignedRank(values, 0.95);
      covered += result.low <= 0.3 && 0.3 <= result.high;
    }
    EXPECT_GE(covered, kTrials * 94 / 100) << n;
    EXPECT_LE(covered, kTrials * 97 / 100) << n;
  }
}

TEST(HolmAdjust, StepsDownAndKeepsTheOrder) {
  const std::vector<double> adjusted = HolmAdjust(std::vector<double>{0.01, 0.04, 0.03, 0.005});
  // R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm").
  const std::vector<double> expected = {0.03, 0.06, 0.06, 0.02};
  ASSERT_EQ(adjusted.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(adjusted[i], expected[i], 1e-12);
}

TEST(HolmAdjust, NeverExceedsOne) {
  EXPECT_EQ(HolmAdjust(std::vector<double>{0.9, 0.6}), (std::vector<double>{1, 1}));
  EXPECT_TRUE(HolmAdjust({}).empty());
}

TEST(Median, TakesTheMiddle) {
  EXPECT_EQ(Median({3, 1, 2}), 2);
  EXPECT_EQ(Median({4, 1, 2, 3}), 2.5);
  EXPECT_TRUE(std::isnan(Median({})));
}

}  // namespace
}  // namespace stats
