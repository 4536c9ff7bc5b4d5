#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "stress/result.h"
#include "stress/target.h"

// A server that doesn't accept, or not fast enough: how many connections wait in its accept queue,
// and what becomes of the rest.
namespace stress {

// Who doesn't accept.
enum class Waiting {
  kListener,      // a socket of ours, with each of the backlogs (stress/plain_listener.h)
  kStoppedServe,  // our `ringside serve`, with each of the backlogs, stopped by SIGSTOP
  kSomebody,      // somebody's server, with the backlog that it has, as it is
  kStopped,       // somebody's, stopped by SIGSTOP, and continued in the end
};

struct BacklogOptions {
  TargetOptions target;
  Waiting waiting = Waiting::kListener;
  std::vector<uint64_t> backlogs = {1, 8, 128, 4096};  // of our own, one after the other
  double accepts_per_s = 0;                            // of kListener
  uint64_t connections = 0;                            // 0: what the queue holds, and `beyond` more
  uint64_t beyond = 64;
  int64_t timeout_ns = 10'000'000'000;  // of each connect
  uint64_t memory_floor_bytes = 0;

  // A burst instead, of up to so many connects at once, against a server that accepts: ours with
  // each of the backends, threads and backlogs, or somebody's. 0: none.
  uint64_t burst = 0;
  std::vector<std::string> burst_backends;
  std::vector<uint64_t> burst_threads = {1};
};

// Runs it. Its own part of the result is "backlog" in results/SCHEMA.md. It takes as long as the
// timeout for each backlog, and little more. Ends early, with the limit named, when descriptors,
// ports or memory run out. Errors: Target::Start()'s, StoppedProcess::Stop()'s, PlainListener's;
// InvalidArgument where there is nobody to stop, or no telling how many to connect.
absl::StatusOr<Result> Backlog(const BacklogOptions& options, const Context& context);

}  // namespace stress
