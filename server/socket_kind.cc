#include "server/socket_kind.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "io/endpoint.h"
#include "io/errors.h"

namespace server {
namespace {

absl::Status OptionError(int fd, int error) {
  const std::string what = absl::StrCat("descriptor ", fd);
  switch (error) {
    case EBADF:
      return absl::FailedPreconditionError(
          absl::StrCat(what, " is not open: ", io::ErrnoName(error)));
    case ENOTSOCK:
      return absl::InvalidArgumentError(
          absl::StrCat(what, " is not a socket: ", io::ErrnoName(error)));
    default:
      return absl::InternalError(absl::StrCat(what, ": ", io::ErrnoName(error)));
  }
}

absl::StatusOr<int> Option(int fd, int option) {
  int value = 0;
  socklen_t size = sizeof(value);
  if (getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0) return value;
  return OptionError(fd, errno);
}

std::string UnixAddress(const sockaddr_un& address, socklen_t size) {
  const size_t bytes = size - offsetof(sockaddr_un, sun_path);
  if (address.sun_path[0] == '\0') {
    return absl::StrCat("@", std::string(address.sun_path + 1, bytes - 1));
  }
  // The NUL at the end is counted, but where the path fills the field there is none.
  return {address.sun_path, strnlen(address.sun_path, bytes)};
}

}  // namespace

std::string SocketKind::ToString() const {
  std::string name = "socket";
  if (family == AF_UNIX) {
    name = type == SOCK_STREAM      ? "Unix stream socket"
           : type == SOCK_SEQPACKET ? "Unix seqpacket socket"
                                    : "Unix datagram socket";
  } else if (family == AF_INET || family == AF_INET6) {
    if (protocol == IPPROTO_TCP) name = "TCP socket";
    if (protocol == IPPROTO_UDP) name = "UDP socket";
  }
  return address.empty() ? name : absl::StrCat(name, " ", address);
}

absl::StatusOr<SocketKind> InspectSocket(int fd) {
  SocketKind kind;
  const auto family = Option(fd, SO_DOMAIN), type = Option(fd, SO_TYPE),
             protocol = Option(fd, SO_PROTOCOL), listening = Option(fd, SO_ACCEPTCONN);
  for (const auto* option : {&family, &type, &protocol, &listening}) {
    if (!option->ok()) return option->status();
  }
  kind.family = *family;
  kind.type = *type;
  kind.protocol = *protocol;
  kind.listening = *listening != 0;

  sockaddr_storage storage = {};
  socklen_t size = sizeof(storage);
  auto* address = reinterpret_cast<sockaddr*>(&storage);
  if (getsockname(fd, address, &size) != 0) return OptionError(fd, errno);
  bool bound = true;
  if (kind.family == AF_INET || kind.family == AF_INET6) {
    bound = io::Endpoint(io::Transport::kTcp, address, size).port() != 0;  // UDP's is as TCP's
    kind.address = io::AddressText(address, size);
  } else if (kind.family == AF_UNIX) {
    bound = size > offsetof(sockaddr_un, sun_path);
    if (bound) kind.address = UnixAddress(reinterpret_cast<const sockaddr_un&>(storage), size);
  }
  if (kind.type != SOCK_DGRAM && !kind.listening) {
    socklen_t peer_size = sizeof(storage);
    const bool connected = getpeername(fd, address, &peer_size) == 0;
    return absl::FailedPreconditionError(absl::StrCat(
        "descriptor ", fd, " (", kind.ToString(), ") ",
        connected ? "is an accepted connection, not a listener; set Accept=no in the .socket unit"
                  : "does not listen"));
  }
  if (!bound) {
    return absl::FailedPreconditionError(
        absl::StrCat("descriptor ", fd, " (", kind.ToString(), ") is not bound to an address"));
  }
  return kind;
}

}  // namespace server
