#include "io/kernel_features.h"

#include <liburing.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <memory>

#include "io/uring_abi.h"
#include "io/uring_memory.h"
#include "io/uring_setup.h"

namespace io {
namespace {

// What liburing 2.3 has no names for (include/uapi/linux/io_uring.h, Linux 6.17).
enum Operation : int { kBind = 56, kListen = 57, kReceiveZeroCopy = 58, kEpollWait = 59 };
constexpr unsigned kSetupNoSqArray = 1u << 16;                             // 6.6
constexpr unsigned kFeatureBundle = 1u << 14, kFeatureMinWait = 1u << 15;  // 6.10, 6.12
constexpr unsigned kRegisterNapi = 27;
struct Napi {  // struct io_uring_napi
  uint32_t busy_poll_us;
  uint8_t prefer_busy_poll, operation, pad[2];
  uint32_t parameter, reserved;
};

// A small ring that ends with its scope.
class Ring {
 public:
  explicit Ring(unsigned flags = 0) {
    params_.flags = flags;
    made_ = MakeRing(4, &ring_, &params_) == 0;
  }
  ~Ring() {
    if (made_) ReleaseRing(&ring_);
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  bool made() const { return made_; }
  bool Has(unsigned feature) const { return (params_.features & feature) != 0; }
  io_uring* get() { return &ring_; }
  bool Register(unsigned what, void* argument, unsigned count) {
    return syscall(SYS_io_uring_register, ring_.ring_fd, what, argument, count) >= 0;
  }

  // Submits what was prepared; the first completion's flags, or nothing where it failed.
  struct Completion {
    int result;
    unsigned flags;
  };
  Completion RunOne() {
    io_uring_cqe* cqe = nullptr;
    __kernel_timespec second = {.tv_sec = 1, .tv_nsec = 0};
    io_uring_submit_and_wait_timeout(&ring_, &cqe, 1, &second, nullptr);
    if (cqe == nullptr) return {-ETIME, 0};
    const Completion completion = {cqe->res, cqe->flags};
    io_uring_cqe_seen(&ring_, cqe);
    return completion;
  }

 private:
  io_uring ring_ = {};
  io_uring_params params_ = {};
  bool made_ = false;
};

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

bool Makes(unsigned setup_flags) { return Ring(setup_flags).made(); }

bool HasOperation(const io_uring_probe* probe, int operation) {
  return probe != nullptr && operation <= probe->last_op &&
         (probe->ops[operation].flags & IO_URING_OP_SUPPORTED) != 0;
}

// A buffer ring of one page, with these flags.
bool MakesBufferRing(uint16_t flags) {
  constexpr size_t kBytes = 4096;
  Ring ring;
  void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (!ring.made() || memory == MAP_FAILED) return false;
  io_uring_buf_reg registration = {};
  registration.ring_addr = reinterpret_cast<uint64_t>(memory);
  registration.ring_entries = 8;
  SetBufferRingFlags(registration, flags);
  const bool made = ring.Register(IORING_REGISTER_PBUF_RING, &registration, 1);
  if (made) io_uring_unregister_buf_ring(ring.get(), 0);
  munmap(memory, kBytes);
  return made;
}

// Accepts one connection, over a Unix socket with a name that the kernel chose (autobind, unix(7)).
bool AcceptsMultishot() {
  Ring ring;
  const Fd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const Fd client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = {}};
  auto* address = reinterpret_cast<sockaddr*>(&at);
  socklen_t size = sizeof(sa_family_t);
  if (!ring.made() || bind(listener.get(), address, size) != 0) return false;
  size = sizeof(at);
  if (getsockname(listener.get(), address, &size) != 0 || listen(listener.get(), 1) != 0 ||
      connect(client.get(), address, size) != 0) {
    return false;
  }
  io_uring_prep_multishot_accept(io_uring_get_sqe(ring.get()), listener.get(), nullptr, nullptr,
                                 SOCK_CLOEXEC);
  const auto [result, flags] = ring.RunOne();
  const Fd accepted(result);
  return result >= 0 && (flags & IORING_CQE_F_MORE) != 0;
}

bool MakesDirectTable() {
  Ring ring;
  io_uring_rsrc_register table = {};
  table.nr = 1;
  table.flags = IORING_RSRC_REGISTER_SPARSE;
  return ring.made() && ring.Register(IORING_REGISTER_FILES2, &table, sizeof(table));
}

bool SetsSocketOptions() {
  Ring ring;
  const Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!ring.made() || fd.get() < 0) return false;
  static constexpr linger kNone = {};
  PrepareSetOption(io_uring_get_sqe(ring.get()), fd.get(), SOL_SOCKET, SO_LINGER, &kNone,
                   sizeof(kNone));
  return ring.RunOne().result == 0;
}

// As the new ring has it already: no busy polling.
bool RegistersNapi() {
  Ring ring;
  Napi napi = {};
  return ring.made() && ring.Register(kRegisterNapi, &napi, 1);
}

bool WaitsByNanoseconds() {
  const Fd epoll(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event;
  const timespec now = {};
  return epoll_pwait2(epoll.get(), &event, 1, &now, nullptr) == 0;
}

bool WaitsExclusively() {
  const Fd epoll(epoll_create1(EPOLL_CLOEXEC)), event(eventfd(0, EFD_CLOEXEC));
  epoll_event wanted = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data = {}};
  return epoll_ctl(epoll.get(), EPOLL_CTL_ADD, event.get(), &wanted) == 0;
}

// EPIOCGPARAMS (include/uapi/linux/eventpoll.h).
bool PollsBusily() {
  struct Params {  // struct epoll_params
    uint32_t busy_poll_us;
    uint16_t busy_poll_budget;
    uint8_t prefer_busy_poll, pad;
  } params = {};
  const Fd epoll(epoll_create1(EPOLL_CLOEXEC));
  return ioctl(epoll.get(), _IOR(0x8A, 0x02, Params), &params) == 0;
}

}  // namespace

std::vector<KernelFeature> ListUringFeatures() {
  Ring plain;
  if (!plain.made()) return {};
  const std::unique_ptr<io_uring_probe, decltype(&io_uring_free_probe)> probe(
      io_uring_get_probe_ring(plain.get()), &io_uring_free_probe);
  const auto has = [&](int operation) { return HasOperation(probe.get(), operation); };
  const UringFeatures ours = ProbeUringFeatures();
  constexpr unsigned kDefer = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  return {
      {"registered ring", "5.18", true, ours.registered_ring},
      {"COOP_TASKRUN", "5.19", true, Makes(IORING_SETUP_COOP_TASKRUN)},
      {"SINGLE_ISSUER", "6.0", true, Makes(IORING_SETUP_SINGLE_ISSUER)},
      {"DEFER_TASKRUN", "6.1", true, Makes(kDefer)},
      {"multishot accept", "5.19", true, AcceptsMultishot()},
      {"multishot receive", "6.0", true, ProbeUring().ok()},
      {"receive byte cap", "6.17", true, ours.receive_total},
      {"receive bundles", "6.10", false, plain.Has(kFeatureBundle)},
      {"provided buffer ring", "5.19", true, MakesBufferRing(0)},
      {"incremental buffers", "6.12", false, MakesBufferRing(kBufferRingIncremental)},
      {"direct descriptors", "5.19", true, MakesDirectTable()},
      {"socket options", "6.7", true, SetsSocketOptions()},
      {"SHUTDOWN", "5.11", true, has(IORING_OP_SHUTDOWN)},
      {"SOCKET", "5.19", false, has(IORING_OP_SOCKET)},
      {"BIND", "6.11", false, has(kBind)},
      {"LISTEN", "6.11", false, has(kListen)},
      {"MSG_RING", "5.18", false, has(IORING_OP_MSG_RING)},
      {"SEND_ZC", "6.0", false, has(IORING_OP_SEND_ZC)},
      {"RECV_ZC", "6.15", false, has(kReceiveZeroCopy)},
      {"EPOLL_WAIT", "6.15", false, has(kEpollWait)},
      {"NAPI registration", "6.9", false, RegistersNapi()},
      {"minimum wait", "6.12", false, plain.Has(kFeatureMinWait)},
      {"SQPOLL", "5.1", false, Makes(IORING_SETUP_SQPOLL)},
      {"NO_SQARRAY", "6.6", false, Makes(kSetupNoSqArray)},
  };
}

std::vector<KernelFeature> ListEpollFeatures() {
  return {
      {"EPOLLEXCLUSIVE", "4.5", true, WaitsExclusively()},
      {"epoll_pwait2", "5.11", true, WaitsByNanoseconds()},
      {"busy-poll parameters", "6.9", false, PollsBusily()},
  };
}

}  // namespace io
