#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <vector>

#include "absl/status/statusor.h"

namespace stats {

// The processes of this machine that hold the socket which a client meets at `address`, a
// sockaddr_in, sockaddr_in6 or sockaddr_un of `size` bytes, with a socket of `type`: SOCK_STREAM,
// SOCK_DGRAM, or for Unix sockets SOCK_SEQPACKET. Sorted; empty where no socket of this network
// namespace waits there, or the address is not of this machine (an address that only
// net.ipv4.ip_nonlocal_bind makes local counts as one).
//
// As the kernel does, it prefers the socket that is bound to the address to one that is bound to
// 0.0.0.0 or [::], and IPv4 to a dual-stack one. A client of 0.0.0.0 or [::] meets the loopback.
// Of a group that shares a port (SO_REUSEPORT), and of processes that share a socket by fork(), all
// are found. A Unix socket with a path is found by its file, whatever name it was bound by. MPTCP
// listeners count as TCP. What is bound to a device only (SO_BINDTODEVICE) is not told apart.
//
// What it can't see: a process whose only reference is a direct descriptor of io_uring, which
// /proc/PID/fd doesn't list; processes of other users, unless root asks (it suffices that one
// holder is visible, the rest are left out); those of other PID namespaces or hidden by hidepid=.
//
// Its cost is a symbolic link for each descriptor of the machine's processes, some us each: for the
// beginning or the end of a run. Sends nothing. Any thread.
//
// Errors: InvalidArgument (says what of the address is wrong); PermissionDenied where the socket is
// there, and only processes that may not be looked into can hold it; NotFound where it is there and
// no process that is visible holds it; ResourceExhausted (descriptors, memory, more than
// kDescriptorsMax descriptors on the machine: stats/socket_holders.h); those of Listeners() in
// stats/socket_diag.h. Sources: sock_diag(7), proc_pid_fd(5), net/ipv4/inet_hashtables.c
// (compute_score(), Linux 6.12).
absl::StatusOr<std::vector<pid_t>> FindListeners(const sockaddr* address, socklen_t size, int type);

}  // namespace stats
