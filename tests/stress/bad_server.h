#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <string>

namespace stress_tests {

// An echo server in a process of its own, with few descriptors, that does the wrong thing when they
// are used up.
class BadServer {
 public:
  enum class Kind {
    kSpins,   // its listener stays ready, and it tries to accept again and again
    kDrops,   // closes a descriptor that it kept for this, accepts with it, and closes
    kResets,  // likewise, with a reset
    kLeaks,   // never closes a connection that its peer closed; spins, too
  };
  static constexpr rlim_t kDescriptors = 64;

  explicit BadServer(Kind kind) {
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() == parent) Serve(kind, ready[1]);
      _exit(1);
    }
    close(ready[1]);
    const bool told = read(ready[0], &port_, sizeof(port_)) == sizeof(port_);
    close(ready[0]);
    if (!told) throw std::runtime_error("the server of the test does not listen");
  }
  ~BadServer() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  BadServer(const BadServer&) = delete;
  BadServer& operator=(const BadServer&) = delete;

  std::string port() const { return std::to_string(port_); }
  pid_t pid() const { return pid_; }

 private:
  static void Serve(Kind kind, int ready) {
    const rlimit limit = {.rlim_cur = kDescriptors, .rlim_max = kDescriptors};
    setrlimit(RLIMIT_NOFILE, &limit);
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sockaddr_in at = {};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(at);
    auto* address = reinterpret_cast<sockaddr*>(&at);
    if (bind(listener, address, size) != 0 || listen(listener, 1024) != 0) return;
    if (getsockname(listener, address, &size) != 0) return;
    const int set = epoll_create1(EPOLL_CLOEXEC);
    Watch(set, listener);
    int reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    const int port = ntohs(at.sin_port);
    if (write(ready, &port, sizeof(port)) != sizeof(port)) return;
    close(ready);
    while (true) {
      epoll_event event;
      if (epoll_wait(set, &event, 1, -1) < 1) return;
      if (event.data.fd != listener) {
        Echo(event.data.fd, set, kind == Kind::kLeaks);
        continue;
      }
      const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        Watch(set, fd);
      } else if (errno == EMFILE && (kind == Kind::kDrops || kind == Kind::kResets)) {
        close(reserve);
        const int unwanted = accept(listener, nullptr, nullptr);
        const linger now = {.l_onoff = kind == Kind::kResets, .l_linger = 0};
        setsockopt(unwanted, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        close(unwanted);
        reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
      }
    }
  }

  static void Watch(int set, int fd) {
    epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
  }

  static void Echo(int fd, int set, bool leaks) {
    char bytes[4096];
    const ssize_t n = read(fd, bytes, sizeof(bytes));
    if (n > 0 && write(fd, bytes, static_cast<size_t>(n)) == n) return;
    leaks ? epoll_ctl(set, EPOLL_CTL_DEL, fd, nullptr) : close(fd);
  }

  pid_t pid_ = -1;
  int port_ = 0;
};

}  // namespace stress_tests
