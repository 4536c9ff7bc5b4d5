#pragma once

#include <liburing.h>

#include <cstdint>

#include "absl/status/status.h"
#include "io/event_loop.h"

// The kernel's memory for a ring, and what it says where it gives none.
//
// Of a process without CAP_IPC_LOCK, the rings and the rings of provided buffers are charged to
// RLIMIT_MEMLOCK, which bounds all processes of its user together (io_uring/memmap.c,
// io_create_region(); measured on Linux 6.18; between 5.12 and that function they were not). The
// buffers, and tables of direct descriptors, are not. What a closed ring had comes back some 30 ms
// later (measured on 6.18): the kernel takes rings down from a work queue.
namespace io {

// What is charged for one loop with these options, in bytes.
uint64_t LockedBytes(const LoopOptions& options);

// Whether rings of this process are charged at all: makes one under a limit of 0, so the process
// may do nothing else with its limits meanwhile. False where no ring can be made.
bool RingsAreCharged();

// io_uring_queue_init_params(3): 0 or an errno. Where memory lacks, it is tried again for as long
// as rings that this process closed, or one that ended just before, may still hold it.
int MakeRing(unsigned entries, io_uring* ring, io_uring_params* params);
// io_uring_queue_exit(3).
void ReleaseRing(io_uring* ring);
// The same patience for a registration that takes memory. Returns 0 or an errno.
int RegisterBufferRing(io_uring* ring, io_uring_buf_reg* registration);

// Why a ring can't be had, or a part of it be registered, as BackendRefused() (io/backends.h) marks
// it: the kernel is too old, kernel.io_uring_disabled, a filter, RLIMIT_MEMLOCK (and how much such
// loops need), descriptors. `call` failed with `error`, for a loop with these options.
absl::Status UringRefused(const char* call, int error, const LoopOptions& options);

// Makes options.loops rings at once, each with its receive buffers, and lets them go: whether the
// kernel has that memory now. UringRefused()'s error.
absl::Status TryRings(const LoopOptions& options);

}  // namespace io
