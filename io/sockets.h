#pragma once

#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/endpoint.h"
#include "io/event_loop.h"

namespace io {

// A bound socket of the endpoint's transport, close-on-exec; it listens, unless it is one of
// datagrams.
//
//   * TCP: TCP_NODELAY (accepted sockets inherit it), SO_REUSEADDR.
//   * IPv6 is IPv6 only, whatever net.ipv6.bindv6only says; "*" is both.
//   * UDP: as large a receive buffer as we may have, up to 4 MiB; at a wildcard address,
//     IP_PKTINFO, so that an answer comes from the address that was asked.
//   * Unix: a path is made with mode 0600. One that exists is replaced only where it is a socket
//     and refuses connections: left by a server that is gone.
//
// An address that is taken is tried again for half a second, since a killed server's rings let go
// of their sockets a moment after it ended. Where options.fd is given, it is that, with O_NONBLOCK
// as asked for.
//
// Errors name the address, the errno and the mend: EADDRINUSE, EADDRNOTAVAIL, EACCES (a privileged
// port, a directory), ENOENT, EMFILE, ENFILE, EAFNOSUPPORT, EPROTONOSUPPORT.
// `prepare`, if there is one, sees the socket before it is bound; its error is passed on.
using PrepareSocket = std::function<absl::Status(int fd)>;
absl::StatusOr<int> OpenListener(const Endpoint& at, const ListenOptions& options, bool nonblocking,
                                 const PrepareSocket& prepare = {});

// Whether `at` could be bound by a listener that shares it with nobody. A SO_REUSEPORT listener
// would join another server of this user without a word; this tells before.
absl::Status CheckUnused(const Endpoint& at);

// A socket that is about to connect to `at`, close-on-exec; TCP_NODELAY; bound to `from` where
// there is one. One of Unix datagrams without has an abstract address of its own (autobind,
// unix(7)), for the answers. Errors: as OpenListener's, and InvalidArgument for a source that
// doesn't fit; none is tried again.
absl::StatusOr<int> OpenConnector(const Endpoint& at, bool nonblocking,
                                  const Endpoint* from = nullptr);

// The error that ended a non-blocking connect: SO_ERROR.
int SocketError(int fd);

// Sets or clears O_NONBLOCK, in one call (FIONBIO).
void SetNonblocking(int fd, bool nonblocking);

// Makes the next close(2) send a reset: SO_LINGER of 0 s (socket(7)).
void ResetOnClose(int fd);

}  // namespace io
