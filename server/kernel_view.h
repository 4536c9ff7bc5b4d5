#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "server/seldom.h"
#include "server/server.h"
#include "stats/socket_diag.h"

namespace server {

// A listener's sockets as the kernel sees them, all threads' together.
struct ListenerQueue {
  uint64_t length = 0;  // connections that wait to be accepted; of datagrams: bytes not read
  uint64_t limit = 0;   // of these; 0 for datagrams
  uint64_t drops = 0;   // lost to a full queue
};

// Some of the connections to the server's listeners.
struct BusiestConnections {
  static constexpr size_t kMax = 20;
  std::vector<stats::SocketInfo> connections;  // kMax at most: those with the most bytes that wait
  bool more = false;                           // there were others
};

// By listener, in the server's order, as they are now: the kernel walks through its listeners only.
// Errors: as of stats::Listeners(). Any thread.
absl::StatusOr<std::vector<ListenerQueue>> ListenerQueues(const Server& server);

// The connections of a server, as the kernel sees them. It walks through all of them for that: with
// 10,000 that takes tens of milliseconds, of a CPU that the loops want. So an answer is kept, for
// all who ask meanwhile, for 19 times as long as it took: however often somebody asks, that is a
// twentieth of one CPU. Any thread.
class ConnectionsView {
 public:
  // Errors: as of stats::Connections().
  absl::StatusOr<BusiestConnections> Busiest(const Server& server);

 private:
  Seldom<absl::StatusOr<BusiestConnections>> busiest_;
};

}  // namespace server
