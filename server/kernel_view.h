#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "server/server.h"
#include "stats/socket_diag.h"

namespace server {

// A listener's sockets as the kernel sees them, all threads' together.
struct ListenerQueue {
  uint64_t length = 0;  // connections that wait to be accepted; of datagrams: bytes not read
  uint64_t limit = 0;   // of these; 0 for datagrams
  uint64_t drops = 0;   // lost to a full queue
};

// By listener, in the server's order. Errors: as of stats::Listeners().
absl::StatusOr<std::vector<ListenerQueue>> ListenerQueues(const Server& server);

// At most `max` of the connections to the server's listeners: those with the most bytes that wait.
// `*more` tells whether there were others.
absl::StatusOr<std::vector<stats::SocketInfo>> BusiestConnections(const Server& server, size_t max,
                                                                  bool* more);

}  // namespace server
