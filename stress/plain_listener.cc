#include "stress/plain_listener.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "io/errors.h"
#include "io/sockets.h"
#include "io/threads.h"

namespace stress {

absl::StatusOr<std::unique_ptr<PlainListener>> PlainListener::Start(const io::Endpoint& at,
                                                                    int backlog,
                                                                    double accepts_per_s) {
  const auto fd =
      io::OpenListener(at, {.backlog = backlog, .reuse_port = false}, /*nonblocking=*/true);
  if (!fd.ok()) return fd.status();
  const auto bound = io::LocalEndpoint(*fd);
  const int stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (!bound.ok() || stop_fd < 0) {
    const int error = errno;
    close(*fd);
    if (stop_fd >= 0) close(stop_fd);
    if (!bound.ok()) return bound.status();
    return absl::ResourceExhaustedError(absl::StrCat("eventfd: ", io::ErrnoName(error)));
  }
  std::unique_ptr<PlainListener> listener(new PlainListener(*fd, stop_fd, *bound, accepts_per_s));
  if (accepts_per_s <= 0) return listener;
  const absl::Status started = io::StartThread(
      "a listener that accepts", [self = listener.get()] { self->Run(); }, &listener->thread_);
  if (!started.ok()) return started;
  return listener;
}

PlainListener::PlainListener(int fd, int stop_fd, const io::Endpoint& at, double accepts_per_s)
    : fd_(fd), stop_fd_(stop_fd), at_(at), accepts_per_s_(accepts_per_s) {}

PlainListener::~PlainListener() {
  if (thread_.joinable()) {
    const uint64_t one = 1;
    (void)!write(stop_fd_, &one, sizeof(one));  // the first one can't fail
    thread_.join();
  }
  for (const int peer : peers_) close(peer);
  close(fd_);
  close(stop_fd_);
}

void PlainListener::Run() {
  using Clock = std::chrono::steady_clock;
  const std::chrono::duration<double> period(1 / accepts_per_s_);
  auto due = Clock::now() + period;
  pollfd stop = {.fd = stop_fd_, .events = POLLIN, .revents = 0};
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(due - Clock::now());
    const int64_t ns = std::max<int64_t>(left.count(), 0);
    const timespec timeout = {.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000};
    if (ppoll(&stop, 1, &timeout, nullptr) > 0) return;
    if (Clock::now() < due) continue;
    AcceptOne();
    due += period;
  }
}

void PlainListener::AcceptOne() {
  const int peer = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  // EAGAIN: nobody waits. ECONNABORTED: whoever waited has gone. EMFILE, ENFILE, ENOBUFS, ENOMEM:
  // it waits on, in the queue that is looked at.
  if (peer < 0) return;
  peers_.push_back(peer);
  accepted_.fetch_add(1, std::memory_order_relaxed);
  send(peer, "+", 1, MSG_NOSIGNAL);  // ECONNRESET, EPIPE: it has gone meanwhile
}

}  // namespace stress
