#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace stats {

// The least, the middle (of an even number: the lower of the two) and the greatest of what the
// sockets of a sample have; all 0 where none of them has it.
struct Spread {
  uint64_t min = 0;
  uint64_t median = 0;
  uint64_t max = 0;
};

// What the kernel knows of some TCP connections, each seen from our end. Sums are since the
// connections were opened. Optional is what older kernels don't tell: it is there if the kernel
// told it of one socket. Source: TCP_INFO, tcp(7), net/ipv4/tcp.c, tcp_get_info() (Linux 6.12).
struct TcpSample {
  size_t sockets = 0;  // sampled
  size_t skipped = 0;  // not TCP, not a socket, or closed

  // Names, sorted, with ", " between them: of a congestion control for all as a rule.
  std::string congestion_control;

  Spread rtt_us;                     // smoothed round-trip time; of sockets that have measured it
  Spread rtt_var_us;                 // its mean deviation
  std::optional<Spread> min_rtt_us;  // Linux 4.6; the least in net.ipv4.tcp_min_rtt_wlen (300 s)
  Spread cwnd;                       // congestion window, in segments

  // Bytes/s of the most recent data that were acknowledged; of sockets that have sent any.
  std::optional<Spread> delivery_rate;  // Linux 4.9

  uint64_t retransmits = 0;                   // segments sent again
  uint64_t unacked = 0;                       // segments under way now
  std::optional<uint64_t> reordering_events;  // reorderings seen; Linux 4.19

  // Time that data waited to be sent or acknowledged; and the parts of it in which the peer's
  // window, and our send buffer, were what held them up. Linux 4.10.
  std::optional<uint64_t> busy_us;
  std::optional<uint64_t> rwnd_limited_us;
  std::optional<uint64_t> sndbuf_limited_us;

  // Parts of the busy time, 0 to 1; 0 where there was none or the kernel doesn't tell.
  double rwnd_limited_share() const;
  double sndbuf_limited_share() const;
};

// Samples the sockets `fds`, which must not be closed meanwhile. Two system calls for each, less
// than a us together. Of an MPTCP socket its first subflow is meant, where the kernel gives it.
TcpSample SampleTcp(std::span<const int> fds);

// For tests.
namespace internal {

// What TCP_INFO gave: a struct tcp_info of <linux/tcp.h>, of which the kernel filled `size` bytes.
struct TcpInfo {
  alignas(uint64_t) char bytes[256] = {};
  socklen_t size = 0;
};

// All of a sample but `skipped` and `congestion_control`.
TcpSample Aggregate(std::span<const TcpInfo> infos);

}  // namespace internal
}  // namespace stats
