#include "io/endpoint.h"

#include <arpa/inet.h>
#include <netdb.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "io/errors.h"

namespace io {
namespace {

const sockaddr_in& V4(const sockaddr_in6& storage) {
  return reinterpret_cast<const sockaddr_in&>(storage);
}

struct HostAndService {
  std::string host, service;
};

bool AllDigits(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

absl::Status Malformed(const std::string& text, const char* why) {
  return absl::InvalidArgumentError(absl::StrCat(
      "'", text, "' is not an address: ", why,
      "; write a port (9999), HOST:PORT (127.0.0.1:9999, localhost:http-alt) or [IPV6]:PORT"));
}

absl::StatusOr<HostAndService> Split(const std::string& text) {
  for (const char* scheme : {"udp:", "unix:", "http:", "https:", "vsock:"}) {
    if (text.rfind(scheme, 0) == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", text, "': ", scheme, " addresses are not supported, only TCP; write ",
                       "HOST:PORT, such as 127.0.0.1:9999"));
    }
  }
  std::string rest = text.rfind("tcp://", 0) == 0 ? text.substr(6) : text;
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

}  // namespace

Endpoint::Endpoint(const sockaddr* address, socklen_t size) : size_(size) {
  std::memcpy(&storage_, address, std::min<size_t>(size, sizeof(storage_)));
}

uint16_t Endpoint::port() const { return ntohs(storage_.sin6_port); }  // the same place in both

bool Endpoint::is_loopback() const {
  if (family() == AF_INET6) return IN6_IS_ADDR_LOOPBACK(&storage_.sin6_addr);
  return (ntohl(V4(storage_).sin_addr.s_addr) >> 24) == 127;
}

Endpoint Endpoint::WithPort(uint16_t port) const {
  Endpoint copy = *this;
  copy.storage_.sin6_port = htons(port);
  return copy;
}

std::string Endpoint::ToString() const {
  char host[INET6_ADDRSTRLEN] = "?";
  if (family() == AF_INET6) {
    inet_ntop(AF_INET6, &storage_.sin6_addr, host, sizeof(host));
    return absl::StrCat("[", host, "]:", port());
  }
  inet_ntop(AF_INET, &V4(storage_).sin_addr, host, sizeof(host));
  return absl::StrCat(host, ":", port());
}

bool operator==(const Endpoint& a, const Endpoint& b) {
  return a.size_ == b.size_ && std::memcmp(&a.storage_, &b.storage_, a.size_) == 0;
}

absl::StatusOr<Endpoint> Resolve(const std::string& text) {
  auto parts = Split(text);
  if (!parts.ok()) return parts.status();
  if (AllDigits(parts->service)) {
    int port = 0;
    if (!absl::SimpleAtoi(parts->service, &port) || port > 65535) {
      return absl::InvalidArgumentError(absl::StrCat("'", text, "': port ", parts->service,
                                                     " is out of range; ports go from 0 to 65535"));
    }
  }
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  // "localhost" is served on 127.0.0.1 first: getaddrinfo's order depends on the machine.
  hints.ai_family = parts->host == "localhost" ? AF_INET : AF_UNSPEC;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(parts->host.c_str(), parts->service.c_str(), &hints, &found);
  if (error == EAI_SERVICE) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "': no TCP service is called '",
                                                   parts->service,
                                                   "' in /etc/services; give the port's number"));
  }
  if (error != 0) {
    const std::string why =
        error == EAI_SYSTEM ? ErrnoName(errno) : std::string(gai_strerror(error));
    return absl::NotFoundError(absl::StrCat("'", text, "': the host '", parts->host,
                                            "' does not resolve: ", why,
                                            "; give an address, or mend the name"));
  }
  Endpoint endpoint(found->ai_addr, found->ai_addrlen);
  freeaddrinfo(found);
  return endpoint;
}

absl::StatusOr<Endpoint> LocalEndpoint(int fd) {
  sockaddr_in6 storage = {};
  socklen_t size = sizeof(storage);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) {
    return absl::InternalError(absl::StrCat("getsockname: ", ErrnoName(errno)));
  }
  return Endpoint(reinterpret_cast<sockaddr*>(&storage), size);
}

}  // namespace io
