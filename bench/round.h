#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "bench/arm.h"
#include "bench/cpus.h"
#include "bench/metrics.h"
#include "bench/scenario.h"

namespace bench {

// How rounds are played.
struct RoundPlan {
  CpuPlan cpus;
  std::string transport = "tcp";        // of kTransports
  std::string client_backend;           // of the load generator, where an arm's own flags say none
  std::string client_backend_fallback;  // why it isn't the first choice; "" where it is
  int64_t warmup_ns = 150'000'000;
  int64_t window_ns = 400'000'000;  // measured, for each part
  uint64_t seed = 1;                // of what the load generator draws: arrivals, sizes
  double steal_max = 0.10;          // of the CPU time: a round with more is void
  double others_max = 0.10;         // likewise, of both ends' CPUs (bench/cpu_watch.h)
  int interrupt_fd = -1;            // becomes readable when the user wants an end
};

// A counter of the kernel that changed.
struct KernelChange {
  int64_t delta = 0;
  std::string meaning;
};
using KernelChanges = std::map<std::string, KernelChange>;  // by nstat(8)'s name

// One arm's figures of one round. Each part starts the server and the load generator afresh.
struct RoundResult {
  Figures figures;
  std::string full_hdr, paced_hdr;  // the latencies, as stats::EncodeHdr() writes them; "": none
  KernelChanges kernel;             // of all parts
  bool generator_bound = false;     // at full speed the load generator was the limit
  double steal = 0;                 // share of the machine's CPU time that the hypervisor took
  double others = 0;                // share of both ends' CPUs that other processes had
  std::string void_why;             // why the round doesn't count; "" where it does
  bool disturbed = false;           // because of others, not of what an end did
  int64_t measured_ns = 0;          // windows, and below warm-ups, of all its parts
  int64_t warmup_ns = 0;
};

// Plays a round: the parts that the scenario has. `rate_guess` is where a search for the highest
// rate begins, and gets what was found. An error ends the comparison: the arm doesn't start, or
// dies (its stderr is in the message); Cancelled: interrupted. A round with errors of the load, off
// its pace, limited by the generator where that matters, or with too much steal is void.
absl::StatusOr<RoundResult> PlayRound(const Arm& arm, const Scenario& scenario,
                                      const RoundPlan& plan, double* rate_guess);

// The arm's requests a second at full speed; for finding a pace that it can hold.
absl::StatusOr<double> FullSpeed(const Arm& arm, const Scenario& scenario, const RoundPlan& plan);

}  // namespace bench
