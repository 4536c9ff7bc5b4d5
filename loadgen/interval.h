#pragma once

#include <cstdint>

#include "stats/histogram.h"

namespace loadgen {

// What happened in one interval of the measured window, over all threads.
struct Interval {
  uint64_t number = 0;       // 0, 1, ...
  int64_t begin_ns = 0;      // since the window's begin
  int64_t length_ns = 0;     // of the last one, it may be shorter than of the others
  uint64_t offered = 0;      // requests that were due in it (open loop); else 0
  uint64_t requests = 0;     // answered in it
  uint64_t errors = 0;       // of any kind
  uint64_t connections = 0;  // open at its end
  uint64_t bytes_received = 0, bytes_sent = 0;
  stats::Histogram latency;  // of the requests answered in it: response time in open loop,
                             // service time in closed loop; empty where there is none
};

}  // namespace loadgen
