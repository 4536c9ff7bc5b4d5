#pragma once

#include <liburing.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace io {

// The direct descriptors of one ring: sockets that only its operations can name
// (io_uring_register_files_sparse(3), Linux 5.19). They don't count against RLIMIT_NOFILE, but the
// kernel makes no table larger than that: so a process can have as many for each of its rings.
//
// Which number is free we know, not the kernel (IORING_FILE_INDEX_ALLOC): an accept that finds the
// table full takes the connection from the backlog and drops it. So an accept gets its number
// beforehand, and without a free one none is armed. The numbers of connections that we open, and of
// those that we accept, are two parts of the table: neither can take what is the other's.
//
// Life of one: Take() or Reserve(): in use -> an IORING_OP_CLOSE of it completed, or nothing came
// to be there -> Free().
class DirectDescriptors {
 public:
  // Errors: ResourceExhausted where the table is larger than RLIMIT_NOFILE, or memory lacks;
  // Unimplemented where the kernel hasn't what they need (Linux 6.7: socket options by
  // IORING_OP_URING_CMD).
  absl::Status Open(io_uring* ring, uint32_t connects, uint32_t accepts);

  // Moves a descriptor into the table; it is closed, also where that fails. ResourceExhausted where
  // the table is full. Three system calls in all: not by IORING_OP_SOCKET and IORING_OP_BIND, which
  // would tell only later that the source can't be bound.
  absl::StatusOr<int> Take(int fd);
  // A number for a connection that is to be accepted; -1 where none is free.
  int Reserve() {
    if (free_accepts_.empty()) return -1;
    const int number = free_accepts_.back();
    free_accepts_.pop_back();
    return number;
  }
  void Free(int number) {
    (static_cast<uint32_t>(number) < connects_ ? free_ : free_accepts_).push_back(number);
  }

 private:
  io_uring* ring_ = nullptr;
  uint32_t connects_ = 0;  // the numbers below are for connections that we open
  std::vector<int> free_, free_accepts_;
};

// An accept whose connection will take direct descriptor `number`: what the kernel needs until it
// completes, and where the peer's address is then. A multishot accept could tell none.
struct DirectAccept {
  static constexpr uint32_t kInFlightMax = 32;  // a listener: so many are taken in one turn

  uint32_t index = 0, generation = 0;  // its slot
  uint32_t listener = 0;
  int number = -1;
  socklen_t peer_size = 0;
  sockaddr_in6 peer = {};  // or an IPv4 address

  void Reset() { number = -1; }
  // Accepts from `fd`. The caller sets user_data.
  void Prepare(io_uring_sqe* sqe, int fd);
};

// Makes the close of a direct descriptor a reset: SO_LINGER of 0 s, as ResetOnClose(). The caller
// sets IOSQE_FIXED_FILE.
void PrepareResetOnClose(io_uring_sqe* sqe, int number);

}  // namespace io
