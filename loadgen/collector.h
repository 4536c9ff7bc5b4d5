#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "loadgen/interval.h"
#include "loadgen/load.h"

namespace loadgen {

// Where a thread of load leaves the intervals that it has completed, and finds empty ones, so that
// it never merges or allocates while it measures.
class Outbox {
 public:
  Outbox();

  // Leaves an interval, and takes an empty one in its place. Its thread.
  void Publish(Interval& interval);
  // Takes what was left, in order. The collecting thread.
  std::vector<Interval> Take();
  void Return(Interval interval);

 private:
  static constexpr size_t kSpares = 2;
  static constexpr size_t kPublishedMax = 64;  // beyond it, the last one takes up what comes

  std::mutex mutex_;
  std::vector<Interval> published_, spares_;
};

// Puts together what the threads of a class measured: the intervals, the latency of all, and the
// series. One thread.
class Collector {
 public:
  explicit Collector(const LoadOptions& options);

  using F = std::function<void(const Interval&)>;
  // Takes from the outboxes; calls f for each interval that is now complete, in order. `at_end`:
  // no more comes, so all are.
  void Collect(std::vector<Outbox>& outboxes, bool at_end, const F& f);

  const stats::Histogram& latency() const { return latency_; }
  const std::vector<SeriesRow>& series() const { return series_; }

 private:
  void Finish(Interval& interval, const F& f);

  const LoadOptions& options_;
  std::optional<Schedule> schedule_;      // of all threads; open loop
  std::vector<uint64_t> next_;            // by thread: the first interval that it may still publish
  std::map<uint64_t, Interval> waiting_;  // that some threads have published
  uint64_t finished_ = 0;                 // intervals before this one
  stats::Histogram latency_;
  std::vector<SeriesRow> series_;
};

// Sees when an automatic warm-up may end: when the rate of the last half second differs from that
// of the half second before by no more than the noise of the intervals (10 % at the most), or by 2
// %.
class WarmupWatch {
 public:
  // So many requests were answered until now. Returns whether the rate has settled.
  bool Settled(int64_t now_ns, uint64_t requests);

 private:
  static constexpr size_t kGroup = 5;
  static constexpr double kAlike = 0.02, kNoise = 0.1;  // of the rate
  static constexpr int64_t kIntervalNs = 90'000'000;

  int64_t last_ns_ = 0;
  uint64_t last_requests_ = 0;
  std::deque<double> rates_;
};

}  // namespace loadgen
