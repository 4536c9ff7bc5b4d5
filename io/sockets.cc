#include "io/sockets.h"

#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "absl/strings/str_cat.h"
#include "io/errors.h"

namespace io {
namespace {

constexpr auto kAddressInUsePatience = std::chrono::milliseconds(500);

absl::StatusOr<int> OpenSocket(const Endpoint& at, bool nonblocking) {
  const int fd = socket(at.address()->sa_family,
                        SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);
  if (fd >= 0) return fd;
  const int error = errno;
  if (error == EMFILE || error == ENFILE) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no file descriptor is left for a socket: ", ErrnoName(error),
                     error == EMFILE ? "; raise the limit (ulimit -n) or open fewer connections"
                                     : "; raise the system's limit (sysctl fs.file-max)"));
  }
  if (error == EAFNOSUPPORT) {
    return absl::UnavailableError(
        absl::StrCat("this kernel has no support for the address family of ", at.ToString(), ": ",
                     ErrnoName(error)));
  }
  return absl::InternalError(absl::StrCat("socket: ", ErrnoName(error)));
}

absl::Status BindError(const Endpoint& at, int error) {
  const std::string where = at.ToString();
  switch (error) {
    case EADDRINUSE:
      return absl::AlreadyExistsError(absl::StrCat(
          "port ", at.port(), " is in use on ", where, ": ", ErrnoName(error),
          "; choose another port (0 picks a free one), or see who has it: ss -ltnp 'sport = :",
          at.port(), "'"));
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

void SetOption(int fd, int level, int option) {
  const int on = 1;
  setsockopt(fd, level, option, &on, sizeof(on));
}

int Bind(int fd, const Endpoint& at, bool reuse_port) {
  SetOption(fd, SOL_SOCKET, SO_REUSEADDR);
  if (reuse_port) SetOption(fd, SOL_SOCKET, SO_REUSEPORT);
  return bind(fd, at.address(), at.size()) == 0 ? 0 : errno;
}

absl::Status BindAndListen(int fd, const Endpoint& at, const ListenOptions& options) {
  if (const int error = Bind(fd, at, options.reuse_port)) return BindError(at, error);
  SetOption(fd, IPPROTO_TCP, TCP_NODELAY);
  if (listen(fd, options.backlog) != 0) return BindError(at, errno);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int> OpenListener(const Endpoint& at, const ListenOptions& options,
                                 bool nonblocking) {
  const auto give_up = std::chrono::steady_clock::now() + kAddressInUsePatience;
  while (true) {
    auto fd = OpenSocket(at, nonblocking);
    if (!fd.ok()) return fd;
    const absl::Status status = BindAndListen(*fd, at, options);
    if (status.ok()) return fd;
    close(*fd);
    if (!absl::IsAlreadyExists(status) || std::chrono::steady_clock::now() > give_up) return status;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

absl::Status CheckUnused(const Endpoint& at) {
  if (at.port() == 0) return absl::OkStatus();
  auto fd = OpenListener(at, {.backlog = 1, .reuse_port = false}, /*nonblocking=*/true);
  if (!fd.ok()) return fd.status();
  close(*fd);
  return absl::OkStatus();
}

absl::StatusOr<int> OpenConnector(const Endpoint& at, bool nonblocking) {
  auto fd = OpenSocket(at, nonblocking);
  if (fd.ok()) SetOption(*fd, IPPROTO_TCP, TCP_NODELAY);
  return fd;
}

int SocketError(int fd) {
  int error = 0;
  socklen_t size = sizeof(error);
  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

void ResetOnClose(int fd) {
  const linger now = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

}  // namespace io
