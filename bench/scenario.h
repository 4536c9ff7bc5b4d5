#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

namespace bench {

// What the arms are compared under, and what about.
struct Scenario {
  std::string name;                 // "64 × 64 B"
  double x = std::nan("");          // of what is swept; NaN: nothing is
  std::string workload = "rr";      // of `ringside load`, as the next four
  std::string service = "echo";     //
  uint32_t connections = 64;        //
  std::string size = "64B";         // may vary: "64..16KiB"
  uint32_t depth = 1;               //
  uint64_t message_bytes = 64;      // `size` as a number, for our servers; 0: it varies
  uint32_t threads = 0;             // of our servers; 0: as their command says
  std::vector<std::string> load;    // further flags of the load generator
  bool full = true;                 // has a part at full speed
  double pace_rps = 0;              // of the paced part, at the most; 0: there is none
  bool pace_fixed = false;          // the pace is what was asked for: it isn't lowered
  std::string arrivals = "bursts";  // of the paced part
  std::string objective;            // "p99<1ms": the search for the highest rate that keeps it
  std::string objective_broken;     // the same as `load --fail-if` takes it: "p99>=1ms"
  std::string metric;               // the key of the one that the verdict is about
  double margin = 0.05;             // the difference that matters
};

}  // namespace bench
