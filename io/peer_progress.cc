#include "io/peer_progress.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstddef>

namespace io {

uint64_t TakenByPeer(int fd) {
  tcp_info info = {};
  socklen_t size = sizeof(info);
  const bool known = getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
                     size >= offsetof(tcp_info, tcpi_bytes_acked) + sizeof(info.tcpi_bytes_acked);
  if (known) return info.tcpi_bytes_acked;
  int queued = 0;
  return ioctl(fd, SIOCOUTQ, &queued) == 0 ? static_cast<uint64_t>(queued) : 0;
}

}  // namespace io
