#include "io/direct_descriptors.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "io/backends.h"
#include "io/errors.h"
#include "io/uring_abi.h"
#include "io/uring_memory.h"

namespace io {
namespace {

constexpr linger kReset = {.l_onoff = 1, .l_linger = 0};

// Whether setsockopt(2) works as an operation: a property of the kernel, so asked once a process.
bool KernelHasSocketCommands() {
  static const bool has = [] {
    io_uring ring;
    io_uring_params params = {};
    if (MakeRing(2, &ring, &params) != 0) return false;
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    PrepareResetOnClose(io_uring_get_sqe(&ring), fd);
    io_uring_cqe* cqe = nullptr;
    __kernel_timespec second = {.tv_sec = 1, .tv_nsec = 0};
    io_uring_submit_and_wait_timeout(&ring, &cqe, 1, &second, nullptr);
    const bool works = cqe != nullptr && cqe->res == 0;
    ReleaseRing(&ring);
    if (fd >= 0) close(fd);
    return works;
  }();
  return has;
}

// io_uring_register_files_sparse(3), which would raise the process' soft RLIMIT_NOFILE without a
// word where the table exceeds it (liburing 2.3). Returns 0 or an errno.
int MakeTable(const io_uring* ring, uint32_t count) {
  io_uring_rsrc_register table = {};
  table.nr = count;
  table.flags = IORING_RSRC_REGISTER_SPARSE;
  const long result =
      syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_FILES2, &table, sizeof(table));
  return result < 0 ? errno : 0;
}

absl::Status TableError(uint32_t count, int error) {
  switch (error) {
    case EMFILE: {
      rlimit limit = {};
      getrlimit(RLIMIT_NOFILE, &limit);
      return absl::ResourceExhaustedError(absl::StrCat(
          "a table of ", count, " direct descriptors is larger than RLIMIT_NOFILE: ",
          ErrnoName(error), "; ask for ", limit.rlim_cur,
          " at most, use more threads, each of which has a table, or raise ulimit -n"));
    }
    case ENOMEM:
      return BackendRefused(absl::ResourceExhaustedError(absl::StrCat(
          "no memory for ", count, " direct descriptors: ", ErrnoName(error), "; ask for fewer")));
    case EPERM:
    case EACCES:
      return UringRefused("io_uring_register of direct descriptors", error, {});
    case EINVAL:
      return absl::UnimplementedError(absl::StrCat(
          "this kernel can't make a table of ", count, " direct descriptors: ", ErrnoName(error),
          "; there are at most 1048576, since Linux 5.19"));
    default:
      return absl::InternalError(
          absl::StrCat("io_uring_register of direct descriptors: ", ErrnoName(error)));
  }
}

}  // namespace

void PrepareResetOnClose(io_uring_sqe* sqe, int number) {
  PrepareSetOption(sqe, number, SOL_SOCKET, SO_LINGER, &kReset, sizeof(kReset));
}

// SOCK_CLOEXEC would be refused: what has no number in the process, no exec can pass on.
void DirectAccept::Prepare(io_uring_sqe* sqe, int fd) {
  peer_size = sizeof(peer);
  io_uring_prep_accept_direct(sqe, fd, reinterpret_cast<sockaddr*>(&peer), &peer_size, 0,
                              static_cast<unsigned>(number));
}

absl::Status DirectDescriptors::Open(io_uring* ring, uint32_t connects, uint32_t accepts) {
  if (!KernelHasSocketCommands()) {
    return absl::UnimplementedError(
        "direct descriptors need Linux 6.7: this kernel's io_uring can't set socket options "
        "(SOCKET_URING_OP_SETSOCKOPT); do without them");
  }
  const uint32_t count = connects + accepts;
  if (const int error = MakeTable(ring, count)) return TableError(count, error);
  ring_ = ring;
  connects_ = connects;
  free_.reserve(connects);
  free_accepts_.reserve(accepts);
  for (uint32_t number = count; number > 0; --number) Free(static_cast<int>(number - 1));
  return absl::OkStatus();
}

absl::StatusOr<int> DirectDescriptors::Take(int fd) {
  if (free_.empty()) {
    close(fd);
    return absl::ResourceExhaustedError(
        absl::StrCat("all ", connects_,
                     " direct descriptors are in use; ask for more of them, or open "
                     "fewer connections"));
  }
  const int number = free_.back();
  const int result = io_uring_register_files_update(ring_, number, &fd, 1);
  close(fd);
  if (result < 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for a direct descriptor: ", ErrnoName(-result)));
  }
  free_.pop_back();
  return number;
}

}  // namespace io
