#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <ctime>

namespace io {

// When the kernel received: SO_TIMESTAMPING with software receive timestamps (timestamping.rst of
// the kernel's documentation; TCP since Linux 4.14). Taken where the packet enters the network
// stack, before any queue of a socket.

// Has the kernel note when it receives for this socket. False where it can't: nothing is noted.
bool AskForReceiveStamps(int fd);

// What one recvmsg(2) that asks for the timestamp needs. It can't be moved while it is in use: its
// parts point to each other.
struct StampedReceive {
  msghdr header;
  iovec payload;
  alignas(cmsghdr)
      std::array<char, CMSG_SPACE(sizeof(timespec[3]))> control;  // struct scm_timestamping

  // Before each call. `into` may be nullptr where io_uring picks the buffer.
  void Prepare(std::byte* into, size_t size);
  // After it: when the newest of the segments that the bytes came from, or the datagram, came;
  // CLOCK_REALTIME, in ns. 0 where the kernel doesn't say.
  int64_t received_at_ns() const;
};

}  // namespace io
