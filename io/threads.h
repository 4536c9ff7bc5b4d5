#pragma once

#include <cstdint>
#include <string_view>
#include <thread>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

namespace io {

// Starts a thread that runs `body`. ResourceExhausted where there is none left (EAGAIN of
// pthread_create(3): RLIMIT_NPROC, pids.max, kernel.threads-max, or no memory for a stack): a
// sentence with `what_for` in it ("the admin address"), and the limits. `thread` is then as it was,
// and `body` is gone. The only place that makes one: the constructor of std::thread throws.
absl::Status StartThread(std::string_view what_for, absl::AnyInvocable<void()> body,
                         std::thread* thread);

// Binds the calling thread to one CPU (sched_setaffinity(2)). InvalidArgument where this process
// may not run there.
absl::Status PinThread(int cpu);

// Raises RLIMIT_NOFILE's soft limit to `descriptors`, as far as the hard limit goes. An error says
// how far that is, and how to raise it.
absl::Status AllowDescriptors(uint64_t descriptors);

}  // namespace io
