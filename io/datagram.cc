#include "io/datagram.h"

#include <cstring>

namespace io {

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

void DatagramOut::Prepare(const DatagramPath& path, Bytes bytes) {
  payload = {const_cast<std::byte*>(bytes.data()), bytes.size()};
  std::memcpy(&peer, path.peer, path.peer_size);
  header = {.msg_name = &peer, .msg_namelen = path.peer_size, .msg_iov = &payload, .msg_iovlen = 1};
  const LocalAddress& local = path.local;
  if (local.family == 0) return;
  auto* c = reinterpret_cast<cmsghdr*>(control.data());
  header.msg_control = c;
  if (local.family == AF_INET) {
    in_pktinfo info = {};
    std::memcpy(&info.ipi_spec_dst, &local.address, sizeof(info.ipi_spec_dst));
    *c = {.cmsg_len = CMSG_LEN(sizeof(info)), .cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO};
    std::memcpy(CMSG_DATA(c), &info, sizeof(info));
    header.msg_controllen = CMSG_SPACE(sizeof(info));
  } else {
    const in6_pktinfo info = {.ipi6_addr = local.address, .ipi6_ifindex = local.interface};
    *c = {.cmsg_len = CMSG_LEN(sizeof(info)), .cmsg_level = IPPROTO_IPV6, .cmsg_type = IPV6_PKTINFO};
    std::memcpy(CMSG_DATA(c), &info, sizeof(info));
    header.msg_controllen = CMSG_SPACE(sizeof(info));
  }
}

}  // namespace io
