#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"

namespace stress {

// How far a process is from its limit of descriptors.
struct FdUse {
  uint64_t limit = 0;  // RLIMIT_NOFILE, the soft one: open(2) and accept(2) give numbers below it
  uint64_t used = 0;   // of these numbers; others there are where the limit was lowered since

  uint64_t free() const { return limit - used; }
  // The next accept(2) says EMFILE.
  bool exhausted() const { return used >= limit; }
};

// That of process `pid`. A direct descriptor of io_uring is none of these. Its cost is a step for
// each descriptor. Errors: NotFound (the process is gone), PermissionDenied (another user's, and
// we aren't root: proc_pid_fd(5)), ResourceExhausted (no descriptor is left for us).
// Source: /proc/PID/limits and /proc/PID/fd, proc(5).
absl::StatusOr<FdUse> ReadFdUse(pid_t pid);

namespace internal {
// The soft limit of "Max open files" in the text of /proc/PID/limits; 0: it isn't there.
uint64_t ParseOpenFiles(std::string_view text);
}  // namespace internal

}  // namespace stress
