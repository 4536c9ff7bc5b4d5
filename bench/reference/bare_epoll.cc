// An echo server on epoll with nothing around it: what our epoll backend is measured against.
//
//   bare_epoll PORT [BURN_NS]
//
// One thread, level-triggered, one receive an event, on 127.0.0.1. BURN_NS spins that long on each
// receive: a server that is slower by a known amount, to see whether a comparison finds it.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

constexpr int kOne = 1;

[[noreturn]] void Die(const char* call) {
  std::perror(call);
  std::exit(1);
}

int ListenOn(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) Die("socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &kOne, sizeof kOne);
  sockaddr_in at = {};
  at.sin_family = AF_INET;
  at.sin_port = htons(static_cast<uint16_t>(port));
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0) Die("bind");
  if (listen(fd, SOMAXCONN) != 0) Die("listen");
  return fd;
}

void Burn(std::chrono::nanoseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
  }
}

class Server {
 public:
  Server(int port, std::chrono::nanoseconds burn) : listener_(ListenOn(port)), burn_(burn) {
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
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &kOne, sizeof kOne);
      if (unsent_.size() <= static_cast<size_t>(fd)) unsent_.resize(fd + 1);
      Watch(EPOLL_CTL_ADD, fd, EPOLLIN);
    }
    if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) Die("accept4");
  }

  void Echo(int fd) {
    const ssize_t received = recv(fd, buffer_, sizeof buffer_, 0);
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
  std::vector<std::string> unsent_;  // by fd: received, but the socket had no room for it
  char buffer_[64 << 10];
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: %s PORT [BURN_NS]\n", argv[0]);
    return 2;
  }
  std::signal(SIGTERM, [](int) { _exit(0); });
  std::signal(SIGINT, [](int) { _exit(0); });
  rlimit files = {};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  static Server server(std::atoi(argv[1]),
                       std::chrono::nanoseconds(argc == 3 ? std::atoll(argv[2]) : 0));
  server.Run();
}
