#include "cli/signals.h"

#include <poll.h>
#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>

namespace cli {

Signals::Signals(std::initializer_list<int> also) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  for (const int signal : also) sigaddset(&set, signal);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  fd_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is an error of the write, not our end
}

Signals::~Signals() {
  if (fd_ >= 0) close(fd_);
}

int Signals::Wait(int fd, int timeout_ms) {
  pollfd fds[2] = {{.fd = fd_, .events = POLLIN, .revents = 0},
                   {.fd = fd, .events = POLLIN, .revents = 0}};
  if (poll(fds, 2, timeout_ms) <= 0) return kTimeout;
  const int signal = Take();
  return signal != 0 ? signal : kReadable;
}

int Signals::Take() {
  signalfd_siginfo info = {};
  return read(fd_, &info, sizeof(info)) == sizeof(info) ? static_cast<int>(info.ssi_signo) : 0;
}

}  // namespace cli
