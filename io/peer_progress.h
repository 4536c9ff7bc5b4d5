#pragma once

#include <cstdint>

namespace io {

// A number that changes when the peer of this stream takes some of what was sent to it, also while
// a single send is under way: of TCP the bytes that it acknowledged (tcpi_bytes_acked, Linux 4.1),
// of a Unix socket those that it has not read (SIOCOUTQ). 0 where neither can be had.
uint64_t TakenByPeer(int fd);

}  // namespace io
