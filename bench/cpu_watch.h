#pragma once

#include <cstdint>
#include <vector>

#include "stats/cpu_usage.h"

namespace bench {

// How much of some CPUs' time others than those who are measured had: where both ends have to wait
// for a CPU, latencies and rates are those of the programs that run beside them.
class CpuWatch {
 public:
  // Of these CPUs; none: of all.
  explicit CpuWatch(std::vector<int> cpus) : cpus_(std::move(cpus)) {}

  void Begin();
  // `known_ns`: what both ends used since Begin(), to their last threads.
  void End(int64_t known_ns);

  // The share of the time between all Begin() and End(), 0 to 1; 0 where the kernel doesn't say.
  // Interrupts are nobody's here, though the ends' own times may contain some: it is rather too
  // small than too large.
  double others() const;

 private:
  int64_t Worked(const stats::MachineCpu& machine) const;

  std::vector<int> cpus_;
  int64_t begun_ns_ = 0, own_ns_ = 0;
  stats::MachineCpu before_;
  int64_t others_ns_ = 0, cpu_time_ns_ = 0;
};

}  // namespace bench
