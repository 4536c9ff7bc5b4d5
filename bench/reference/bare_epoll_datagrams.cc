// An echo server of datagrams on epoll with nothing around it: what our epoll backend is measured
// against over UDP and Unix datagrams.
//
//   bare_epoll_datagrams ADDRESS     udp://127.0.0.1:PORT, unix-dgram:PATH, unix-dgram:@NAME
//
// One thread, level-triggered; a batch is received by one call and sent back by one.
#include <sys/epoll.h>

#include <cerrno>
#include <memory>

#include "bench/reference/address.h"

namespace {

constexpr unsigned kBatch = 64;
constexpr size_t kMessageBytes = 256 << 10;  // more than a Unix socket's send buffer holds
constexpr int kReceiveBufferBytes = 4 << 20;

class Server {
 public:
  explicit Server(const reference::Address& at) : fd_(reference::ListenOn(at)) {
    // As our own does, so that a burst finds as much room; the kernel caps it at net.core.rmem_max.
    if (at.family == AF_INET &&
        setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBufferBytes, sizeof(int)) != 0) {
      setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &kReceiveBufferBytes, sizeof(int));
    }
    epoll_event event = {};
    event.events = EPOLLIN;
    if (epoll_ < 0) reference::Die("epoll_create1");
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd_, &event) != 0) reference::Die("epoll_ctl");
    for (unsigned i = 0; i < kBatch; ++i) {
      payloads_[i].iov_base = bytes_.get() + i * kMessageBytes;
      messages_[i].msg_hdr.msg_iov = &payloads_[i];
      messages_[i].msg_hdr.msg_iovlen = 1;
      messages_[i].msg_hdr.msg_name = &peers_[i];
    }
  }

  [[noreturn]] void Run() {
    for (;;) {
      epoll_event event;
      const int ready = epoll_wait(epoll_, &event, 1, -1);
      if (ready < 0 && errno != EINTR) reference::Die("epoll_wait");
      if (ready > 0) Echo();
    }
  }

 private:
  void Echo() {
    for (unsigned i = 0; i < kBatch; ++i) {
      payloads_[i].iov_len = kMessageBytes;
      messages_[i].msg_hdr.msg_namelen = sizeof peers_[i];
    }
    const int received = recvmmsg(fd_, messages_, kBatch, MSG_DONTWAIT, nullptr);
    if (received < 0) {
      // ECONNREFUSED and its like are an earlier answer's, whose peer has gone.
      if (errno == EBADF || errno == ENOTSOCK || errno == EFAULT) reference::Die("recvmmsg");
      return;
    }
    for (int i = 0; i < received; ++i) payloads_[i].iov_len = messages_[i].msg_len;
    for (int at = 0; at < received;) {
      const int sent = sendmmsg(fd_, messages_ + at, received - at, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      at += sent > 0 ? sent : 1;  // one that isn't taken now is lost, as datagrams may be
    }
  }

  const int epoll_ = epoll_create1(EPOLL_CLOEXEC);
  const int fd_;
  const std::unique_ptr<char[]> bytes_ =
      std::make_unique_for_overwrite<char[]>(kBatch * kMessageBytes);
  mmsghdr messages_[kBatch] = {};
  iovec payloads_[kBatch] = {};
  sockaddr_storage peers_[kBatch];
};

}  // namespace

int main(int argc, char** argv) {
  const reference::Address at = argc == 2 ? reference::ParseAddress(argv[1]) : reference::Address();
  if (at.type != SOCK_DGRAM) {
    std::fprintf(stderr, "usage: %s udp://127.0.0.1:PORT | unix-dgram:PATH\n", argv[0]);
    return 2;
  }
  reference::Prepare();
  static Server server(at);
  server.Run();
}
