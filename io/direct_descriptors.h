#pragma once

#include <liburing.h>

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace io {

// The direct descriptors of one ring: sockets that only its operations can name
// (io_uring_register_files_sparse(3), Linux 5.19). They don't count against RLIMIT_NOFILE, but the
// kernel makes no table larger than that: so a process can have as many for each of its rings.
//
// Life of one: Take(): in use -> an IORING_OP_CLOSE of it completed -> Free().
class DirectDescriptors {
 public:
  // Errors: ResourceExhausted where the table is larger than RLIMIT_NOFILE, or memory lacks;
  // Unimplemented where the kernel hasn't what they need (Linux 6.7: socket options by
  // IORING_OP_URING_CMD).
  absl::Status Open(io_uring* ring, uint32_t count);

  // Moves a descriptor into the table; it is closed, also where that fails. ResourceExhausted where
  // the table is full. Three system calls in all: not by IORING_OP_SOCKET and IORING_OP_BIND, which
  // would tell only later that the source can't be bound.
  absl::StatusOr<int> Take(int fd);
  void Free(int number) { free_.push_back(number); }

 private:
  io_uring* ring_ = nullptr;
  uint32_t count_ = 0;
  std::vector<int> free_;
};

// Makes the close of a direct descriptor a reset: SO_LINGER of 0 s, as ResetOnClose(). The caller
// sets IOSQE_FIXED_FILE.
void PrepareResetOnClose(io_uring_sqe* sqe, int number);

}  // namespace io
