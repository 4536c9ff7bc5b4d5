#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "io/endpoint.h"
#include "stats/socket_diag.h"

namespace probe {

// A process that holds a listening socket.
struct Holder {
  pid_t pid = 0;
  int fd = 0;
  std::string process;  // its name, as /proc/PID/comm; "" where it has just ended
};

// A socket of this machine that waits for peers, who holds it, and who is connected.
struct Listener {
  stats::SocketInfo socket;
  std::vector<Holder> holders;
  // One sentence on why no process is named; "" where one is.
  std::string unseen;
  // Connections to its address, those in its accept queue included; sockets that share an address
  // (SO_REUSEPORT) each tell those of all.
  uint64_t connections = 0;
  std::vector<std::string> peers;  // the first of them, by address; Unix peers have none
};

struct ListenerQuery {
  std::vector<stats::SocketProtocol> protocols;
  std::vector<uint16_t> ports;  // only these, of TCP and UDP, at most stats::kPortsMax; none: any
  size_t peers_max = 0;         // how many peers of each are named
};

struct ListenerList {
  std::vector<Listener> listeners;
  bool more_connections = false;  // there were more than were counted (kConnectionsMax)
};

inline constexpr size_t kConnectionsMax = 200'000;

// What netstat, ss and lsof would say, of the caller's network namespace: sock_diag(7) joined with
// /proc/PID/fd. Its cost: stats/socket_holders.h. Errors: those of stats::Listeners() and of
// stats::FindSocketHolders().
absl::StatusOr<ListenerList> FindListening(const ListenerQuery& query);

// Those of `list` whom a client of `at` may meet: as the kernel does, it prefers what is bound to
// the address to what is bound to 0.0.0.0 or [::], and IPv4 to dual-stack. Several share a port.
// `at` is no wildcard, and is TCP.
std::vector<const Listener*> ListenersAt(const io::Endpoint& at, const ListenerList& list);

}  // namespace probe
