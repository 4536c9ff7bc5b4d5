#include "bench/verdict.h"

#include <gtest/gtest.h>

#include <cmath>
#include <iterator>
#include <random>
#include <string>
#include <vector>

namespace bench {
namespace {

// `n` log ratios evenly spread around log(ratio), `spread` to either side.
std::vector<double> LogRatios(int n, double ratio, double spread) {
  std::vector<double> values;
  for (int i = 0; i < n; ++i) values.push_back(std::log(ratio) + spread * (2.0 * i / (n - 1) - 1));
  return values;
}

Judgement JudgeThroughput(const std::vector<double>& values, bool is_last_look) {
  return Judge(values, 0.05, /*lower_is_better=*/false, is_last_look);
}

// Plays pairs until the judgement is final, as `compare` does.
Judgement Play(std::mt19937_64& random, double ratio, double noise, double margin) {
  std::normal_distribution<double> log_ratio(std::log(ratio), noise);
  std::vector<double> values;
  Judgement judgement{};
  while (!judgement.final) {
    values.push_back(log_ratio(random));
    const int pairs = static_cast<int>(values.size());
    if (!IsLook(pairs)) continue;
    judgement = Judge(values, margin, false, pairs == *std::rbegin(kLooks));
  }
  return judgement;
}

TEST(Verdict, EveryOneHasItsName) {
  EXPECT_EQ(std::string(Name(Verdict::kFaster)), "faster");
  EXPECT_EQ(std::string(Name(Verdict::kSlower)), "slower");
  EXPECT_EQ(std::string(Name(Verdict::kSame)), "same");
  EXPECT_EQ(std::string(Name(Verdict::kSmallDifference)), "small difference");
  EXPECT_EQ(std::string(Name(Verdict::kCannotTell)), "cannot tell");
}

TEST(IsLook, OnlyAtTheFourSizes) {
  int looks = 0;
  for (int pairs = 0; pairs <= 200; ++pairs) looks += IsLook(pairs);
  EXPECT_EQ(looks, 4);
  for (const int pairs : kLooks) EXPECT_TRUE(IsLook(pairs));
}

TEST(Judge, FasterAndSlowerAreWhollyBeyondTheMargin) {
  const Judgement more = JudgeThroughput(LogRatios(10, 1.2, 0.02), false);
  EXPECT_EQ(more.verdict, Verdict::kFaster);
  EXPECT_TRUE(more.final);
  EXPECT_EQ(more.pairs, 10);
  EXPECT_EQ(more.more_pairs, 0);
  EXPECT_NEAR(more.ratio_estimate, 1.2, 1e-9);
  EXPECT_GT(more.ratio_low, 1.05);
  EXPECT_GT(more.ratio_high, more.ratio_low);

  const Judgement less = JudgeThroughput(LogRatios(10, 1 / 1.2, 0.02), false);
  EXPECT_EQ(less.verdict, Verdict::kSlower);
  EXPECT_TRUE(less.final);
}

TEST(Judge, LowerLatencyIsFaster) {
  EXPECT_EQ(Judge(LogRatios(10, 0.8, 0.02), 0.05, true, false).verdict, Verdict::kFaster);
  EXPECT_EQ(Judge(LogRatios(10, 1.2, 0.02), 0.05, true, false).verdict, Verdict::kSlower);
  EXPECT_EQ(Judge(LogRatios(10, 1.0, 0.02), 0.05, true, false).verdict, Verdict::kSame);
}

TEST(Judge, SameIsWhollyWithinTheMargin) {
  const Judgement judgement = JudgeThroughput(LogRatios(10, 1.01, 0.02), false);
  EXPECT_EQ(judgement.verdict, Verdict::kSame);
  EXPECT_TRUE(judgement.final);
  EXPECT_LT(judgement.reachable, 0.05);
}

TEST(Judge, SmallDifferenceIsForTheLastLookOnly) {
  const std::vector<double> straddling = LogRatios(80, 1.05, 0.1);
  const Judgement earlier = JudgeThroughput(straddling, false);
  EXPECT_EQ(earlier.verdict, Verdict::kCannotTell);
  EXPECT_FALSE(earlier.final);
  const Judgement last = JudgeThroughput(straddling, true);
  EXPECT_EQ(last.verdict, Verdict::kSmallDifference);
  EXPECT_TRUE(last.final);
  EXPECT_GT(last.ratio_low, 1);
  EXPECT_LT(last.ratio_low, 1.05);
}

TEST(Judge, CannotTellSaysHowManyMorePairs) {
  const Judgement judgement = JudgeThroughput(LogRatios(80, 1.0, 0.5), true);
  EXPECT_EQ(judgement.verdict, Verdict::kCannotTell);
  EXPECT_TRUE(judgement.final);
  EXPECT_GT(judgement.reachable, 0.05);
  // Spread alike, that many more pairs settle it; half of them don't.
  const int more = judgement.more_pairs;
  EXPECT_EQ(JudgeThroughput(LogRatios(80 + more * 11 / 10, 1.0, 0.5), true).verdict,
            Verdict::kSame);
  EXPECT_EQ(JudgeThroughput(LogRatios(80 + more / 2, 1.0, 0.5), true).verdict,
            Verdict::kCannotTell);
}

TEST(Judge, TooFewPairsWaitForTheFirstLook) {
  for (const int pairs : {0, 5}) {
    const Judgement judgement = JudgeThroughput(std::vector<double>(pairs, 0.7), false);
    EXPECT_EQ(judgement.verdict, Verdict::kCannotTell);
    EXPECT_FALSE(judgement.final);
    EXPECT_EQ(judgement.more_pairs, 10 - pairs);
    EXPECT_TRUE(std::isinf(judgement.reachable));
    EXPECT_EQ(judgement.ratio_low, 0);
    EXPECT_TRUE(std::isinf(judgement.ratio_high));
  }
}

TEST(Judge, WithoutAMarginEqualsStayUndecided) {
  const Judgement judgement = Judge(std::vector<double>(80, 0.0), 0, false, true);
  EXPECT_EQ(judgement.verdict, Verdict::kCannotTell);
  EXPECT_GT(judgement.more_pairs, 0);
}

// Swapping the arms swaps faster and slower, at every effect.
TEST(Judge, IsSymmetricInTheArms) {
  for (double effect = -0.2; effect <= 0.2; effect += 0.003) {
    std::vector<double> values = LogRatios(20, std::exp(effect), 0.05);
    const Verdict forward = JudgeThroughput(values, true).verdict;
    for (double& value : values) value = -value;
    const Verdict backward = JudgeThroughput(values, true).verdict;
    const Verdict expected = forward == Verdict::kFaster   ? Verdict::kSlower
                             : forward == Verdict::kSlower ? Verdict::kFaster
                                                           : forward;
    EXPECT_EQ(backward, expected) << effect;
  }
}

// The strictest case: without a margin any interval that leaves out 0 is a false alarm.
TEST(Judge, IdenticalArmsSeldomDiffer) {
  std::mt19937_64 random(20240607);
  constexpr int kTrials = 1500;
  int alarms = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    alarms += Play(random, 1.0, 0.1, 0).verdict != Verdict::kCannotTell;
  }
  EXPECT_LE(alarms, kTrials * 7 / 100);
  EXPECT_GE(alarms, kTrials * 2 / 100) << "far too cautious: the looks are not at 1.82 %";
}

TEST(Judge, IdenticalArmsAreTheSameWithinAMargin) {
  std::mt19937_64 random(20240607);
  constexpr int kTrials = 500;
  int same = 0, wrong = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    const Verdict verdict = Play(random, 1.0, 0.08, 0.05).verdict;
    same += verdict == Verdict::kSame;
    wrong += verdict == Verdict::kFaster || verdict == Verdict::kSlower;
  }
  EXPECT_GE(same, kTrials * 95 / 100);
  EXPECT_EQ(wrong, 0);
}

TEST(Judge, FindsATenthAtThreePercentNoise) {
  std::mt19937_64 random(20240607);
  constexpr int kTrials = 500;
  int slower = 0, pairs = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    const Judgement judgement = Play(random, 0.9, 0.03, 0.05);
    slower += judgement.verdict == Verdict::kSlower;
    pairs += judgement.pairs;
  }
  EXPECT_GE(slower, kTrials * 98 / 100);
  EXPECT_LE(pairs, kTrials * 20);
}

}  // namespace
}  // namespace bench
