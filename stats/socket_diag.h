#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Sockets as the kernel sees them: NETLINK_SOCK_DIAG, sock_diag(7). Any user may ask, for all
// sockets of the caller's network namespace; no privilege is needed.
namespace stats {

// What the kernel keeps about a TCP connection: struct tcp_info, <linux/tcp.h>.
struct TcpDetails {
  uint32_t rtt_us = 0;             // smoothed round-trip time
  uint32_t rtt_var_us = 0;         // its mean deviation
  uint32_t min_rtt_us = 0;         // ~0: not measured yet
  uint32_t retransmits = 0;        // segments, since the connection opened
  uint32_t unacked = 0;            // segments under way
  uint32_t lost = 0;               // of these, taken for lost
  uint32_t cwnd = 0;               // congestion window, in segments
  uint32_t not_sent_bytes = 0;     // in the send queue, not sent once
  uint64_t bytes_acked = 0;        // of ours, by the peer
  uint64_t bytes_received = 0;     // from the peer, in order
  uint64_t sndbuf_limited_us = 0;  // time that sending waited for our send buffer
  uint64_t rwnd_limited_us = 0;    // time that sending waited for the peer's window
};

// The file of a Unix socket that is bound to a path, as stat(2) shows it, but for the inode's upper
// half. Where file systems are stacked (overlayfs) both may differ from what stat(2) shows.
struct SocketFile {
  dev_t device = 0;
  uint32_t inode = 0;
};

struct SocketInfo {
  std::string protocol;  // tcp, udp, unix (stream), unix-dgram, unix-seqpacket
  std::string state;     // as ss(8) prints it: LISTEN, UNCONN, ESTAB, CLOSE-WAIT, ...
  // "127.0.0.1:9999", "[::1]:9", "[fe80::1%eth0]:9", a path, "@name" (abstract; a NUL in it is an
  // "@", too). Empty: has none. Control characters in a Unix name are written as \xNN, a backslash
  // as \\.
  std::string local, remote;
  // Bytes received and not read, bytes sent and not acknowledged (for UDP: as the buffers account
  // for them, overhead included). A listener's are the length of its accept queue, and its limit:
  // the backlog of listen(2) as capped by net.core.somaxconn.
  uint32_t recv_queue = 0, send_queue = 0;
  uint32_t uid = 0;
  uint32_t inode = 0;  // what /proc/PID/fd shows; 0: no process holds it, not accepted or closed
  uint32_t peer_inode = 0;         // a Unix connection's other end
  bool v6_only = false;            // a listener of IPv6 that takes no IPv4: IPV6_V6ONLY
  std::optional<SocketFile> file;  // Unix sockets with a path
  // TCP: connections lost to a full accept queue, or segments dropped; UDP: datagrams lost to a
  // full receive buffer. Unix sockets: not counted.
  std::optional<uint32_t> drops;
  std::optional<TcpDetails> tcp;  // connections that are not in TIME-WAIT or SYN-RECV
};

enum class SocketProtocol { kTcp, kUdp, kUnix };

struct SocketQuery {
  std::vector<SocketProtocol> protocols = {SocketProtocol::kTcp, SocketProtocol::kUdp,
                                           SocketProtocol::kUnix};
  // Only these local ports, of TCP and UDP; none: any. The kernel's own filter picks them: what
  // does not match costs a step of the kernel's walk over its table and no message. At most
  // kPortsMax.
  std::vector<uint16_t> ports;
  // Only Unix sockets with these local names, written as SocketInfo::local; none: any. The kernel
  // has no filter for names: those with the right state are all read.
  std::vector<std::string> unix_names;
  size_t max = 10'000;     // no more sockets than this
  bool time_wait = false;  // Connections(): those in TIME-WAIT too, which no process holds any more
};

inline constexpr size_t kPortsMax = 1000;

struct SocketList {
  std::vector<SocketInfo> sockets;
  bool more = false;  // there were more than `max`
};

// Sockets that wait for peers: TCP and Unix sockets that listen, UDP sockets without a peer and
// Unix datagram sockets with a name and without a peer. IPv4, then IPv6, in the kernel's order.
//
// Errors (of both): PermissionDenied (a seccomp filter or security module), Unavailable (the kernel
// lacks a diag module; says which), ResourceExhausted (descriptors, memory), Aborted (the table
// changed under each of five dumps), InvalidArgument (too many ports).
absl::StatusOr<SocketList> Listeners(const SocketQuery& query);

// Sockets that have a peer, those in the accept queue included.
absl::StatusOr<SocketList> Connections(const SocketQuery& query);

// How the above talk to the kernel; for tests.
namespace internal {

// A netlink socket of one dump.
class Netlink {
 public:
  virtual ~Netlink() = default;
  // 0 or an errno.
  virtual int Send(std::span<const char> request) = 0;
  // The size of the next datagram, or a negative errno.
  virtual ssize_t Receive(std::span<char> buffer) = 0;
  // Our address, which answers carry.
  virtual uint32_t port_id() const = 0;
};

using OpenNetlink = std::function<absl::StatusOr<std::unique_ptr<Netlink>>()>;

inline constexpr int kDumpAttempts = 5;

absl::StatusOr<SocketList> Listeners(const SocketQuery& query, const OpenNetlink& open);
absl::StatusOr<SocketList> Connections(const SocketQuery& query, const OpenNetlink& open);

}  // namespace internal
}  // namespace stats
