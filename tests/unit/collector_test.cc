#include "loadgen/collector.h"

#include <gtest/gtest.h>

#include <vector>

#include "loadgen/recorder.h"

namespace loadgen {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kBegin = 1000 * kMs;  // of the window

LoadOptions Options(uint32_t threads) {
  LoadOptions options;
  options.threads = threads;
  options.interval_ns = 100 * kMs;
  return options;
}

// Threads of load without a loop: each answers when told.
class CollectorTest : public testing::Test {
 protected:
  void Begin(uint32_t threads, double rate = 0) {
    options_ = Options(threads);
    if (rate > 0) options_.rate.segments = {{rate, rate}};
    results_ = std::vector<LoadResult>(threads);
    outboxes_ = std::vector<Outbox>(threads);
    for (uint32_t i = 0; i < threads; ++i) {
      recorders_.push_back(std::make_unique<Recorder>(options_, results_[i], outboxes_[i]));
      recorders_[i]->Begin(kBegin, kBegin + 1000 * kMs, kBegin);
    }
    collector_ = std::make_unique<Collector>(options_);
  }

  // A request of a thread, due and sent `latency_ns` before.
  void Answer(uint32_t thread, int64_t at_ns, int64_t latency_ns) {
    const int64_t now = kBegin + at_ns;
    recorders_[thread]->Answered({now - latency_ns, now - latency_ns}, now);
  }
  void Tick(uint32_t thread, int64_t at_ns) { recorders_[thread]->Tick(kBegin + at_ns, 3, 0); }
  void End(uint32_t thread, int64_t at_ns) {
    recorders_[thread]->End(kBegin + at_ns);
    recorders_[thread]->Finish();
  }

  // The requests of each interval that is complete since.
  std::vector<uint64_t> Collect(bool at_end = false) {
    std::vector<uint64_t> requests;
    collector_->Collect(outboxes_, at_end, [&](const Interval& interval) {
      EXPECT_EQ(interval.number, next_++);
      requests.push_back(interval.requests);
      offered_.push_back(interval.offered);
      connections_ = interval.connections;
    });
    return requests;
  }

  using Counts = std::vector<uint64_t>;
  LoadOptions options_;
  std::vector<LoadResult> results_;
  std::vector<Outbox> outboxes_;
  std::vector<std::unique_ptr<Recorder>> recorders_;
  std::unique_ptr<Collector> collector_;
  uint64_t next_ = 0, connections_ = 0;
  std::vector<uint64_t> offered_;
};

TEST_F(CollectorTest, WaitsForAllThreadsOfAnInterval) {
  Begin(2);
  Answer(0, 10 * kMs, 1);
  Answer(1, 20 * kMs, 1);
  Answer(1, 30 * kMs, 1);
  Tick(0, 100 * kMs);
  EXPECT_EQ(Collect(), Counts{});
  Tick(1, 101 * kMs);
  EXPECT_EQ(Collect(), Counts{3});
  EXPECT_EQ(connections_, 6u);
  EXPECT_EQ(Collect(), Counts{});
}

TEST_F(CollectorTest, AnIntervalInWhichNobodyCameHasNothing) {
  Begin(1);
  Answer(0, 10 * kMs, 1);
  Answer(0, 350 * kMs, 1);
  Tick(0, 400 * kMs);
  EXPECT_EQ(Collect(), (Counts{1, 0, 0, 1}));
}

TEST_F(CollectorTest, TheLastIntervalTakesUpWhatComesLate) {
  Begin(1);
  for (int i = 0; i < 10; ++i) Answer(0, (i * 100 + 50) * kMs, 1);
  Answer(0, 1000 * kMs + 5, 1);  // before the loop saw the window's end
  End(0, 1000 * kMs + 10);
  const auto requests = Collect(/*at_end=*/true);
  EXPECT_EQ(requests, (Counts{1, 1, 1, 1, 1, 1, 1, 1, 1, 2}));
  EXPECT_EQ(collector_->latency().count(), 11u);
  EXPECT_EQ(results_[0].requests, 11u);
  double seconds = 0;
  for (const SeriesRow& row : collector_->series()) seconds += row.length_s;
  EXPECT_NEAR(seconds, 1.0, 1e-6);
}

TEST_F(CollectorTest, ARunThatEndsEarlyHasAShortInterval) {
  Begin(1);
  Answer(0, 10 * kMs, 1);
  End(0, 150 * kMs);
  EXPECT_EQ(Collect(/*at_end=*/true), (Counts{1, 0}));
  EXPECT_NEAR(collector_->series().back().length_s, 0.05, 1e-9);
}

TEST_F(CollectorTest, OpenLoopCountsWhatWasDueInTheWindow) {
  Begin(1, 1000);
  Answer(0, 10 * kMs, 50 * kMs);  // due before the window
  Answer(0, 20 * kMs, 5 * kMs);
  recorders_[0]->End(kBegin + 1000 * kMs);
  Answer(0, 1100 * kMs, 200 * kMs);  // due in it, and answered after
  Answer(0, 1200 * kMs, 100 * kMs);  // due after it
  recorders_[0]->Finish();
  Collect(/*at_end=*/true);
  EXPECT_EQ(collector_->latency().count(), 2u);
  EXPECT_EQ(results_[0].service.count(), 2u);
  EXPECT_EQ(results_[0].requests, 2u) << "answered in the window";
  EXPECT_EQ(offered_.front(), 100u);
}

TEST_F(CollectorTest, NobodyCollectingCostsNoMore) {
  Begin(1);
  for (int64_t i = 0; i < 300; ++i) {
    Answer(0, i * 3 * kMs, 1);
    recorders_[0]->Tick(kBegin + i * 3 * kMs, 1, 0);
  }
  std::vector<Interval> published = outboxes_[0].Take();
  EXPECT_LE(published.size(), 64u);
}

TEST(Outbox, LosesNothingWhereNobodyTakes) {
  Outbox outbox;
  Interval interval;
  for (int64_t i = 0; i < 1000; ++i) {
    interval.number = static_cast<uint64_t>(i);
    interval.begin_ns = i * 10;
    interval.length_ns = 10;
    interval.requests = 1;
    interval.latency.Record(5);
    outbox.Publish(interval);
    EXPECT_EQ(interval.requests, 0u);
    EXPECT_EQ(interval.latency.count(), 0u);
  }
  uint64_t requests = 0, counted = 0;
  const std::vector<Interval> published = outbox.Take();
  EXPECT_LE(published.size(), 64u);
  for (const Interval& one : published) {
    requests += one.requests;
    counted += one.latency.count();
  }
  EXPECT_EQ(requests, 1000u);
  EXPECT_EQ(counted, 1000u);
  EXPECT_EQ(published.back().begin_ns + published.back().length_ns, 10'000);
}

TEST(WarmupWatch, EndsWhenTheRateHasSettled) {
  WarmupWatch watch;
  int64_t now = 1;
  uint64_t requests = 0;
  for (int i = 0; i < 20; ++i) {  // it rises all the time
    EXPECT_FALSE(watch.Settled(now, requests)) << i;
    now += 100 * kMs;
    requests += 1000u * i;
  }
  int steps = 0;
  for (; !watch.Settled(now, requests); ++steps) {
    ASSERT_LT(steps, 20);
    now += 100 * kMs;
    requests += 20'000 + steps % 2;
  }
  EXPECT_GE(steps, 2);
}

}  // namespace
}  // namespace loadgen
