#include "io/threads.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "io/errors.h"

namespace io {
namespace {

absl::Status NoThread(std::string_view what_for, int error) {
  rlimit limit = {};
  getrlimit(RLIMIT_NPROC, &limit);
  const std::string ours = limit.rlim_cur == RLIM_INFINITY ? std::string("has no limit")
                                                           : absl::StrCat("is ", limit.rlim_cur);
  return absl::ResourceExhaustedError(absl::StrCat(
      "no thread can be started for ", absl::string_view(what_for.data(), what_for.size()), ": ",
      ErrnoName(error), "; RLIMIT_NPROC ", ours,
      " for all processes of this user: raise it (ulimit -u), or pids.max of the control group "
      "(TasksMax= in the unit, --pids-limit of the container), or use fewer threads"));
}

}  // namespace

absl::Status StartThread(std::string_view what_for, absl::AnyInvocable<void()> body,
                         std::thread* thread) {
  try {
    *thread = std::thread(std::move(body));
    return absl::OkStatus();
  } catch (const std::system_error& error) {
    return NoThread(what_for, error.code().value());
  } catch (const std::bad_alloc&) {
    return NoThread(what_for, ENOMEM);
  }
}

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
