#include "bench/cpus.h"

#include <sched.h>

#include <fstream>

#include "absl/strings/str_cat.h"

namespace bench {
namespace {

// The kernel's list of the threads of this CPU's core ("0,64"); equal for all of them.
std::string Core(int cpu) {
  std::ifstream file(
      absl::StrCat("/sys/devices/system/cpu/cpu", cpu, "/topology/thread_siblings_list"));
  std::string siblings;
  std::getline(file, siblings);
  return siblings.empty() ? absl::StrCat("cpu", cpu) : siblings;
}

}  // namespace

CpuPlan PlanCpus() {
  cpu_set_t allowed;
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &allowed)) cpus.push_back(cpu);
    }
  }
  if (cpus.size() < 2) return {};
  for (size_t i = 1; i < cpus.size(); ++i) {
    if (Core(cpus[i]) != Core(cpus[0])) return {{cpus[0]}, {cpus[i]}};
  }
  return {{cpus[0]}, {cpus[1]}};
}

}  // namespace bench
