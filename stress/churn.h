#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "io/endpoint.h"
#include "loadgen/load.h"
#include "stress/result.h"
#include "stress/target.h"

// Connections that come and go: connect, one request, close.
namespace stress {

struct ChurnOptions {
  std::vector<TargetOptions> targets;  // one after the other, a row each
  std::string client_backend = "epoll";
  uint32_t connections = 32;  // at the same time
  uint32_t threads = 1;
  uint64_t message_bytes = 64;
  double rate = 0;  // connections a second; 0: as many as it goes
  int64_t duration_ns = 10'000'000'000;
  bool server_closes = false;  // the service greets and closes: `greet`, else `echo`
  loadgen::Ending ending = loadgen::Ending::kFin;  // where we close
  std::vector<io::Endpoint> sources;
  uint64_t memory_floor_bytes = 0;
};

// Runs it. Its own part of the result is "churn" in results/SCHEMA.md. Ends early, with the limit
// named, when no port is left to connect from or memory runs low. Errors: Target::Start()'s, and
// those of a load generator that can't run at all.
absl::StatusOr<Result> Churn(const ChurnOptions& options, const Context& context);

}  // namespace stress
