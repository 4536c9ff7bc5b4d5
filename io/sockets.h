#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/endpoint.h"
#include "io/event_loop.h"

namespace io {

// A bound, listening TCP socket: TCP_NODELAY (accepted sockets inherit it), SO_REUSEADDR,
// close-on-exec. An address that is taken is tried again for half a second, since a killed server's
// rings let go of their sockets a moment after it ended. Errors name the address, the errno and the
// mend: EADDRINUSE, EADDRNOTAVAIL, EACCES (a privileged port), EMFILE.
absl::StatusOr<int> OpenListener(const Endpoint& at, const ListenOptions& options,
                                 bool nonblocking);

// Whether `at` could be bound by a listener that shares it with nobody. A SO_REUSEPORT listener
// would join another server of this user without a word; this tells before.
absl::Status CheckUnused(const Endpoint& at);

// A TCP socket that is about to connect to `at`: TCP_NODELAY, close-on-exec.
absl::StatusOr<int> OpenConnector(const Endpoint& at, bool nonblocking);

// The error that ended a non-blocking connect: SO_ERROR.
int SocketError(int fd);

// Makes the next close(2) send a reset: SO_LINGER of 0 s (socket(7)).
void ResetOnClose(int fd);

}  // namespace io
