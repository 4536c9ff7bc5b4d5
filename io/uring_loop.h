#pragma once

#include <poll.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "io/accept_pause.h"
#include "io/attention_list.h"
#include "io/buffer_ring.h"
#include "io/byte_queue.h"
#include "io/connect_retries.h"
#include "io/datagram_pause.h"
#include "io/direct_descriptors.h"
#include "io/errors.h"
#include "io/event_loop.h"
#include "io/kernel.h"
#include "io/peer_progress.h"
#include "io/receive_stamp.h"
#include "io/slot_table.h"
#include "io/sockets.h"
#include "io/uring_abi.h"
#include "io/uring_memory.h"
#include "io/uring_setup.h"
#include "io/waker.h"

namespace io {

// The event loop on io_uring(7). What it promises: io/event_loop.h. How, and why so:
//
//   * Each connection has one multishot receive armed, into buffers that the kernel takes from a
//     ring (io/buffer_ring.h), and at most one send in flight: two could interleave.
//   * A slot is freed, and its descriptor closed, only after the last operation that names it has
//     completed. Closing earlier would let the kernel send our bytes to whoever gets the number
//     next. user_data is operation, generation, slot.
//   * A receive that ended for want of buffers (ENOBUFS) waits in a queue of the whole loop. Each
//     turn re-arms no more of them than there are buffers: more would fail again, and cost.
//   * Bytes of a lent buffer that are to be sent are sent from it; it is recycled when the send
//     completed. They are copied when buffers run low, or when a send is in flight already.
//   * One io_uring_enter(2) a turn submits, runs deferred task work and waits.
//   * Where the kernel lost completions (EBADR), all that is in it is cancelled, and what has not
//     completed when it holds nothing any more was lost: Recover().
template <class H, class K = Kernel>
class UringLoop {
 public:
  static constexpr std::string_view kName = "io_uring";

  static absl::Status Probe() { return ProbeUring(); }
  static std::string ProbeFeatures() { return ProbeUringFeatures().ToString(); }

  explicit UringLoop(H& handler, const LoopOptions& options = {}, K kernel = {})
      : handler_(handler),
        options_(options),
        kernel_(std::move(kernel)),
        slots_(options.connections_max) {}
  UringLoop(const UringLoop&) = delete;
  UringLoop& operator=(const UringLoop&) = delete;
  ~UringLoop() {
    if (!opened_) return;
    Shutdown();
    buffers_.Close(&ring_);
    if (whole_buffers_.open()) whole_buffers_.Close(&ring_);
    if (datagram_buffers_.open()) datagram_buffers_.Close(&ring_);
    ReleaseRing(&ring_);
  }

  absl::Status Open() {
    absl::Status status = CheckFeatures(options_.features, std::string(kName));
    if (!status.ok()) return status;
    if (options_.min_wait_us != 0) {
      status = KernelHas("min-wait", "minimum wait");
      if (!status.ok()) return status;
    }
    zero_copy_ = options_.features.Uses(Feature::kSendZeroCopy);
    if (zero_copy_ && (options_.direct_descriptors != 0 || options_.direct_accepts != 0)) {
      return absl::InvalidArgumentError(
          "send-zc can't be had with direct descriptors; leave one of the two out");
    }
    status = OpenRing(options_, &ring_, &features_);
    if (!status.ok()) return status;
    opened_ = true;
    borrows_ = options_.features.Uses(Feature::kBorrow);
    incremental_ = options_.features.Uses(Feature::kIncrementalBuffers);
    bundles_ = options_.features.Uses(Feature::kBundles);
    status = OpenBuffers();
    if (status.ok() && options_.datagrams) status = OpenDatagramBuffers();
    if (!status.ok()) return status;
    refused_.reserve(options_.direct_accepts);
    if (options_.direct_descriptors != 0 || options_.direct_accepts != 0) {
      status = direct_.Open(&ring_, options_.direct_descriptors, options_.direct_accepts);
      if (!status.ok()) return status;
    }
    if (!waker_.Open()) {
      return absl::ResourceExhaustedError(absl::StrCat("eventfd: ", ErrnoName(errno)));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Endpoint> Listen(const Endpoint& at, const ListenOptions& listen) {
    auto fd = OpenListener(at, listen, /*nonblocking=*/false);
    if (!fd.ok()) return fd.status();
    const auto local = LocalEndpoint(*fd);
    if (!local.ok()) {
      CloseDescriptor(*fd);
      return local.status();
    }
    if (local->is_datagram() && !datagram_buffers_.open()) {
      const absl::Status opened = OpenDatagramBuffers();
      if (!opened.ok()) {
        CloseDescriptor(*fd);
        return opened;
      }
    }
    Listener& added = listeners_.emplace_back();
    added.fd = *fd;
    added.tag = listen.tag;
    added.transport = local->transport();
    added.datagrams = local->is_datagram();
    added.shared = listen.shared;
    added.direct = options_.direct_accepts != 0 && !added.datagrams && !local->is_unix();
    added.udp_gro = listen.udp_gro;
    added.message.msg_namelen = local->is_unix() ? sizeof(sockaddr_un) : sizeof(sockaddr_in6);
    added.message.msg_controllen = local->is_unix() ? 0 : kControlBytes;
    UpdateListeners();
    return local;
  }

  void StopListening() noexcept {
    for (Listener& listener : listeners_) {
      listener.stopping = true;
      listener.pause.Clear();
    }
    pause_.Clear();
    UpdateListeners();
    for (const Waiting& waiting : waiting_) {
      ++counters_.refused;
      Refuse(*waiting.listener, waiting.fd);
    }
    waiting_.clear();
  }

  void RetireListeners() noexcept {
    for (Listener& listener : listeners_) listener.retired = true;
    pause_.Clear();
    UpdateListeners();
  }

  absl::StatusOr<Connection*> Connect(const Endpoint& at, uint64_t tag = 0,
                                      const ConnectOptions& connect = {}) {
    if (shutting_down_) return absl::FailedPreconditionError("the loop is shutting down");
    auto fd = OpenConnector(at, /*nonblocking=*/false, connect.from);
    counters_.system_calls += connect.from == nullptr ? 2 : 4;
    if (!fd.ok()) return fd.status();
    Slot* slot = slots_.Take();
    if (slot == nullptr) {
      CloseDescriptor(*fd);
      if (!slots_.full()) return NoMemory();
      return absl::ResourceExhaustedError(
          absl::StrCat("the limit of ", options_.connections_max, " connections is reached"));
    }
    slot->tag = tag;
    SetTransport(*slot, at.transport());
    if (connect.receive_timestamps && !at.is_unix()) {
      ++counters_.system_calls;
      if (AskForReceiveStamps(*fd)) slot->stamped.reset(new (std::nothrow) StampedReceive);
    }
    slot->target = Target(at);
    if (slot->target == nullptr) {
      CloseDescriptor(*fd);
      slots_.Free(*slot);
      return NoMemory();
    }
    slot->direct = options_.direct_descriptors != 0 && !at.is_unix();
    if (slot->direct) {
      counters_.system_calls += 2;
      fd = direct_.Take(*fd);
      if (!fd.ok()) {
        slots_.Free(*slot);
        return fd.status();
      }
    }
    slot->fd = *fd;
    slot->connecting = true;
    List(*slot);
    return slot;
  }

  void Send(Connection& c, Bytes out) noexcept {
    Slot& slot = static_cast<Slot&>(c);
    if (out.empty() || slot.finish || slot.closing || slot.dead) return;
    slot.drain_due = true;
    if (receiving_ == &slot && Hold(slot, out)) return;
    Enqueue(slot, out);
    if (receiving_ != &slot) StartSend(slot);
  }

  void SendStable(Connection& c, Bytes out) noexcept {
    Slot& slot = static_cast<Slot&>(c);
    if (out.empty() || slot.finish || slot.closing || slot.dead) return;
    slot.drain_due = true;
    slot.out = out;
    StartSend(slot);
  }

  void SendDatagram(uint32_t socket, const DatagramPath& path, Bytes out) noexcept {
    const bool open = socket < listeners_.size() && listeners_[socket].fd >= 0;
    if (extendable_ != nullptr && extendable_->socket == socket && path.peer == lent_peer_ &&
        extendable_->datagram.Extend(out)) {
      return;
    }
    io_uring_sqe* sqe = nullptr;
    Outgoing* outgoing = open && path.peer_size != 0 ? outgoing_.Take() : nullptr;
    if (outgoing != nullptr && (!MakeCopy(*outgoing, out) || (sqe = Prepare()) == nullptr)) {
      if (outgoing->copy != nullptr) blocks_.Return(outgoing->copy);
      outgoing_.Free(*outgoing);
    }
    if (sqe == nullptr) {
      ++counters_.datagrams_dropped;
      return;
    }
    Listener& listener = listeners_[socket];
    outgoing->datagram.Prepare(path, HoldDatagram(*outgoing, out));
    outgoing->socket = socket;
    outgoing->sent = true;
    // A Unix socket waits for its peer to read. One that doesn't must not hold up the others.
    const unsigned flags =
        MSG_NOSIGNAL | (listener.transport == Transport::kUdp ? 0 : MSG_DONTWAIT);
    PrepareDatagramSend(sqe, listener.fd, outgoing->datagram, flags,
                        listener.udp_gro && outgoing->borrowed);
    Prepared(sqe, Key(Operation::kSendDatagram, outgoing->index, 0));
    ++listener.sending;
    extendable_ = listener.udp_gro && outgoing->borrowed ? outgoing : nullptr;
  }

  void End(Connection& c) noexcept {
    static_cast<Slot&>(c).finish = true;
    List(static_cast<Slot&>(c));
  }

  void Close(Connection& c) noexcept {
    static_cast<Slot&>(c).closing = true;
    List(static_cast<Slot&>(c));
  }

  void Abort(Connection& c) noexcept {
    Slot& slot = static_cast<Slot&>(c);
    if (slot.dead || slot.close_sent) return;  // its number may be another's already
    slot.dead = true;
    slot.resets = slot.direct;
    if (!slot.direct) {
      ResetOnClose(slot.fd);
      ++counters_.system_calls;
    }
    List(slot);
  }

  void PauseReceive(Connection& c) noexcept {
    Slot& slot = static_cast<Slot&>(c);
    slot.paused = true;
    List(slot);
  }

  void ResumeReceive(Connection& c) noexcept {
    Slot& slot = static_cast<Slot&>(c);
    slot.paused = false;
    List(slot);
  }

  absl::Status RunOnce(Nanos timeout) {
    BeforeEnter(&timeout);
    const bool rearmable = !starved_.empty() && BuffersInRing() > 0;
    if (rearmable || !attention_.empty()) timeout = Nanos::zero();
    if (recovering_) [[unlikely]]
      timeout = kRecoveryTurn;
    const absl::Status entered = Enter(timeout);
    if (!entered.ok()) return entered;
    Harvest();
    if (recovering_) [[unlikely]]
      return Recover();
    return absl::OkStatus();
  }

  void Wake() noexcept { waker_.Wake(); }

  void Shutdown() noexcept {
    shutting_down_ = true;
    StopListening();
    while (slots_.taken() > 0 || operations_ > 0 || !refused_.empty()) {
      ForEachConnection([this](Connection& c) { Abort(c); });
      if (!RunOnce(std::chrono::milliseconds(10)).ok()) break;
    }
    UpdateListeners();  // closes the listeners, which nothing names any more
  }

  const Counters& counters() const { return counters_; }
  uint32_t connections() const { return slots_.taken(); }
  uint64_t operations_in_kernel() const { return operations_; }
  uint32_t buffers_lent() const {
    return buffers_.lent() + whole_buffers_.lent() + datagram_buffers_.lent();
  }
  uint32_t listening() const {
    return static_cast<uint32_t>(
        std::count_if(listeners_.begin(), listeners_.end(), [](const Listener& listener) {
          return listener.fd >= 0 && (listener.armed || !listener.retired);
        }));
  }
  uint32_t waiting() const { return static_cast<uint32_t>(waiting_.size()); }
  size_t unsent(const Connection& c) const { return Pending(static_cast<const Slot&>(c)); }
  uint64_t taken_by_peer(const Connection& c) {
    const Slot& slot = static_cast<const Slot&>(c);
    if (slot.direct) return slot.progress;
    ++counters_.system_calls;
    return TakenByPeer(slot.fd);
  }
  int fd(const Connection& c) const {
    const Slot& slot = static_cast<const Slot&>(c);
    return slot.direct ? -1 : slot.fd;
  }
  Connection* Find(uint32_t index, uint32_t generation) {
    Slot* slot = slots_.Find(index, generation);
    return slot != nullptr && slot->open && !slot->dead ? slot : nullptr;
  }
  const UringFeatures& features() const { return features_; }
  const BufferRing& buffers() const { return buffers_; }

  template <class F>
  void ForEachConnection(F f) {
    for (uint32_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].fd >= 0) f(slots_[i]);
    }
  }

 private:
  enum class Operation : uint8_t {
    kAccept,
    kAcceptDirect,
    kRefuseReset,
    kRefuseClose,
    kReceiveDatagram,
    kSendDatagram,
    kSendZeroCopy,
    kReceive,
    kSend,
    kConnect,
    kHangUp,
    kShutdown,
    kReset,
    kClose,
    kCancel,
    kWake,
    kTimer
  };

  struct Slot : Connection {
    int fd = -1;  // a direct descriptor's number, where it is one
    int error = 0;
    uint8_t operations = 0;       // in the kernel, naming this slot
    bool connecting : 1 = false;  // the connect is to be submitted, or submitted
    bool connect_sent : 1 = false;
    bool open : 1 = false;       // OnOpen was called
    bool receiving : 1 = false;  // a receive is armed
    bool starved : 1 = false;    // in starved_
    bool ended : 1 = false;      // the peer's FIN came
    bool finish : 1 = false;     // End() was called
    bool finished : 1 = false;   // FIN is sent
    bool closing : 1 = false;    // Close() was called
    bool dead : 1 = false;       // to be closed, whatever is pending
    bool paused : 1 = false;     // by the handler
    bool full : 1 = false;       // pending_bytes_max is reached
    bool cancelled : 1 = false;  // a cancel of the armed receive is submitted
    bool cancelled_all : 1 = false;
    bool close_sent : 1 = false;
    bool closed : 1 = false;
    bool listed : 1 = false;  // in attention_
    bool drain_due : 1 = false;
    bool in_flight : 1 = false;     // a send is in the kernel
    bool from_queue : 1 = false;    // `out` is queue.Front()
    bool out_borrowed : 1 = false;  // `out` lies in buffer `borrowed`
    bool endless : 1 = false;       // datagrams: a receive of 0 bytes is no end
    bool watch_end : 1 = false;     // its end needs a poll of its own: WatchEnd()
    bool watches_end : 1 = false;   // that poll is in the kernel
    bool hung_up : 1 = false;       // that poll said so: receives one by one, up to the end
    bool polls_out : 1 = false;     // the send in flight is a poll: the last one found no room
    bool direct : 1 = false;        // its descriptor is one of direct_
    bool resets : 1 = false;        // Abort() was called, and its descriptor is to be told
    bool bulk : 1 = false;          // it filled its bound: receives one by one, without byte caps
    bool cut : 1 = false;           // a receive brought `length`, and left bytes in the socket
    uint8_t arms : 4 = 0;           // capped receives armed: every sixteenth looks for longer ones
    bool zero_copies : 1 = false;   // its transport can send without a copy
    bool copyless : 1 = false;      // the send in flight is a zero-copy one, zero_copy
    bool copies : 1 = false;        // a zero-copy send was refused: the kernel copies from now on
    uint8_t sent_in = 0;            // the turn, modulo 256, in which the send in flight began
    uint16_t borrowed = 0;
    uint32_t unreleased = 0;  // zero-copy sends that are through, and whose memory isn't free
    uint32_t zero_copy = 0;
    uint32_t longest = 0;  // the longest receive since that one
    uint32_t length = 0;   // what one receive can bring, of those that are armed with a byte cap
    const Endpoint* target = nullptr;
    Bytes out;        // what is being sent, or is to be sent next: before the queue
    ByteQueue queue;  // empty when the slot is freed
    std::unique_ptr<StampedReceive> stamped;  // where the kernel is asked when it received

    void Reset() {
      const uint32_t keep_index = index, keep_generation = generation;
      *this = Slot();
      index = keep_index;
      generation = keep_generation;
    }
  };

  struct Listener {
    int fd = -1;
    uint64_t tag = 0;
    Transport transport = Transport::kTcp;
    bool datagrams = false, shared = false, udp_gro = false;
    bool direct = false;     // who is accepted takes a direct descriptor
    bool dry = false;        // no descriptor is free for another one
    bool armed = false;      // an accept, or a receive of datagrams, is in the kernel
    uint32_t accepts = 0;    // direct: so many are
    bool cancelled = false;  // its cancel is submitted
    bool stopping = false;
    DatagramPause pause;
    bool retired = false;  // what comes before the cancel is served; a datagram socket stays open
    uint32_t sending = 0;  // datagrams in the kernel
    msghdr message = {};   // how large a datagram's name and control data may be
  };

  // A datagram on its way out. Life: Take() -> submitted -> its completion -> Free().
  struct Outgoing {
    uint32_t index = 0, generation = 0;
    uint32_t socket = 0;
    bool borrowed = false;  // the payload lies in buffer `buffer`; else in `copy`, if there is any
    uint16_t buffer = 0;
    BlockPool::Block* copy = nullptr;
    bool sent = false;  // it is submitted, or will be
    DatagramOut datagram;
    void Reset() { copy = nullptr, borrowed = sent = false; }
  };

  // A zero-copy send. Life: Take() -> submitted -> completed: its slot may send on -> notified: the
  // memory is free, so is this. Without the flag F_MORE the completion is all that comes.
  struct ZeroCopy {
    uint32_t index = 0, generation = 0;
    uint32_t slot = 0;      // can't be freed meanwhile
    bool borrowed = false;  // the bytes lie in buffer `buffer`
    uint16_t buffer = 0;
    void Reset() { borrowed = false; }
  };

  // A multishot accept takes all that is in the backlog, before its cancel comes. What exceeds
  // connections_max waits here until a slot is free, as it would have in the backlog.
  struct Waiting {
    int fd;
    const Listener* listener;
    DirectAccept from;  // where the listener is direct
  };

  // A direct descriptor of one who was accepted too late. Life: listed -> [its reset is submitted
  // -> completed: listed again] -> its close is submitted -> completed: free.
  struct Refused {
    int number;
    bool reset;  // is done
  };

  static constexpr uint32_t kNoSlot = ~0u;
  static constexpr std::chrono::milliseconds kRecoveryTurn{1};
  static constexpr unsigned kQuietTurns = 2;
  static constexpr unsigned kTaskWorkBatch = 20;  // IO_LOCAL_TW_DEFAULT_MAX, io_uring/io_uring.c
  static constexpr unsigned kFullTurns = 5;
  static constexpr int kGatheredForever = 3600;  // seconds: a turn may always end early
  static constexpr uint32_t kGathered = 32;      // completions that end a minimum wait
  static constexpr uint32_t kDatagramBuffers = 256;
  static constexpr uint32_t kDatagramsInFlightMax = 4096;

  static uint64_t Key(Operation operation, uint32_t index, uint32_t generation) {
    return static_cast<uint64_t>(operation) << 56 | static_cast<uint64_t>(generation) << 32 | index;
  }
  static uint64_t Key(Operation operation, const Slot& slot) {
    return Key(operation, slot.index, slot.generation);
  }

  static constexpr uint64_t kTimerKey = static_cast<uint64_t>(Operation::kTimer) << 56;
  static constexpr Nanos kTimerSlack{1'000};

  // --- the submission ring ----------------------------------------------------------------------

  // A place in the submission ring; makes room by submitting. nullptr where the kernel takes none
  // now: the caller lists its slot and tries again in the next turn.
  io_uring_sqe* Prepare() {
    if (recovering_) [[unlikely]]
      return nullptr;  // what is in the kernel is to become less
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    if (sqe != nullptr) return sqe;
    ++counters_.system_calls;
    extendable_ = nullptr;  // it leaves now
    PublishBuffers();
    __kernel_timespec now = {};
    // Whatever else it says, the turn's own call says again.
    if (kernel_.Enter(&ring_, 0, &now) == -EBADR) OnLostCompletions();
    sqe = recovering_ ? nullptr : io_uring_get_sqe(&ring_);
    if (sqe == nullptr) submissions_full_ = true;
    return sqe;
  }

  void Prepared(io_uring_sqe* sqe, uint64_t key) {
    sqe->user_data = key;
    ++operations_;
    kernel_.OnPrepared(sqe);
  }

  void Prepared(io_uring_sqe* sqe, Operation operation, Slot& slot) {
    const bool names_file = operation != Operation::kClose && operation != Operation::kCancel;
    if (slot.direct && names_file) sqe->flags |= IOSQE_FIXED_FILE;
    ++slot.operations;
    Prepared(sqe, Key(operation, slot));
  }

  absl::Status OpenBuffers() {
    const auto open = [this](BufferRing& buffers, uint16_t group, BufferRing::Filled filled) {
      return OpenBufferRing(&buffers, group, options_.recv_buffers, options_.recv_buffer_bytes,
                            filled);
    };
    if (!incremental_) return open(buffers_, 0, BufferRing::Filled::kAtOnce);
    const absl::Status opened = open(buffers_, 0, BufferRing::Filled::kIncrementally);
    return opened.ok() ? open(whole_buffers_, 2, BufferRing::Filled::kAtOnce) : opened;
  }
  absl::Status OpenBufferRing(BufferRing* buffers, uint16_t group, uint32_t count, uint32_t bytes,
                              BufferRing::Filled filled = BufferRing::Filled::kAtOnce) {
    const int error = buffers->Open(&ring_, group, count, bytes, filled);
    if (error == 0) return absl::OkStatus();
    if (buffers->mapped()) return UringRefused("io_uring_register", error, options_);
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for ", count, " receive buffers of ", bytes,
                     " bytes: ", ErrnoName(error), "; use fewer or smaller ones"));
  }

  // A message needs a whole buffer, and recvmsg(2) too: the kernel mistakes the rest of one.
  bool NeedsWhole(const Slot& slot) const { return slot.messages || slot.stamped != nullptr; }
  BufferRing& Buffers(const Slot& slot) {
    return incremental_ && NeedsWhole(slot) ? whole_buffers_ : buffers_;
  }
  uint32_t BuffersInRing() const {
    return buffers_.in_ring() + (incremental_ ? whole_buffers_.in_ring() : 0);
  }

  void PublishBuffers() {
    buffers_.Publish();
    if (incremental_) whole_buffers_.Publish();
    if (datagram_buffers_.open()) datagram_buffers_.Publish();
  }

  void BeforeEnter(Nanos* timeout) {
    submissions_full_ = false;
    const bool admits = !waiting_.empty() && slots_.Ready();
    const bool called = admits || !attention_.empty();  // the handler, maybe
    const bool delayed = kernel_.DeliverDelayed(
        [this](uint64_t key, int result, unsigned flags) { Complete(key, result, flags); });
    deferred_ = delayed;
    AdvanceListed();
    RearmStarved();
    if (pause_.Due()) ResumeAccepting();
    if (datagrams_pause_) [[unlikely]]
      *timeout = ResumeDatagrams(*timeout);
    ConnectAgain();
    AdmitWaiting();
    CloseRefused();
    UpdateListeners();
    UpdateWaker();
    PublishBuffers();
    *timeout = called || delayed || submissions_full_
                   ? Nanos::zero()
                   : connect_retries_.Clip(pause_.Clip(*timeout));
  }

  // How many completions to ask for. To ask for one is enough to have pending task work run, some
  // 20 items at a time; more are asked for, without waiting, only where many turns in a row were
  // full, since falling short of the number costs a timer. IORING_SQ_TASKRUN is a hint that can be
  // stale: to poll on it would spin.
  unsigned CompletionsToAsk(Nanos* timeout) {
    const bool full = harvested_ >= std::max(asked_, kTaskWorkBatch);
    full_turns_ = full ? full_turns_ + 1 : 0;
    const bool task_work = IO_URING_READ_ONCE(*ring_.sq.kflags) & IORING_SQ_TASKRUN;
    if (task_work && full_turns_ >= kFullTurns) {
      *timeout = Nanos::zero();
      return std::min(kTaskWorkBatch << std::min(full_turns_ - kFullTurns + 1, 10u),
                      options_.completion_entries);
    }
    return *timeout == Nanos::zero() ? 0 : 1;
  }

  absl::Status Enter(Nanos timeout) {
    unsigned wait = asked_ = CompletionsToAsk(&timeout);
    if (wait == 1 && timeout != kForever && TimerEnds(timeout)) timeout = kForever;
    const timespec until = ToTimespec(timeout);
    __kernel_timespec deadline = {.tv_sec = until.tv_sec, .tv_nsec = until.tv_nsec};
    const bool gathers = options_.min_wait_us != 0 && wait == 1;
    // Without a timeout the kernel returns when the minimum has passed, also without a completion.
    if (gathers && timeout == kForever) deadline = {.tv_sec = kGatheredForever, .tv_nsec = 0};
    __kernel_timespec* const latest = timeout == kForever && !gathers ? nullptr : &deadline;
    if (gathers) wait = std::min(kGathered, options_.completion_entries);
    const int result = gathers ? kernel_.EnterBatch(&ring_, wait, latest, options_.min_wait_us)
                               : kernel_.Enter(&ring_, wait, latest);
    ++counters_.system_calls;
    ++counters_.turns;
    switch (-result) {
      case ETIME:   // the timeout passed
      case EINTR:   // a signal
      case EAGAIN:  // no memory for a request now
      case EBUSY:   // the completion ring overflowed: harvest first
        return absl::OkStatus();
      case EBADR:  // no memory to keep the completions that overflowed
        OnLostCompletions();
        return absl::OkStatus();
      default:
        if (result >= 0) return absl::OkStatus();
        return absl::InternalError(absl::StrCat("io_uring_enter: ", ErrnoName(-result)));
    }
  }

  // --- completions ------------------------------------------------------------------------------

  void Harvest() {
    // A snapshot: what completes while these are handled belongs to the next turn.
    unsigned left = io_uring_cq_ready(&ring_), head;
    harvested_ = left;
    io_uring_cqe* cqe;
    io_uring_for_each_cqe(&ring_, head, cqe) {
      if (left-- == 0) break;
      const io_uring_cqe completion = *cqe;
      io_uring_cq_advance(&ring_, 1);
      kernel_.OnCompletion(completion, [this](uint64_t key, int result, unsigned flags) {
        Complete(key, result, flags);
      });
    }
  }

  void Complete(uint64_t key, int result, unsigned flags) {
    const auto operation = static_cast<Operation>(key >> 56);
    const uint32_t index = static_cast<uint32_t>(key);
    const bool more = flags & IORING_CQE_F_MORE;
    if (!more) --operations_;
    if (operation == Operation::kAccept) return OnAcceptDone(listeners_[index], result, more);
    if (operation == Operation::kAcceptDirect) return OnDirectAcceptDone(accepts_[index], result);
    if (operation == Operation::kRefuseReset) {
      if (result < 0) counters_.errors.Add(-result);
      return refused_.push_back({.number = static_cast<int>(index), .reset = true});
    }
    if (operation == Operation::kRefuseClose) {
      if (result < 0) counters_.errors.Add(-result);
      return direct_.Free(static_cast<int>(index));
    }
    if (operation == Operation::kReceiveDatagram) return OnDatagramReceived(index, result, flags);
    if (operation == Operation::kSendDatagram) return OnDatagramSent(outgoing_[index], result);
    if (operation == Operation::kSendZeroCopy)
      return OnZeroCopy(zero_copies_[index], result, flags);
    if (operation == Operation::kWake) return OnWake();
    if (operation == Operation::kTimer) {
      timer_armed_ = false;
      return;
    }
    if (index == kNoSlot) return;  // a listener's or the waker's cancel
    Slot* slot = slots_.Find(index, (key >> 32) & SlotTable<Slot>::kGenerationMask);
    if (slot == nullptr) {
      ++counters_.stale_completions;
      return;
    }
    if (!more) --slot->operations;
    switch (operation) {
      case Operation::kReceive:
        OnReceived(*slot, result, flags);
        break;
      case Operation::kSend:
        OnSent(*slot, result);
        break;
      case Operation::kConnect:
        OnConnected(*slot, result);
        break;
      case Operation::kHangUp:
        OnHangUp(*slot, result);
        break;
      case Operation::kClose:
        return OnClosed(*slot, result);
      case Operation::kShutdown:
        OnShutDown(*slot, result);
        break;
      case Operation::kReset:
        if (result < 0) counters_.errors.Add(-result);  // it closes without one
        break;
      default:
        break;  // kCancel: what it cancelled completes by itself
    }
    Advance(*slot);
  }

  void OnReceived(Slot& slot, int result, unsigned flags) {
    if (!(flags & IORING_CQE_F_MORE)) slot.receiving = slot.cancelled = false;
    const bool has_buffer = flags & IORING_CQE_F_BUFFER;
    if (result > 0 && flags & IORING_CQE_F_SOCK_NONEMPTY) {
      slot.cut |= static_cast<uint32_t>(result) >= slot.length;
    }
    const uint16_t id = flags >> IORING_CQE_BUFFER_SHIFT;
    if ((bundles_ || incremental_) && !NeedsWhole(slot)) {
      // Without bytes the kernel names a buffer, and keeps it.
      if (result > 0 && has_buffer) DeliverPieces(slot, id, static_cast<uint32_t>(result));
    } else {
      DeliverWhole(slot, id, has_buffer, result);
    }
    if (result == 0 && !slot.endless) {
      OnPeerEnd(slot);
    } else if (result < 0) {
      OnReceiveError(slot, -result);
    }
  }

  void DeliverPieces(Slot& slot, uint16_t id, uint32_t left) {
    slot.longest = std::max(slot.longest, left);
    while (left > 0) {
      const BufferRing::Piece piece = buffers_.TakePiece(id, left);
      left -= piece.size;
      if (slot.dead || slot.closing) {
        buffers_.Recycle(id);
      } else {
        Deliver(slot, id, {piece.data, piece.size});
      }
      id = piece.next;
    }
  }

  void DeliverWhole(Slot& slot, uint16_t id, bool has_buffer, int result) {
    if (has_buffer) Buffers(slot).OnLent();
    const bool truncated = result > static_cast<int64_t>(options_.recv_buffer_bytes);  // a message
    counters_.truncated += truncated;
    if (slot.stamped != nullptr && result > 0) {
      slot.received_at_ns = slot.stamped->received_at_ns();
    }
    if (result > 0 && has_buffer && !truncated && !slot.dead && !slot.closing) {
      Deliver(slot, id, {Buffers(slot).buffer(id), static_cast<size_t>(result)});
    } else if (has_buffer) {
      Buffers(slot).Recycle(id);
    }
  }

  void OnPeerEnd(Slot& slot) {
    if (slot.ended || slot.dead || slot.closing) return;
    slot.ended = true;
    handler_.OnEnd(*this, slot);
  }

  void OnReceiveError(Slot& slot, int error) {
    switch (error) {
      case ENOBUFS:
        ++counters_.starved;
        Buffers(slot).Grow();
        Starve(slot);
        return;
      case ECANCELED:  // paused, or closing
      case EINTR:
      case EAGAIN:
        return;  // Advance() arms it again, if it is wanted
      default:
        return Fail(slot, error);
    }
  }

  void Deliver(Slot& slot, uint16_t id, Bytes in) {
    ++counters_.receives;
    counters_.received_bytes += in.size();
    ++slot.progress;
    slot.longest = std::max(slot.longest, static_cast<uint32_t>(in.size()));
    receiving_ = &slot;
    lent_ = in;
    handler_.OnReceive(*this, slot, in);
    receiving_ = nullptr;
    if (held_.empty() || slot.dead) {
      held_ = {};
      Buffers(slot).Recycle(id);
      return;
    }
    slot.out = held_;
    slot.out_borrowed = true;
    slot.borrowed = id;
    held_ = {};
  }

  void OnSent(Slot& slot, int result) {
    slot.in_flight = false;
    // A Unix datagram that found its peer's queue full must not wait in the kernel: the second
    // attempt there would send it empty (Linux 6.18). It is sent anew when there is room.
    const bool polled = slot.polls_out;
    slot.polls_out = slot.endless && !polled && result == -EAGAIN;
    if (polled && result >= 0) return;
    if (result >= 0) {
      ++counters_.sends;
      counters_.sent_bytes += result;
      ++slot.progress;
      if (slot.from_queue) {
        slot.messages ? slot.queue.ConsumeMessage(blocks_) : slot.queue.Consume(result, blocks_);
      }
      slot.out = slot.from_queue ? Bytes() : slot.out.subspan(result);
      slot.from_queue = false;
    } else if (result != -EINTR && result != -EAGAIN && !(result == -ECANCELED && slot.dead)) {
      Fail(slot, -result);
    } else if (slot.from_queue) {
      slot.out = {};
      slot.from_queue = false;
    }
    if (slot.out.empty() || slot.dead) ReleaseBorrowed(slot);
    if (slot.full && Pending(slot) <= options_.pending_bytes_max / 2) slot.full = false;
  }

  void ReleaseBorrowed(Slot& slot) {
    if (slot.out_borrowed) Buffers(slot).Recycle(slot.borrowed);
    slot.out_borrowed = false;
    slot.out = {};
  }

  void OnConnected(Slot& slot, int result) {
    slot.connecting = false;
    if (slot.dead || (slot.closing && result == -ECANCELED)) return;
    if (result < 0) return Fail(slot, -result);
    ++counters_.connected;
    slot.open = true;
    handler_.OnOpen(*this, slot);
  }

  // Whatever close(2) says, the descriptor is gone (EINTR, EIO, ENOSPC, EDQUOT), or was none of
  // ours (EBADF, a bug): to close it again would close somebody else's. Only a close that was
  // cancelled has not been tried.
  void OnClosed(Slot& slot, int result) {
    if (result < 0) counters_.errors.Add(-result);
    if (result == -ECANCELED) {
      slot.close_sent = false;
      return Teardown(slot);
    }
    slot.closed = true;
    if (slot.unreleased == 0) Forget(slot);
  }

  void Forget(Slot& slot) {
    slot.queue.Clear(blocks_);
    if (slot.direct) direct_.Free(slot.fd);
    slot.fd = -1;
    if (slot.open || !slot.accepted) {
      ++counters_.closed;
      handler_.OnClose(*this, slot, slot.error);
    }
    slots_.Free(slot);
    if (pause_.active()) ResumeAccepting();
  }

  void OnWake() {
    wake_armed_ = false;
    if (shutting_down_) return;
    waker_.Clear();
    ++counters_.system_calls;
  }

  // Waits for the waker's eventfd to become readable, one time each.
  void UpdateWaker() {
    const uint64_t key = Key(Operation::kWake, 0, 0);
    if (shutting_down_ && wake_armed_ && !wake_cancelled_) wake_cancelled_ = Cancel(key);
    if (shutting_down_ && timer_armed_ && !timer_cancelled_) timer_cancelled_ = Cancel(kTimerKey);
    if (wake_armed_ || shutting_down_) return;
    io_uring_sqe* sqe = Prepare();
    if (sqe == nullptr) return;
    io_uring_prep_poll_add(sqe, waker_.fd(), POLLIN);
    Prepared(sqe, key);
    wake_armed_ = true;
  }

  // Whether a timer will end the wait in time. One that stays armed over many turns replaces one
  // that each turn would set up and take down again, which in a virtual machine costs two exits.
  bool TimerEnds(Nanos timeout) {
    if (shutting_down_) return false;
    const Nanos deadline = Now() + timeout;
    if (timer_armed_) return timer_at_ <= deadline + kTimerSlack;
    io_uring_sqe* sqe = Prepare();
    if (sqe == nullptr) return false;
    timer_at_ = deadline;
    const timespec at = ToTimespec(deadline);
    timer_spec_ = {.tv_sec = at.tv_sec, .tv_nsec = at.tv_nsec};
    io_uring_prep_timeout(sqe, &timer_spec_, 0, IORING_TIMEOUT_ABS);
    Prepared(sqe, kTimerKey);
    timer_armed_ = true;
    return true;
  }

  static Nanos Now() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return std::chrono::seconds(now.tv_sec) + Nanos(now.tv_nsec);
  }

  // --- accepting --------------------------------------------------------------------------------

  // Arms, cancels or closes each listener, as the state asks for.
  void UpdateListeners() {
    const bool accepts = !pause_.active() && !slots_.full();
    for (uint32_t i = 0; i < listeners_.size(); ++i) {
      Listener& listener = listeners_[i];
      const bool closes = listener.stopping || (listener.retired && !listener.datagrams);
      const bool wanted = (listener.datagrams ? !listener.pause.active() : accepts) &&
                          !listener.stopping && !listener.retired;
      if (listener.fd < 0) continue;
      if (closes && !listener.armed && listener.sending == 0) {
        CloseDescriptor(listener.fd);
        listener.fd = -1;
      } else if (wanted && listener.direct) {
        ArmDirectAccepts(listener, i);
      } else if (wanted && !listener.armed) {
        listener.datagrams ? ArmDatagrams(listener, i) : ArmAccept(listener, i);
      } else if (!wanted && listener.armed && !listener.cancelled) {
        const auto operation =
            listener.datagrams ? Operation::kReceiveDatagram : Operation::kAccept;
        listener.cancelled =
            listener.direct ? CancelAccepts(listener) : Cancel(Key(operation, i, 0));
      }
    }
  }

  // No more of them than there are descriptors and slots for who comes. Where loops share a
  // listener, the kernel wakes who has waited longest, and so fills them evenly.
  void ArmDirectAccepts(Listener& listener, uint32_t index) {
    if (listener.cancelled) return;
    while (listener.accepts < DirectAccept::kInFlightMax && accepts_.Ready() &&
           slots_.taken() + waiting_.size() + accepts_.taken() < options_.connections_max) {
      const int number = direct_.Reserve();
      if (number < 0) {
        if (listener.accepts == 0 && !std::exchange(listener.dry, true)) ++counters_.accept_pauses;
        return;
      }
      io_uring_sqe* sqe = Prepare();
      if (sqe == nullptr) return direct_.Free(number);  // the next turn tries again
      DirectAccept& accept = *accepts_.Take();
      accept.listener = index;
      accept.number = number;
      accept.Prepare(sqe, listener.fd);
      Prepared(sqe, Key(Operation::kAcceptDirect, accept.index, 0));
      ++listener.accepts;
      listener.armed = true;
      listener.dry = false;
    }
  }

  bool CancelAccepts(const Listener& listener) {
    io_uring_sqe* sqe = Prepare();
    if (sqe == nullptr) return false;
    io_uring_prep_cancel_fd(sqe, listener.fd, IORING_ASYNC_CANCEL_ALL);
    Prepared(sqe, Key(Operation::kCancel, kNoSlot, 0));
    return true;
  }

  void OnDirectAcceptDone(DirectAccept& accept, int result) {
    Listener& listener = listeners_[accept.listener];
    --listener.accepts;
    if (result >= 0) {
      OnAccepted(listener, accept.number, accept);
    } else {
      direct_.Free(accept.number);
    }
    accepts_.Free(accept);
    OnAcceptError(listener, result, listener.accepts > 0);
  }

  void ArmAccept(Listener& listener, uint32_t index) {
    io_uring_sqe* sqe = Prepare();
    if (sqe == nullptr) return;  // the next turn tries again
    // Of a shared listener one at a time: a multishot accept would take them all.
    if (listener.shared || !features_.multishot_accept) {
      io_uring_prep_accept(sqe, listener.fd, nullptr, nullptr, SOCK_CLOEXEC);
    } else {
      io_uring_prep_multishot_accept(sqe, listener.fd, nullptr, nullptr, SOCK_CLOEXEC);
    }
    Prepared(sqe, Key(Operation::kAccept, index, 0));
    listener.armed = true;
  }

  // Cancels an operation that belongs to no slot.
  bool Cancel(uint64_t key) {
    io_uring_sqe* sqe = Prepare();
    if (sqe == nullptr) return false;
    io_uring_prep_cancel64(sqe, key, 0);
    Prepared(sqe, Key(Operation::kCancel, kNoSlot, 0));
    return true;
  }

  void OnAcceptDone(Listener& listener, int result, bool more) {
    if (result >= 0) OnAccepted(listener, result, {});
    OnAcceptError(listener, result, more);
  }

  // An accept has completed, with an error or without; `more` are armed.
  void OnAcceptError(Listener& listener, int result, bool more) {
    if (!more) listener.armed = listener.cancelled = false;
    if (result >= 0 || result == -ECANCELED || result == -EINTR || result == -EAGAIN) return;
    counters_.errors.Add(-result);
    if (!OnePeersTrouble(-result)) PauseAccepting();
  }

  void OnAccepted(Listener& listener, int fd, const DirectAccept& from) {
    if (listener.stopping) {
      Refuse(listener, fd);
    } else if (slots_.Ready()) {
      OpenAccepted(fd, listener, from);
    } else if (!slots_.full() || !Wait({fd, &listener, from})) {
      ++counters_.no_memory;
      counters_.errors.Add(ENOMEM);
      Refuse(listener, fd);
      PauseAccepting();
    }
  }

  // False: there is no memory for that.
  bool Wait(const Waiting& waiting) noexcept {
    try {
      waiting_.push_back(waiting);
    } catch (const std::bad_alloc&) {
      return false;
    }
    return true;
  }

  // Resets one who was accepted, as the kernel does with the backlog.
  void Refuse(const Listener& listener, int fd) {
    if (listener.direct) return refused_.push_back({.number = fd, .reset = false});
    ResetOnClose(fd);
    CloseDescriptor(fd);
  }

  void CloseRefused() {
    while (!refused_.empty()) {
      io_uring_sqe* sqe = Prepare();
      if (sqe == nullptr) return;  // the next turn goes on
      const auto [number, reset] = refused_.back();
      refused_.pop_back();
      if (reset) {
        io_uring_prep_close_direct(sqe, static_cast<unsigned>(number));
      } else {
        PrepareResetOnClose(sqe, number);
        sqe->flags |= IOSQE_FIXED_FILE;
      }
      const auto operation = reset ? Operation::kRefuseClose : Operation::kRefuseReset;
      Prepared(sqe, Key(operation, static_cast<uint32_t>(number), 0));
    }
  }

  void AdmitWaiting() {
    while (!waiting_.empty() && slots_.Ready()) {
      const Waiting next = waiting_.front();
      waiting_.pop_front();
      OpenAccepted(next.fd, *next.listener, next.from);
    }
  }

  void SetTransport(Slot& slot, Transport transport) const {
    slot.endless = transport == Transport::kUdp || transport == Transport::kUnixDatagram;
    slot.messages = slot.endless || transport == Transport::kUnixSeqpacket;
    slot.watch_end = transport == Transport::kUnixStream || (bundles_ && !slot.messages);
    slot.zero_copies = transport == Transport::kTcp;
  }

  void OpenAccepted(int fd, const Listener& listener, const DirectAccept& from) {
    Slot& slot = *slots_.Take();
    if (slots_.full()) PauseAccepting();
    slot.fd = fd;
    slot.direct = listener.direct;
    slot.tag = listener.tag;
    slot.accepted = true;
    SetTransport(slot, listener.transport);
    ++counters_.accepted;
    if constexpr (ChecksPeers<H, UringLoop>) {
      Arrival arrival = {.tag = listener.tag, .fd = fd};
      if (listener.direct) {
        arrival = {.tag = listener.tag,
                   .fd = -1,
                   .peer = reinterpret_cast<const sockaddr*>(&from.peer),
                   .peer_size = from.peer_size};
      }
      if (!handler_.OnAccept(*this, arrival)) {
        ++counters_.not_welcome;
        return Abort(slot);
      }
    }
    slot.open = true;
    handler_.OnOpen(*this, slot);
    Advance(slot);
  }

  void PauseAccepting() {
    ++counters_.accept_pauses;
    pause_.Start();
  }

  void ResumeAccepting() { pause_.Clear(); }  // the next turn arms the accepts

  void CloseDescriptor(int fd) {
    ++counters_.system_calls;
    const int result = kernel_.Close(fd);
    if (result < 0) counters_.errors.Add(-result);  // gone nevertheless: see OnClosed()
  }

  // --- datagrams --------------------------------------------------------------------------------

  absl::Status OpenDatagramBuffers() {
    // Beside the payload a buffer holds where it came from.
    constexpr uint32_t kFrameBytes =
        sizeof(io_uring_recvmsg_out) + sizeof(sockaddr_un) + kControlBytes;
    const uint32_t count = std::min(options_.recv_buffers, kDatagramBuffers);
    const uint32_t bytes = (options_.recv_buffer_bytes + kFrameBytes + 63) / 64 * 64;  // aligned
    return OpenBufferRing(&datagram_buffers_, 1, count, bytes);
  }

  // A plain send with an address spares the kernel a copy of the header. Kernels that have the byte
  // cap of receives have that, too (6.17; it came before); one that may be extended needs a header.
  void PrepareDatagramSend(io_uring_sqe* sqe, int fd, const DatagramOut& out, unsigned flags,
                           bool extendable) {
    if (!features_.receive_total || extendable || out.header.msg_controllen != 0) {
      return io_uring_prep_sendmsg(sqe, fd, &out.header, flags);
    }
    io_uring_prep_send(sqe, fd, out.payload.iov_base, out.payload.iov_len, static_cast<int>(flags));
    sqe->addr2 = reinterpret_cast<uint64_t>(&out.peer);
    sqe->addr_len = static_cast<uint16_t>(out.header.msg_namelen);
  }

  void ArmDatagrams(Listener& listener, uint32_t index) {
    if (datagram_buffers_.in_ring() == 0) datagram_buffers_.Grow();
    if (datagram_buffers_.in_ring() == 0) return;  // all are being sent from: one will come back
    io_uring_sqe* sqe = Prepare();
    if (sqe == nullptr) return;
    io_uring_prep_recvmsg_multishot(sqe, listener.fd, &listener.message, MSG_TRUNC);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = datagram_buffers_.group();
    Prepared(sqe, Key(Operation::kReceiveDatagram, index, 0));
    listener.armed = true;
    ++counters_.receive_rearms;
  }

  void OnDatagramReceived(uint32_t index, int result, unsigned flags) {
    Listener& listener = listeners_[index];
    if (!(flags & IORING_CQE_F_MORE)) listener.armed = listener.cancelled = false;
    if (result == -ENOBUFS) {
      ++counters_.starved;
      datagram_buffers_.Grow();
    } else if (result < 0 && result != -ECANCELED && result != -EINTR && result != -EAGAIN) {
      counters_.errors.Add(-result);
    }
    if (result >= 0) {
      listener.pause.Received();
    } else if (result != -ECANCELED && result != -EINTR && result != -EAGAIN &&
               listener.pause.Failed(-result)) {
      ++counters_.datagram_pauses;
      datagrams_pause_ = true;
    }
    if (!(flags & IORING_CQE_F_BUFFER)) return;
    const uint16_t id = flags >> IORING_CQE_BUFFER_SHIFT;
    datagram_buffers_.OnLent();
    lent_id_ = id;
    lent_datagram_ = true;
    if (result >= 0) HandOver(listener, index, id, result);
    if (std::exchange(lent_datagram_, false)) datagram_buffers_.Recycle(id);
  }

  void HandOver(Listener& listener, uint32_t index, uint16_t id, int result) {
    if constexpr (TakesDatagrams<H, UringLoop>) {
      io_uring_recvmsg_out* out =
          io_uring_recvmsg_validate(datagram_buffers_.buffer(id), result, &listener.message);
      if (out == nullptr || (out->flags & MSG_TRUNC) ||
          out->payloadlen > options_.recv_buffer_bytes) {
        ++counters_.truncated;
        return;
      }
      auto* name = static_cast<std::byte*>(io_uring_recvmsg_name(out));
      alignas(cmsghdr) std::array<std::byte, kControlBytes> beside;  // where it lies is not aligned
      msghdr control = {};
      control.msg_control = beside.data();
      control.msg_controllen = std::min<size_t>(out->controllen, listener.message.msg_controllen);
      std::memcpy(beside.data(), name + listener.message.msg_namelen, control.msg_controllen);
      lent_ = {name + listener.message.msg_namelen + listener.message.msg_controllen,
               out->payloadlen};
      lent_peer_ = reinterpret_cast<sockaddr*>(name);
      Datagram datagram = {
          .tag = listener.tag,
          .socket = index,
          .bytes = {},
          .path = {.peer = lent_peer_,
                   .peer_size = std::min<socklen_t>(out->namelen, listener.message.msg_namelen),
                   .local = ReadLocalAddress(control),
                   .hops_left = ReadHopsLeft(control, counters_.receives)}};
      const size_t segment = listener.udp_gro ? ReadSegmentBytes(control) : 0;
      ++counters_.receives;
      counters_.received_bytes += lent_.size();
      Bytes rest = lent_;
      do {
        datagram.bytes = segment > 0 ? rest.first(std::min(segment, rest.size())) : rest;
        ++counters_.datagrams_received;
        handler_.OnDatagram(*this, datagram);
        rest = rest.subspan(datagram.bytes.size());
      } while (!rest.empty());
      extendable_ = nullptr;
    }
  }

  // Returns how long to wait at most. Those that are due are armed with the others.
  Nanos ResumeDatagrams(Nanos timeout) {
    datagrams_pause_ = false;
    for (Listener& listener : listeners_) {
      if (listener.pause.Due()) listener.pause.Clear();
      datagrams_pause_ |= listener.pause.active();
      timeout = listener.pause.Clip(timeout);
    }
    return timeout;
  }

  // The payload stays in the lent buffer until it is sent, once, or in a copy.
  bool MayBorrow(Bytes out) const {
    return lent_datagram_ && !datagram_buffers_.low() && out.data() >= lent_.data() &&
           out.data() + out.size() <= lent_.data() + lent_.size();
  }
  // False: there is no memory for the copy.
  bool MakeCopy(Outgoing& outgoing, Bytes out) {
    if (out.empty() || MayBorrow(out)) return true;
    outgoing.copy = blocks_.Take(out.size());
    if (outgoing.copy == nullptr) {
      ++counters_.no_memory;
      counters_.errors.Add(ENOMEM);
      return false;
    }
    ++counters_.replies_copied;
    std::copy(out.begin(), out.end(), outgoing.copy->data());
    return true;
  }
  Bytes HoldDatagram(Outgoing& outgoing, Bytes out) {
    if (outgoing.copy != nullptr) return {outgoing.copy->data(), out.size()};
    if (out.empty()) return out;
    lent_datagram_ = false;
    outgoing.borrowed = true;
    outgoing.buffer = lent_id_;
    return out;
  }

  void OnDatagramSent(Outgoing& outgoing, int result) {
    --listeners_[outgoing.socket].sending;
    if (result >= 0) {
      ++counters_.sends;
      counters_.datagrams_sent += outgoing.datagram.count;
      counters_.sent_bytes += result;
    } else {
      counters_.datagrams_dropped += outgoing.datagram.count;
      if (result != -ECANCELED) counters_.errors.Add(-result);
    }
    if (outgoing.borrowed) datagram_buffers_.Recycle(outgoing.buffer);
    if (outgoing.copy != nullptr) blocks_.Return(outgoing.copy);
    outgoing_.Free(outgoing);
  }

  // --- a connection's progress ------------------------------------------------------------------

  static size_t Pending(const Slot& slot) {
    return slot.queue.bytes() + (slot.from_queue ? 0 : slot.out.size());
  }

  bool WantsReceive(const Slot& slot) const {
    return slot.open && !slot.ended && !slot.closing && !slot.dead && !slot.paused && !slot.full;
  }

  void List(Slot& slot) {
    if (slot.listed) return;
    slot.listed = true;
    attention_.Push({slot.index, slot.generation});
  }

  void Fail(Slot& slot, int error) {
    if (slot.dead) return;
    slot.error = error;
    slot.dead = true;
    counters_.errors.Add(error);
    List(slot);
  }

  // As Fail(), with a reset: what is queued would be cut off in the middle.
  void FailWithReset(Slot& slot, int error) {
    if (slot.dead || slot.close_sent) return;
    slot.resets = slot.direct;
    if (!slot.direct) {
      ResetOnClose(slot.fd);
      ++counters_.system_calls;
    }
    Fail(slot, error);
  }

  void OutOfMemory(Slot& slot) {
    if (slot.dead) return;
    ++counters_.no_memory;
    FailWithReset(slot, ENOMEM);
  }

  static absl::Status NoMemory() {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for a connection: ", ErrnoName(ENOMEM)));
  }

  // The destination, where it stays; nullptr: there is no memory for it.
  const Endpoint* Target(const Endpoint& at) noexcept {
    try {
      return &*targets_.insert(at).first;
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
  }

  void AdvanceListed() {
    if (attention_.TakeLost()) [[unlikely]] {
      for (uint32_t i = 0; i < slots_.size(); ++i) {
        if (!slots_[i].listed) continue;
        slots_[i].listed = false;
        Advance(slots_[i]);
      }
    }
    for (size_t count = attention_.size(); count > 0; --count) {
      const auto [index, generation] = attention_.Pop();
      Slot* slot = slots_.Find(index, generation);
      if (slot == nullptr) continue;
      slot->listed = false;
      Advance(*slot);
    }
  }

  // Does what the slot's state asks for.
  void Advance(Slot& slot) {
    if (slot.dead || slot.closing) {
      if (slot.dead || (Pending(slot) == 0 && slot.unreleased == 0)) return Teardown(slot);
    }
    if (slot.connecting) return StartConnect(slot);
    StartSend(slot);
    if (slot.drain_due && Pending(slot) == 0 && slot.unreleased == 0 && slot.open &&
        !slot.closing) {
      slot.drain_due = false;
      handler_.OnDrained(*this, slot);
    }
    if (slot.finish && !slot.finished && Pending(slot) == 0) Finish(slot);
    if (slot.watch_end && slot.open) WatchEnd(slot);
    const bool wants = WantsReceive(slot);
    if (wants && !slot.receiving && !slot.starved) {
      AwaitsRoom(slot) ? List(slot) : ArmReceive(slot);
    } else if (!wants && slot.receiving && !slot.cancelled &&
               (slot.paused || NeedsCancelToPause(slot))) {
      CancelReceive(slot);
    }
    if (slot.paused && slot.operations == 0 && !slot.hung_up && !slot.messages) [[unlikely]]
      WatchReset(slot);
  }

  void Finish(Slot& slot) {
    if (!slot.direct) {
      ++counters_.system_calls;
      OnShutDown(slot, kernel_.Shutdown(slot.fd, SHUT_WR));
    } else {
      io_uring_sqe* sqe = Prepare();
      if (sqe == nullptr) return List(slot);
      io_uring_prep_shutdown(sqe, slot.fd, SHUT_WR);
      Prepared(sqe, Operation::kShutdown, slot);
    }
    slot.finished = true;
  }

  void OnShutDown(Slot& slot, int result) {
    if (result < 0 && result != -ENOTCONN) Fail(slot, -result);  // ENOTCONN: the peer reset it
  }

  // A multishot receive with a byte cap ends by itself soon after the bound is reached; one without
  // has to be cancelled.
  bool NeedsCancelToPause(const Slot& slot) const {
    return slot.full &&
           (slot.messages || (!features_.receive_total && features_.multishot_receive));
  }

  // Whether its receives are armed one at a time, each of them for what there is room for. Where
  // buffers are filled bit by bit, and receives of both kinds would be needed, all are: kernels of
  // before the byte cap may post what a multishot receive brings ahead of single ones that came
  // first, and the bytes of a buffer are found by the order of completions.
  bool OneByOne(const Slot& slot) const {
    return !features_.multishot_receive || slot.hung_up ||
           (!features_.receive_total && (slot.bulk || incremental_)) ||
           (slot.bulk && slot.messages);
  }

  // Whether to arm its receive a turn later: where most of the bound is taken, a receive would be
  // a short one, and a peer that reads lets the send complete in the turn that submits it. A peer
  // that doesn't is received from with the room that there is: it may wait for us to read.
  bool AwaitsRoom(const Slot& slot) const {
    return slot.in_flight && slot.sent_in == static_cast<uint8_t>(counters_.turns) &&
           !slot.messages && Pending(slot) > options_.pending_bytes_max / 2;
  }

  size_t Room(const Slot& slot) const {
    const size_t pending = Pending(slot), bound = options_.pending_bytes_max;
    return pending < bound ? bound - pending : bound;
  }

  // What may still be received must fit in the bound if none of it can be sent on. The total ends
  // the receive once it is reached, but does not shorten the last one: so it is the room without a
  // last receive. That is as long as this connection's were, so that as many as possible come
  // before the next arming; longer where one left bytes behind; and now and then at least half of
  // the room, to see what comes by now.
  void CapReceive(io_uring_sqe* sqe, Slot& slot) {
    constexpr uint32_t kLengthMin = 4096;
    const auto room = static_cast<uint32_t>(Room(slot));
    const uint32_t max = ReceiveMax(slot);
    if (slot.cut) slot.longest = std::max(slot.longest, 2 * slot.length);
    uint32_t length = std::min((room + 1) / 2, max);
    const bool looks = slot.arms++ == 0;
    if (length < max) {
      length = std::max(slot.longest, looks ? length : kLengthMin);
      length = std::min({length, room, max});
    }
    if (looks) slot.longest = 0;
    slot.cut = false;
    slot.length = length;
    SetReceiveTotal(sqe, room - length + 1);
    sqe->len = length;
  }

  // The most that one receive can bring.
  uint32_t ReceiveMax(const Slot& slot) const {
    if (!bundles_ || NeedsWhole(slot)) return options_.recv_buffer_bytes;
    return std::max(options_.recv_buffer_bytes, options_.pending_bytes_max);
  }

  void StartConnect(Slot& slot) {
    if (slot.connect_sent) return;
    if (slot.target->is_unix()) return ConnectUnix(slot);
    io_uring_sqe* sqe = Prepare();
    if (sqe == nullptr) return List(slot);
    io_uring_prep_connect(sqe, slot.fd, slot.target->address(), slot.target->size());
    Prepared(sqe, Operation::kConnect, slot);
    slot.connect_sent = true;
  }

  // A multishot receive on a Unix stream can miss the end: when it is armed and finds the end
  // behind more than some 30 buffers of bytes, it delivers the bytes and waits for an event that
  // has been (Linux 6.17, since Unix sockets tell how much is left in them). A multishot receive of
  // bundles can miss a reset that comes while it takes bytes (Linux 6.18). So the end is waited for
  // apart.
  void WatchEnd(Slot& slot) {
    io_uring_sqe* sqe = Prepare();
    if (sqe == nullptr) return List(slot);
    io_uring_prep_poll_add(sqe, slot.fd, POLLRDHUP);
    Prepared(sqe, Operation::kHangUp, slot);
    slot.watch_end = false;
    slot.watches_end = true;
  }

  // Of a connection that isn't received from, and is sent nothing, nobody would tell a reset, and
  // what is kept for it would stay. A poll for nothing still tells of errors (poll(2)).
  void WatchReset(Slot& slot) {
    io_uring_sqe* sqe = Prepare();
    if (sqe == nullptr) return List(slot);
    io_uring_prep_poll_add(sqe, slot.fd, 0);
    Prepared(sqe, Operation::kHangUp, slot);
    slot.watches_end = true;
  }

  void OnHangUp(Slot& slot, int result) {
    slot.watches_end = false;
    if (result > 0 && (result & POLLERR) && slot.paused) Fail(slot, ErrorOf(slot));
    if (result < 0 && result != -ECANCELED) Fail(slot, -result);  // its end would be missed
    if (result < 0 || slot.dead) return;
    slot.hung_up = true;
    if (slot.receiving && !slot.cancelled && !slot.ended) CancelReceive(slot);
  }

  static int ErrorOf(const Slot& slot) {
    const int error = slot.direct ? 0 : SocketError(slot.fd);
    return error != 0 ? error : ECONNRESET;
  }

  // A Unix socket connects at once or not at all.
  void ConnectUnix(Slot& slot) {
    slot.connect_sent = true;
    counters_.system_calls += 3;
    SetNonblocking(slot.fd, true);
    const int result = kernel_.Connect(slot.fd, *slot.target);
    SetNonblocking(slot.fd, false);  // or a receive that has to wait would fail
    if (result == -EAGAIN) {
      if (!connect_retries_.Add(*slot.target, slot)) OutOfMemory(slot);
      return;
    }
    OnConnected(slot, result);
    List(slot);
  }

  void ConnectAgain() {
    connect_retries_.TakeAll([this](const Endpoint&, uint32_t index, uint32_t generation) {
      Slot* slot = slots_.Find(index, generation);
      if (slot == nullptr || slot->dead || slot->closing) return;
      ConnectUnix(*slot);
    });
  }

  void ArmReceive(Slot& slot) {
    BufferRing& buffers = Buffers(slot);
    if (buffers.in_ring() == 0) buffers.Grow();
    if (buffers.in_ring() == 0) return Starve(slot);
    io_uring_sqe* sqe = Prepare();
    if (sqe == nullptr) return List(slot);
    const int flags = slot.messages ? MSG_TRUNC : 0;
    if (slot.stamped != nullptr) {
      PrepareStamped(sqe, slot, flags);
    } else if (OneByOne(slot)) {
      size_t size = ReceiveMax(slot);
      if (!slot.messages) size = std::min(size, Room(slot));
      io_uring_prep_recv(sqe, slot.fd, nullptr, size, flags);
    } else {
      io_uring_prep_recv_multishot(sqe, slot.fd, nullptr, 0, flags);
      if (features_.receive_total && !slot.messages) CapReceive(sqe, slot);
    }
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = buffers.group();
    if (bundles_ && !NeedsWhole(slot)) sqe->ioprio |= kReceiveBundle;
    Prepared(sqe, Operation::kReceive, slot);
    slot.receiving = true;
    ++counters_.receive_rearms;
  }

  // One by one: the multishot form puts what comes beside the payload into the buffer, which would
  // be too short for a message as long as a buffer.
  void PrepareStamped(io_uring_sqe* sqe, Slot& slot, int flags) {
    size_t size = options_.recv_buffer_bytes;
    if (!slot.messages) size = std::min(size, Room(slot));
    slot.stamped->Prepare(nullptr, size);
    io_uring_prep_recvmsg(sqe, slot.fd, &slot.stamped->header, flags);
  }

  void CancelReceive(Slot& slot) {
    io_uring_sqe* sqe = Prepare();
    if (sqe == nullptr) return List(slot);
    io_uring_prep_cancel64(sqe, Key(Operation::kReceive, slot), 0);
    Prepared(sqe, Operation::kCancel, slot);
    slot.cancelled = true;
  }

  void Starve(Slot& slot) {
    if (slot.starved) return;
    slot.starved = true;
    starved_.Push({slot.index, slot.generation});
  }

  void RearmStarved() {
    if (starved_.TakeLost()) [[unlikely]] {
      for (uint32_t i = 0; i < slots_.size(); ++i) {
        if (!slots_[i].starved) continue;
        slots_[i].starved = false;
        if (!slots_[i].receiving) Advance(slots_[i]);
      }
    }
    size_t budget = std::min<size_t>(starved_.size(), BuffersInRing());
    for (; budget > 0; --budget) {
      const auto [index, generation] = starved_.Pop();
      Slot* slot = slots_.Find(index, generation);
      if (slot == nullptr) continue;
      slot->starved = false;
      if (!slot->receiving) Advance(*slot);
    }
  }

  // Cancels what is in the kernel, waits for it, closes. Called again at each of its completions.
  void Teardown(Slot& slot) {
    if (slot.close_sent) return;
    if (slot.operations == 0) {
      ReleaseBorrowed(slot);
      // What the peer doesn't take would keep the memory, maybe for ever.
      if (slot.unreleased > 0) ResetOnClose(slot.fd);
      io_uring_sqe* sqe = Prepare();
      if (sqe == nullptr) return List(slot);
      if (slot.resets) {
        slot.resets = false;
        PrepareResetOnClose(sqe, slot.fd);
        return Prepared(sqe, Operation::kReset, slot);  // then it comes here again
      }
      if (slot.direct) {
        io_uring_prep_close_direct(sqe, slot.fd);
      } else {
        io_uring_prep_close(sqe, slot.fd);
      }
      Prepared(sqe, Operation::kClose, slot);
      slot.close_sent = true;
    } else if (!slot.cancelled_all) {
      slot.cancelled_all = CancelAll(slot);
      if (!slot.cancelled_all) List(slot);
    }
  }

  // Cancels what may wait in the kernel, each by its key, which is hashed there. To name the
  // descriptor instead would have the kernel look at all that waits in the ring, for each
  // connection that closes (io_poll_cancel(), io_uring/poll.c).
  bool CancelAll(Slot& slot) {
    const auto cancel = [&](bool armed, Operation operation) {
      if (!armed) return true;
      io_uring_sqe* sqe = Prepare();
      if (sqe == nullptr) return false;
      io_uring_prep_cancel64(sqe, Key(operation, slot), 0);
      Prepared(sqe, Operation::kCancel, slot);
      return true;
    };
    return cancel(slot.receiving && !slot.cancelled, Operation::kReceive) &&
           (slot.copyless ? CancelZeroCopy(slot) : cancel(slot.in_flight, Operation::kSend)) &&
           cancel(slot.connecting && slot.connect_sent, Operation::kConnect) &&
           cancel(slot.watches_end, Operation::kHangUp);
  }

  bool CancelZeroCopy(Slot& slot) {
    const ZeroCopy& send = zero_copies_[slot.zero_copy];
    io_uring_sqe* sqe = Prepare();
    if (sqe == nullptr) return false;
    io_uring_prep_cancel64(sqe, Key(Operation::kSendZeroCopy, send.index, send.generation), 0);
    Prepared(sqe, Operation::kCancel, slot);
    return true;
  }

  // --- sending ----------------------------------------------------------------------------------

  // Within OnReceive: keeps bytes of the lent buffer to be sent from there. False where they have
  // to be copied.
  bool Hold(Slot& slot, Bytes out) {
    const bool lent = borrows_ && out.data() >= lent_.data() &&
                      out.data() + out.size() <= lent_.data() + lent_.size();
    if (lent && held_.empty() && Pending(slot) == 0 && !Buffers(slot).low()) {
      held_ = out;
      return true;
    }
    if (lent && !held_.empty() && Pending(slot) == 0 && held_.data() + held_.size() == out.data() &&
        !slot.messages) {
      held_ = {held_.data(), held_.size() + out.size()};
      return true;
    }
    return false;
  }

  // Makes the send that was prepared one without a copy.
  void SendZeroCopy(io_uring_sqe* sqe, Slot& slot) {
    ZeroCopy& send = *zero_copies_.Take();
    send.slot = slot.index;
    send.borrowed = slot.out_borrowed;
    send.buffer = slot.borrowed;
    if (send.borrowed) Buffers(slot).Retain(send.buffer);
    sqe->opcode = IORING_OP_SEND_ZC;
    Prepared(sqe, Key(Operation::kSendZeroCopy, send.index, send.generation));
    ++slot.operations;
    slot.in_flight = slot.copyless = true;
    slot.sent_in = static_cast<uint8_t>(counters_.turns);
    slot.zero_copy = send.index;
  }

  void OnZeroCopy(ZeroCopy& send, int result, unsigned flags) {
    Slot& slot = slots_[send.slot];
    const bool notifies = flags & kCompletionNotifies, more = flags & IORING_CQE_F_MORE;
    if (!notifies) {
      --slot.operations;
      slot.unreleased += more;
      slot.copyless = false;
      if (result == -ENOMEM || result == -EOPNOTSUPP) {  // RLIMIT_MEMLOCK; the socket can't
        counters_.errors.Add(-result);
        slot.copies = true;
        result = -EAGAIN;
      }
      OnSent(slot, result);
    } else {
      --slot.unreleased;
    }
    if (!more) {
      if (send.borrowed) Buffers(slot).Recycle(send.buffer);
      zero_copies_.Free(send);
    }
    if (slot.closed) {
      if (slot.unreleased == 0) Forget(slot);
    } else {
      Advance(slot);
    }
  }

  void Enqueue(Slot& slot, Bytes out) {
    ++counters_.replies_copied;
    const bool queued =
        slot.messages ? slot.queue.AppendMessage(out, blocks_) : slot.queue.Append(out, blocks_);
    if (!queued) [[unlikely]]
      return OutOfMemory(slot);
    if (!slot.full && Pending(slot) >= options_.pending_bytes_max) {
      slot.full = slot.bulk = true;
      ++counters_.receive_pauses;
    }
  }

  void StartSend(Slot& slot) {
    if (slot.in_flight || !slot.open || slot.dead) return;
    if (slot.out.empty()) {
      if (slot.queue.empty()) return;
      slot.out = slot.queue.Front();
      slot.from_queue = true;
    }
    io_uring_sqe* sqe = Prepare();
    if (sqe == nullptr) return List(slot);
    if (slot.polls_out) {
      io_uring_prep_poll_add(sqe, slot.fd, POLLOUT);
    } else {
      const int flags = MSG_NOSIGNAL | (slot.endless    ? MSG_DONTWAIT
                                        : slot.messages ? 0
                                                        : MSG_WAITALL);
      io_uring_prep_send(sqe, slot.fd, slot.out.data(), slot.out.size(), flags);
      if (zero_copy_ && slot.zero_copies && !slot.from_queue && !slot.copies &&
          zero_copies_.Ready()) {
        return SendZeroCopy(sqe, slot);
      }
    }
    Prepared(sqe, Operation::kSend, slot);
    slot.in_flight = true;
    slot.sent_in = static_cast<uint8_t>(counters_.turns);
  }

  // --- completions that the kernel lost ---------------------------------------------------------

  // From here on nothing is submitted, until it is known what is lost.
  void OnLostCompletions() {
    ++counters_.lost_completions;
    counters_.errors.Add(EBADR);
    recovering_ = true;
    quiet_turns_ = 0;
  }

  // Which completions are lost nobody can say: of any operation, and of a receive in the middle,
  // whose bytes are missing then. So connections with something under way are reset, and all that
  // is in the kernel is cancelled, turn by turn, until it holds nothing and has nothing to say.
  // What has not completed by then never will, and may be forgotten: no slot, descriptor or buffer
  // is used again before. An error is the loop's end.
  absl::Status Recover() {
    if (zero_copy_) {
      // A notification may be long in coming, so it can't be told from one that is lost.
      return absl::InternalError(absl::StrCat(
          "io_uring_enter: ", ErrnoName(EBADR),
          ": the kernel had no memory for completions, and which zero-copy sends still use ours "
          "can't be known; use smaller bounds, or no send-zc"));
    }
    for (uint32_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].operations > 0 || slots_[i].out_borrowed) FailWithReset(slots_[i], EBADR);
    }
    const int found = kernel_.CancelEverything(&ring_);
    ++counters_.system_calls;
    if (found < 0 && found != -ETIME && found != -EALREADY) {
      return absl::InternalError(
          absl::StrCat("io_uring_enter: ", ErrnoName(EBADR),
                       ", and io_uring_register of a cancel: ", ErrnoName(-found)));
    }
    const bool overflowed = IO_URING_READ_ONCE(*ring_.sq.kflags) & IORING_SQ_CQ_OVERFLOW;
    const bool quiet = found == 0 && harvested_ == 0 && !deferred_ && !overflowed &&
                       io_uring_sq_ready(&ring_) == 0 && io_uring_cq_ready(&ring_) == 0;
    quiet_turns_ = quiet ? quiet_turns_ + 1 : 0;
    return quiet_turns_ < kQuietTurns ? absl::OkStatus() : ForgetOperations();
  }

  absl::Status ForgetOperations() {
    recovering_ = false;
    operations_ = 0;
    wake_armed_ = wake_cancelled_ = timer_armed_ = timer_cancelled_ = false;
    for (Listener& listener : listeners_) {
      listener.armed = listener.cancelled = false;
      listener.accepts = listener.sending = 0;
    }
    for (uint32_t i = 0; i < slots_.size(); ++i) ForgetOperationsOf(slots_[i]);
    for (uint32_t i = 0; i < accepts_.size(); ++i) {
      // Who was accepted there, if anybody was, is closed.
      if (accepts_[i].number < 0) continue;
      refused_.push_back({.number = accepts_[i].number, .reset = false});
      accepts_.Free(accepts_[i]);
    }
    for (uint32_t i = 0; i < outgoing_.size(); ++i) {
      Outgoing& outgoing = outgoing_[i];
      if (!outgoing.sent) continue;
      counters_.datagrams_dropped += outgoing.datagram.count;
      if (outgoing.borrowed) datagram_buffers_.Recycle(outgoing.buffer);
      if (outgoing.copy != nullptr) blocks_.Return(outgoing.copy);
      outgoing_.Free(outgoing);
    }
    for (BufferRing* buffers : {&buffers_, &whole_buffers_, &datagram_buffers_}) {
      if (!buffers->open()) continue;
      if (const int error = buffers->Restart(&ring_)) {
        return absl::InternalError(
            absl::StrCat("io_uring_enter: ", ErrnoName(EBADR),
                         ", and no new ring of buffers: ", ErrnoName(error)));
      }
    }
    return absl::OkStatus();
  }

  // A slot's operations that never complete. A close that was lost is taken as done: the number may
  // be another's by now.
  void ForgetOperationsOf(Slot& slot) {
    if (!slot.dead && slot.operations == 0) return;
    const bool was_closing = slot.operations > 0 && slot.close_sent;
    slot.operations = 0;
    slot.receiving = slot.in_flight = slot.watches_end = slot.polls_out = false;
    slot.connecting = slot.cancelled = slot.cancelled_all = false;
    ReleaseBorrowed(slot);
    was_closing ? OnClosed(slot, 0) : List(slot);
  }

  H& handler_;
  const LoopOptions options_;
  [[no_unique_address]] K kernel_;
  io_uring ring_ = {};
  UringFeatures features_;
  BufferRing buffers_;           // of connections
  BufferRing whole_buffers_;     // where those are filled bit by bit: of connections that can't
  BufferRing datagram_buffers_;  // open where datagrams are listened for
  SlotTable<ZeroCopy> zero_copies_{~0u};
  SlotTable<Outgoing> outgoing_{kDatagramsInFlightMax};
  Waker waker_;
  std::deque<Listener> listeners_;
  std::deque<Waiting> waiting_;  // accepted beyond connections_max
  std::vector<Refused> refused_;
  // What connects in flight point to: of a load one, of a scan each port.
  std::unordered_set<Endpoint, EndpointHash> targets_;
  AcceptPause pause_;
  ConnectRetries connect_retries_;
  DirectDescriptors direct_;  // open where options_ ask for them
  SlotTable<DirectAccept> accepts_{~0u};
  SlotTable<Slot> slots_;
  AttentionList attention_;
  AttentionList starved_;  // receives that wait for a buffer
  BlockPool blocks_;
  bool recovering_ = false;             // completions were lost: Recover()
  bool deferred_ = false;               // the seam delivered, or holds back, completions
  bool datagrams_pause_ = false;        // of some listener
  unsigned quiet_turns_ = 0;            // in a row, while recovering
  uint64_t operations_ = 0;             // in the kernel, all kinds
  unsigned asked_ = 0, harvested_ = 0;  // completions, of the last turn
  unsigned full_turns_ = 0;             // in a row: more was ready than the turn brought
  bool submissions_full_ = false;  // something waits for a place there: the turn must not sleep
  Nanos timer_at_ = {};            // CLOCK_MONOTONIC
  __kernel_timespec timer_spec_ = {};
  bool timer_armed_ = false, timer_cancelled_ = false;
  bool borrows_ = true, incremental_ = false, bundles_ = false, zero_copy_ = false;
  bool opened_ = false, wake_armed_ = false, wake_cancelled_ = false, shutting_down_ = false;
  const Slot* receiving_ = nullptr;  // its OnReceive is running
  Bytes lent_;                       // what that OnReceive, or an OnDatagram, was lent
  bool lent_datagram_ = false;       // from buffer lent_id_ of datagram_buffers_
  uint16_t lent_id_ = 0;
  const sockaddr* lent_peer_ = nullptr;  // whose datagram that is
  Outgoing* extendable_ = nullptr;       // an answer to it that is not submitted yet
  Bytes held_;                           // the part of lent_ that is to be sent from its buffer
  Counters counters_;
};

}  // namespace io
