// An echo server on epoll with nothing around it: what our epoll backend is measured against.
//
//   bare_epoll ADDRESS [BURN_NS]     PORT, 127.0.0.1:PORT, unix:PATH, unix-seqpacket:@NAME
//
// One thread, level-triggered, one receive and one send an event. BURN_NS spins that long on each
// receive: a server that is slower by a known amount, to see whether a comparison finds it.
#include <netinet/tcp.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string>
#include <vector>

#include "bench/reference/address.h"

namespace {

using reference::Die;
using reference::kOne;

void Burn(std::chrono::nanoseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
  }
}

class Server {
 public:
  Server(const reference::Address& at, std::chrono::nanoseconds burn)
      : listener_(reference::ListenOn(at)), burn_(burn), tcp_(at.family == AF_INET) {
    if (at.type == SOCK_SEQPACKET) receive_bytes_ = sizeof buffer_;
    if (epoll_ < 0) Die("epoll_create1");
    Watch(EPOLL_CTL_ADD, listener_, EPOLLIN);
  }

  [[noreturn]] void Run() {
    epoll_event events[256];
    for (;;) {
      const int ready = epoll_wait(epoll_, events, 256, -1);
      if (ready < 0 && errno != EINTR) Die("epoll_wait");
      for (int i = 0; i < ready; ++i) {
        const int fd = events[i].data.fd;
        if (fd == listener_) {
          Accept();
        } else if (!unsent_[fd].empty()) {
          SendRest(fd);
        } else {
          Echo(fd);
        }
      }
    }
  }

 private:
  void Watch(int operation, int fd, uint32_t events) {
    epoll_event event = {};
    event.events = events;
    event.data.fd = fd;
    if (epoll_ctl(epoll_, operation, fd, &event) != 0) Die("epoll_ctl");
  }

  void Accept() {
    int fd;
    while ((fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
      if (tcp_) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &kOne, sizeof kOne);
      if (unsent_.size() <= static_cast<size_t>(fd)) unsent_.resize(fd + 1);
      Watch(EPOLL_CTL_ADD, fd, EPOLLIN);
    }
    if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) Die("accept4");
  }

  void Echo(int fd) {
    const ssize_t received = recv(fd, buffer_, receive_bytes_, 0);
    if (received < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (received <= 0) return Close(fd);
    if (burn_.count() > 0) Burn(burn_);
    const ssize_t sent = send(fd, buffer_, received, MSG_NOSIGNAL);
    if (sent == received) return;
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return Close(fd);
    // What is left waits for room, and nothing more is received meanwhile: bounded by the buffer.
    unsent_[fd].assign(buffer_ + std::max<ssize_t>(sent, 0), buffer_ + received);
    Watch(EPOLL_CTL_MOD, fd, EPOLLOUT);
  }

  void SendRest(int fd) {
    std::string& rest = unsent_[fd];
    const ssize_t sent = send(fd, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return Close(fd);
    rest.erase(0, std::max<ssize_t>(sent, 0));
    if (rest.empty()) Watch(EPOLL_CTL_MOD, fd, EPOLLIN);
  }

  void Close(int fd) {
    unsent_[fd] = {};
    close(fd);
  }

  const int epoll_ = epoll_create1(EPOLL_CLOEXEC);
  const int listener_;
  const std::chrono::nanoseconds burn_;
  const bool tcp_;
  std::vector<std::string> unsent_;  // by fd: received, but the socket had no room for it
  size_t receive_bytes_ = 64 << 10;
  char buffer_[256 << 10];  // a seqpacket's message comes in one piece
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: %s ADDRESS [BURN_NS]\n", argv[0]);
    return 2;
  }
  const reference::Address at = reference::ParseAddress(argv[1]);
  if (at.type == SOCK_DGRAM) {
    std::fprintf(stderr, "%s: for datagrams, use bare_epoll_datagrams\n", argv[0]);
    return 2;
  }
  reference::Prepare();
  static Server server(at, std::chrono::nanoseconds(argc == 3 ? std::atoll(argv[2]) : 0));
  server.Run();
}
