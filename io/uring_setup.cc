#include "io/uring_setup.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "io/buffer_ring.h"
#include "io/uring_abi.h"
#include "io/uring_memory.h"

namespace io {
namespace {

// One try at a ring. Returns 0 or an errno.
int TryRing(unsigned flags, unsigned submissions, unsigned completions, io_uring* ring) {
  io_uring_params params = {};
  params.flags = flags | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL;
  params.cq_entries = completions;
  return MakeRing(submissions, ring, &params);
}

// Receives once by a multishot receive into a provided buffer, over a socket pair. `total` != 0
// asks for the byte cap too. Returns 0 or an errno.
int TryMultishotReceive(io_uring* ring, uint32_t total) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return errno;
  BufferRing buffers;
  int error = buffers.Open(ring, 0, 2, 4096);
  if (error == 0) {
    [[maybe_unused]] const ssize_t written = write(pair[1], "r", 1);
    io_uring_sqe* sqe = io_uring_get_sqe(ring);
    io_uring_prep_recv_multishot(sqe, pair[0], nullptr, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = buffers.group();
    if (total != 0) SetReceiveTotal(sqe, total);
    io_uring_cqe* cqe = nullptr;
    __kernel_timespec second = {.tv_sec = 1, .tv_nsec = 0};
    io_uring_submit_and_wait_timeout(ring, &cqe, 1, &second, nullptr);
    error = cqe == nullptr ? ETIME : cqe->res == 1 ? 0 : -cqe->res;
    shutdown(pair[0], SHUT_RDWR);  // ends the receive
    for (bool more = cqe != nullptr && (cqe->flags & IORING_CQE_F_MORE); more;) {
      io_uring_cqe_seen(ring, cqe);
      if (io_uring_submit_and_wait_timeout(ring, &cqe, 1, &second, nullptr) < 0) break;
      more = cqe->flags & IORING_CQE_F_MORE;
    }
    if (cqe != nullptr) io_uring_cqe_seen(ring, cqe);
    buffers.Close(ring);
  }
  close(pair[0]);
  close(pair[1]);
  return error;
}

// A property of the kernel, so asked once a process; where there was no memory to ask, again.
bool KernelHasReceiveTotal() {
  enum : int { kUnknown, kHas, kLacks };
  static std::atomic<int> known{kUnknown};
  if (known.load() != kUnknown) return known.load() == kHas;
  io_uring ring;
  int error = TryRing(0, 4, 8, &ring);
  if (error == 0) {
    error = TryMultishotReceive(&ring, 4096);
    ReleaseRing(&ring);
  }
  if (error == 0 || error == EINVAL) known.store(error == 0 ? kHas : kLacks);
  return error == 0;
}

}  // namespace

std::string UringFeatures::ToString() const {
  std::vector<std::string> have;
  if (multishot_accept) have.emplace_back("multishot accept");
  if (multishot_receive) have.emplace_back("multishot receive");
  have.emplace_back("buffer ring");
  if (defer_taskrun) have.emplace_back("DEFER_TASKRUN");
  if (coop_taskrun) have.emplace_back("COOP_TASKRUN");
  if (registered_ring) have.emplace_back("registered ring");
  if (sqpoll) have.emplace_back("SQPOLL");
  if (receive_total) have.emplace_back("receive byte cap");
  if (!switched.empty()) have.push_back(switched);
  return absl::StrJoin(have, ", ");
}

namespace {

// OpenRing(), with an errno.
int TryOpenRing(const LoopOptions& options, io_uring* ring, UringFeatures* features) {
  const FeatureSwitches& wanted = options.features;
  *features = {};
  features->multishot_receive = wanted.Uses(Feature::kMultishotReceive);
  features->multishot_accept = wanted.Uses(Feature::kMultishotAccept);
  features->receive_total =
      features->multishot_receive && wanted.Uses(Feature::kReceiveCap) && KernelHasReceiveTotal();
  features->switched = DescribeSwitches(wanted, "io_uring");
  if (options.min_wait_us != 0) {
    absl::StrAppend(&features->switched, features->switched.empty() ? "" : ", ", "minimum wait ",
                    options.min_wait_us, " us");
  }
  constexpr unsigned kDefer = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  constexpr unsigned kCoop = IORING_SETUP_COOP_TASKRUN;
  const bool polled = wanted.Uses(Feature::kSqpoll);
  int error = 0;
  for (unsigned flags : {kDefer | IORING_SETUP_TASKRUN_FLAG, kCoop | IORING_SETUP_TASKRUN_FLAG,
                         polled ? unsigned{IORING_SETUP_SQPOLL} : 0u}) {
    if (polled && flags != IORING_SETUP_SQPOLL) continue;
    if ((flags & IORING_SETUP_DEFER_TASKRUN) && !wanted.Uses(Feature::kDeferTaskrun)) continue;
    if ((flags & kCoop) && !wanted.Uses(Feature::kCoopTaskrun)) continue;
    unsigned submissions = options.submission_entries, completions = options.completion_entries;
    while ((error = TryRing(flags, submissions, completions, ring)) == ENOMEM && submissions > 16) {
      submissions /= 2;
      completions = std::max(completions / 2, submissions * 2);
    }
    if (error == 0) {
      features->defer_taskrun = flags & IORING_SETUP_DEFER_TASKRUN;
      features->coop_taskrun = flags & IORING_SETUP_COOP_TASKRUN;
      features->sqpoll = flags & IORING_SETUP_SQPOLL;
      features->registered_ring =
          wanted.Uses(Feature::kRegisteredRing) && io_uring_register_ring_fd(ring) == 1;
      return 0;
    }
    if (error != EINVAL) break;
  }
  return error;
}

constexpr LoopOptions kSmall = {.submission_entries = 8, .completion_entries = 16};

}  // namespace

absl::Status OpenRing(const LoopOptions& options, io_uring* ring, UringFeatures* features) {
  const int error = TryOpenRing(options, ring, features);
  return error == 0 ? absl::OkStatus() : UringRefused("io_uring_setup", error, options);
}

int EnterWithMinimum(io_uring* ring, unsigned wait, __kernel_timespec* timeout,
                     uint32_t min_wait_us) {
  io_uring_getevents_arg argument = {};
  argument.sigmask_sz = _NSIG / 8;
  SetMinimumWait(argument, min_wait_us);
  argument.ts = reinterpret_cast<uint64_t>(timeout);
  // What was prepared becomes the kernel's: __io_uring_flush_sq() of liburing, which has no name
  // outside of it.
  io_uring_sq& sq = ring->sq;
  sq.sqe_head = sq.sqe_tail;
  io_uring_smp_store_release(sq.ktail, sq.sqe_tail);
  const unsigned submissions = sq.sqe_tail - io_uring_smp_load_acquire(sq.khead);
  unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
  if (ring->flags & IORING_SETUP_SQPOLL) {
    if (IO_URING_READ_ONCE(*sq.kflags) & IORING_SQ_NEED_WAKEUP) flags |= IORING_ENTER_SQ_WAKEUP;
  }
  const long result = syscall(SYS_io_uring_enter, ring->ring_fd, submissions, wait, flags,
                              &argument, sizeof(argument));
  return result < 0 ? -errno : static_cast<int>(result);
}

absl::Status ProbeUring() {
  io_uring ring;
  UringFeatures features;
  const int opened = TryOpenRing(kSmall, &ring, &features);
  if (opened != 0) return UringRefused("io_uring_setup", opened, {});  // what a real one needs
  const int error = TryMultishotReceive(&ring, 0);
  ReleaseRing(&ring);
  return error == 0 ? absl::OkStatus() : UringRefused("io_uring_register", error, {});
}

UringFeatures ProbeUringFeatures() {
  io_uring ring;
  UringFeatures features;
  if (TryOpenRing(kSmall, &ring, &features) != 0) return {};
  ReleaseRing(&ring);
  return features;
}

}  // namespace io
