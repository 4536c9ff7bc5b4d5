// An echo server without an event loop: it asks every connection in turn whether something came,
// and never sleeps. For a few busy connections no event loop is faster, so what a loop adds to
// this is what the loop costs.
//
//   floor PORT
//
// One thread, on 127.0.0.1. It takes a whole CPU.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr int kOne = 1;
constexpr int kRoundsBetweenAccepts = 256;

struct Connection {
  int fd;
  std::string unsent;  // received, but the socket had no room for it
};

char buffer[64 << 10];

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

bool WouldBlock() { return errno == EAGAIN || errno == EINTR; }

// Takes what came and sends it back. False when the connection is over.
bool Echo(Connection& c) {
  if (!c.unsent.empty()) {
    const ssize_t sent = send(c.fd, c.unsent.data(), c.unsent.size(), MSG_NOSIGNAL);
    if (sent < 0) return WouldBlock();
    c.unsent.erase(0, sent);
    return true;
  }
  const ssize_t received = recv(c.fd, buffer, sizeof buffer, 0);
  if (received < 0) return WouldBlock();
  if (received == 0) return false;
  const ssize_t sent = send(c.fd, buffer, received, MSG_NOSIGNAL);
  if (sent == received) return true;
  if (sent < 0 && !WouldBlock()) return false;
  c.unsent.assign(buffer + std::max<ssize_t>(sent, 0), buffer + received);
  return true;
}

void Accept(int listener, std::vector<Connection>& connections) {
  int fd;
  while ((fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &kOne, sizeof kOne);
    connections.push_back({fd, {}});
  }
  if (!WouldBlock() && errno != ECONNABORTED) Die("accept4");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s PORT\n", argv[0]);
    return 2;
  }
  std::signal(SIGTERM, [](int) { _exit(0); });
  std::signal(SIGINT, [](int) { _exit(0); });
  rlimit files = {};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  const int listener = ListenOn(std::atoi(argv[1]));
  std::vector<Connection> connections;
  for (unsigned round = 0;; ++round) {
    if (round % kRoundsBetweenAccepts == 0) Accept(listener, connections);
    for (size_t i = 0; i < connections.size();) {
      if (Echo(connections[i])) {
        ++i;
        continue;
      }
      close(connections[i].fd);
      std::swap(connections[i], connections.back());
      connections.pop_back();
    }
  }
}
