#pragma once

#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "loadgen/load.h"
#include "loadgen/reconciliation.h"
#include "loadgen/server_metrics.h"

namespace loadgen {

// Asks a server for its metrics at the begin and the end of a run, and of its window. One thread;
// each call may block for as long as a server takes to answer, 2 s at most, unless it says more.
class ServerWitness {
 public:
  explicit ServerWitness(MetricsAddress from) : from_(std::move(from)) {}

  // REQUIRES: before the first connection. Waits for up to a second for the server to be done with
  // what clients before us left. Errors: as of ReadServerMetrics().
  absl::Status RunBegins();
  void WindowBegins();
  void WindowEnds();  // safe to call again: the first counts
  // REQUIRES: after the last connection was closed. A server counts what it has seen, which lags:
  // waits until its counts are ours, or stay as they are, for up to 10 s. Gives the server's CPU
  // time to those results that have none, and counts differences in errors.reconciliation of the
  // only class; those of several are nobody's.
  Reconciliation RunEnds(const std::vector<LoadOptions>& classes, std::vector<LoadResult>* results);

 private:
  absl::StatusOr<ServerMetrics> Read() const;
  // Reads until `done`, or until the counts have not changed for quiet_ns, or until patience_ns
  // have passed.
  template <class Done>
  absl::StatusOr<ServerMetrics> ReadUntil(int64_t quiet_ns, int64_t patience_ns,
                                          const Done& done) const;
  void GiveCpu(std::vector<LoadResult>* results) const;

  const MetricsAddress from_;
  ServerMetrics run_begin_;
  std::optional<ServerMetrics> window_begin_, window_end_;
};

}  // namespace loadgen
