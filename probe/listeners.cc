#include "probe/listeners.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "stats/proc_file.h"
#include "stats/socket_holders.h"

namespace probe {
namespace {

constexpr size_t kListenersMax = 1'000'000;

// A process gives itself its name, so it may hold what a terminal would obey.
std::string Printable(std::string name) {
  while (!name.empty() && name.back() == '\n') name.pop_back();
  std::ranges::replace_if(
      name, [](unsigned char c) { return c < ' ' || c == 0x7f; }, '?');
  return name;
}

std::string ProcessName(pid_t pid) {
  const auto text = stats::ReadProcFile(absl::StrCat("/proc/", pid, "/comm"));
  return text.ok() ? Printable(*text) : "";
}

std::string WhyUnseen(const stats::SocketInfo& socket, bool denied) {
  if (socket.inode == 0) return "its process has just closed it";
  if (denied) {
    return "this process may not look into the one that holds it, another user's or a more "
           "privileged one; run as that user or as root";
  }
  return "no process that can be seen: io_uring may hold it as a direct descriptor, the kernel "
         "itself, or a process of another PID namespace or hidden by hidepid=";
}

absl::Status NameHolders(std::vector<Listener>* listeners) {
  std::multimap<uint32_t, Listener*> by_inode;
  std::set<uint32_t> inodes;
  for (Listener& listener : *listeners) {
    if (listener.socket.inode == 0) continue;
    by_inode.emplace(listener.socket.inode, &listener);
    inodes.insert(listener.socket.inode);
  }
  const auto found = stats::FindSocketHolders(inodes);
  if (!found.ok()) return found.status();
  std::map<pid_t, std::string> names;
  for (const stats::SocketHolder& holder : found->holders) {
    const auto [name, is_new] = names.try_emplace(holder.pid);
    if (is_new) name->second = ProcessName(holder.pid);
    const auto [first, last] = by_inode.equal_range(holder.inode);
    for (auto i = first; i != last; ++i) {
      i->second->holders.push_back({.pid = holder.pid, .fd = holder.fd, .process = name->second});
    }
  }
  for (Listener& listener : *listeners) {
    if (listener.holders.empty()) listener.unseen = WhyUnseen(listener.socket, found->denied);
  }
  return absl::OkStatus();
}

// The names that a listener may have which takes peers at `local`, the kernel's first choice first.
struct BoundName {
  std::string name;
  bool takes_ipv4 = false;  // of IPv6: not one with IPV6_V6ONLY
};

std::vector<BoundName> NamesFor(const std::string& local) {
  const size_t colon = local.rfind(':');
  if (colon == std::string::npos) return {{local}};  // a Unix name
  const std::string port = local.substr(colon);
  if (local.front() == '[') {
    const bool mapped = local.starts_with("[::ffff:") && local.find('.') != std::string::npos;
    return {{local, mapped}, {absl::StrCat("[::]", port), mapped}};
  }
  return {{local},
          {absl::StrCat("[::ffff:", local.substr(0, colon), "]", port), true},
          {absl::StrCat("0.0.0.0", port)},
          {absl::StrCat("[::]", port), true}};
}

using ByName = std::multimap<std::pair<std::string, std::string>, Listener*>;  // protocol and name

// A connection is its listener's: the listener with the first of its names that any has.
void CountConnection(const stats::SocketInfo& connection, const ByName& listeners,
                     size_t peers_max) {
  const bool is_unix = connection.protocol.starts_with("unix");
  for (const BoundName& name :
       is_unix ? std::vector<BoundName>{{connection.local}} : NamesFor(connection.local)) {
    bool any = false;
    const auto [first, last] = listeners.equal_range({connection.protocol, name.name});
    for (auto i = first; i != last; ++i) {
      if (name.takes_ipv4 && i->second->socket.v6_only) continue;
      any = true;
      ++i->second->connections;
      if (i->second->peers.size() < peers_max && !connection.remote.empty()) {
        i->second->peers.push_back(connection.remote);
      }
    }
    if (any) return;
  }
}

absl::Status CountConnections(const ListenerQuery& query, ListenerList* list) {
  ByName by_name;
  for (Listener& listener : list->listeners) {
    by_name.emplace(std::pair(listener.socket.protocol, listener.socket.local), &listener);
  }
  const auto found = stats::Connections(
      {.protocols = query.protocols, .ports = query.ports, .max = kConnectionsMax});
  if (!found.ok()) return found.status();
  list->more_connections = found->more;
  for (const stats::SocketInfo& connection : found->sockets) {
    if (connection.local.empty()) continue;
    CountConnection(connection, by_name, query.peers_max);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ListenerList> FindListening(const ListenerQuery& query) {
  auto sockets =
      stats::Listeners({.protocols = query.protocols, .ports = query.ports, .max = kListenersMax});
  if (!sockets.ok()) return sockets.status();
  ListenerList list;
  for (stats::SocketInfo& socket : sockets->sockets) {
    list.listeners.push_back({.socket = std::move(socket)});
  }
  absl::Status status = NameHolders(&list.listeners);
  if (status.ok()) status = CountConnections(query, &list);
  if (!status.ok()) return status;
  return list;
}

std::vector<const Listener*> ListenersAt(const io::Endpoint& at, const ListenerList& list) {
  const std::string local = io::AddressText(at.address(), at.size());
  std::vector<const Listener*> found;
  for (const BoundName& name : NamesFor(local)) {
    for (const Listener& listener : list.listeners) {
      const stats::SocketInfo& socket = listener.socket;
      // A link-local listener's name has its interface in it: "[fe80::1%eth0]:9".
      std::string bound = socket.local;
      if (const size_t scope = bound.find('%'); scope != std::string::npos) {
        bound.erase(scope, bound.find(']') - scope);
      }
      if (socket.protocol != "tcp" || bound != name.name) continue;
      if (!(name.takes_ipv4 && socket.v6_only)) found.push_back(&listener);
    }
    if (!found.empty()) break;
  }
  return found;
}

}  // namespace probe
