#pragma once

#include "absl/status/status.h"

namespace io {

// Binds the calling thread to one CPU (sched_setaffinity(2)). InvalidArgument where this process
// may not run there.
absl::Status PinThread(int cpu);

// Raises RLIMIT_NOFILE's soft limit to `descriptors`, as far as the hard limit goes. An error says
// how far that is, and how to raise it.
absl::Status AllowDescriptors(uint64_t descriptors);

}  // namespace io
