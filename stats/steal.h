#pragma once

#include <string>

namespace stats {

// What all CPUs of the machine together did since boot, in seconds of CPU time.
struct CpuTimes {
  double user_s;    // Programs, niced ones and guests too.
  double system_s;  // The kernel, its interrupts too.
  double idle_s;    // Waiting for I/O too.
  double steal_s;   // Ready to run while the hypervisor ran something else.
  double total_s;   // The sum of the above.
};

// Reads the times, with the resolution of the kernel's tick (10 ms as a rule); all 0 where they
// can't be read. Source: proc_stat(5).
CpuTimes ReadCpuTimes(const std::string& path = "/proc/stat");

// The share of the CPUs' time between two readings that the hypervisor took away, 0 to 1; 0 when no
// time has passed. A shared machine with more than a few percent can't be trusted to measure.
double StealShare(const CpuTimes& before, const CpuTimes& after);

}  // namespace stats
