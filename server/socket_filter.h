#pragma once

#include <linux/filter.h>

#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "server/access_list.h"

namespace server {

// An access list as a classic BPF program (linux/Documentation/networking/filter.rst) that the
// kernel runs on each packet for a socket, before TCP or UDP sees it. On a listening TCP socket it
// sees the SYN: to a denied source the port answers nothing at all, neither SYN-ACK nor reset, and
// no memory, accept or descriptor is spent on it. On a UDP socket a denied datagram is never
// queued.
//
// The filter reads the source address from the IP header, IPv4 or IPv6, whichever the packet has:
// one program serves AF_INET sockets, AF_INET6 sockets, and dual-stack ones, whose IPv4 packets
// have an IPv4 header.
//
// It is the first line. The second is AccessList::Allows() on what accept(2) or recvmsg(2) names:
// it also judges what came before the filter was attached, and what an incomplete filter lets
// through.
struct SocketFilter {
  // Empty where everybody passes: there is nothing to attach.
  std::vector<sock_filter> program;
  // Whether the program denies all that the list denies. Where the list is too long for that, the
  // program denies the largest denied ranges, and never denies what the list allows.
  bool complete = true;

  // Of at most `instructions_max` instructions. A list of a thousand blocks is complete within
  // BPF_MAXINSNS unless most are IPv6 blocks longer than /32 with no beginning in common. REQUIRES:
  // instructions_max >= 16.
  static SocketFilter Compile(const AccessList& list, size_t instructions_max = BPF_MAXINSNS);

  // SO_ATTACH_FILTER (socket(7)). Attach to a socket before it is bound: what arrives between bind
  // and attach is not filtered. A filter that the socket has already is replaced. Errors:
  // PermissionDenied (EPERM: recent kernels, seen with 6.18, ask for CAP_NET_ADMIN where the socket
  // is TCP; UDP takes no capability; or SO_LOCK_FILTER is set), ResourceExhausted (ENOMEM: the
  // program is larger than net.core.optmem_max; compiling with a smaller `instructions_max` helps,
  // too), InvalidArgument (EINVAL: the kernel rejects the program; EBADF, ENOTSOCK). After an error
  // the socket is as it was: a server can go on with the second line alone.
  absl::Status Attach(int fd) const;

  // SO_GET_FILTER: what is attached to the socket; an empty program where nothing is.
  static SocketFilter Of(int fd);

  // SO_DETACH_FILTER. An accepted socket inherits the listener's filter, which then costs time on
  // each of its packets, and can't deny any: its one source has passed. So detach it there, at
  // once. A socket without a filter (ENOENT) is left as it is; one whose filter is locked (EPERM)
  // keeps it. Neither does harm.
  static void Detach(int fd) noexcept;
};

}  // namespace server
