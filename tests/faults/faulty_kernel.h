#pragma once

// A kernel that misbehaves on purpose: takes the place of io::Kernel in a loop, and makes single
// calls and io_uring operations fail, fall short, come late or in another order. It does only what
// the manual pages allow a kernel to do, so a loop has to cope with all of it.
//
// What befalls a call depends on three things alone: the seed, the call's kind, and how many calls
// of that kind came before. So a seed replays, as far as the real kernel's timing does.

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "io/kernel.h"

namespace faults {

// Calls and operations by kind; the first of each has number 1.
enum class Call : uint8_t {
  kAccept,
  kConnect,
  kReceive,
  kSend,
  kShutdown,
  kClose,
  kControl,  // epoll_ctl
  kWait,     // epoll_pwait2, io_uring_enter
  kCancel,
  kOther,       // io_uring operations of other kinds
  kCompletion,  // each completion of io_uring, whatever it completes
};
inline constexpr int kCalls = 11;
std::string_view CallName(Call call);

// How often which fault comes: the probability that one call has it.
struct Plan {
  double interrupted = 0;     // EINTR; a cancel says EALREADY
  double not_ready = 0;       // EAGAIN, although there is something
  double short_transfer = 0;  // fewer bytes than were asked for
  double no_buffers = 0;      // io_uring: a receive ends with ENOBUFS
  double ends_early = 0;      // io_uring: a multishot operation ends without need
  double delayed = 0;    // io_uring: a completion comes turns later; epoll: events are shuffled
  double waits = 0;      // a wait ends for nothing, brings one event, or submits little or nothing
  double aborted = 0;    // accept: this peer is gone (ECONNABORTED and its kind)
  double exhausted = 0;  // accept: no descriptor, no memory
  double fatal = 0;      // the connection is lost: ECONNRESET, ETIMEDOUT, EPIPE, ECONNREFUSED

  friend bool operator==(const Plan&, const Plan&) = default;
};

// All that a connection survives, `often` each; waits, of which there are few, more often.
Plan Benign(double often);

// One fault that was injected.
struct Fault {
  Call call;
  uint64_t nth;
  int error;  // an errno, or 0 for what is no error
  std::string what;

  friend bool operator==(const Fault&, const Fault&) = default;
  friend auto operator<=>(const Fault&, const Fault&) = default;  // NOLINT(modernize-use-nullptr)
};

// A completion of io_uring, as it is handed to the loop.
struct Completion {
  uint64_t user_data;
  int result;
  unsigned flags;
};

// Decides what goes wrong and keeps the log. It belongs to the thread of the loop that it serves.
class Injector {
 public:
  explicit Injector(uint64_t seed, const Plan& plan = {}) : seed_(seed), plan_(plan) {}

  // The calls numbered first to first + times - 1 of this kind fail with `error`.
  void Fail(Call call, uint64_t first, int error, uint64_t times = 1) {
    scripted_.push_back({call, first, times, error});
  }
  // io_uring: completions of these operations are kept until Release().
  void HoldBack(Call call) { held_calls_.insert(call); }
  void Release() { held_calls_.clear(); }
  // io_uring: the next completion of such an operation is lost, as in a kernel that has no memory
  // to keep it; the wait that follows says so (EBADR).
  void Lose(Call call) { to_lose_ = call; }
  // io_uring: no receive's completion overtakes another's, of whichever socket. Buffers that are
  // filled bit by bit need that of the kernel, since a completion doesn't say where its bytes lie.
  void KeepReceivesInOrder() { receives_in_order_ = true; }

  uint64_t count(Call call) const { return counts_[static_cast<int>(call)]; }
  size_t held() const { return held_.size(); }
  const std::vector<Fault>& log() const { return log_; }
  uint64_t injected(int error) const;
  // The seed, how to replay it, and the faults by kind.
  std::string Describe() const;

 private:
  friend class FaultyKernel;

  struct Scripted {
    Call call;
    uint64_t first, times;
    int error;
  };
  struct Held {
    Completion completion;
    Call call;
    int turns;  // until it is due
  };
  struct Watched {
    int epoll;
    epoll_event event;
  };

  // A number that depends on the seed, the n-th call of that kind, and `salt` alone.
  uint64_t Draw(Call call, uint64_t salt) const;
  bool Happens(double probability, Call call, uint64_t salt) const;
  void Log(Call call, int error, std::string what);

  // Counts a call of that kind, and says with which errno it is to fail; 0 for none.
  int Next(Call call, bool uring);
  int Planned(Call call, bool uring) const;
  // How many of `size` bytes the current call gets.
  size_t Shorten(Call call, size_t size);

  // epoll: as if more had come just now, so that an edge follows.
  void RaiseEdge(int fd);

  // io_uring, the way in.
  void OnPrepared(io_uring_sqe* sqe);
  void Replace(io_uring_sqe* sqe, int error);
  void SubmitCancels(io_uring* ring);
  // io_uring, the way out. False where the completion is ours, or held back.
  bool OnCompletion(Completion* completion);
  void EndLater(const Completion& completion);
  std::vector<Completion> TakeDue();
  bool due_later() const;
  // Completions of one line keep their order.
  uint64_t LineOf(uint64_t user_data, Call call) const {
    return receives_in_order_ && call == Call::kReceive ? kReceives : user_data;
  }

  static constexpr uint64_t kReceives = ~0ull - 1;  // no user_data of a loop's

  const uint64_t seed_;
  const Plan plan_;
  bool receives_in_order_ = false;
  std::array<uint64_t, kCalls> counts_ = {};
  std::vector<Scripted> scripted_;
  std::vector<Fault> log_;
  std::unordered_map<int, Watched> watched_;       // by descriptor
  std::unordered_map<uint64_t, Call> operations_;  // what a user_data stands for
  std::unordered_map<uint64_t, int> replaced_;     // results of operations that aren't performed
  std::unordered_map<uint64_t, int> ends_with_;    // ... of those that we cancel
  std::vector<uint64_t> to_cancel_;
  std::unordered_set<Call> held_calls_;
  std::optional<Call> to_lose_;
  std::vector<Held> held_;  // in the order in which they came
};

// The seam's other side: see io/kernel.h. Copies share one Injector.
class FaultyKernel {
 public:
  explicit FaultyKernel(std::shared_ptr<Injector> injector) : injector_(std::move(injector)) {}

  int Accept(int listener);
  int Connect(int fd, const io::Endpoint& at);
  ssize_t Receive(int fd, std::byte* into, size_t size, int flags);
  ssize_t ReceiveMessage(int fd, msghdr* message, int flags);
  ssize_t Send(int fd, io::Bytes out);
  int ReceiveMany(int fd, mmsghdr* messages, unsigned count);
  int SendMany(int fd, mmsghdr* messages, unsigned count);
  int Shutdown(int fd, int how);
  int Close(int fd);
  int EpollControl(int epoll, int operation, int fd, epoll_event* event);
  int EpollWait(int epoll, epoll_event* events, int events_max, const timespec* timeout);

  int CancelEverything(io_uring* ring) { return kernel_.CancelEverything(ring); }
  void OnPrepared(io_uring_sqe* sqe) { injector_->OnPrepared(sqe); }
  int Enter(io_uring* ring, unsigned wait, __kernel_timespec* timeout);
  int EnterBatch(io_uring* ring, unsigned wait, __kernel_timespec* timeout, uint32_t) {
    return Enter(ring, wait, timeout);  // a kernel may always wait for fewer
  }
  template <class Deliver>
  void OnCompletion(const io_uring_cqe& cqe, Deliver&& deliver) {
    Completion completion = {cqe.user_data, cqe.res, cqe.flags};
    if (injector_->OnCompletion(&completion)) {
      deliver(completion.user_data, completion.result, completion.flags);
    }
  }
  template <class Deliver>
  bool DeliverDelayed(Deliver&& deliver) {
    const std::vector<Completion> due = injector_->TakeDue();
    for (const Completion& c : due) deliver(c.user_data, c.result, c.flags);
    return !due.empty() || injector_->due_later();
  }

 private:
  io::Kernel kernel_;
  std::shared_ptr<Injector> injector_;
};

}  // namespace faults
