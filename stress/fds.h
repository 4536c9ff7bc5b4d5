#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "stress/result.h"
#include "stress/target.h"

// A server that runs out of file descriptors.
namespace stress {

struct FdsOptions {
  std::vector<TargetOptions> targets;  // one after the other, a row each
  std::string client_backend = "epoll";
  uint64_t server_nofile = 256;         // RLIMIT_NOFILE of our own server
  uint32_t connections = 8;             // that are there before the others
  double rate = 100;                    // requests a second of each of these
  uint32_t message_bytes = 64;          // up to 16 KiB
  uint32_t beyond = 64;                 // connections that come when no descriptor is left
  int64_t hold_ns = 3'000'000'000;      // at the limit: a half without requests, a half with
  int64_t patience_ns = 5'000'000'000;  // an answer is waited for no longer
  uint64_t memory_floor_bytes = 0;
};

// From this share of a CPU on, with nothing to do and beyond what was used so before the limit, a
// server is said to spin.
inline constexpr double kSpinShare = 0.05;

// Runs it. Its own part of the result is "fds" in results/SCHEMA.md. Ends early, with the limit
// named, where the server's can't be reached (ours is too low, or it is bounded by something else)
// or memory runs low. A server that spins or drops connections is a finding, not a problem; one
// that answers wrongly is a problem. Errors: Target::Start()'s; InvalidArgument where the server's
// process isn't known; ReadFdUse()'s.
absl::StatusOr<Result> Fds(const FdsOptions& options, const Context& context);

}  // namespace stress
