#include "stats/series.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <vector>

namespace stats {
namespace {

using Series = std::vector<double>;
using Shape = std::function<double(size_t)>;  // the rate of an interval, of 1

constexpr double kRate = 1000;

// `shape`, under normal noise with this share of the rate for its standard deviation and this
// autocorrelation.
Series Noisy(size_t intervals, double noise, double rho, const Shape& shape,
             std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  Series series(intervals);
  double x = normal(random);
  for (size_t i = 0; i < intervals; ++i) {
    series[i] = kRate * shape(i) * (1 + noise * x);
    x = rho * x + std::sqrt(1 - rho * rho) * normal(random);
  }
  return series;
}

double Level(size_t) { return 1; }

// A tenth less at the end than at the start.
Shape Falling(size_t intervals) {
  return [=](size_t i) { return 1 - 0.1 * static_cast<double>(i) / (intervals - 1.0); };
}

Shape SteppingAt(size_t at) {
  return [=](size_t i) { return i < at ? 1 : 0.9; };
}

// How many of some series are ...
struct Tally {
  int unsettled = 0, trend = 0, step = 0, wandering = 0;
};

Tally Count(int series, size_t intervals, double noise, double rho, const Shape& shape) {
  std::mt19937_64 random(20240607);
  Tally tally;
  for (int i = 0; i < series; ++i) {
    const Stationarity result = CheckStationarity(Noisy(intervals, noise, rho, shape, random));
    EXPECT_EQ(result.Reason().empty(), result.settled);
    tally.unsettled += !result.settled;
    tally.trend += result.trend;
    tally.step += result.step;
    tally.wandering += result.wandering;
  }
  return tally;
}

// Of 1000 series: the share that has a warm-up, and its mean length.
struct WarmUps {
  double share = 0, length = 0;
};

WarmUps CountWarmUps(size_t intervals, double noise, double rho, const Shape& shape) {
  constexpr int kSeries = 1000;
  std::mt19937_64 random(20240607);
  WarmUps warm_ups;
  for (int i = 0; i < kSeries; ++i) {
    const size_t end = WarmupEnd(Noisy(intervals, noise, rho, shape, random));
    EXPECT_LE(end, intervals / 2);
    warm_ups.share += end > 0;
    warm_ups.length += static_cast<double>(end);
  }
  warm_ups.share /= kSeries;
  warm_ups.length /= kSeries;
  return warm_ups;
}

TEST(Stationarity, IndependentNoiseIsSettled) {
  for (const size_t intervals : {8, 10, 20, 50, 100}) {
    const Tally tally = Count(1000, intervals, 0.1, 0, Level);
    std::printf("%zu intervals: %d of 1000 unsettled\n", intervals, tally.unsettled);
    EXPECT_LE(tally.unsettled, 50) << intervals;
  }
}

TEST(Stationarity, AutocorrelationIsNoTrend) {
  for (const size_t intervals : {10, 20, 50, 100}) {
    const Tally tally = Count(1000, intervals, 0.1, 0.5, Level);
    std::printf("%zu intervals: %d trends, %d steps, %d wandering of 1000\n", intervals,
                tally.trend, tally.step, tally.wandering);
    EXPECT_LE(tally.trend, 100) << intervals;
    EXPECT_LE(tally.trend + tally.step, 120) << intervals;
  }
}

TEST(Stationarity, TrendsAreFound) {
  EXPECT_GE(Count(200, 10, 0.005, 0, Falling(10)).trend, 180);
  EXPECT_GE(Count(200, 20, 0.01, 0, Falling(20)).trend, 190);
  EXPECT_GE(Count(200, 100, 0.02, 0, Falling(100)).trend, 198);
}

TEST(Stationarity, StepsAreFound) {
  EXPECT_GE(Count(200, 10, 0.005, 0, SteppingAt(5)).step, 150);
  EXPECT_GE(Count(200, 20, 0.01, 0, SteppingAt(7)).step, 190);
  EXPECT_GE(Count(200, 100, 0.02, 0, SteppingAt(50)).step, 198);
  EXPECT_GE(Count(200, 100, 0.02, 0, SteppingAt(80)).step, 198);
}

TEST(Stationarity, AHumpIsFound) {
  const auto hump = [](size_t i) { return i >= 30 && i < 70 ? 1.1 : 1.0; };
  EXPECT_GE(Count(200, 100, 0.005, 0, hump).unsettled, 190);
}

TEST(Stationarity, WhatIsSignificantAndSmallIsNothing) {
  const auto slow = [](size_t i) { return 1 + 0.01 * static_cast<double>(i) / 99; };
  const Tally tally = Count(200, 100, 0.002, 0, slow);
  EXPECT_EQ(tally.unsettled, 0);
  std::mt19937_64 random(7);
  const Stationarity result = CheckStationarity(Noisy(100, 0.002, 0, slow, random));
  EXPECT_LT(result.trend_p, 1e-6);
  EXPECT_NEAR(result.trend_share, 0.01, 0.003);
}

TEST(Stationarity, FiguresAreThoseOfTheSeries) {
  std::mt19937_64 random(3);
  const Stationarity falling = CheckStationarity(Noisy(100, 0.01, 0, Falling(100), random));
  EXPECT_EQ(falling.intervals, 100u);
  EXPECT_NEAR(falling.median, 950, 10);
  EXPECT_NEAR(falling.trend_share, -0.105, 0.015);
  EXPECT_EQ(falling.Reason().substr(0, 14), "the rate fell ");
  EXPECT_NE(falling.Reason().find(" over the run"), std::string::npos) << falling.Reason();

  const Stationarity step = CheckStationarity(Noisy(100, 0.01, 0, SteppingAt(30), random));
  EXPECT_NEAR(step.step_share, -0.1, 0.01);
  EXPECT_NEAR(static_cast<double>(step.step_at), 30, 1);
  EXPECT_EQ(step.Reason().substr(0, 14), "the rate fell ");
  EXPECT_NE(step.Reason().find("% after interval "), std::string::npos) << step.Reason();

  const Stationarity level = CheckStationarity(Noisy(400, 0.05, 0, Level, random));
  EXPECT_NEAR(level.autocorrelation, 0, 0.15);
  EXPECT_NEAR(level.autocorrelation_bound, 0.098, 0.001);
  EXPECT_GT(level.effective_samples, 250);
  EXPECT_LE(level.effective_samples, 400);
  const Stationarity related = CheckStationarity(Noisy(400, 0.05, 0.5, Level, random));
  EXPECT_NEAR(related.autocorrelation, 0.5, 0.12);
  EXPECT_NEAR(related.effective_samples, 400.0 / 3, 50);  // (1 - rho) / (1 + rho) of them
}

// More than are compared pair by pair.
TEST(Stationarity, LongSeriesAreAveragedForTheTrend) {
  std::mt19937_64 random(11);
  const Stationarity result = CheckStationarity(Noisy(6000, 0.1, 0, Falling(6000), random));
  EXPECT_TRUE(result.trend);
  EXPECT_NEAR(result.trend_share, -0.105, 0.02);
  EXPECT_TRUE(CheckStationarity(Noisy(6000, 0.1, 0, Level, random)).settled);
}

TEST(Stationarity, StallsAreFoundAndAreNoTrend) {
  std::mt19937_64 random(5);
  Series series = Noisy(100, 0.02, 0, Level, random);
  for (const size_t i : {3, 4, 5, 50, 51, 52}) series[i] = 0;
  series[99] = 190;
  const Stationarity result = CheckStationarity(series);
  EXPECT_EQ(result.stalled_intervals, 7u);
  EXPECT_FALSE(result.settled);
  EXPECT_FALSE(result.trend);
  EXPECT_FALSE(result.step);
  EXPECT_EQ(result.Reason(), "7 of 100 intervals had less than a fifth of the usual rate");
  series = Series(10, 100);
  series[4] = 20;
  EXPECT_TRUE(CheckStationarity(series).settled);
  series[4] = 19;
  EXPECT_EQ(CheckStationarity(series).stalled_intervals, 1u);
}

TEST(Stationarity, ShortSeriesTellNothing) {
  for (size_t intervals = 0; intervals < kIntervalsMin; ++intervals) {
    const Series series(intervals, 5);
    const Stationarity result = CheckStationarity(series);
    EXPECT_TRUE(result.too_short);
    EXPECT_FALSE(result.settled);
    EXPECT_EQ(result.Reason().substr(0, 29), "the run is too short to tell:") << result.Reason();
    EXPECT_EQ(WarmupEnd(series), 0u);
  }
}

TEST(Stationarity, ConstantSeriesAreSettled) {
  for (const double value : {0.1, 1.0, 1e9 / 3}) {
    for (const size_t intervals : {8, 10, 1000}) {
      const Series series(intervals, value);
      const Stationarity result = CheckStationarity(series);
      EXPECT_TRUE(result.settled) << value << ": " << result.Reason();
      EXPECT_EQ(result.median, value);
      EXPECT_EQ(WarmupEnd(series), 0u);
    }
  }
}

TEST(Stationarity, ZerosAreNoRate) {
  const Series zeros(10, 0);
  const Stationarity result = CheckStationarity(zeros);
  EXPECT_FALSE(result.settled);
  EXPECT_EQ(result.stalled_intervals, 10u);
  EXPECT_EQ(result.Reason(), "nothing was done in any interval");
  EXPECT_EQ(WarmupEnd(zeros), 0u);
  // Most intervals had nothing: the median is 0, and the others' values aren't stalled.
  Series few(10, 0);
  few[2] = few[7] = 5;
  EXPECT_EQ(CheckStationarity(few).stalled_intervals, 8u);
}

TEST(Stationarity, NoiselessTrendsAndStepsAreFound) {
  Series line(10), step(10);
  for (size_t i = 0; i < 10; ++i) {
    line[i] = 100 + 10.0 * static_cast<double>(i);
    step[i] = i < 6 ? 100 : 150;
  }
  EXPECT_TRUE(CheckStationarity(line).trend);
  EXPECT_NEAR(CheckStationarity(line).trend_share, 90 / 145.0, 1e-9);
  EXPECT_EQ(CheckStationarity(line).Reason(), "the rate rose by 62 % over the run");
  EXPECT_TRUE(CheckStationarity(step).step);
  EXPECT_EQ(CheckStationarity(step).Reason(), "the rate rose by 50 % after interval 6 of 10");
}

TEST(WarmupEnd, SettledSeriesKeepNearlyAll) {
  EXPECT_LE(CountWarmUps(20, 0.1, 0, Level).share, 0.1);
  EXPECT_LE(CountWarmUps(100, 0.1, 0, Level).share, 0.06);
  EXPECT_LE(CountWarmUps(100, 0.1, 0.5, Level).share, 0.2);
}

TEST(WarmupEnd, AWarmUpIsDropped) {
  // The first intervals are at half the rate. Blocks of 5 are dropped, now and then one too many.
  const auto half = [](size_t until) { return [=](size_t i) { return i < until ? 0.5 : 1; }; };
  for (const size_t until : {5, 10, 30, 50}) {
    const double length = CountWarmUps(100, 0.02, 0, half(until)).length;
    std::printf("of %zu intervals %.2f are dropped\n", until, length);
    EXPECT_GE(length, static_cast<double>(until));
    EXPECT_LE(length, static_cast<double>(until) + 5);
  }
  EXPECT_NEAR(CountWarmUps(10, 0.02, 0, half(3)).length, 3, 0.5);
  // What is left of an exponential warm-up is small beside the noise.
  const auto rising = [](size_t i) { return 1 - 0.5 * std::exp(-static_cast<double>(i) / 5); };
  const double length = CountWarmUps(200, 0.02, 0, rising).length;
  EXPECT_GE(length, 10);
  EXPECT_LE(length, 50);
}

TEST(WarmupEnd, AStallIsNoWarmUp) {
  const auto stalling = [](size_t i) { return i >= 35 && i < 40 ? 0.02 : 1; };
  EXPECT_LE(CountWarmUps(100, 0.02, 0, stalling).share, 0.1);
}

}  // namespace
}  // namespace stats
