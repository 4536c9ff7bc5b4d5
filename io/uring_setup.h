#pragma once

#include <liburing.h>

#include <string>

#include "absl/status/status.h"
#include "io/event_loop.h"

namespace io {

// Which of io_uring's features a ring runs with: what this kernel has of what the backend can use.
struct UringFeatures {
  bool defer_taskrun = false;    // IORING_SETUP_DEFER_TASKRUN (6.1)
  bool coop_taskrun = false;     // IORING_SETUP_COOP_TASKRUN (5.19), where the former is missing
  bool registered_ring = false;  // the ring's descriptor is registered (5.18)
  bool receive_total = false;    // a byte cap on multishot receives (6.17)

  // "DEFER_TASKRUN, registered ring, ...": for reports.
  std::string ToString() const;
};

// Makes a ring for the calling thread: SINGLE_ISSUER with DEFER_TASKRUN, or what the kernel has
// instead; sizes are halved while memory lacks. An error says why io_uring isn't available here:
// the kernel is too old (before 6.0: no multishot receive), kernel.io_uring_disabled, a seccomp
// filter (EPERM, as containers have it), RLIMIT_MEMLOCK, RLIMIT_NOFILE.
absl::Status OpenRing(const LoopOptions& options, io_uring* ring, UringFeatures* features);

// Whether OpenRing would succeed, and multishot receive works; the reason if not. Makes a small
// ring and lets it go.
absl::Status ProbeUring();

// The features that a ring of this kernel has, by such a small ring; none where it can't be made.
UringFeatures ProbeUringFeatures();

}  // namespace io
