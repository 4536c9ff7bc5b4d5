#include "io/datagram.h"

#include <algorithm>
#include <cstring>

namespace io {
namespace {

constexpr int kHopsMax = 64;  // what hosts send with (RFC 1700)

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

uint8_t ReadHopsLeft(const msghdr& message) {
  auto* headers = const_cast<msghdr*>(&message);
  for (cmsghdr* c = CMSG_FIRSTHDR(headers); c != nullptr; c = CMSG_NXTHDR(headers, c)) {
    if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) ||
        (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT)) {
      int hops = 0;
      std::memcpy(&hops, CMSG_DATA(c), sizeof(hops));
      return static_cast<uint8_t>(hops);
    }
  }
  return 0;
}

void DatagramOut::Prepare(const DatagramPath& path, Bytes bytes) {
  payload = {const_cast<std::byte*>(bytes.data()), bytes.size()};
  std::memcpy(&peer, path.peer, path.peer_size);
  header = {.msg_name = &peer, .msg_namelen = path.peer_size, .msg_iov = &payload, .msg_iovlen = 1};
  const auto add = [this](int level, int type, const auto& value) {
    auto* c = reinterpret_cast<cmsghdr*>(control.data() + header.msg_controllen);
    *c = {.cmsg_len = CMSG_LEN(sizeof(value)), .cmsg_level = level, .cmsg_type = type};
    std::memcpy(CMSG_DATA(c), &value, sizeof(value));
    header.msg_control = control.data();
    header.msg_controllen += CMSG_SPACE(sizeof(value));
  };
  const LocalAddress& local = path.local;
  if (local.family == AF_INET) {
    in_pktinfo info = {};
    std::memcpy(&info.ipi_spec_dst, &local.address, sizeof(info.ipi_spec_dst));
    add(IPPROTO_IP, IP_PKTINFO, info);
  } else if (local.family == AF_INET6) {
    add(IPPROTO_IPV6, IPV6_PKTINFO,
        in6_pktinfo{.ipi6_addr = local.address, .ipi6_ifindex = local.interface});
  }
  if (path.hops_left < 2) return;
  const int hops = std::min<int>(kHopsMax, path.hops_left - 1);
  const bool v6 =
      path.peer->sa_family == AF_INET6 &&
      !IN6_IS_ADDR_V4MAPPED(&reinterpret_cast<const sockaddr_in6*>(path.peer)->sin6_addr);
  v6 ? add(IPPROTO_IPV6, IPV6_HOPLIMIT, hops) : add(IPPROTO_IP, IP_TTL, hops);
}

}  // namespace io
