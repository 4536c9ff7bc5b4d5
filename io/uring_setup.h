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
  bool multishot_receive = true, multishot_accept = true;
  bool sqpoll = false;   // IORING_SETUP_SQPOLL (5.1), instead of the task work modes
  std::string switched;  // "without borrow": what options ask for

  // "DEFER_TASKRUN, registered ring, ...": for reports.
  std::string ToString() const;
};

// Makes a ring for the calling thread: SINGLE_ISSUER with DEFER_TASKRUN, or what the kernel has, or
// the options leave, instead; sizes are halved while memory lacks. An error says why io_uring isn't
// available here: the kernel is too old (before 6.0: no multishot receive),
// kernel.io_uring_disabled, a seccomp filter (EPERM, as containers have it), RLIMIT_MEMLOCK,
// RLIMIT_NOFILE.
absl::Status OpenRing(const LoopOptions& options, io_uring* ring, UringFeatures* features);

// Submits, and waits until `wait` completions are there, at most `min_wait_us`; then until there is
// one, or the timeout (nullptr: then it returns, with one or without). What
// io_uring_submit_and_wait_timeout(3) is, with the minimum that liburing 2.3 doesn't know of.
// Returns what was submitted, or -errno.
int EnterWithMinimum(io_uring* ring, unsigned wait, __kernel_timespec* timeout,
                     uint32_t min_wait_us);

// Whether OpenRing would succeed, and multishot receive works; the reason if not. Makes a small
// ring and lets it go.
absl::Status ProbeUring();

// The features that a ring of this kernel has, by such a small ring; none where it can't be made.
UringFeatures ProbeUringFeatures();

}  // namespace io
