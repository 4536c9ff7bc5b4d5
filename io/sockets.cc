#include "io/sockets.h"

#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "absl/strings/str_cat.h"
#include "io/errors.h"
#include "io/socket_path.h"

namespace io {
namespace {

constexpr auto kAddressInUsePatience = std::chrono::milliseconds(500);

constexpr int kDatagramBufferBytes = 4 << 20;

absl::StatusOr<int> OpenSocket(const Endpoint& at, bool nonblocking) {
  const int type = at.type() | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0);
  const int fd = socket(at.address()->sa_family, type, at.protocol());
  if (fd >= 0) return fd;
  const int error = errno;
  switch (error) {
    case EMFILE:
    case ENFILE:
      return absl::ResourceExhaustedError(
          absl::StrCat("no file descriptor is left for a socket: ", ErrnoName(error),
                       error == EMFILE ? "; raise the limit (ulimit -n) or open fewer connections"
                                       : "; raise the system's limit (sysctl fs.file-max)"));
    case EAFNOSUPPORT:
      return absl::UnavailableError(
          absl::StrCat("this kernel has no support for the address family of ", at.ToString(), ": ",
                       ErrnoName(error)));
    case EPROTONOSUPPORT:
    case ENOPROTOOPT:
      if (at.transport() == Transport::kMptcp) {
        return absl::UnavailableError(
            absl::StrCat("this kernel has no Multipath TCP, or it is off: ", ErrnoName(error),
                         "; see: sysctl net.mptcp.enabled"));
      }
      [[fallthrough]];
    default:
      return absl::InternalError(absl::StrCat("socket: ", ErrnoName(error)));
  }
}

absl::Status UnixBindError(const Endpoint& at, int error) {
  const std::string where = at.ToString();
  switch (error) {
    case EADDRINUSE:
      return absl::AlreadyExistsError(absl::StrCat(
          where, " is in use: ", ErrnoName(error),
          "; another server listens there, or it is no socket: choose another path, or remove it"));
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(absl::StrCat("this process may not make ", where, ": ",
                                                      ErrnoName(error),
                                                      "; choose a directory that it may write"));
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(absl::StrCat("the directory of ", where, " does not exist: ",
                                              ErrnoName(error), "; make it, or choose another"));
    default:
      return absl::InternalError(absl::StrCat("bind ", where, ": ", ErrnoName(error)));
  }
}

absl::Status BindError(const Endpoint& at, int error) {
  if (at.is_unix()) return UnixBindError(at, error);
  const std::string where = at.ToString();
  const bool udp = at.transport() == Transport::kUdp;
  switch (error) {
    case EADDRINUSE:
      return absl::AlreadyExistsError(
          absl::StrCat("port ", at.port(), " is in use on ", where, ": ", ErrnoName(error),
                       "; choose another port (0 picks a free one), or see who has it: ss -l",
                       udp ? "u" : "t", "np 'sport = :", at.port(), "'"));
    case EACCES:
      return absl::PermissionDeniedError(absl::StrCat(
          "port ", at.port(), " is privileged and this process may not bind it: ", ErrnoName(error),
          "; give the program CAP_NET_BIND_SERVICE (setcap cap_net_bind_service=+ep), run it as "
          "root, or choose a port from net.ipv4.ip_unprivileged_port_start up"));
    case EADDRNOTAVAIL:
      return absl::NotFoundError(absl::StrCat("no interface of this machine has the address of ",
                                              where, ": ", ErrnoName(error), "; see: ip address"));
    default:
      return absl::InternalError(absl::StrCat("bind ", where, ": ", ErrnoName(error)));
  }
}

void SetOption(int fd, int level, int option, int value = 1) {
  setsockopt(fd, level, option, &value, sizeof(value));
}

// Has the kernel say of each datagram what a DatagramPath holds.
void AskForPaths(int fd, const Endpoint& at, const ListenOptions& options) {
  if (at.is_unix()) return;
  if (options.udp_gro) SetOption(fd, IPPROTO_UDP, UDP_GRO);
  SetOption(fd, IPPROTO_IP, IP_RECVTTL);  // of an IPv6 socket too: its IPv4 datagrams
  if (at.family() == AF_INET6) SetOption(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT);
  if (!at.is_wildcard()) return;
  if (at.family() == AF_INET6) SetOption(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO);
  if (at.family() == AF_INET) SetOption(fd, IPPROTO_IP, IP_PKTINFO);
}

void PrepareDatagrams(int fd, const Endpoint& at, const ListenOptions& options) {
  if (at.is_unix()) return;
  const int bytes = kDatagramBufferBytes;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) != 0) {
    SetOption(fd, SOL_SOCKET, SO_RCVBUF, bytes);  // the kernel caps it at net.core.rmem_max
  }
  AskForPaths(fd, at, options);
}

// Whether the path is taken by what is no socket, and won't go by itself.
bool IsPlainFile(const Endpoint& at) {
  struct stat file;
  return !at.path().empty() && lstat(at.path().c_str(), &file) == 0 && !S_ISSOCK(file.st_mode);
}

// Whether the path is a socket's that nobody listens on any more: if so, it is gone now.
bool RemovedStale(const Endpoint& at) {
  struct stat file;
  if (lstat(at.path().c_str(), &file) != 0 || !S_ISSOCK(file.st_mode)) return false;
  const int probe = socket(AF_UNIX, at.type() | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (probe < 0) return false;
  const bool refused = connect(probe, at.address(), at.size()) != 0 && errno == ECONNREFUSED;
  close(probe);
  return refused && RemoveSocketPath(at.path(), file.st_dev, file.st_ino);
}

int Bind(int fd, const Endpoint& at, bool reuse_port) {
  if (at.is_unix()) {
    fchmod(fd, 0600);  // the mode that the path will have, whatever the umask adds (unix(7))
    if (bind(fd, at.address(), at.size()) == 0) return 0;
    const int error = errno;
    if (error != EADDRINUSE || at.path().empty() || !RemovedStale(at)) return error;
    return bind(fd, at.address(), at.size()) == 0 ? 0 : errno;
  }
  if (at.family() == AF_INET6) SetOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, at.dual_stack() ? 0 : 1);
  if (!at.is_datagram()) SetOption(fd, SOL_SOCKET, SO_REUSEADDR);
  if (reuse_port) SetOption(fd, SOL_SOCKET, SO_REUSEPORT);
  return bind(fd, at.address(), at.size()) == 0 ? 0 : errno;
}

// An abstract address of the kernel's choice.
absl::Status BindUnnamed(int fd) {
  const sa_family_t unnamed = AF_UNIX;
  if (bind(fd, reinterpret_cast<const sockaddr*>(&unnamed), sizeof(unnamed)) == 0) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("no abstract address is left for a socket: ", ErrnoName(errno)));
}

// Binds a socket that is about to connect.
absl::Status BindSource(int fd, const Endpoint& from) {
  if (!from.is_unix() && from.port() == 0) {
    SetOption(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT);  // of an IPv6 socket too
  } else if (!from.is_datagram() && !from.is_unix()) {
    SetOption(fd, SOL_SOCKET, SO_REUSEADDR);
  }
  if (bind(fd, from.address(), from.size()) == 0) return absl::OkStatus();
  return BindError(from, errno);
}

absl::Status BindAndListen(int fd, const Endpoint& at, const ListenOptions& options) {
  if (at.is_datagram()) PrepareDatagrams(fd, at, options);
  if (const int error = Bind(fd, at, options.reuse_port)) return BindError(at, error);
  if (at.is_datagram()) return absl::OkStatus();
  if (!at.is_unix()) SetOption(fd, IPPROTO_TCP, TCP_NODELAY);
  if (listen(fd, options.backlog) != 0) return BindError(at, errno);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int> OpenListener(const Endpoint& at, const ListenOptions& options, bool nonblocking,
                                 const PrepareSocket& prepare) {
  if (options.fd >= 0) {
    SetNonblocking(options.fd, nonblocking);
    if (at.is_datagram()) AskForPaths(options.fd, at, options);  // whoever opened it may not have
    return options.fd;
  }
  const auto give_up = std::chrono::steady_clock::now() + kAddressInUsePatience;
  while (true) {
    auto fd = OpenSocket(at, nonblocking);
    if (!fd.ok()) return fd;
    absl::Status status = prepare ? prepare(*fd) : absl::OkStatus();
    if (status.ok()) status = BindAndListen(*fd, at, options);
    if (status.ok()) return fd;
    close(*fd);
    const bool may_pass = absl::IsAlreadyExists(status) && !IsPlainFile(at);
    if (!may_pass || std::chrono::steady_clock::now() > give_up) return status;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

absl::Status CheckUnused(const Endpoint& at) {
  if (at.is_unix() || at.port() == 0) return absl::OkStatus();
  auto fd = OpenListener(at, {.backlog = 1, .reuse_port = false}, /*nonblocking=*/true);
  if (!fd.ok()) return fd.status();
  close(*fd);
  return absl::OkStatus();
}

absl::StatusOr<int> OpenConnector(const Endpoint& at, bool nonblocking, const Endpoint* from) {
  if (from != nullptr && (from->family() != at.family() || from->transport() != at.transport())) {
    return absl::InvalidArgumentError(
        absl::StrCat("the source ", from->ToString(), " is of another kind than the destination ",
                     at.ToString(), "; choose one of the same family and transport"));
  }
  auto fd = OpenSocket(at, nonblocking);
  if (!fd.ok()) return fd;
  absl::Status bound;
  if (from != nullptr) {
    bound = BindSource(*fd, *from);
  } else if (at.transport() == Transport::kUnixDatagram) {
    bound = BindUnnamed(*fd);
  }
  if (!bound.ok()) {
    close(*fd);
    return bound;
  }
  if (!at.is_unix() && !at.is_datagram()) SetOption(*fd, IPPROTO_TCP, TCP_NODELAY);
  return fd;
}

int SocketError(int fd) {
  int error = 0;
  socklen_t size = sizeof(error);
  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

void SetNonblocking(int fd, bool nonblocking) {
  int on = nonblocking ? 1 : 0;
  ioctl(fd, FIONBIO, &on);
}

void ResetOnClose(int fd) {
  const linger now = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

}  // namespace io
