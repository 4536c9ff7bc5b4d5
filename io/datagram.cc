#include "io/datagram.h"

#include <netinet/udp.h>

#include <algorithm>
#include <cstring>

namespace io {
namespace {

constexpr int kHopsMax = 64;  // what hosts send with (RFC 1700)
constexpr uint64_t kFreshAnswered = 16;
constexpr size_t kSegmentsMax = 64;  // UDP_MAX_SEGMENTS, include/linux/udp.h
constexpr size_t kSegmentedBytesMax = 65'000;

}  // namespace

LocalAddress ReadLocalAddress(const msghdr& message) {
  LocalAddress local;
  auto* headers = const_cast<msghdr*>(&message);  // CMSG_NXTHDR takes no const
  for (cmsghdr* c = CMSG_FIRSTHDR(headers); c != nullptr; c = CMSG_NXTHDR(headers, c)) {
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      in_pktinfo info;
      std::memcpy(&info, CMSG_DATA(c), sizeof(info));
      local.family = AF_INET;
      std::memcpy(&local.address, &info.ipi_spec_dst, sizeof(info.ipi_spec_dst));
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
      in6_pktinfo info;
      std::memcpy(&info, CMSG_DATA(c), sizeof(info));
      local.family = AF_INET6;
      local.address = info.ipi6_addr;
      if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) local.interface = info.ipi6_ifindex;
    }
  }
  return local;
}

uint8_t ReadHopsLeft(const msghdr& message, uint64_t nth) {
  auto* headers = const_cast<msghdr*>(&message);
  for (cmsghdr* c = CMSG_FIRSTHDR(headers); c != nullptr; c = CMSG_NXTHDR(headers, c)) {
    if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) ||
        (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT)) {
      int hops = 0;
      std::memcpy(&hops, CMSG_DATA(c), sizeof(hops));
      const bool fresh = hops == 64 || hops == 128 || hops == 255;
      return fresh && nth % kFreshAnswered != 0 ? 0 : static_cast<uint8_t>(hops);
    }
  }
  return 0;
}

uint16_t ReadSegmentBytes(const msghdr& message) {
  auto* headers = const_cast<msghdr*>(&message);
  for (cmsghdr* c = CMSG_FIRSTHDR(headers); c != nullptr; c = CMSG_NXTHDR(headers, c)) {
    if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
      int bytes = 0;
      std::memcpy(&bytes, CMSG_DATA(c), sizeof(bytes));
      return static_cast<uint16_t>(bytes);
    }
  }
  return 0;
}

void DatagramOut::Add(int level, int type, const void* value, size_t size) {
  auto* c = reinterpret_cast<cmsghdr*>(control.data() + header.msg_controllen);
  *c = {.cmsg_len = CMSG_LEN(size), .cmsg_level = level, .cmsg_type = type};
  std::memcpy(CMSG_DATA(c), value, size);
  header.msg_control = control.data();
  header.msg_controllen += CMSG_SPACE(size);
}

bool DatagramOut::Extend(Bytes bytes) {
  const size_t first = segment_bytes != 0 ? segment_bytes : payload.iov_len;
  const bool follows = static_cast<std::byte*>(payload.iov_base) + payload.iov_len == bytes.data();
  if (!follows || bytes.empty() || bytes.size() > first || payload.iov_len % first != 0 ||
      count == kSegmentsMax || payload.iov_len + bytes.size() > kSegmentedBytesMax) {
    return false;
  }
  if (segment_bytes == 0) {
    segment_bytes = static_cast<uint16_t>(first);
    Add(IPPROTO_UDP, UDP_SEGMENT, &segment_bytes, sizeof(segment_bytes));
  }
  payload.iov_len += bytes.size();
  ++count;
  return true;
}

void DatagramOut::Prepare(const DatagramPath& path, Bytes bytes) {
  payload = {const_cast<std::byte*>(bytes.data()), bytes.size()};
  std::memcpy(&peer, path.peer, path.peer_size);
  header = {.msg_name = &peer, .msg_namelen = path.peer_size, .msg_iov = &payload, .msg_iovlen = 1};
  count = 1;
  segment_bytes = 0;
  const LocalAddress& local = path.local;
  if (local.family == AF_INET) {
    in_pktinfo info = {};
    std::memcpy(&info.ipi_spec_dst, &local.address, sizeof(info.ipi_spec_dst));
    Add(IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
  } else if (local.family == AF_INET6) {
    const in6_pktinfo info = {.ipi6_addr = local.address, .ipi6_ifindex = local.interface};
    Add(IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
  }
  if (path.hops_left < 2) return;
  const int hops = std::min<int>(kHopsMax, path.hops_left - 1);
  const bool v6 =
      path.peer->sa_family == AF_INET6 &&
      !IN6_IS_ADDR_V4MAPPED(&reinterpret_cast<const sockaddr_in6*>(path.peer)->sin6_addr);
  Add(v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_HOPLIMIT : IP_TTL, &hops, sizeof(hops));
}

}  // namespace io
