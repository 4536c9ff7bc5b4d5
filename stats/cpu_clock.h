#pragma once

#include <sys/types.h>

#include <cstdint>

#include "absl/status/statusor.h"

namespace stats {

// The CPU time, user and system, that process `pid` has used so far, in ns: of all its threads,
// ended ones too, and of its io_uring workers and submission thread, which are threads of the
// process since Linux 5.12. /proc/PID/stat has only ticks of 10 ms. Any process that is visible may
// be asked. NotFound where there is none, or no longer. Source: clock_getcpuclockid(3).
absl::StatusOr<int64_t> ProcessCpuNanos(pid_t pid);

// The same for `pid` and all processes below it that live: a server that forks for each connection
// works in its children. Source: /proc/PID/task/TID/children, proc(5).
absl::StatusOr<int64_t> ProcessTreeCpuNanos(pid_t pid);

// The same for the calling process, and for the calling thread alone.
int64_t OwnCpuNanos();
int64_t ThreadCpuNanos();

}  // namespace stats
