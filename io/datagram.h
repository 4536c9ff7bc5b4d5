#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstdint>

#include "io/bytes.h"

namespace io {

// Which of our addresses a datagram was sent to. Known on sockets that are bound to a wildcard
// address (IP_PKTINFO, ip(7)); its answer has to come from there.
struct LocalAddress {
  int family = 0;          // AF_INET, AF_INET6; 0: not known
  unsigned interface = 0;  // of a link-local IPv6 address
  in6_addr address = {};   // IPv4: the first four bytes
};

// A datagram's way: where it came from, and to which address. Lent, as the datagram is.
struct DatagramPath {
  const sockaddr* peer = nullptr;
  socklen_t peer_size = 0;  // 0: a Unix socket without an address, which can't be answered
  LocalAddress local;
  // How many more hosts it might have passed (TTL, hop limit); 0: never mind. Its answer is sent
  // with one less, and with 64 at most: two servers that answer each other come to an end.
  uint8_t hops_left = 0;
};

// The largest payload of a datagram from or to an address of that family. UDP: a packet's length
// has 16 bits, and IPv6's leaves its header out (RFC 768, 791, 8200; jumbograms aren't ours). Unix
// sockets have no such bound, but one of their buffers: SIZE_MAX.
constexpr size_t DatagramBytesMax(int family) {
  constexpr size_t kPacket = 65535, kUdpHeader = 8, kIpv4Header = 20;
  if (family == AF_INET) return kPacket - kUdpHeader - kIpv4Header;
  return family == AF_INET6 ? kPacket - kUdpHeader : SIZE_MAX;
}

// A datagram that came, lent to OnDatagram().
struct Datagram {
  uint64_t tag;     // of the ListenOptions
  uint32_t socket;  // for SendDatagram()
  Bytes bytes;
  DatagramPath path;
};

// What recvmsg(2) says beside the payload.
inline constexpr size_t kControlBytes =
    CMSG_SPACE(sizeof(in6_pktinfo)) + 2 * CMSG_SPACE(sizeof(int));

// Finds IP_PKTINFO or IPV6_PKTINFO in a received message's control data.
LocalAddress ReadLocalAddress(const msghdr& message);
// DatagramPath::hops_left from IP_TTL or IPV6_HOPLIMIT; 0 where neither is there. To send with a
// hop limit costs, so one that is fresh from its sender (64, 128 or 255) is left alone, but for
// each 16th (`nth`). That is enough: once an answer has lost a hop, all that follow lose one.
uint8_t ReadHopsLeft(const msghdr& message, uint64_t nth);
// Finds UDP_GRO (udp(7), Linux 5.0): how long each but the last of the datagrams is that the kernel
// put together into this message; 0 where it is one.
uint16_t ReadSegmentBytes(const msghdr& message);

// A datagram on its way out, as sendmsg(2) takes it. It holds a copy of the path; the payload is
// the caller's. It can't be moved while it is in use: its parts point to each other.
struct DatagramOut {
  msghdr header;
  iovec payload;
  sockaddr_storage peer;
  alignas(cmsghdr) std::array<char, kControlBytes> control;

  uint32_t count;  // of datagrams
  uint16_t segment_bytes;

  void Prepare(const DatagramPath& path, Bytes bytes);
  // Takes one more to the same peer, to be sent in the same call (UDP_SEGMENT, Linux 4.18): false
  // where it doesn't lie behind the last, or is longer than the first. Only UDP can.
  bool Extend(Bytes bytes);

 private:
  void Add(int level, int type, const void* value, size_t size);
};

}  // namespace io
