#pragma once

// What the kernel's io_uring offers beyond the oldest liburing that we build with (2.3). There,
// operations and registrations are enums, which the preprocessor can't see: so these are names of
// our own, with the kernel's values (include/uapi/linux/io_uring.h, Linux 6.17).

#include <liburing.h>

#include <cstdint>
#include <cstring>

namespace io {

// The total that a multishot receive may deliver before it ends (Linux 6.17): a 32-bit field that
// shares its place with splice_fd_in. Kernels before refuse it with EINVAL.
inline void SetReceiveTotal(io_uring_sqe* sqe, uint32_t bytes) {
  sqe->splice_fd_in = static_cast<int32_t>(bytes);
}

// A receive that takes as many buffers as there are bytes for (Linux 6.10), one after the other as
// they stand in the ring: a flag in ioprio. The completion names the first.
inline constexpr uint16_t kReceiveBundle = 1u << 4;

// A buffer ring whose buffers are filled bit by bit (Linux 6.12): each receive goes on where the
// last one ended. A flag of the registration.
inline constexpr uint16_t kBufferRingIncremental = 2;

// Fields that have a name only since the kernel uses them: the liburing that we build with has
// either the new name or its padding. Which, the compiler is asked, not a version.

// The flags of a buffer ring's registration (Linux 6.12).
template <class Registration>
void SetBufferRingFlags(Registration& registration, uint16_t flags) {
  if constexpr (requires { registration.flags; }) {
    registration.flags = flags;
  } else {
    registration.pad = flags;
  }
}

// How long an enter waits for more completions than have come, in us (Linux 6.12).
template <class Argument>
void SetMinimumWait(Argument& argument, uint32_t min_wait_us) {
  if constexpr (requires { argument.min_wait_usec; }) {
    argument.min_wait_usec = min_wait_us;
  } else {
    argument.pad = min_wait_us;
  }
}

// Completion flag of a zero-copy send (Linux 6.0): the memory is free.
inline constexpr unsigned kCompletionNotifies = 1u << 3;

// setsockopt(2) as an operation: SOCKET_URING_OP_SETSOCKOPT of IORING_OP_URING_CMD (Linux 6.7). The
// value is read when the operation is submitted. Level and option share their place with addr, the
// value with addr3, its length with splice_fd_in.
inline constexpr uint32_t kSocketSetOption = 3;
inline void PrepareSetOption(io_uring_sqe* sqe, int fd, int level, int option, const void* value,
                             uint32_t size) {
  io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, nullptr, 0, 0);
  sqe->cmd_op = kSocketSetOption;
  const uint32_t what[2] = {static_cast<uint32_t>(level), static_cast<uint32_t>(option)};
  std::memcpy(&sqe->addr, what, sizeof(what));
  sqe->addr3 = reinterpret_cast<uint64_t>(value);
  sqe->splice_fd_in = static_cast<int32_t>(size);
}

}  // namespace io
