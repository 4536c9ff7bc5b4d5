#include "stats/server_finder.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <set>
#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "stats/socket_diag.h"
#include "stats/socket_holders.h"
#include "stats/unix_name.h"

namespace stats {
namespace {

using Sockets = std::vector<SocketInfo>;

constexpr size_t kSocketsMax = 1'000'000;

std::string ErrorSymbol(int error) {
  const char* symbol = strerrorname_np(error);
  return symbol != nullptr ? symbol : absl::StrCat("E", error);
}

absl::Status OutOfDescriptors(int error) {
  return absl::ResourceExhaustedError(
      absl::StrCat("no descriptor or memory is left to look for a server: ", ErrorSymbol(error)));
}

// ---- TCP and UDP --------------------------------------------------------------------------------

// A name that a socket may be bound by to be met at an address.
struct BoundName {
  std::string name;     // as SocketInfo::local
  bool any = false;     // 0.0.0.0 or [::]
  bool for_v4 = false;  // of IPv6, and must take IPv4
};

std::string Name4(in_addr address, uint16_t port) {
  char text[INET_ADDRSTRLEN] = "?";
  inet_ntop(AF_INET, &address, text, sizeof(text));
  return absl::StrCat(text, ":", port);
}

// The names under which a socket is met, the kernel's first choice first.
std::vector<BoundName> Names4(in_addr address, uint16_t port) {
  if (address.s_addr == htonl(INADDR_ANY)) address.s_addr = htonl(INADDR_LOOPBACK);
  char text[INET_ADDRSTRLEN] = "?";
  inet_ntop(AF_INET, &address, text, sizeof(text));
  return {{.name = Name4(address, port)},
          {.name = absl::StrCat("[::ffff:", text, "]:", port), .for_v4 = true},
          {.name = absl::StrCat("0.0.0.0:", port), .any = true},
          {.name = absl::StrCat("[::]:", port), .any = true, .for_v4 = true}};
}

std::vector<BoundName> Names6(const sockaddr_in6& address) {
  const uint16_t port = ntohs(address.sin6_port);
  in6_addr v6 = address.sin6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&v6)) {
    in_addr v4;
    std::memcpy(&v4, &v6.s6_addr[12], sizeof(v4));
    return Names4(v4, port);
  }
  if (IN6_IS_ADDR_UNSPECIFIED(&v6)) v6 = in6addr_loopback;
  char text[INET6_ADDRSTRLEN] = "?", device[IF_NAMESIZE];
  inet_ntop(AF_INET6, &v6, text, sizeof(text));
  std::string scope;
  if (IN6_IS_ADDR_LINKLOCAL(&v6) && if_indextoname(address.sin6_scope_id, device) != nullptr) {
    scope = absl::StrCat("%", device);
  }
  return {{.name = absl::StrCat("[", text, scope, "]:", port)},
          {.name = absl::StrCat("[::]:", port), .any = true}};
}

// Whether packets to the address stay on this machine. Only such an address can be bound; a UDP
// socket sends nothing by being bound.
absl::StatusOr<bool> IsLocal(sockaddr_storage address, socklen_t size) {
  const int family = address.ss_family;
  // The port's place is the same in both families; 0 is any.
  reinterpret_cast<sockaddr_in*>(&address)->sin_port = 0;
  const int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0 && errno == EAFNOSUPPORT) return false;
  if (fd < 0) return OutOfDescriptors(errno);
  const int error = bind(fd, reinterpret_cast<const sockaddr*>(&address), size) == 0 ? 0 : errno;
  close(fd);
  switch (error) {
    case 0:
    case EADDRINUSE:  // All ports of it are taken: it is ours.
      return true;
    case EADDRNOTAVAIL:
      return false;
    case EINVAL:
    case ENODEV:
      return absl::InvalidArgumentError(absl::StrCat(
          "the address of a server to find names no interface of this machine: ",
          ErrorSymbol(error), "; a link-local address needs its interface: fe80::1%eth0"));
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(absl::StrCat(
          "a security module forbids to bind a UDP socket to find a server: ", ErrorSymbol(error)));
    default:
      return absl::InternalError(absl::StrCat("bind to find a server: ", ErrorSymbol(error)));
  }
}

// Those that are met under the first name that has any.
absl::StatusOr<Sockets> ListenersByName(const std::vector<BoundName>& names, uint16_t port,
                                        int type, const sockaddr_storage& address, socklen_t size) {
  const SocketProtocol protocol = type == SOCK_STREAM ? SocketProtocol::kTcp : SocketProtocol::kUdp;
  const absl::StatusOr<SocketList> list =
      Listeners({.protocols = {protocol}, .ports = {port}, .max = kSocketsMax});
  if (!list.ok()) return list.status();
  for (const BoundName& name : names) {
    Sockets found;
    std::ranges::copy_if(list->sockets, std::back_inserter(found), [&](const SocketInfo& info) {
      return info.local == name.name && !(name.for_v4 && info.v6_only);
    });
    if (found.empty()) continue;
    if (!name.any) return found;
    const absl::StatusOr<bool> local = IsLocal(address, size);
    if (!local.ok()) return local.status();
    return *local ? found : Sockets{};
  }
  return Sockets{};
}

absl::StatusOr<Sockets> InetListeners(const sockaddr_storage& address, socklen_t size, int type) {
  if (type != SOCK_STREAM && type != SOCK_DGRAM) {
    return absl::InvalidArgumentError(absl::StrCat("there are no IP servers of socket type ", type,
                                                   "; ask for SOCK_STREAM or SOCK_DGRAM"));
  }
  const bool v4 = address.ss_family == AF_INET;
  const socklen_t least = v4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  const auto& in4 = reinterpret_cast<const sockaddr_in&>(address);
  const uint16_t port = ntohs(in4.sin_port);  // the same place in both
  if (size < least || port == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("the address of a server to find ",
                     port == 0 ? "has no port" : absl::StrCat("has ", size, " bytes"),
                     "; give a port and the whole of the address"));
  }
  const std::vector<BoundName> names =
      v4 ? Names4(in4.sin_addr, port) : Names6(reinterpret_cast<const sockaddr_in6&>(address));
  return ListenersByName(names, port, type, address, least);
}

// ---- Unix sockets -------------------------------------------------------------------------------

const char* UnixKind(int type) {
  switch (type) {
    case SOCK_STREAM:
      return "unix";
    case SOCK_DGRAM:
      return "unix-dgram";
    case SOCK_SEQPACKET:
      return "unix-seqpacket";
    default:
      return nullptr;
  }
}

// Whoever listens at the file that the path leads to now: another may have been bound to the same
// name before, and been unlinked. Where file systems are stacked the kernel shows another file's
// numbers: then the name decides.
Sockets ListenersAtPath(const std::string& path, const Sockets& all) {
  Sockets found;
  struct stat status;
  if (stat(path.c_str(), &status) != 0 && (errno == ENOENT || errno == ENOTDIR)) return found;
  for (const SocketInfo& info : all) {
    if (info.file && info.file->device == status.st_dev &&
        info.file->inode == static_cast<uint32_t>(status.st_ino)) {
      found.push_back(info);
    }
  }
  if (!found.empty()) return found;
  const std::string name = UnixName(path);
  std::ranges::copy_if(all, std::back_inserter(found), [&](const SocketInfo& info) {
    return info.file.has_value() && info.local == name;
  });
  return found;
}

Sockets ListenersAtAbstract(std::span<const char> bytes, const Sockets& all) {
  const std::string name = UnixName(bytes);
  Sockets found;
  std::ranges::copy_if(all, std::back_inserter(found), [&](const SocketInfo& info) {
    return !info.file.has_value() && info.local == name;
  });
  return found;
}

absl::StatusOr<Sockets> UnixListeners(const sockaddr_storage& address, socklen_t size, int type) {
  const char* protocol = UnixKind(type);
  if (protocol == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("there are no Unix servers of socket type ", type,
                     "; ask for SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET"));
  }
  constexpr size_t kBegin = offsetof(sockaddr_un, sun_path);
  if (size <= kBegin || size > sizeof(sockaddr_un)) {
    return absl::InvalidArgumentError(absl::StrCat("the address of a Unix server to find has ",
                                                   size, " bytes; give one with a name"));
  }
  const std::span<const char> name(reinterpret_cast<const char*>(&address) + kBegin, size - kBegin);
  absl::StatusOr<SocketList> list =
      Listeners({.protocols = {SocketProtocol::kUnix}, .max = kSocketsMax});
  if (!list.ok()) return list.status();
  std::erase_if(list->sockets, [&](const SocketInfo& info) { return info.protocol != protocol; });
  if (name.front() == '\0') return ListenersAtAbstract(name, list->sockets);
  return ListenersAtPath(std::string(name.data(), strnlen(name.data(), name.size())),
                         list->sockets);
}

// ---- processes ----------------------------------------------------------------------------------

absl::StatusOr<std::vector<pid_t>> Holders(const Sockets& sockets) {
  std::set<uint32_t> inodes;
  for (const SocketInfo& info : sockets) {
    if (info.inode != 0) inodes.insert(info.inode);  // 0: its process has just closed it
  }
  std::vector<pid_t> pids;
  if (inodes.empty()) return pids;
  const absl::StatusOr<SocketHolders> found = FindSocketHolders(inodes);
  if (!found.ok()) return found.status();
  for (const SocketHolder& holder : found->holders) pids.push_back(holder.pid);
  const SocketInfo& first = sockets.front();
  if (pids.empty() && found->denied) {
    return absl::PermissionDeniedError(absl::StrCat(
        "the socket at ", first.local, " is of user ", first.uid,
        ", and is held by a process that can't be seen: this one may not look into processes of "
        "other users, nor into more privileged ones (/proc/PID/fd); run as that user or as root"));
  }
  if (pids.empty()) {
    return absl::NotFoundError(absl::StrCat(
        "the socket at ", first.local,
        " is held by no process that can be seen: io_uring may hold "
        "it as a direct descriptor, or a process of another PID namespace or hidden by hidepid="));
  }
  std::ranges::sort(pids);
  pids.erase(std::unique(pids.begin(), pids.end()), pids.end());
  return pids;
}

}  // namespace

absl::StatusOr<std::vector<pid_t>> FindListeners(const sockaddr* address, socklen_t size,
                                                 int type) {
  sockaddr_storage copy = {};  // aligned, and all there whatever the size
  std::memcpy(&copy, address, std::min<size_t>(size, sizeof(copy)));
  absl::StatusOr<Sockets> sockets;
  switch (copy.ss_family) {
    case AF_INET:
    case AF_INET6:
      sockets = InetListeners(copy, size, type);
      break;
    case AF_UNIX:
      sockets = UnixListeners(copy, size, type);
      break;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("servers of address family ", copy.ss_family,
                       " can't be found; ask for AF_INET, AF_INET6 or AF_UNIX"));
  }
  if (!sockets.ok()) return sockets.status();
  return Holders(*sockets);
}

}  // namespace stats
