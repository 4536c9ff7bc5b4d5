#include "io/endpoint.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string_view>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "io/errors.h"
#include "io/resolve.h"

namespace io {
namespace {

constexpr size_t kPathMax = sizeof(sockaddr_un::sun_path) - 1;  // 107: unix(7)
constexpr socklen_t kPathOffset = offsetof(sockaddr_un, sun_path);

struct Scheme {
  std::string_view prefix;
  Transport transport;
};
// As written, the longest first; the first of each transport is how it is printed.
constexpr Scheme kSchemes[] = {
    {"tcp://", Transport::kTcp},
    {"mptcp://", Transport::kMptcp},
    {"udp://", Transport::kUdp},
    {"udp:", Transport::kUdp},
    {"unix-seqpacket:", Transport::kUnixSeqpacket},
    {"unix-dgram:", Transport::kUnixDatagram},
    {"unix:", Transport::kUnixStream},
};

struct HostAndService {
  std::string host, service;
};

const sockaddr_in& V4(const sockaddr* address) {
  return *reinterpret_cast<const sockaddr_in*>(address);
}
const sockaddr_in6& V6(const sockaddr* address) {
  return *reinterpret_cast<const sockaddr_in6*>(address);
}

bool AllDigits(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

absl::Status Malformed(const std::string& text, const char* why) {
  return absl::InvalidArgumentError(
      absl::StrCat("'", text, "' is not an address: ", why,
                   "; write a port (9999), HOST:PORT (127.0.0.1:9999, localhost:http-alt), "
                   "[IPV6]:PORT, *:PORT, udp://HOST:PORT or unix:PATH"));
}

// Takes the scheme off `rest`.
absl::StatusOr<Transport> TakeScheme(const std::string& text, std::string* rest) {
  for (const Scheme& scheme : kSchemes) {
    if (text.rfind(scheme.prefix, 0) == 0) {
      *rest = text.substr(scheme.prefix.size());
      return scheme.transport;
    }
  }
  for (const char* foreign : {"http:", "https:", "vsock:", "sctp:", "file:"}) {
    if (text.rfind(foreign, 0) == 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "'", text, "': ", foreign,
          " addresses are not supported; write HOST:PORT, udp://HOST:PORT, mptcp://HOST:PORT, "
          "unix:PATH, unix-seqpacket:PATH or unix-dgram:PATH"));
    }
  }
  *rest = text;
  return Transport::kTcp;
}

absl::StatusOr<Endpoint> UnixEndpoint(const std::string& text, Transport transport,
                                      std::string path) {
  if (path.rfind("///", 0) == 0) path = path.substr(2);  // unix:///run/x.sock
  if (path.empty() || path == "@") {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", text, "': the path is missing; write unix:/run/x.sock, or unix:@name (abstract)"));
  }
  if (path.size() > kPathMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", text, "': the path has ", path.size(), " bytes, and a Unix socket's has ", kPathMax,
        " at most; choose a shorter one, or a name relative to the working "
        "directory"));
  }
  if (path.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError("a Unix socket's path can't hold a null byte");
  }
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, path.size());
  if (path[0] == '@') {
    address.sun_path[0] = '\0';
    return Endpoint(transport, reinterpret_cast<const sockaddr*>(&address),
                    kPathOffset + static_cast<socklen_t>(path.size()));
  }
  return Endpoint(transport, reinterpret_cast<const sockaddr*>(&address),
                  kPathOffset + static_cast<socklen_t>(path.size()) + 1);
}

absl::StatusOr<HostAndService> Split(const std::string& text, const std::string& rest) {
  if (rest.empty()) return Malformed(text, "it is empty");
  if (AllDigits(rest)) return HostAndService{"127.0.0.1", rest};
  if (rest.front() == '[') {
    const size_t close = rest.find(']');
    if (close == std::string::npos) return Malformed(text, "the ']' is missing");
    if (close + 2 >= rest.size() || rest[close + 1] != ':') {
      return Malformed(text, "the port is missing");
    }
    return HostAndService{rest.substr(1, close - 1), rest.substr(close + 2)};
  }
  const size_t colon = rest.rfind(':');
  if (colon == std::string::npos || colon + 1 == rest.size()) {
    return Malformed(text, "the port is missing");
  }
  std::string host = rest.substr(0, colon);
  if (host.find(':') != std::string::npos) {
    return Malformed(text, "an IPv6 address needs brackets");
  }
  if (host.empty()) host = "127.0.0.1";
  return HostAndService{host, rest.substr(colon + 1)};
}

// Whether sockets of IPv6 can be had: not where the kernel runs with ipv6.disable=1.
bool HasIpv6() {
  const int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const bool has = fd >= 0 || errno != EAFNOSUPPORT;
  if (fd >= 0) close(fd);
  return has;
}

// Whether it is one of many interfaces' that doesn't say which (RFC 4007): nothing can be sent
// there.
bool LacksInterface(const addrinfo& found) {
  return found.ai_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&V6(found.ai_addr).sin6_addr) &&
         V6(found.ai_addr).sin6_scope_id == 0;
}

absl::StatusOr<std::vector<Endpoint>> IpEndpoints(const std::string& text, Transport transport,
                                                  const HostAndService& parts, int flags) {
  if (AllDigits(parts.service)) {
    int port = 0;
    if (!absl::SimpleAtoi(parts.service, &port) || port > 65535) {
      return absl::InvalidArgumentError(absl::StrCat("'", text, "': port ", parts.service,
                                                     " is out of range; ports go from 0 to 65535"));
    }
  }
  const bool all = parts.host == "*", dual_stack = all && HasIpv6();
  addrinfo hints = {};
  hints.ai_flags = flags;
  hints.ai_socktype = transport == Transport::kUdp ? SOCK_DGRAM : SOCK_STREAM;
  hints.ai_family = dual_stack ? AF_INET6 : AF_UNSPEC;
  addrinfo* found = nullptr;
  const char* host = dual_stack ? "::" : all ? "0.0.0.0" : parts.host.c_str();
  const int error = getaddrinfo(host, parts.service.c_str(), &hints, &found);
  if (error == EAI_SERVICE) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", text, "': no ", transport == Transport::kUdp ? "UDP" : "TCP", " service is called '",
        parts.service, "' in /etc/services; give the port's number"));
  }
  if (error != 0) {
    const std::string why =
        error == EAI_SYSTEM ? ErrnoName(errno) : std::string(gai_strerror(error));
    return absl::NotFoundError(absl::StrCat("'", text, "': the host '", parts.host,
                                            "' does not resolve: ", why,
                                            "; give an address, or mend the name"));
  }
  std::vector<Endpoint> endpoints;
  bool lacks_interface = false;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    if (one->ai_family != AF_INET && one->ai_family != AF_INET6) continue;
    lacks_interface |= LacksInterface(*one);
    if (LacksInterface(*one)) continue;
    const Endpoint endpoint(transport, one->ai_addr, one->ai_addrlen, dual_stack);
    if (std::ranges::find(endpoints, endpoint) == endpoints.end()) endpoints.push_back(endpoint);
  }
  freeaddrinfo(found);
  if (endpoints.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", text, "': ",
        lacks_interface
            ? absl::StrCat("a link-local address is of an interface, and it names none; "
                           "write [",
                           parts.host, "%eth0]:", parts.service, " (see: ip link)")
            : absl::StrCat("'", parts.host, "' has no IPv4 or IPv6 address")));
  }
  // "localhost" is served on 127.0.0.1 first: getaddrinfo's order depends on the machine.
  if (parts.host == "localhost") {
    std::stable_partition(endpoints.begin(), endpoints.end(),
                          [](const Endpoint& one) { return one.family() == AF_INET; });
  }
  return endpoints;
}

// "%eth0", of an address that is one interface's; as getaddrinfo(3) takes it.
std::string ScopeText(const sockaddr_in6& address) {
  if (address.sin6_scope_id == 0 || !IN6_IS_ADDR_LINKLOCAL(&address.sin6_addr)) return "";
  char name[IF_NAMESIZE];
  if (if_indextoname(address.sin6_scope_id, name) == nullptr) {
    return absl::StrCat("%", address.sin6_scope_id);
  }
  return absl::StrCat("%", name);
}

int SocketOption(int fd, int level, int option) {
  int value = 0;
  socklen_t size = sizeof(value);
  return getsockopt(fd, level, option, &value, &size) == 0 ? value : -1;
}

}  // namespace

Endpoint::Endpoint(Transport transport, const sockaddr* address, socklen_t size, bool dual_stack)
    : size_(std::min<socklen_t>(size, sizeof(storage_))),
      transport_(transport),
      dual_stack_(dual_stack) {
  std::memcpy(&storage_, address, size_);
}

int Endpoint::type() const {
  if (transport_ == Transport::kUnixSeqpacket) return SOCK_SEQPACKET;
  return is_datagram() ? SOCK_DGRAM : SOCK_STREAM;
}

uint16_t Endpoint::port() const {
  return is_unix() ? 0 : ntohs(V4(address()).sin_port);  // the same place in IPv6's
}

bool Endpoint::is_loopback() const {
  if (is_unix()) return true;
  if (family() == AF_INET6) return IN6_IS_ADDR_LOOPBACK(&V6(address()).sin6_addr);
  return (ntohl(V4(address()).sin_addr.s_addr) >> 24) == 127;
}

bool Endpoint::is_wildcard() const {
  if (family() == AF_INET6) return IN6_IS_ADDR_UNSPECIFIED(&V6(address()).sin6_addr);
  return family() == AF_INET && V4(address()).sin_addr.s_addr == INADDR_ANY;
}

Endpoint Endpoint::WithPort(uint16_t port) const {
  Endpoint copy = *this;
  if (!is_unix()) reinterpret_cast<sockaddr_in&>(copy.storage_).sin_port = htons(port);
  return copy;
}

std::string Endpoint::path() const {
  const auto& address = reinterpret_cast<const sockaddr_un&>(storage_);
  if (!is_unix() || size_ <= kPathOffset || address.sun_path[0] == '\0') return "";
  return std::string(address.sun_path, strnlen(address.sun_path, size_ - kPathOffset));
}

std::string Endpoint::ToString() const {
  std::string_view scheme;
  for (const Scheme& each : kSchemes) {
    if (each.transport != transport_) continue;
    scheme = each.prefix;
    break;
  }
  if (transport_ == Transport::kTcp) scheme = "";
  const std::string where =
      dual_stack_ ? absl::StrCat("*:", port()) : AddressText(address(), size_);
  return std::string(scheme) + where;
}

bool operator==(const Endpoint& a, const Endpoint& b) {
  return a.transport_ == b.transport_ && a.size_ == b.size_ && a.dual_stack_ == b.dual_stack_ &&
         std::memcmp(&a.storage_, &b.storage_, a.size_) == 0;
}

absl::StatusOr<std::vector<Endpoint>> ResolveAll(const std::string& text) {
  std::string rest;
  const auto transport = TakeScheme(text, &rest);
  if (!transport.ok()) return transport.status();
  if (*transport >= Transport::kUnixStream) {
    const auto path = UnixEndpoint(text, *transport, rest);
    if (!path.ok()) return path.status();
    return std::vector<Endpoint>{*path};
  }
  const auto parts = Split(text, rest);
  if (!parts.ok()) return parts.status();
  return IpEndpoints(text, *transport, *parts, 0);
}

absl::StatusOr<Endpoint> Resolve(const std::string& text) {
  const auto all = ResolveAll(text);
  if (!all.ok()) return all.status();
  return all->front();
}

absl::StatusOr<Endpoint> ParseNumeric(const std::string& text) {
  std::string rest;
  const auto transport = TakeScheme(text, &rest);
  if (!transport.ok()) return transport.status();
  if (*transport >= Transport::kUnixStream) return UnixEndpoint(text, *transport, rest);
  const auto parts = Split(text, rest);
  if (!parts.ok()) return parts.status();
  if (!AllDigits(parts->service)) return Malformed(text, "its port is no number");
  const auto all = IpEndpoints(text, *transport, *parts, AI_NUMERICHOST | AI_NUMERICSERV);
  if (absl::IsNotFound(all.status())) return Malformed(text, "its host is no number");
  if (!all.ok()) return all.status();
  return all->front();
}

std::string AddressText(const sockaddr* address, socklen_t size) {
  char host[INET6_ADDRSTRLEN] = "?";
  switch (address->sa_family) {
    case AF_INET:
      inet_ntop(AF_INET, &V4(address).sin_addr, host, sizeof(host));
      return absl::StrCat(host, ":", ntohs(V4(address).sin_port));
    case AF_INET6: {
      const in6_addr& v6 = V6(address).sin6_addr;
      const uint16_t port = ntohs(V6(address).sin6_port);
      if (IN6_IS_ADDR_V4MAPPED(&v6)) {
        inet_ntop(AF_INET, v6.s6_addr + 12, host, sizeof(host));
        return absl::StrCat(host, ":", port);
      }
      inet_ntop(AF_INET6, &v6, host, sizeof(host));
      return absl::StrCat("[", host, ScopeText(V6(address)), "]:", port);
    }
    case AF_UNIX: {
      const char* path = reinterpret_cast<const sockaddr_un*>(address)->sun_path;
      if (size <= kPathOffset) return "(unnamed)";
      const size_t length = size - kPathOffset;
      if (path[0] == '\0') return "@" + std::string(path + 1, length - 1);
      return std::string(path, strnlen(path, length));
    }
    default:
      return absl::StrCat("(address family ", address->sa_family, ")");
  }
}

absl::StatusOr<Endpoint> LocalEndpoint(int fd) {
  sockaddr_storage storage = {};
  socklen_t size = sizeof(storage);
  const auto* address = reinterpret_cast<sockaddr*>(&storage);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("getsockname: ", ErrnoName(errno)));
  }
  const int type = SocketOption(fd, SOL_SOCKET, SO_TYPE);
  if (storage.ss_family == AF_UNIX) {
    const Transport transport = type == SOCK_STREAM      ? Transport::kUnixStream
                                : type == SOCK_SEQPACKET ? Transport::kUnixSeqpacket
                                                         : Transport::kUnixDatagram;
    return Endpoint(transport, address, size);
  }
  const int protocol = SocketOption(fd, SOL_SOCKET, SO_PROTOCOL);
  const bool known = (type == SOCK_STREAM && (protocol == IPPROTO_TCP || protocol == 262)) ||
                     (type == SOCK_DGRAM && protocol == IPPROTO_UDP);
  if ((storage.ss_family != AF_INET && storage.ss_family != AF_INET6) || !known) {
    return absl::InvalidArgumentError(
        absl::StrCat("descriptor ", fd, " is no TCP, UDP or Unix socket"));
  }
  const Transport transport = type == SOCK_DGRAM ? Transport::kUdp
                              : protocol == 262  ? Transport::kMptcp
                                                 : Transport::kTcp;
  const bool both = storage.ss_family == AF_INET6 &&
                    IN6_IS_ADDR_UNSPECIFIED(&V6(address).sin6_addr) &&
                    SocketOption(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0;
  return Endpoint(transport, address, size, both);
}

}  // namespace io
