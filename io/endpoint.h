#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace io {

// A TCP address: IPv4 or IPv6, and a port.
class Endpoint {
 public:
  Endpoint() = default;
  Endpoint(const sockaddr* address, socklen_t size);

  const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const { return size_; }
  int family() const { return storage_.sin6_family; }
  uint16_t port() const;
  bool is_loopback() const;
  Endpoint WithPort(uint16_t port) const;

  // "127.0.0.1:9999", "[::1]:9999".
  std::string ToString() const;

  friend bool operator==(const Endpoint& a, const Endpoint& b);

 private:
  sockaddr_in6 storage_ = {};  // large enough for sockaddr_in too
  socklen_t size_ = 0;
};

// Reads an address as a person types it: "9999" (loopback), ":9999", "127.0.0.1:9999",
// "[::1]:9999", "localhost:http-alt". Names go through getaddrinfo(3), services through
// /etc/services; the first address wins, IPv4 before IPv6 for "localhost". Errors are one sentence
// that says what to write instead (InvalidArgument), or the resolver's own (NotFound).
absl::StatusOr<Endpoint> Resolve(const std::string& text);

// The local address of a socket, as getsockname(2) tells it.
absl::StatusOr<Endpoint> LocalEndpoint(int fd);

}  // namespace io
