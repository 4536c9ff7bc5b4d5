#pragma once

#include <liburing.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "io/endpoint.h"
#include "io/event_loop.h"
#include "io/uring_setup.h"

namespace io {

// The seam between the loops and the kernel: every call that a loop makes while it runs, and every
// io_uring operation on its way in and out, passes here. A loop takes the seam as a template
// argument; this one adds nothing to the call. tests/faults/faulty_kernel.h has the other, which
// fails, shortens, delays or reorders them from a seed.
//
// Calls return their result, or -errno.
struct Kernel {
  static int Result(int result) { return result >= 0 ? result : -errno; }

  int Accept(int listener) {
    return Result(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  }
  int Connect(int fd, const Endpoint& at) { return Result(connect(fd, at.address(), at.size())); }
  ssize_t Receive(int fd, std::byte* into, size_t size, int flags) {
    const ssize_t n = recv(fd, into, size, flags);
    return n >= 0 ? n : -errno;
  }
  // recvmsg(2), for what comes beside the payload.
  ssize_t ReceiveMessage(int fd, msghdr* message, int flags) {
    const ssize_t n = recvmsg(fd, message, flags);
    return n >= 0 ? n : -errno;
  }
  ssize_t Send(int fd, Bytes out) {
    const ssize_t n = send(fd, out.data(), out.size(), MSG_NOSIGNAL);
    return n >= 0 ? n : -errno;
  }
  // recvmmsg(2) and sendmmsg(2), without waiting.
  int ReceiveMany(int fd, mmsghdr* messages, unsigned count) {
    return Result(recvmmsg(fd, messages, count, MSG_DONTWAIT, nullptr));
  }
  int SendMany(int fd, mmsghdr* messages, unsigned count) {
    return Result(sendmmsg(fd, messages, count, MSG_DONTWAIT | MSG_NOSIGNAL));
  }
  int Shutdown(int fd, int how) { return Result(shutdown(fd, how)); }
  int Close(int fd) { return Result(close(fd)); }

  int EpollControl(int epoll, int operation, int fd, epoll_event* event) {
    return Result(epoll_ctl(epoll, operation, fd, event));
  }
  // epoll_pwait2(2), for deadlines finer than a millisecond. nullptr waits for ever.
  int EpollWait(int epoll, epoll_event* events, int events_max, const timespec* timeout) {
    return Result(epoll_pwait2(epoll, events, events_max, timeout, nullptr));
  }

  // An operation is complete in the submission ring and will be submitted with the next Enter.
  void OnPrepared(io_uring_sqe*) {}
  // Submits, and waits for `wait` completions or the timeout (nullptr: for ever). With wait 0 it
  // runs pending task work and returns: no timer is set up for that, which costs an exit of a
  // virtual machine.
  int Enter(io_uring* ring, unsigned wait, __kernel_timespec* timeout) {
    io_uring_cqe* first;
    if (wait == 0) return io_uring_submit_and_get_events(ring);
    return timeout != nullptr
               ? io_uring_submit_and_wait_timeout(ring, &first, wait, timeout, nullptr)
               : io_uring_submit_and_wait(ring, wait);
  }
  // The same, for `wait` completions within `min_wait_us`, and for one from then on (Linux 6.12).
  int EnterBatch(io_uring* ring, unsigned wait, __kernel_timespec* timeout, uint32_t min_wait_us) {
    return EnterWithMinimum(ring, wait, timeout, min_wait_us);
  }
  // Cancels all that is in the ring, and waits for what runs already (Linux 6.0). Returns how many
  // it found.
  int CancelEverything(io_uring* ring) {
    io_uring_sync_cancel_reg all = {};
    all.fd = -1;
    all.flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
    all.timeout.tv_nsec = 10'000'000;
    const int found = io_uring_register_sync_cancel(ring, &all);
    return found == -ENOENT ? 0 : found;
  }
  // Hands a completion to the loop: deliver(user_data, result, flags).
  template <class Deliver>
  void OnCompletion(const io_uring_cqe& cqe, Deliver&& deliver) {
    deliver(cqe.user_data, cqe.res, cqe.flags);
  }
  // Hands over completions that were held back, before a turn's wait; true where the turn is not to
  // wait, since some were, or more are held.
  template <class Deliver>
  bool DeliverDelayed(Deliver&&) {
    return false;
  }
};

}  // namespace io
