#pragma once

#include <array>
#include <cstdint>
#include <deque>

#include "cli/panel.h"
#include "loadgen/interval.h"
#include "loadgen/load.h"
#include "stats/histogram.h"

namespace cli {

// What a run has told so far, as a panel shows it. Holds 1.6 MB. One thread at a time.
class LiveFigures {
 public:
  explicit LiveFigures(const loadgen::LoadOptions& options);

  // How far the run is at `now_ns` (monotonic), and the CPU time that the client's threads have
  // used by then. In rising order; a few times a second.
  void OnProgress(const loadgen::LoadProgress& progress, int64_t now_ns, int64_t cpu_ns);

  // The next interval. Without any, rates come from OnProgress(), and there are no latencies.
  void OnInterval(const loadgen::Interval& interval);

  // As of the last call.
  PanelState State() const;

 private:
  struct Sample {
    int64_t at_ns;
    uint64_t requests;
    int64_t cpu_ns;
  };
  // The intervals that began in one fifth of a second.
  struct Slot {
    int64_t number = -1;
    int64_t length_ns = 0;
    uint64_t requests = 0, offered = 0;
    stats::Histogram latency;
  };
  static constexpr int64_t kSlots = 5;
  static constexpr int64_t kSlotNs = 200'000'000;

  void AddRate(double per_second);
  void DescribePhase(PanelState* state) const;
  void DescribeRates(PanelState* state) const;
  void DescribeIntervals(PanelState* state) const;

  const loadgen::LoadOptions options_;
  const uint64_t wanted_;  // connections
  loadgen::LoadProgress progress_ = {loadgen::LoadProgress::Phase::kConnecting, 0, 0};
  int64_t phase_since_ns_ = 0;
  uint64_t phase_requests_ = 0;  // when it began
  std::deque<Sample> samples_;   // of the last second, and one before
  std::deque<double> rates_;     // oldest first
  std::array<Slot, kSlots> slots_;
  int64_t newest_slot_ = -1;  // none yet
  int64_t length_ns_ = 0;     // these: of all intervals
  uint64_t requests_ = 0, offered_ = 0, errors_ = 0;
  stats::Histogram latency_;
};

}  // namespace cli
