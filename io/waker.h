#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

namespace io {

// An eventfd(2) by which another thread, or a signal handler, ends a loop's wait. Owned by the
// loop.
class Waker {
 public:
  Waker() = default;
  Waker(const Waker&) = delete;
  Waker& operator=(const Waker&) = delete;
  ~Waker() {
    if (fd_ >= 0) close(fd_);
  }
  // False, with errno set, where the kernel refuses.
  bool Open() { return (fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) >= 0; }
  // Also from a signal handler, which must leave errno as it was (signal-safety(7)). A write that
  // fails has nothing to add: a count at its end (EAGAIN) wakes already, and before Open() (EBADF)
  // nobody waits.
  void Wake() noexcept {
    const int interrupted = errno;
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(fd_, &one, sizeof(one));
    errno = interrupted;
  }
  // Takes the wake-ups that came.
  void Clear() noexcept {
    uint64_t count;
    [[maybe_unused]] const ssize_t n = read(fd_, &count, sizeof(count));
  }
  int fd() const { return fd_; }

 private:
  int fd_ = -1;
};

}  // namespace io
