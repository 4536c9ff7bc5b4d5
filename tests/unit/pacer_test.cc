#include "loadgen/pacer.h"

#include <gtest/gtest.h>

#include "loadgen/thoughts.h"

namespace loadgen {
namespace {

constexpr int64_t kMs = 1'000'000;

LoadOptions AtRate(double per_second) {
  LoadOptions options;
  options.rate.segments = {{per_second, per_second}};
  options.interval_ns = 100 * kMs;
  return options;
}

class PacerTest : public testing::Test {
 protected:
  // Takes what is due before `until`; returns how many that were.
  int TakeUntil(Pacer& pacer, int64_t until) {
    int taken = 0;
    for (; pacer.NextDue() < until; ++taken) pacer.Take();
    return taken;
  }

  ScheduleCounts counts_;
};

TEST_F(PacerTest, HasNothingDueBeforeItBegins) {
  const LoadOptions options = AtRate(1000);
  const Pacer pacer(options, 0, counts_);
  EXPECT_EQ(pacer.NextDue(), kNever);
}

TEST_F(PacerTest, CountsWhatWasDueInTheWindowOnly) {
  const LoadOptions options = AtRate(1000);
  Pacer pacer(options, 0, counts_);
  pacer.StartWarmup(500 * kMs, kNever);
  EXPECT_EQ(pacer.NextDue(), 500 * kMs);
  EXPECT_EQ(TakeUntil(pacer, 600 * kMs), 100);
  EXPECT_EQ(counts_.offered, 0u);
  pacer.StartWindow(1000 * kMs, 3000 * kMs);
  EXPECT_EQ(pacer.NextDue(), 1000 * kMs);
  EXPECT_EQ(TakeUntil(pacer, kNever), 2000);
  EXPECT_EQ(counts_.offered, 2000u);
  EXPECT_EQ(pacer.NextDue(), kNever);
}

TEST_F(PacerTest, WarmsUpAtThePlansFirstRateAndNotAtAllAtZero) {
  LoadOptions options = AtRate(0);
  options.rate.segments = {{100, 1000, 1000 * kMs}};
  Pacer ramp(options, 0, counts_);
  ramp.StartWarmup(0, kNever);
  EXPECT_EQ(TakeUntil(ramp, 1000 * kMs), 100);
  options.rate.segments = {{0, 1000, 1000 * kMs}};
  Pacer from_zero(options, 0, counts_);
  from_zero.StartWarmup(0, kNever);
  EXPECT_EQ(from_zero.NextDue(), kNever);
}

TEST_F(PacerTest, EndsEarly) {
  const LoadOptions options = AtRate(1000);
  Pacer warming(options, 0, counts_);
  warming.StartWarmup(0, kNever);
  warming.EndAt(100 * kMs);
  EXPECT_EQ(warming.NextDue(), kNever);
  Pacer measuring(options, 0, counts_);
  measuring.StartWindow(0, 1000 * kMs);
  measuring.EndAt(100 * kMs);
  EXPECT_EQ(TakeUntil(measuring, kNever), 100);
}

TEST_F(PacerTest, LatenessIsOursWhileAConnectionIsFree) {
  const LoadOptions options = AtRate(1000);
  Pacer pacer(options, 0, counts_);
  pacer.StartWindow(0, 1000 * kMs);
  pacer.AddFree(7, 0);
  EXPECT_EQ(pacer.Lag(/*due_ns=*/5, /*now_ns=*/30), 25);  // we slept too long
}

TEST_F(PacerTest, LatenessIsTheServersWhileAllConnectionsAreBusy) {
  const LoadOptions options = AtRate(1000);
  Pacer pacer(options, 0, counts_);
  pacer.StartWindow(0, 1000 * kMs);
  pacer.AddFree(7, 0);
  pacer.PopFree(10);                 // none is free from then on
  pacer.Behind(true);                // and something is due
  pacer.AddFree(7, 50);              // until then
  EXPECT_EQ(pacer.Lag(20, 60), 10);  // it could go since 50
  EXPECT_EQ(pacer.Lag(8, 60), 52);   // this one should have gone before they were all busy
  pacer.PopFree(60);
  pacer.Behind(true);
  pacer.AddFree(7, 90);
  EXPECT_EQ(pacer.Lag(30, 90), 0) << "it still waits since they were busy the first time";
  pacer.Behind(false);  // all caught up
  EXPECT_EQ(pacer.Lag(100, 103), 3);
}

TEST_F(PacerTest, VacantPlacesAreFreeConnections) {
  const LoadOptions options = AtRate(1000);
  Pacer pacer(options, 0, counts_);
  pacer.StartWindow(0, 1000 * kMs);
  pacer.AddVacant(2, 0);
  pacer.TakeVacant(10);
  EXPECT_EQ(pacer.vacant(), 1u);
  pacer.TakeVacant(20);
  pacer.Behind(true);
  pacer.AddVacant(1, 70);
  EXPECT_EQ(pacer.Lag(30, 71), 1);
}

TEST_F(PacerTest, WhatIsNotSentStaysInTheResponseTime) {
  const LoadOptions options = AtRate(1000);
  LoadResult result;
  Outbox outbox;
  Recorder recorder(options, result, outbox);
  recorder.Begin(0 + 1, 1000 * kMs + 1, 1);
  Pacer pacer(options, 0, result.schedule);
  pacer.StartWindow(1, 1000 * kMs + 1);
  EXPECT_EQ(TakeUntil(pacer, 900 * kMs), 900);
  recorder.End(1000 * kMs + 1);
  pacer.CountUnsent(1500 * kMs, recorder);
  recorder.Finish();
  EXPECT_EQ(result.schedule.offered, 1000u);
  EXPECT_EQ(result.schedule.unsent, 100u);
  EXPECT_EQ(result.censored, 100u);
  stats::Histogram all;
  for (const Interval& interval : outbox.Take()) all.Merge(interval.latency);
  EXPECT_EQ(all.count(), 100u);
  EXPECT_NEAR(all.min(), 501 * kMs, kMs);
  EXPECT_NEAR(all.max(), 600 * kMs, kMs);
}

TEST_F(PacerTest, TooManyToBeToldApartAreCountedAllTheSame) {
  const LoadOptions options = AtRate(1e9);
  LoadResult result;
  Outbox outbox;
  Recorder recorder(options, result, outbox);
  recorder.Begin(1, 10'000 * kMs + 1, 1);
  Pacer pacer(options, 0, result.schedule);
  pacer.StartWindow(1, 10'000 * kMs + 1);
  recorder.End(10'000 * kMs + 1);
  pacer.CountUnsent(10'000 * kMs + 1, recorder);
  recorder.Finish();
  EXPECT_NEAR(static_cast<double>(result.schedule.unsent), 1e10, 1e4);
  EXPECT_EQ(result.censored, result.schedule.unsent);
  stats::Histogram all;
  for (const Interval& interval : outbox.Take()) all.Merge(interval.latency);
  EXPECT_NEAR(all.Percentile(50), 5e9, 0.02e9);
}

TEST(Thoughts, EndInTheOrderOfTheirTimes) {
  Thoughts thoughts({.kind = services::Delay::kUniform,
                     .a = std::chrono::milliseconds(1),
                     .b = std::chrono::milliseconds(9)},
                    1);
  EXPECT_TRUE(thoughts.any());
  EXPECT_EQ(thoughts.Next(), kNever);
  for (uint32_t i = 0; i < 1000; ++i) thoughts.Begin(i, 2 * i, 0);
  int seen = 0;
  for (int64_t now = 0; !thoughts.empty(); now += kMs / 4) {
    thoughts.PopDue(now, [&](uint32_t index, uint32_t generation) {
      EXPECT_EQ(generation, 2 * index);
      EXPECT_GE(now, kMs);
      EXPECT_LE(now, 10 * kMs);
      ++seen;
    });
    EXPECT_GT(thoughts.Next(), now);
  }
  EXPECT_EQ(seen, 1000);
}

}  // namespace
}  // namespace loadgen
