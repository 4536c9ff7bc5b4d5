#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "io/bytes.h"
#include "io/endpoint.h"
#include "io/sockets.h"
#include "tests/contract/harness.h"

namespace contract {

// A client that is no loop's: a plain socket. Connecting over loopback ends with the handshake,
// which needs nobody's accept(); nothing else here waits.
class RawSocket {
 public:
  RawSocket() : RawSocket(*io::Resolve(AnyAddress())) {}
  explicit RawSocket(const io::Endpoint& kind)
      : fd_(socket(kind.family(), kind.type() | SOCK_CLOEXEC, kind.protocol())) {}
  RawSocket(RawSocket&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), received_(std::move(other.received_)) {}
  RawSocket& operator=(RawSocket&&) = delete;
  ~RawSocket() { Close(); }

  int fd() const { return fd_; }

  bool Connect(const io::Endpoint& at) { return connect(fd_, at.address(), at.size()) == 0; }

  // Sends what the socket takes; the number of bytes, or -errno.
  ssize_t Send(io::Bytes out) {
    const ssize_t sent = send(fd_, out.data(), out.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent >= 0 ? sent : -errno;
  }

  // Takes what has arrived into received().
  void Poll() {
    char into[16384];
    while (!ended_) {
      const ssize_t n = recv(fd_, into, sizeof(into), MSG_DONTWAIT);
      if (n > 0) received_.append(into, n);
      if (n < 0 && errno != EAGAIN) error_ = errno;
      if (n == 0 || error_ != 0) ended_ = true;
      if (n <= 0) return;
    }
  }
  const std::string& received() const { return received_; }
  bool ended() const { return ended_; }  // by FIN, or by error()
  int error() const { return error_; }

  void Finish() { shutdown(fd_, SHUT_WR); }
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  void Reset() {
    io::ResetOnClose(fd_);
    Close();
  }

 private:
  int fd_;
  bool ended_ = false;
  int error_ = 0;
  std::string received_;
};

}  // namespace contract
