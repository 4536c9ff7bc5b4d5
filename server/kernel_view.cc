#include "server/kernel_view.h"

#include <algorithm>
#include <iterator>
#include <string>

namespace server {
namespace {

// As stats::SocketInfo spells a local address.
std::string LocalText(const io::Endpoint& at) {
  return at.dual_stack() ? "[::]:" + std::to_string(at.port())
                         : io::AddressText(at.address(), at.size());
}

const char* ProtocolOf(const io::Endpoint& at) {
  switch (at.transport()) {
    case io::Transport::kTcp:
    case io::Transport::kMptcp:  // its first subflow
      return "tcp";
    case io::Transport::kUdp:
      return "udp";
    case io::Transport::kUnixStream:
      return "unix";
    case io::Transport::kUnixSeqpacket:
      return "unix-seqpacket";
    case io::Transport::kUnixDatagram:
      return "unix-dgram";
  }
  return "";
}

// What the kernel is to be asked for: only what can be the server's.
std::vector<stats::SocketQuery> Queries(const Server& server) {
  stats::SocketQuery ip, unix_sockets;
  ip.protocols = {stats::SocketProtocol::kTcp, stats::SocketProtocol::kUdp};
  unix_sockets.protocols = {stats::SocketProtocol::kUnix};
  for (const OpenedListener& listener : server.listeners()) {
    if (listener.at.is_unix()) {
      unix_sockets.unix_names.push_back(LocalText(listener.at));
    } else if (ip.ports.size() < stats::kPortsMax) {
      ip.ports.push_back(listener.at.port());
    }
  }
  std::vector<stats::SocketQuery> queries;
  if (!ip.ports.empty()) queries.push_back(ip);
  if (!unix_sockets.unix_names.empty()) queries.push_back(unix_sockets);
  return queries;
}

absl::StatusOr<BusiestConnections> AskForBusiest(const Server& server) {
  BusiestConnections busiest;
  std::vector<stats::SocketInfo>& all = busiest.connections;
  for (const stats::SocketQuery& query : Queries(server)) {
    auto found = stats::Connections(query);
    if (!found.ok()) return found.status();
    busiest.more = busiest.more || found->more;
    all.insert(all.end(), std::make_move_iterator(found->sockets.begin()),
               std::make_move_iterator(found->sockets.end()));
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
    return a.recv_queue + uint64_t{a.send_queue} > b.recv_queue + uint64_t{b.send_queue};
  });
  if (all.size() > BusiestConnections::kMax) {
    all.resize(BusiestConnections::kMax);
    all.shrink_to_fit();
    busiest.more = true;
  }
  return busiest;
}

}  // namespace

absl::StatusOr<std::vector<ListenerQueue>> ListenerQueues(const Server& server) {
  std::vector<ListenerQueue> queues(server.listeners().size());
  for (const stats::SocketQuery& query : Queries(server)) {
    const auto found = stats::Listeners(query);
    if (!found.ok()) return found.status();
    for (const stats::SocketInfo& socket : found->sockets) {
      for (size_t i = 0; i < queues.size(); ++i) {
        const io::Endpoint& at = server.listeners()[i].at;
        if (socket.protocol != ProtocolOf(at) || socket.local != LocalText(at)) continue;
        queues[i].length += socket.recv_queue;
        if (!at.is_datagram()) queues[i].limit += socket.send_queue;
        queues[i].drops += socket.drops.value_or(0);
      }
    }
  }
  return queues;
}

absl::StatusOr<BusiestConnections> ConnectionsView::Busiest(const Server& server) {
  return busiest_.Get([&] { return AskForBusiest(server); });
}

}  // namespace server
