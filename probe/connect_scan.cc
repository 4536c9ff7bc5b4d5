#include "probe/connect_scan.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "io/loops.h"

namespace probe {

bool WasEstablished(int fd) {
  sockaddr_storage peer;
  socklen_t size = sizeof(peer);
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0) return true;
  // One that was reset at once has measured a round trip.
  tcp_info info = {};
  size = sizeof(info);
  return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 && info.tcpi_rtt > 0;
}

absl::StatusOr<ScanResult> ConnectScan(const ScanOptions& options) {
  absl::StatusOr<ScanResult> result = absl::InvalidArgumentError(
      absl::StrCat("there is no backend '", options.backend, "'; see: ringside --version"));
  io::Loops::Pick(options.backend, [&]<class Backend>() {
    result = std::make_unique<ConnectScanner<Backend>>(options)->Run();
  });
  return result;
}

}  // namespace probe
