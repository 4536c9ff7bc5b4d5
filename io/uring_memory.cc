#include "io/uring_memory.h"

#include <sys/resource.h>
#include <sys/utsname.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "io/backends.h"
#include "io/buffer_ring.h"
#include "io/errors.h"
#include "io/uring_setup.h"

namespace io {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kPage = 4096;
// How long after a ring was closed its memory may still be charged; and how long at the first lack,
// for rings of a process that has ended.
constexpr std::chrono::milliseconds kReleasePatience{300}, kFirstPatience{60};
constexpr std::chrono::milliseconds kPause{2};

std::atomic<int64_t> last_release{0};  // Clock's, in nanoseconds
std::atomic<int64_t> first_lack{0};

int64_t NowNanos() { return std::chrono::nanoseconds(Clock::now().time_since_epoch()).count(); }

bool MayComeBack() {
  const int64_t now = NowNanos();
  int64_t first = 0;
  first_lack.compare_exchange_strong(first, now);
  const auto within = [now](int64_t since, std::chrono::nanoseconds patience) {
    return since != 0 && now - since < patience.count();
  };
  return within(last_release.load(), kReleasePatience) || within(first_lack.load(), kFirstPatience);
}

template <class F>
int Patiently(F&& call) {
  int error = call();
  while (error == ENOMEM && MayComeBack()) {
    std::this_thread::sleep_for(kPause);
    error = call();
  }
  return error;
}

uint64_t Pages(uint64_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

std::string KernelRelease() {
  utsname name = {};
  uname(&name);
  return name.release;
}

int ReadSysctl(const char* path) {
  std::ifstream file(path);
  int value = -1;
  file >> value;
  return value;
}

absl::Status NoMemory(const char* call, const LoopOptions& options) {
  const uint64_t needs = LockedBytes(options) * options.loops / 1024;
  rlimit limit = {};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  if (limit.rlim_cur == RLIM_INFINITY) {
    return absl::ResourceExhaustedError(absl::StrCat(
        call, ": ", ErrnoName(ENOMEM), "; the kernel has no memory for ", needs,
        " KiB of rings: raise memory.max of the control group, or free some of the machine's"));
  }
  return absl::ResourceExhaustedError(absl::StrCat(
      call, ": ", ErrnoName(ENOMEM), "; RLIMIT_MEMLOCK lets all processes of this user lock ",
      limit.rlim_cur / 1024, " KiB, and ",
      options.loops == 1 ? "a thread's ring needs "
                         : absl::StrCat("the rings of ", options.loops, " threads need "),
      needs, " KiB; raise it (ulimit -l ", std::max<uint64_t>(needs, 8192),
      ", LimitMEMLOCK= in the unit, --ulimit memlock= of the container), or use epoll"));
}

absl::Status NotPermitted(const char* call, int error) {
  const int disabled = ReadSysctl("/proc/sys/kernel/io_uring_disabled");
  if (disabled > 0) {
    return absl::PermissionDeniedError(
        absl::StrCat("io_uring is switched off: kernel.io_uring_disabled is ", disabled,
                     "; allow it with: sysctl kernel.io_uring_disabled=0"));
  }
  return absl::PermissionDeniedError(
      absl::StrCat(call,
                   " is refused, most likely by a seccomp filter, as container runtimes have "
                   "it: ",
                   ErrnoName(error), "; run with a profile that allows io_uring"));
}

absl::Status Reason(const char* call, int error, const LoopOptions& options) {
  switch (error) {
    case ENOSYS:
      return absl::UnimplementedError(absl::StrCat(
          "this kernel (", KernelRelease(), ") has no io_uring, or a seccomp filter hides it: ",
          ErrnoName(error), "; run Linux 6.0 or newer, or outside of the container's filter"));
    case EPERM:
    case EACCES:  // a security module
      return NotPermitted(call, error);
    case ENOMEM:
      return NoMemory(call, options);
    case EAGAIN:  // IORING_SETUP_SQPOLL has a thread of the kernel's
      return absl::ResourceExhaustedError(
          absl::StrCat(call, ": ", ErrnoName(error),
                       "; no thread is left for the kernel's end of a ring: raise ulimit -u, or "
                       "pids.max of the control group"));
    case EMFILE:
    case ENFILE:
      return absl::ResourceExhaustedError(absl::StrCat(
          "no file descriptor is left for a ring: ", ErrnoName(error), "; raise ulimit -n"));
    case EINVAL:
      return absl::UnimplementedError(absl::StrCat("this kernel's io_uring (", KernelRelease(),
                                                   ") is too old; Linux 6.0 is needed"));
    default:
      return absl::InternalError(absl::StrCat(call, ": ", ErrnoName(error)));
  }
}

}  // namespace

// struct io_rings with both heads and tails, the completions and the indices of submissions in one
// region, the submissions in another; each in whole pages, and all counts powers of two.
uint64_t LockedBytes(const LoopOptions& options) {
  constexpr uint64_t kHead = 320;
  const uint64_t submissions = std::bit_ceil(options.submission_entries);
  const uint64_t completions = std::bit_ceil(options.completion_entries);
  const auto buffers = [&](uint64_t count) {
    return Pages(std::bit_ceil(count) * sizeof(io_uring_buf));
  };
  const uint64_t whole = options.features.Uses(Feature::kIncrementalBuffers) ? 1 : 0;
  return Pages(kHead + completions * sizeof(io_uring_cqe) + submissions * sizeof(uint32_t)) +
         Pages(submissions * sizeof(io_uring_sqe)) + (1 + whole) * buffers(options.recv_buffers) +
         (options.datagrams ? buffers(options.recv_buffers) : 0);
}

bool RingsAreCharged() {
  rlimit before = {};
  if (getrlimit(RLIMIT_MEMLOCK, &before) != 0) return false;
  const rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
  if (setrlimit(RLIMIT_MEMLOCK, &none) != 0) return false;
  io_uring ring;
  io_uring_params params = {};
  const int error = -io_uring_queue_init_params(4, &ring, &params);
  if (error == 0) ReleaseRing(&ring);
  setrlimit(RLIMIT_MEMLOCK, &before);
  return error == ENOMEM;
}

int MakeRing(unsigned entries, io_uring* ring, io_uring_params* params) {
  const io_uring_params asked = *params;
  return Patiently([&] {
    *params = asked;
    return -io_uring_queue_init_params(entries, ring, params);
  });
}

void ReleaseRing(io_uring* ring) {
  io_uring_queue_exit(ring);
  last_release.store(NowNanos());
}

int RegisterBufferRing(io_uring* ring, io_uring_buf_reg* registration) {
  return Patiently([&] { return -io_uring_register_buf_ring(ring, registration, 0); });
}

absl::Status TryRings(const LoopOptions& options) {
  struct Made {
    io_uring ring;
    BufferRing buffers;
    ~Made() { ReleaseRing(&ring); }
  };
  std::vector<std::unique_ptr<Made>> all;
  for (uint32_t i = 0; i < options.loops; ++i) {
    io_uring ring;
    UringFeatures features;
    const absl::Status opened = OpenRing(options, &ring, &features);
    if (!opened.ok()) return opened;
    Made& made = *all.emplace_back(new Made{.ring = ring, .buffers = {}});
    const int error =
        made.buffers.Open(&made.ring, 0, options.recv_buffers, options.recv_buffer_bytes);
    if (error != 0) return UringRefused("io_uring_register", error, options);
  }
  return absl::OkStatus();
}

absl::Status UringRefused(const char* call, int error, const LoopOptions& options) {
  return BackendRefused(Reason(call, error, options));
}

}  // namespace io
