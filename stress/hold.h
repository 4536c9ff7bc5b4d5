#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "io/endpoint.h"
#include "stress/result.h"
#include "stress/target.h"

// As many connections at the same time as it goes: a ramp, each of them verified by an echo; a time
// in which they rest but for a heartbeat; and their end.
namespace stress {

struct HoldOptions {
  TargetOptions target;
  std::string client_backend = "epoll";
  uint32_t connections = 10'000;
  double connect_rate = 0;  // connections a second; 0: as many as it goes
  // Within which somebody has to be answered, or the ramp is over.
  int64_t connect_timeout_ns = 10'000'000'000;
  int64_t hold_ns = 5'000'000'000;
  double heartbeat_rate = 1'000;  // requests a second, of all, on one after the other in an order
                                  // that chance chose
  uint64_t message_bytes = 64;
  uint32_t processes = 1;  // at each end; with our own server, in pairs
  uint32_t threads = 0;    // of each process; 0: as many as the descriptors ask for
  // Connections without a file descriptor each (io/direct_descriptors.h): at both ends, or of a
  // server that is somebody's at ours.
  enum class Direct { kAuto, kYes, kNo };
  Direct direct = Direct::kAuto;
  std::vector<io::Endpoint> sources;  // to connect from; empty: planned
  uint64_t memory_floor_bytes = 0;
};

// Runs it. Its own part of the result is "hold" in results/SCHEMA.md. A limit ends the ramp, and
// what was opened by then is held nevertheless. Errors: InvalidArgument where the options can't
// hold together (PlanHold()), Target::Start()'s, and those of a load that can't run at all.
// REQUIRES: this process has no other thread.
absl::StatusOr<Result> Hold(const HoldOptions& options, const Context& context);

}  // namespace stress
