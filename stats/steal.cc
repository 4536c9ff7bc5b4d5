#include "stats/steal.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace stats {

CpuTimes ReadCpuTimes(const std::string& path) {
  std::ifstream file(path);
  std::string name;
  double user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0;
  // The two guest columns that follow are contained in user and nice.
  file >> name >> user >> nice >> system >> idle >> iowait >> irq >> softirq >> steal;
  if (!file || name != "cpu") return {};
  const auto tick = static_cast<double>(sysconf(_SC_CLK_TCK));
  CpuTimes times{};
  times.user_s = (user + nice) / tick;
  times.system_s = (system + irq + softirq) / tick;
  times.idle_s = (idle + iowait) / tick;
  times.steal_s = steal / tick;
  times.total_s = times.user_s + times.system_s + times.idle_s + times.steal_s;
  return times;
}

double StealShare(const CpuTimes& before, const CpuTimes& after) {
  const double total = after.total_s - before.total_s;
  if (total <= 0) return 0;
  // Some hypervisors let the counter step back when a machine is moved.
  return std::clamp((after.steal_s - before.steal_s) / total, 0.0, 1.0);
}

}  // namespace stats
