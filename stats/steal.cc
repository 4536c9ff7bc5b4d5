#include "stats/steal.h"

#include <algorithm>

#include "stats/cpu_usage.h"

namespace stats {

CpuTimes ReadCpuTimes(const std::string& path) {
  const absl::StatusOr<MachineCpu> machine = MachineCpu::Read(path);
  if (!machine.ok()) return {};
  const CpuNanos& all = machine->all;
  const auto seconds = [](int64_t ns) { return static_cast<double>(ns) / 1e9; };
  return {.user_s = seconds(all.user_ns),
          .system_s = seconds(all.system_ns + all.interrupt_ns),
          .idle_s = seconds(all.idle_ns),
          .steal_s = seconds(all.steal_ns),
          .total_s = seconds(all.busy_ns() + all.idle_ns + all.steal_ns)};
}

double StealShare(const CpuTimes& before, const CpuTimes& after) {
  const double total = after.total_s - before.total_s;
  if (total <= 0) return 0;
  // Some hypervisors let the counter step back when a machine is moved.
  return std::clamp((after.steal_s - before.steal_s) / total, 0.0, 1.0);
}

}  // namespace stats
