#pragma once

#include <cstdint>
#include <optional>

#include "loadgen/reconciliation.h"
#include "stats/cgroups.h"
#include "stats/cpu_usage.h"
#include "stats/kernel_counters.h"

namespace loadgen {

// What the machine did while a run was measured.
struct Evidence {
  bool window = false;  // what is of the window is there
  double window_s = 0;
  double client_cpus = 0;        // CPUs' worth of time that this process used
  double others_cpus = 0;        // likewise, that neither it nor the server used
  bool others_known = false;     // the server is not among them, or not on this machine
  double others_error_cpus = 0;  // what others_cpus may be off by, at the least
  double steal_share = 0;        // of the machine's CPU time that the hypervisor took
  // What the window has of stats::CgroupThrottled(): of our control group, and of the server's
  // where that is another one.
  stats::CgroupThrottling throttled, server_throttled;
  stats::KernelDifference kernel;  // over the whole run, of the whole network namespace
  std::optional<Reconciliation> reconciliation;  // with --server-metrics: ServerWitness
};

// Takes readings of the machine at the begin and the end of a run, and of its window. One thread.
class Witness {
 public:
  // server_pid: whose CPU time is not others'; 0: nobody's, and the server is elsewhere unless
  // `server_is_here`.
  Witness(pid_t server_pid, bool server_is_here)
      : server_pid_(server_pid), others_known_(server_pid > 0 || !server_is_here) {}

  void RunBegins();
  void WindowBegins();
  void WindowEnds();  // safe to call again: the first counts
  Evidence RunEnds();

 private:
  struct Readings {
    int64_t at_ns = 0;  // 0: none
    int64_t own_ns = 0, server_ns = 0;
    stats::MachineCpu machine;
    stats::CgroupThrottling throttled, server_throttled;
  };
  Readings Read() const;

  const pid_t server_pid_;
  const bool others_known_;
  absl::StatusOr<stats::KernelCounters> kernel_before_;
  Readings begin_, end_;
};

}  // namespace loadgen
