#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "stress/result.h"
#include "stress/slow_peers.h"
#include "stress/target.h"

// What a good client notices of peers that make the server wait, and what they cost it.
namespace stress {

struct SlowExperiment {
  std::vector<TargetOptions> targets;  // one after the other
  std::vector<SlowKind> kinds;         // each with a server of its own, where it is ours
  uint32_t peers = 50;                 // slow ones
  int64_t trickle_every_ns = 100'000'000;
  std::string client_backend = "epoll";  // of the good client
  uint32_t connections = 4;              // likewise
  double rate = 0;                       // its requests a second; 0: closed loop
  uint64_t message_bytes = 64;
  int64_t duration_ns = 5'000'000'000;  // measured, without the slow ones and then with them
  uint64_t memory_floor_bytes = 0;
};

// Runs it. Its own part of the result is "slow" in results/SCHEMA.md; its `connections` are the
// good client's. The server has to echo. Errors: as of Churn().
absl::StatusOr<Result> Slow(const SlowExperiment& options, const Context& context);

}  // namespace stress
