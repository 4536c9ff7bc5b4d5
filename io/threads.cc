#include "io/threads.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace io {

absl::Status PinThread(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_SET(cpu, &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("CPU ", cpu, " is not one that this process may run on; see: taskset -p $$"));
}

absl::Status AllowDescriptors(uint64_t descriptors) {
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < descriptors && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = std::min<rlim_t>(descriptors, limit.rlim_max);
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
  }
  if (limit.rlim_cur >= descriptors) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      descriptors, " file descriptors are needed, and RLIMIT_NOFILE allows ", limit.rlim_cur,
      "; raise the hard limit (as root: prlimit --pid $$ --nofile=", descriptors, ":", descriptors,
      ", or LimitNOFILE= in the unit), or ask for fewer connections"));
}

}  // namespace io
