#pragma once

// What the kernel's io_uring offers beyond the oldest liburing that we build with (2.3). There,
// operations and registrations are enums, which the preprocessor can't see: so these are names of
// our own, with the kernel's values (include/uapi/linux/io_uring.h, Linux 6.17).

#include <liburing.h>

#include <cstdint>

namespace io {

// The total that a multishot receive may deliver before it ends (Linux 6.17): a 32-bit field that
// shares its place with splice_fd_in. Kernels before refuse it with EINVAL.
inline void SetReceiveTotal(io_uring_sqe* sqe, uint32_t bytes) {
  sqe->splice_fd_in = static_cast<int32_t>(bytes);
}

}  // namespace io
