#include "io/receive_stamp.h"

#include <linux/net_tstamp.h>

#include <cstring>

namespace io {

bool AskForReceiveStamps(int fd) {
  const int flags = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
  return setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof(flags)) == 0;
}

void StampedReceive::Prepare(std::byte* into, size_t size) {
  payload = {.iov_base = into, .iov_len = size};
  header = {.msg_iov = &payload,
            .msg_iovlen = 1,
            .msg_control = control.data(),
            .msg_controllen = control.size()};
}

int64_t StampedReceive::received_at_ns() const {
  auto* headers = const_cast<msghdr*>(&header);  // CMSG_NXTHDR takes no const
  for (cmsghdr* c = CMSG_FIRSTHDR(headers); c != nullptr; c = CMSG_NXTHDR(headers, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPING) continue;
    timespec software;  // the first of three; the others are of the hardware
    std::memcpy(&software, CMSG_DATA(c), sizeof(software));
    return int64_t{software.tv_sec} * 1'000'000'000 + software.tv_nsec;
  }
  return 0;
}

}  // namespace io
