#include "tests/faults/faulty_kernel.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <sstream>
#include <utility>

#include "io/errors.h"

namespace faults {
namespace {

// The user_data of our own cancels: no loop's operation has this number in the top byte.
constexpr uint64_t kOwnCancel = 0xfeull << 56;

// What the n-th call draws for, so that one draw tells nothing about another.
enum Salt : uint64_t {
  kSaltFatal = 1,
  kSaltInterrupted,
  kSaltNotReady,
  kSaltNoBuffers,
  kSaltAborted,
  kSaltExhausted,
  kSaltShort,
  kSaltSize,
  kSaltEndsEarly,
  kSaltEndKind,
  kSaltDelayed,
  kSaltTurns,
  kSaltOrder,
  kSaltWaits,
  kSaltWaitKind,
  kSaltErrno,
  kSaltDescriptor,
};

constexpr int kPeerGone[] = {ECONNABORTED, EPROTO,       ENETDOWN,   ENOPROTOOPT, EHOSTDOWN,
                             ENONET,       EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH, EPERM};
constexpr int kExhausted[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
constexpr int kReceiveLost[] = {ECONNRESET, ETIMEDOUT};
constexpr int kSendLost[] = {EPIPE, ECONNRESET};
constexpr int kConnectLost[] = {ECONNREFUSED, ENETUNREACH};

template <size_t N>
int OneOf(const int (&errors)[N], uint64_t draw) {
  return errors[draw % N];
}

// splitmix64's finalizer: Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
// 2014.
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

Call CallOf(uint8_t opcode) {
  switch (opcode) {
    case IORING_OP_ACCEPT:
      return Call::kAccept;
    case IORING_OP_CONNECT:
      return Call::kConnect;
    case IORING_OP_RECV:
    case IORING_OP_RECVMSG:
      return Call::kReceive;
    case IORING_OP_SEND:
    case IORING_OP_SENDMSG:
    case IORING_OP_SEND_ZC:
      return Call::kSend;
    case IORING_OP_CLOSE:
      return Call::kClose;
    case IORING_OP_ASYNC_CANCEL:
      return Call::kCancel;
    default:
      return Call::kOther;
  }
}

// No kernel shortens a message.
bool KeepsMessages(int fd) {
  int type = 0;
  socklen_t size = sizeof(type);
  return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type != SOCK_STREAM;
}

}  // namespace

std::string_view CallName(Call call) {
  constexpr std::string_view kNames[kCalls] = {"accept",   "connect", "receive",   "send",
                                               "shutdown", "close",   "control",   "wait",
                                               "cancel",   "other",   "completion"};
  return kNames[static_cast<int>(call)];
}

Plan Benign(double often) {
  return {.interrupted = often,
          .not_ready = often,
          .short_transfer = often,
          .no_buffers = often,
          .ends_early = often,
          .delayed = often,
          .waits = std::min(3 * often, 0.5),
          .aborted = often};
}

// --- deciding -----------------------------------------------------------------------------------

uint64_t Injector::Draw(Call call, uint64_t salt) const {
  return Mix(Mix(Mix(seed_) + static_cast<uint64_t>(call) * 64 + salt) + count(call));
}

bool Injector::Happens(double probability, Call call, uint64_t salt) const {
  return static_cast<double>(Draw(call, salt) >> 11) * 0x1p-53 < probability;
}

void Injector::Log(Call call, int error, std::string what) {
  log_.push_back({call, count(call), error, std::move(what)});
}

int Injector::Next(Call call, bool uring) {
  const uint64_t nth = ++counts_[static_cast<int>(call)];
  int error = 0;
  for (const Scripted& s : scripted_) {
    if (s.call == call && nth >= s.first && nth - s.first < s.times) error = s.error;
  }
  if (error == 0) error = Planned(call, uring);
  if (error != 0) Log(call, error, io::ErrnoSymbol(error));
  return error;
}

int Injector::Planned(Call call, bool uring) const {
  const uint64_t draw = Draw(call, kSaltErrno);
  const bool fatal = Happens(plan_.fatal, call, kSaltFatal);
  const bool interrupted = Happens(plan_.interrupted, call, kSaltInterrupted);
  const bool not_ready = Happens(plan_.not_ready, call, kSaltNotReady);
  switch (call) {
    case Call::kAccept:
      if (Happens(plan_.exhausted, call, kSaltExhausted)) return OneOf(kExhausted, draw);
      if (Happens(plan_.aborted, call, kSaltAborted)) return OneOf(kPeerGone, draw);
      return interrupted ? EINTR : not_ready ? EAGAIN : 0;
    case Call::kReceive:
      if (fatal) return OneOf(kReceiveLost, draw);
      if (uring && Happens(plan_.no_buffers, call, kSaltNoBuffers)) return ENOBUFS;
      return interrupted ? EINTR : not_ready ? EAGAIN : 0;
    case Call::kSend:
      if (fatal) return OneOf(kSendLost, draw);
      return interrupted ? EINTR : not_ready ? EAGAIN : 0;
    case Call::kConnect:
      return fatal ? OneOf(kConnectLost, draw) : 0;
    case Call::kClose:
      return interrupted ? EINTR : 0;
    case Call::kCancel:
      return interrupted ? EALREADY : 0;
    default:
      return 0;
  }
}

size_t Injector::Shorten(Call call, size_t size) {
  if (size < 2 || !Happens(plan_.short_transfer, call, kSaltShort)) return size;
  // Of any order of magnitude: a few bytes as likely as most of them.
  const uint64_t draw = Draw(call, kSaltSize);
  const size_t most = std::max<size_t>(1, (size - 1) >> draw % 16);
  const size_t shorter = 1 + (draw >> 8) % most;
  Log(call, 0, "short");
  return shorter;
}

uint64_t Injector::injected(int error) const {
  return std::count_if(log_.begin(), log_.end(), [&](const Fault& f) { return f.error == error; });
}

std::string Injector::Describe() const {
  std::map<std::string, int> kinds;
  for (const Fault& fault : log_) ++kinds[std::string(CallName(fault.call)) + " " + fault.what];
  std::ostringstream text;
  text << "seed " << seed_ << " (RINGSIDE_FAULT_SEED=" << seed_ << " replays it); faults:";
  for (const auto& [kind, times] : kinds) text << " " << kind << " x " << times << ",";
  return text.str();
}

// --- epoll --------------------------------------------------------------------------------------

void Injector::RaiseEdge(int fd) {
  const auto found = watched_.find(fd);
  if (found == watched_.end()) return;
  Watched& watched = found->second;
  epoll_ctl(watched.epoll, EPOLL_CTL_MOD, fd, &watched.event);  // queues it again if it is ready
}

int FaultyKernel::Accept(int listener) {
  const int error = injector_->Next(Call::kAccept, false);
  // The connection stays in the backlog: as if another had been there before it.
  return error != 0 ? -error : kernel_.Accept(listener);
}

int FaultyKernel::Connect(int fd, const io::Endpoint& at) {
  const int error = injector_->Next(Call::kConnect, false);
  return error != 0 ? -error : kernel_.Connect(fd, at);
}

// A short receive means "no more is here" to an edge-triggered reader, and so does EAGAIN. So the
// rest has to "arrive" afterwards, with an edge of its own. The same holds for sends.
ssize_t FaultyKernel::Receive(int fd, std::byte* into, size_t size, int flags) {
  if (const int error = injector_->Next(Call::kReceive, false)) {
    if (error == EAGAIN) injector_->RaiseEdge(fd);
    return -error;
  }
  const size_t allowed = KeepsMessages(fd) ? size : injector_->Shorten(Call::kReceive, size);
  const ssize_t n = kernel_.Receive(fd, into, allowed, flags);
  if (allowed < size) injector_->RaiseEdge(fd);
  return n;
}

ssize_t FaultyKernel::ReceiveMessage(int fd, msghdr* message, int flags) {
  if (const int error = injector_->Next(Call::kReceive, false)) {
    if (error == EAGAIN) injector_->RaiseEdge(fd);
    return -error;
  }
  size_t& size = message->msg_iov->iov_len;
  const size_t asked = size;
  if (!KeepsMessages(fd)) size = injector_->Shorten(Call::kReceive, size);
  const ssize_t n = kernel_.ReceiveMessage(fd, message, flags);
  if (size < asked) injector_->RaiseEdge(fd);
  return n;
}

ssize_t FaultyKernel::Send(int fd, io::Bytes out) {
  if (const int error = injector_->Next(Call::kSend, false)) {
    if (error == EAGAIN) injector_->RaiseEdge(fd);
    return -error;
  }
  const size_t allowed =
      KeepsMessages(fd) ? out.size() : injector_->Shorten(Call::kSend, out.size());
  const ssize_t n = kernel_.Send(fd, out.first(allowed));
  if (allowed < out.size()) injector_->RaiseEdge(fd);
  return n;
}

int FaultyKernel::ReceiveMany(int fd, mmsghdr* messages, unsigned count) {
  const int error = injector_->Next(Call::kReceive, false);  // level-triggered: it is told again
  return error != 0 ? -error : kernel_.ReceiveMany(fd, messages, count);
}

int FaultyKernel::SendMany(int fd, mmsghdr* messages, unsigned count) {
  if (const int error = injector_->Next(Call::kSend, false)) return -error;
  return kernel_.SendMany(fd, messages,
                          static_cast<unsigned>(injector_->Shorten(Call::kSend, count)));
}

int FaultyKernel::Shutdown(int fd, int how) {
  const int error = injector_->Next(Call::kShutdown, false);
  return error != 0 ? -error : kernel_.Shutdown(fd, how);
}

// close(2) gives the descriptor back whatever it returns.
int FaultyKernel::Close(int fd) {
  const int error = injector_->Next(Call::kClose, false);
  injector_->watched_.erase(fd);
  const int result = kernel_.Close(fd);
  return error != 0 ? -error : result;
}

int FaultyKernel::EpollControl(int epoll, int operation, int fd, epoll_event* event) {
  if (const int error = injector_->Next(Call::kControl, false)) return -error;
  const int result = kernel_.EpollControl(epoll, operation, fd, event);
  if (result < 0) return result;
  if (operation == EPOLL_CTL_DEL) {
    injector_->watched_.erase(fd);
  } else if (event->events & EPOLLET) {
    injector_->watched_[fd] = {epoll, *event};
  }
  return result;
}

int FaultyKernel::EpollWait(int epoll, epoll_event* events, int events_max,
                            const timespec* timeout) {
  Injector& injector = *injector_;
  if (const int error = injector.Next(Call::kWait, false)) return -error;
  if (injector.Happens(injector.plan_.waits, Call::kWait, kSaltWaits)) {
    switch (injector.Draw(Call::kWait, kSaltWaitKind) % 4) {
      case 0:
        injector.Log(Call::kWait, EINTR, "EINTR");
        return -EINTR;
      case 1:
        injector.Log(Call::kWait, 0, "woken for nothing");
        return 0;
      case 2:
        injector.Log(Call::kWait, 0, "one event");
        events_max = 1;
        break;
      default:
        if (injector.watched_.empty()) break;
        injector.Log(Call::kWait, 0, "an event that is no news");
        injector.RaiseEdge(
            std::next(injector.watched_.begin(),
                      injector.Draw(Call::kWait, kSaltDescriptor) % injector.watched_.size())
                ->first);
    }
  }
  const int count = kernel_.EpollWait(epoll, events, events_max, timeout);
  if (count > 1 && injector.Happens(injector.plan_.delayed, Call::kWait, kSaltDelayed)) {
    injector.Log(Call::kWait, 0, "shuffled");
    for (int i = count - 1; i > 0; --i) {
      std::swap(events[i], events[Mix(injector.Draw(Call::kWait, kSaltOrder) + i) % (i + 1)]);
    }
  }
  return count;
}

// --- io_uring, the way in -----------------------------------------------------------------------

void Injector::OnPrepared(io_uring_sqe* sqe) {
  const Call call = CallOf(sqe->opcode);
  operations_[sqe->user_data] = call;
  const int error = Next(call, true);
  switch (call) {
    case Call::kCancel:
      // The loop may rely on it: it is performed, and only its answer changed.
      if (error != 0) replaced_[sqe->user_data] = -error;
      return;
    case Call::kClose:
      if (error == 0) return;
      // One that was cancelled hasn't been tried. A direct one's answer alone is changed.
      if (error == ECANCELED) return Replace(sqe, error);
      if (sqe->file_index != 0) {  // a direct one: it is performed, and only its answer changed
        replaced_[sqe->user_data] = -error;
        return;
      }
      // Gives the descriptor back whatever it returns. By number, since ThreadSanitizer follows who
      // opens and closes a descriptor, and sees nothing of what io_uring does.
      syscall(SYS_close, sqe->fd);
      return Replace(sqe, error);
    case Call::kSend:
      // A zero-copy send that fails is notified of nevertheless, where the kernel got as far as to
      // take its memory (io_send_zc(), io_uring/net.c). So it is one of nothing, with another
      // answer.
      if (error == 0 || sqe->opcode != IORING_OP_SEND_ZC) break;
      if (Draw(call, kSaltEndKind) % 4 == 0) break;
      sqe->len = 0;
      replaced_[sqe->user_data] = -error;
      return;
    default:
      break;
  }
  if (error != 0) return Replace(sqe, error);
  // A direct descriptor's number says nothing here. Those of the tests are all TCP's.
  const bool messages = !(sqe->flags & IOSQE_FIXED_FILE) && KeepsMessages(sqe->fd);
  if (call == Call::kSend && !messages) {
    sqe->len = static_cast<uint32_t>(Shorten(call, sqe->len));
  }
  // A recvmsg(2) that isn't multishot is another operation: it has no header in its buffer.
  const bool multishot_or_not = sqe->opcode == IORING_OP_ACCEPT || sqe->opcode == IORING_OP_RECV;
  if (!multishot_or_not) return;
  const uint16_t multishot =
      call == Call::kAccept ? IORING_ACCEPT_MULTISHOT : IORING_RECV_MULTISHOT;
  if (!(sqe->ioprio & multishot) || !Happens(plan_.ends_early, call, kSaltEndsEarly)) return;
  sqe->ioprio &= ~multishot;
  Log(call, 0, "one shot");
  if (call == Call::kAccept) return;
  sqe->splice_fd_in = 0;  // the byte cap is for multishot alone
  const size_t shorter = messages ? 4096 : Shorten(call, 4096);
  if (shorter < 4096) sqe->len = static_cast<uint32_t>(shorter);
}

// Puts an operation that does nothing in its place; its completion will say -error.
void Injector::Replace(io_uring_sqe* sqe, int error) {
  const uint64_t user_data = sqe->user_data;
  io_uring_prep_nop(sqe);
  sqe->user_data = user_data;
  replaced_[user_data] = -error;
}

void Injector::SubmitCancels(io_uring* ring) {
  while (!to_cancel_.empty()) {
    io_uring_sqe* sqe = io_uring_get_sqe(ring);
    if (sqe == nullptr) return;
    io_uring_prep_cancel64(sqe, to_cancel_.back(), 0);
    sqe->user_data = kOwnCancel;
    to_cancel_.pop_back();
  }
}

int FaultyKernel::Enter(io_uring* ring, unsigned wait, __kernel_timespec* timeout) {
  Injector& injector = *injector_;
  injector.SubmitCancels(ring);
  if (const int error = injector.Next(Call::kWait, true)) return -error;
  if (!injector.Happens(injector.plan_.waits, Call::kWait, kSaltWaits)) {
    return kernel_.Enter(ring, wait, timeout);
  }
  const auto fail = [&](int error) {
    injector.Log(Call::kWait, error, io::ErrnoSymbol(error));
    return -error;
  };
  switch (injector.Draw(Call::kWait, kSaltWaitKind) % 5) {
    case 0:
      return fail(EINTR);
    case 1:
      return fail(EAGAIN);
    case 2:
      return fail(EBUSY);
    case 3:
      injector.Log(Call::kWait, 0, "woken for nothing");
      return io_uring_submit(ring);
    default: {
      // Takes one submission only, as where memory lacks for the next; then it doesn't wait either.
      if (io_uring_sq_ready(ring) < 2) return kernel_.Enter(ring, wait, timeout);
      injector.Log(Call::kWait, 0, "one submitted");
      const unsigned tail = ring->sq.sqe_tail;
      ring->sq.sqe_tail = *ring->sq.khead + 1;
      const int submitted = io_uring_submit(ring);
      ring->sq.sqe_tail = tail;
      return submitted;
    }
  }
}

// --- io_uring, the way out ----------------------------------------------------------------------

bool Injector::OnCompletion(Completion* completion) {
  const uint64_t key = completion->user_data;
  if (key == kOwnCancel) return false;
  ++counts_[static_cast<int>(Call::kCompletion)];
  const bool more = completion->flags & IORING_CQE_F_MORE;
  if (const auto found = replaced_.find(key); found != replaced_.end()) {
    completion->result = found->second;
    replaced_.erase(found);
  }
  if (const auto found = ends_with_.find(key); found != ends_with_.end() && !more) {
    if (completion->result == -ECANCELED) completion->result = found->second;
    ends_with_.erase(found);
  }
  const Call call = operations_[key];
  if (to_lose_ == call) {
    to_lose_.reset();
    Fail(Call::kWait, count(Call::kWait) + 1, EBADR);
    Log(call, 0, "lost");
    return false;
  }
  if (more && (call == Call::kAccept || call == Call::kReceive)) EndLater(*completion);

  const uint64_t line = LineOf(key, call);
  const bool behind = std::any_of(held_.begin(), held_.end(), [&](const Held& held) {
    return LineOf(held.completion.user_data, held.call) == line;
  });
  const bool delayed = Happens(plan_.delayed, Call::kCompletion, kSaltDelayed);
  if (!behind && !delayed && !held_calls_.contains(call)) return true;
  const int turns = delayed ? 1 + Draw(Call::kCompletion, kSaltTurns) % 4 : 0;
  if (delayed) Log(Call::kCompletion, 0, "delayed");
  held_.push_back({*completion, call, turns});
  return false;
}

// A multishot operation that has just delivered is to end, for a reason that passes.
void Injector::EndLater(const Completion& completion) {
  const Call of = Call::kCompletion;
  const bool fatal = Happens(plan_.fatal, of, kSaltFatal);
  if (!fatal && !Happens(plan_.ends_early, of, kSaltEndsEarly)) return;
  const uint64_t key = completion.user_data;
  if (ends_with_.contains(key)) return;
  int error = ECANCELED;
  if (operations_[key] == Call::kReceive) {
    const uint64_t draw = Draw(of, kSaltErrno);
    constexpr int kPass[] = {ECANCELED, ENOBUFS, EINTR, EAGAIN};
    error = fatal ? OneOf(kReceiveLost, draw) : OneOf(kPass, draw);
  }
  ends_with_[key] = -error;
  to_cancel_.push_back(key);
  Log(of, error, "ended by " + io::ErrnoSymbol(error));
}

// What may be handed over in this turn, shuffled; the completions of one line keep their order.
std::vector<Completion> Injector::TakeDue() {
  std::vector<Held> due, kept;
  std::unordered_set<uint64_t> blocked;
  for (Held& held : held_) {
    const uint64_t line = LineOf(held.completion.user_data, held.call);
    if (held.turns > 0) --held.turns;
    if (held.turns > 0 || held_calls_.contains(held.call) || blocked.contains(line)) {
      blocked.insert(line);
      kept.push_back(held);
    } else {
      due.push_back(held);
    }
  }
  held_ = std::move(kept);
  std::map<uint64_t, std::vector<Completion>> lines;
  std::vector<uint64_t> turns;  // whose turn it is
  for (size_t i = due.size(); i-- > 0;) {
    const uint64_t line = LineOf(due[i].completion.user_data, due[i].call);
    lines[line].push_back(due[i].completion);
    turns.push_back(line);
  }
  for (size_t i = turns.size(); i > 1; --i) {
    std::swap(turns[i - 1], turns[Mix(Draw(Call::kCompletion, kSaltOrder) + i) % i]);
  }
  std::vector<Completion> completions;
  for (const uint64_t line : turns) {
    completions.push_back(lines[line].back());
    lines[line].pop_back();
  }
  return completions;
}

bool Injector::due_later() const {
  return std::any_of(held_.begin(), held_.end(),
                     [&](const Held& held) { return !held_calls_.contains(held.call); });
}

}  // namespace faults
