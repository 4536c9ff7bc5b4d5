#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace server {

// What a socket is that another process opened for us.
struct SocketKind {
  int family = 0;          // AF_INET, AF_INET6, AF_UNIX, ...
  int type = 0;            // SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET
  int protocol = 0;        // IPPROTO_TCP, IPPROTO_UDP, 0 for Unix sockets, ...
  bool listening = false;  // after listen(2)
  std::string address;     // "127.0.0.1:9999", "[::1]:9999", "/run/x", "@name"; "" for others

  // "TCP socket 127.0.0.1:9999", for messages.
  std::string ToString() const;
};

// Looks at a socket (socket(7)) and checks that it can be served on: one that keeps connections
// listens, one of datagrams is bound. Errors, each a sentence that starts with "descriptor N":
// FailedPrecondition (not open, not bound, not listening, or an accepted connection),
// InvalidArgument (not a socket).
absl::StatusOr<SocketKind> InspectSocket(int fd);

}  // namespace server
