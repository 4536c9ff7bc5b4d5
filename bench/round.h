#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "bench/arm.h"
#include "bench/cpus.h"

namespace bench {

// What the arms are compared under.
struct Scenario {
  std::string name;  // "64 × 64 B"
  uint32_t connections = 64;
  uint64_t message_bytes = 64;
  uint32_t depth = 1;
  double pace_rps = 100'000;  // of the paced part: the most that is asked for
};

// How one round is played.
struct RoundPlan {
  CpuPlan cpus;
  std::string service = "echo";
  std::string transport = "tcp";  // of kTransports
  std::string client_backend;     // of the load generator: the same for all arms
  int64_t warmup_ns = 150'000'000;
  int64_t window_ns = 400'000'000;  // measured, for each part
  int interrupt_fd = -1;            // becomes readable when the user wants an end
};

// One arm's figures of one round. Both parts start the server and the load generator afresh: at
// full speed (closed loop), then paced.
struct RoundResult {
  double full_server_cpu_us = 0, full_client_cpu_us = 0;  // a request, at full speed
  double full_server_syscalls = -1;                       // likewise; -1: it doesn't tell
  double requests_per_s = 0, p99_ns = 0;                  // at full speed
  double server_cpu_us = 0, client_cpu_us = 0;            // a request, paced
  double server_syscalls = -1;  // a request, paced; -1: the server doesn't tell
  double steal = 0;             // share of the machine's CPU time that others took
  std::string void_why;         // why the round doesn't count; "" where it does
};

// Plays a round. An error ends the comparison: the arm doesn't start, or dies (its stderr is in the
// message); Cancelled: interrupted. A round with errors of the load, or off its pace, is void.
absl::StatusOr<RoundResult> PlayRound(const Arm& arm, const Scenario& scenario,
                                      const RoundPlan& plan);

// The arm's requests a second at full speed; for finding a pace that all arms can hold.
absl::StatusOr<double> FullSpeed(const Arm& arm, const Scenario& scenario, const RoundPlan& plan);

}  // namespace bench
