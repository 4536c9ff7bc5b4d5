#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace io {

enum class Transport : uint8_t {
  kTcp,
  kMptcp,  // Multipath TCP (RFC 8684, Linux 5.6): plain TCP where the peer has none
  kUdp,
  kUnixStream,
  kUnixSeqpacket,
  kUnixDatagram,
};

// Where a socket is, or shall be: a transport and an address.
class Endpoint {
 public:
  Endpoint() = default;
  Endpoint(Transport transport, const sockaddr* address, socklen_t size, bool dual_stack = false);

  Transport transport() const { return transport_; }
  bool is_unix() const { return transport_ >= Transport::kUnixStream; }
  // No connections: one socket serves all peers.
  bool is_datagram() const {
    return transport_ == Transport::kUdp || transport_ == Transport::kUnixDatagram;
  }
  // What is sent in one piece arrives in one piece.
  bool keeps_messages() const { return is_datagram() || transport_ == Transport::kUnixSeqpacket; }
  // socket(2)'s type and protocol.
  int type() const;
  int protocol() const { return transport_ == Transport::kMptcp ? 262 /* IPPROTO_MPTCP */ : 0; }

  const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const { return size_; }
  int family() const { return storage_.ss_family; }
  uint16_t port() const;                           // 0 for a Unix address
  bool is_loopback() const;                        // a Unix address is
  bool is_wildcard() const;                        // all addresses of the machine
  bool dual_stack() const { return dual_stack_; }  // "*": IPv6 and IPv4 on one socket
  Endpoint WithPort(uint16_t port) const;
  // The path of a Unix address in the file system; "" for an abstract one, and for IP.
  std::string path() const;

  // As Resolve() reads it: "127.0.0.1:9999", "[::1]:9999", "*:9999", "udp://127.0.0.1:9999",
  // "unix:/run/x.sock", "unix:@abstract".
  std::string ToString() const;

  friend bool operator==(const Endpoint& a, const Endpoint& b);

 private:
  sockaddr_storage storage_ = {};
  socklen_t size_ = 0;
  Transport transport_ = Transport::kTcp;
  bool dual_stack_ = false;
};

// For hash tables: by the address alone.
struct EndpointHash {
  size_t operator()(const Endpoint& at) const {
    return std::hash<std::string_view>()({reinterpret_cast<const char*>(at.address()), at.size()});
  }
};

// Reads an address as a person types it: "9999" (loopback), ":9999", "127.0.0.1:9999",
// "[::1]:9999", "localhost:http-alt", "*:9999" (all interfaces, IPv6 and IPv4); with "udp://",
// "tcp://" or "mptcp://" before it, or "unix:PATH", "unix-seqpacket:PATH", "unix-dgram:PATH", where
// PATH is one of the file system or "@NAME", abstract (unix(7)). Names go through getaddrinfo(3),
// services through /etc/services; the first address wins, IPv4 before IPv6 for "localhost"
// (io/resolve.h has them all). "*" is IPv4 alone where the kernel has no IPv6; a link-local address
// has its interface ("[fe80::1%eth0]:9999"). Errors are one sentence that says what to write
// instead (InvalidArgument), or the resolver's own (NotFound).
absl::StatusOr<Endpoint> Resolve(const std::string& text);

// The same of an address that is written as numbers, as Endpoint::ToString() writes it: no name of
// a host or a service is looked up, so nobody is asked and nothing takes time. Errors:
// InvalidArgument (also for a name).
absl::StatusOr<Endpoint> ParseNumeric(const std::string& text);

// An address without its transport, as text: "127.0.0.1:9999", "[::1]:9999", "/run/x.sock",
// "@name", "(unnamed)". An IPv4-mapped IPv6 address reads as IPv4.
std::string AddressText(const sockaddr* address, socklen_t size);

// The local address of a socket, and what kind of socket it is (getsockname(2), socket(7)).
// InvalidArgument for a descriptor that is no socket of these transports.
absl::StatusOr<Endpoint> LocalEndpoint(int fd);

}  // namespace io
