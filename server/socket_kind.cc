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
    bound = reinterpret_cast<const sockaddr_in&>(storage).sin_port != 0;  // in IPv6's place too
    kind.address = io::AddressText(address, size);
  } else if (kind.family == AF_UNIX) {
    bound = size > offsetof(sockaddr_un, sun_path);
    if (bound) kind.address = io::AddressText(address, size);
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
