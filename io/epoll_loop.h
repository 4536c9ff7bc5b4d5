#pragma once

#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "io/accept_pause.h"
#include "io/attention_list.h"
#include "io/byte_queue.h"
#include "io/connect_retries.h"
#include "io/datagram_pause.h"
#include "io/errors.h"
#include "io/event_loop.h"
#include "io/kernel.h"
#include "io/peer_progress.h"
#include "io/receive_stamp.h"
#include "io/slot_table.h"
#include "io/sockets.h"
#include "io/waker.h"

namespace io {

// The event loop on epoll(7). What it promises: io/event_loop.h.
//
//   * TCP connections are edge-triggered and registered once, for reading and writing together; a
//     receive that comes back short ends the reading without a call that only returns EAGAIN
//     (unless Feature::kDrain asks for that call).
//   * All others are level-triggered, for writing only while something waits: there, a short
//     receive doesn't mean that nothing is left, and a Unix socket reports EPOLLOUT whenever its
//     peer reads.
//   * All connections share one receive buffer. Datagrams come and go by recvmmsg(2) and
//     sendmmsg(2).
template <class H, class K = Kernel>
class EpollLoop {
 public:
  static constexpr std::string_view kName = "epoll";

  static absl::Status Probe() { return absl::OkStatus(); }  // in every kernel that runs us

  explicit EpollLoop(H& handler, const LoopOptions& options = {}, K kernel = {})
      : handler_(handler),
        options_(options),
        kernel_(std::move(kernel)),
        slots_(options.connections_max) {}
  EpollLoop(const EpollLoop&) = delete;
  EpollLoop& operator=(const EpollLoop&) = delete;
  ~EpollLoop() {
    if (epoll_ < 0) return;
    Shutdown();
    close(epoll_);
    if (timer_ >= 0) close(timer_);
  }

  // What it runs with, for reports.
  struct Features {
    bool edge_triggered, drain;
    uint32_t events_max;
    std::string switched;
    std::string ToString() const {
      return absl::StrCat(edge_triggered ? "edge-triggered" : "level-triggered",
                          drain ? ", drained" : "", ", batches of ", events_max,
                          switched.empty() ? "" : ", ", switched);
    }
  };
  Features features() const {
    return {.edge_triggered = edge_triggered_,
            .drain = drains_,
            .events_max = static_cast<uint32_t>(events_.size()),
            .switched = DescribeSwitches(options_.features, std::string(kName))};
  }

  absl::Status Open() {
    const absl::Status can = CheckFeatures(options_.features, std::string(kName));
    if (!can.ok()) return can;
    edge_triggered_ = options_.features.Uses(Feature::kEdgeTriggered);
    drains_ = options_.features.Uses(Feature::kDrain);
    events_.resize(options_.events_max);
    if (options_.direct_descriptors != 0 || options_.direct_accepts != 0) {
      return absl::UnimplementedError(
          "epoll has no direct descriptors, only io_uring has; choose the backend io_uring, or do "
          "without them");
    }
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_ >= 0) timer_ = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (epoll_ < 0 || timer_ < 0 || !waker_.Open()) {
      return absl::ResourceExhaustedError(absl::StrCat("epoll: ", ErrnoName(errno)));
    }
    const absl::Status timed = Watch(timer_, EPOLLIN | EPOLLET, kTimerKey);
    if (!timed.ok()) return timed;
    buffer_ = std::make_unique_for_overwrite<std::byte[]>(options_.recv_buffer_bytes);
    return Watch(waker_.fd(), EPOLLIN, kWakerKey);
  }

  absl::StatusOr<Endpoint> Listen(const Endpoint& at, const ListenOptions& listen) {
    auto fd = OpenListener(at, listen, /*nonblocking=*/true);
    if (!fd.ok()) return fd.status();
    const auto local = LocalEndpoint(*fd);
    if (!local.ok()) {
      CloseDescriptor(*fd);
      return local.status();
    }
    listeners_.push_back({.fd = *fd,
                          .tag = listen.tag,
                          .transport = local->transport(),
                          .datagrams = local->is_datagram(),
                          .shared = listen.shared,
                          .udp_gro = listen.udp_gro});
    if (local->is_datagram() && batch_ == nullptr) {
      batch_ = std::make_unique<DatagramBatch>(options_.recv_buffer_bytes);
    }
    const absl::Status watched = WatchListener(listeners_.size() - 1);
    if (!watched.ok()) {
      CloseDescriptor(*fd);
      listeners_.pop_back();
      return watched;
    }
    return local;
  }

  void StopListening() noexcept {
    for (Listener& listener : listeners_) {
      if (listener.fd < 0) continue;
      // To close it is not enough: the set keeps what another process, or a copy, holds open.
      Unwatch(listener.fd);
      CloseDescriptor(listener.fd);
      listener.fd = -1;
      listener.pause.Clear();
    }
    pause_.Clear();
    datagrams_pause_ = false;
  }

  void RetireListeners() noexcept {
    for (Listener& listener : listeners_) {
      if (listener.fd < 0) continue;
      Unwatch(listener.fd);
      listener.retired = true;
      listener.pause.Clear();
      if (listener.datagrams) continue;  // there may be something to be sent yet
      CloseDescriptor(listener.fd);
      listener.fd = -1;
    }
    pause_.Clear();
    datagrams_pause_ = false;
  }

  absl::StatusOr<Connection*> Connect(const Endpoint& at, uint64_t tag = 0,
                                      const ConnectOptions& connect = {}) {
    if (shutting_down_) return absl::FailedPreconditionError("the loop is shutting down");
    auto fd = OpenConnector(at, /*nonblocking=*/true, connect.from);
    counters_.system_calls += connect.from == nullptr ? 2 : 4;
    if (!fd.ok()) return fd.status();
    Slot* slot = slots_.Take();
    if (slot == nullptr) {
      CloseDescriptor(*fd);
      if (!slots_.full()) return NoMemory();
      return absl::ResourceExhaustedError(
          absl::StrCat("the limit of ", options_.connections_max, " connections is reached"));
    }
    slot->fd = *fd;
    slot->tag = tag;
    SetTransport(*slot, at.transport());
    if (connect.receive_timestamps && !at.is_unix()) {
      ++counters_.system_calls;
      slot->stamped = AskForReceiveStamps(slot->fd);
    }
    slot->connecting = true;
    StartConnect(*slot, at);
    return slot;
  }

  void Send(Connection& c, Bytes out) noexcept {
    Slot& slot = static_cast<Slot&>(c);
    if (out.empty() || slot.finish || slot.closing || slot.dead) return;
    slot.drain_due = true;
    if (receiving_ == &slot) {
      Hold(slot, out);
    } else if (Pending(slot) != 0) {
      Enqueue(slot, out);
    } else {
      const size_t sent = SendNow(slot, out);
      if (sent < out.size()) Enqueue(slot, out.subspan(sent));
      List(slot);
    }
  }

  void SendStable(Connection& c, Bytes out) noexcept {
    Slot& slot = static_cast<Slot&>(c);
    if (out.empty() || slot.finish || slot.closing || slot.dead) return;
    slot.drain_due = true;
    slot.stable = out.subspan(SendNow(slot, out));
    List(slot);
  }

  void SendDatagram(uint32_t socket, const DatagramPath& path, Bytes out) noexcept {
    if (socket >= listeners_.size() || listeners_[socket].fd < 0 || path.peer_size == 0) {
      ++counters_.datagrams_dropped;
    } else if (receiving_datagrams_ == &listeners_[socket]) {
      Gather(path, out);
    } else {
      batch_->single.Prepare(path, out);
      mmsghdr message = {.msg_hdr = batch_->single.header, .msg_len = 0};
      SendDatagrams(listeners_[socket], &message, &batch_->single, 1);
    }
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
    if (slot.dead) return;
    slot.dead = true;
    ResetOnClose(slot.fd);
    ++counters_.system_calls;
    List(slot);
  }

  void PauseReceive(Connection& c) noexcept { static_cast<Slot&>(c).paused = true; }

  void ResumeReceive(Connection& c) noexcept {
    Slot& slot = static_cast<Slot&>(c);
    slot.paused = false;
    if (slot.readable || !slot.edge) List(slot);
  }

  absl::Status RunOnce(Nanos timeout) {
    const bool called = !attention_.empty();  // the handler: so the caller is to have its say
    AdvanceListed();
    if (pause_.Due()) ResumeAccepting();
    if (datagrams_pause_) [[unlikely]]
      timeout = ResumeDatagrams(timeout);
    ConnectAgain();
    timeout =
        called || !attention_.empty() ? Nanos::zero() : connect_retries_.Clip(pause_.Clip(timeout));
    if (timeout != kForever && timeout != Nanos::zero() && TimerEnds(timeout)) timeout = kForever;
    const timespec until = ToTimespec(timeout);
    const int count = kernel_.EpollWait(epoll_, events_.data(), static_cast<int>(events_.size()),
                                        timeout == kForever ? nullptr : &until);
    ++counters_.system_calls;
    ++counters_.turns;
    if (count < 0 && count != -EINTR) {
      return absl::InternalError(absl::StrCat("epoll_pwait2: ", ErrnoName(-count)));
    }
    for (int i = 0; i < count; ++i) Dispatch(events_[i].data.u64, events_[i].events);
    AdvanceListed();
    return absl::OkStatus();
  }

  void Wake() noexcept { waker_.Wake(); }

  void Shutdown() noexcept {
    shutting_down_ = true;
    StopListening();
    while (slots_.taken() > 0) {
      ForEachConnection([this](Connection& c) { Abort(c); });
      AdvanceListed();
    }
  }

  uint32_t listening() const {
    return static_cast<uint32_t>(std::count_if(
        listeners_.begin(), listeners_.end(),
        [](const Listener& listener) { return listener.fd >= 0 && !listener.retired; }));
  }
  uint32_t waiting() const { return 0; }  // they wait in the backlog
  size_t unsent(const Connection& c) const { return Pending(static_cast<const Slot&>(c)); }
  uint64_t taken_by_peer(const Connection& c) {
    ++counters_.system_calls;
    return TakenByPeer(static_cast<const Slot&>(c).fd);
  }
  int fd(const Connection& c) const { return static_cast<const Slot&>(c).fd; }
  Connection* Find(uint32_t index, uint32_t generation) {
    Slot* slot = slots_.Find(index, generation);
    return slot != nullptr && slot->open && !slot->dead ? slot : nullptr;
  }

  const Counters& counters() const { return counters_; }
  uint32_t connections() const { return slots_.taken(); }
  uint64_t operations_in_kernel() const { return 0; }
  uint32_t buffers_lent() const { return 0; }

  template <class F>
  void ForEachConnection(F f) {
    for (uint32_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].fd >= 0) f(slots_[i]);
    }
  }

 private:
  struct Slot : Connection {
    int fd = -1;
    int error = 0;
    bool connecting : 1 = false;
    bool open : 1 = false;      // OnOpen was called
    bool readable : 1 = false;  // epoll said so, and no receive came back short since
    bool hung_up : 1 = false;   // the end is near: read until 0 or an error
    bool ended : 1 = false;     // OnEnd was called
    bool finish : 1 = false;    // End() was called
    bool finished : 1 = false;  // FIN is sent
    bool closing : 1 = false;   // Close() was called
    bool dead : 1 = false;      // to be closed, whatever is pending
    bool paused : 1 = false;    // by the handler
    bool full : 1 = false;      // pending_bytes_max is reached
    bool listed : 1 = false;    // in attention_
    bool drain_due : 1 = false;
    bool blocked : 1 = false;  // the last send fell short: EPOLLOUT will come
    bool edge : 1 = false;     // edge-triggered, and registered once
    bool endless : 1 = false;  // datagrams: a receive of 0 bytes is no end
    bool stamped : 1 = false;  // the kernel is asked when it received
    uint32_t interest = 0;     // level-triggered: what it is registered for; 0: not at all
    Bytes stable;              // the rest of SendStable's bytes, sent before the queue
    ByteQueue queue;           // empty when the slot is freed

    void Reset() {
      const uint32_t keep_index = index, keep_generation = generation;
      *this = Slot();
      index = keep_index;
      generation = keep_generation;
    }
  };

  struct Listener {
    int fd;
    uint64_t tag;
    Transport transport;
    bool datagrams, shared, udp_gro;
    bool retired = false;  // nothing is taken from it any more
    DatagramPause pause;
  };

  // What one recvmmsg(2) brings, and the sendmmsg(2) that answers it.
  struct DatagramBatch {
    static constexpr unsigned kCount = 64;
    explicit DatagramBatch(uint32_t bytes)
        : buffers(std::make_unique_for_overwrite<std::byte[]>(size_t{bytes} * kCount)) {
      for (unsigned i = 0; i < kCount; ++i) payload[i] = {buffers.get() + size_t{bytes} * i, bytes};
    }
    void Rewind() {
      for (unsigned i = 0; i < kCount; ++i) {
        in[i].msg_hdr = {.msg_name = &peer[i],
                         .msg_namelen = sizeof(peer[i]),
                         .msg_iov = &payload[i],
                         .msg_iovlen = 1,
                         .msg_control = &control[i],
                         .msg_controllen = sizeof(control[i])};
      }
    }
    std::unique_ptr<std::byte[]> buffers;
    std::array<mmsghdr, kCount> in, out;
    std::array<iovec, kCount> payload;
    std::array<sockaddr_storage, kCount> peer;
    struct alignas(cmsghdr) Control {
      char bytes[kControlBytes];
    };
    std::array<Control, kCount> control;
    std::array<DatagramOut, kCount> answer;
    std::array<BlockPool::Block*, kCount> copy;  // of an answer's payload that isn't lent
    unsigned answers = 0;
    const sockaddr* answered = nullptr;  // by the last of them
    DatagramOut single;
  };

  static constexpr uint64_t kListenerKey = 1ull << 62;
  static constexpr uint64_t kWakerKey = 1ull << 63;
  static constexpr uint64_t kTimerKey = 3ull << 62;
  static constexpr Nanos kTimerSlack{1'000};
  static constexpr int kAcceptsMax = 64;  // an event, so that accepting starves nobody
  static constexpr int kReceivesMax = 4;  // an event, likewise

  absl::Status Watch(int fd, uint32_t events, uint64_t key) {
    const int error = AddToSet(fd, events, key);
    if (error == 0) return absl::OkStatus();
    return absl::ResourceExhaustedError(
        absl::StrCat("epoll_ctl: ", ErrnoName(error),
                     error == ENOSPC ? "; raise fs.epoll.max_user_watches" : ""));
  }

  // 0, or an errno.
  int AddToSet(int fd, uint32_t events, uint64_t key) {
    epoll_event event = {.events = events, .data = {.u64 = key}};
    ++counters_.system_calls;
    return -kernel_.EpollControl(epoll_, EPOLL_CTL_ADD, fd, &event);
  }

  // One that a pause took out already isn't there (ENOENT). No other error can be but by a bug.
  void Unwatch(int fd) {
    ++counters_.system_calls;
    const int result = kernel_.EpollControl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
    if (result < 0 && result != -ENOENT) counters_.errors.Add(-result);
  }

  static uint32_t EventsOf(const Listener& listener) {
    return EPOLLIN | (listener.shared ? EPOLLEXCLUSIVE : 0u);
  }
  absl::Status WatchListener(size_t index) {
    return Watch(listeners_[index].fd, EventsOf(listeners_[index]), kListenerKey | index);
  }
  // The same for one that a pause took out; false where it stays out.
  bool WatchListenerAgain(size_t index) {
    const Listener& listener = listeners_[index];
    return AddToSet(listener.fd, EventsOf(listener), kListenerKey | index) == 0;
  }

  static absl::Status NoMemory() {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for a connection: ", ErrnoName(ENOMEM)));
  }

  void SetTransport(Slot& slot, Transport transport) const {
    slot.edge = edge_triggered_ && (transport == Transport::kTcp || transport == Transport::kMptcp);
    slot.endless = transport == Transport::kUdp || transport == Transport::kUnixDatagram;
    slot.messages = slot.endless || transport == Transport::kUnixSeqpacket;
  }

  void Control(Slot& slot, int operation, uint32_t events) {
    const uint64_t key = static_cast<uint64_t>(slot.generation) << 32 | slot.index;
    epoll_event event = {.events = events, .data = {.u64 = key}};
    ++counters_.system_calls;
    const int result = kernel_.EpollControl(epoll_, operation, slot.fd, &event);
    if (result < 0) Fail(slot, -result);
  }

  void Register(Slot& slot) {
    if (slot.edge) {
      Control(slot, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    } else {
      UpdateInterest(slot);
    }
  }

  // Level-triggered: registers what the slot waits for now. What nobody wants would be reported for
  // ever.
  void UpdateInterest(Slot& slot) {
    uint32_t wanted = 0;
    if (slot.connecting || (slot.blocked && Pending(slot) != 0)) wanted |= EPOLLOUT;
    if (MayReceive(slot)) wanted |= EPOLLIN | EPOLLRDHUP;
    if (wanted == slot.interest) return;
    const int operation = slot.interest == 0 ? EPOLL_CTL_ADD
                          : wanted == 0      ? EPOLL_CTL_DEL
                                             : EPOLL_CTL_MOD;
    slot.interest = wanted;
    Control(slot, operation, wanted);
  }

  void CloseDescriptor(int fd) {
    ++counters_.system_calls;
    // Whatever close(2) says, the descriptor is gone (EINTR, EIO, ENOSPC, EDQUOT) or was none of
    // ours (EBADF, a bug): to close it again would close somebody else's.
    const int result = kernel_.Close(fd);
    if (result < 0) counters_.errors.Add(-result);
  }

  static size_t Pending(const Slot& slot) { return slot.stable.size() + slot.queue.bytes(); }

  bool MayReceive(const Slot& slot) const {
    return slot.open && !slot.ended && !slot.closing && !slot.dead && !slot.paused && !slot.full;
  }

  void List(Slot& slot) {
    if (slot.listed || advancing_ == &slot) return;
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

  // What is queued would be cut off in the middle: so a reset, not an end.
  void OutOfMemory(Slot& slot) {
    if (slot.dead) return;
    ++counters_.no_memory;
    ResetOnClose(slot.fd);
    ++counters_.system_calls;
    Fail(slot, ENOMEM);
  }

  // --- events -----------------------------------------------------------------------------------

  void Dispatch(uint64_t key, uint32_t events) {
    if (key == kTimerKey) {
      timer_armed_ = false;  // edge-triggered: no need to read it
    } else if (key & kWakerKey) {
      waker_.Clear();
      ++counters_.system_calls;
    } else if (key & kListenerKey) {
      Listener& listener = listeners_[key & 0xffffffff];
      listener.datagrams ? ReceiveDatagrams(listener, key & 0xffffffff) : Accept(listener);
    } else if (Slot* slot = slots_.Find(static_cast<uint32_t>(key), key >> 32)) {
      OnEvents(*slot, events);
    }
  }

  void OnEvents(Slot& slot, uint32_t events) {
    if (slot.connecting) {
      if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) return;
      FinishConnect(slot, events);
    }
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) slot.readable = true;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) slot.hung_up = true;
    if (!slot.edge) return OnLevel(slot, events);
    if ((events & EPOLLERR) && !slot.dead && !MayReceive(slot)) Fail(slot, SocketError(slot.fd));
    if (events & EPOLLOUT) {
      slot.blocked = false;
      if (Pending(slot) != 0) Flush(slot);
    }
    Advance(slot);
  }

  // A level-triggered connection: what is not taken now is reported again.
  void OnLevel(Slot& slot, uint32_t events) {
    if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
      slot.blocked = false;
      if (Pending(slot) != 0 && !slot.dead) Flush(slot);
    }
    Advance(slot);
  }

  // Whether the timerfd(2) will end the wait in time. One that stays armed over many turns replaces
  // one that each turn would set up and take down again, which in a virtual machine costs two
  // exits.
  bool TimerEnds(Nanos timeout) {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const Nanos deadline = std::chrono::seconds(now.tv_sec) + Nanos(now.tv_nsec) + timeout;
    if (timer_armed_ && timer_at_ <= deadline + kTimerSlack) return true;
    const itimerspec at = {.it_interval = {}, .it_value = ToTimespec(deadline)};
    ++counters_.system_calls;
    if (timerfd_settime(timer_, TFD_TIMER_ABSTIME, &at, nullptr) != 0) return false;
    timer_at_ = deadline;
    timer_armed_ = true;
    return true;
  }

  void StartConnect(Slot& slot, const Endpoint& at) {
    ++counters_.system_calls;
    const int result = kernel_.Connect(slot.fd, at);
    if (result == -EAGAIN && at.is_unix()) {
      if (!connect_retries_.Add(at, slot)) OutOfMemory(slot);
    } else if (result < 0 && result != -EINPROGRESS) {
      Fail(slot, -result);
    } else {
      Register(slot);
    }
  }

  void ConnectAgain() {
    connect_retries_.TakeAll([this](const Endpoint& at, uint32_t index, uint32_t generation) {
      Slot* slot = slots_.Find(index, generation);
      if (slot != nullptr && !slot->dead && !slot->closing) StartConnect(*slot, at);
    });
  }

  void FinishConnect(Slot& slot, uint32_t events) {
    slot.connecting = false;
    if (events & (EPOLLERR | EPOLLHUP)) {  // tcp_poll() and its like report an error so, always
      ++counters_.system_calls;
      if (const int error = SocketError(slot.fd)) return Fail(slot, error);
    }
    ++counters_.connected;
    slot.open = true;
    handler_.OnOpen(*this, slot);
  }

  void Accept(Listener& listener) {
    // Of a shared listener one at a time, so that others get some.
    const int accepts_max = listener.shared ? 1 : kAcceptsMax;
    for (int i = 0; i < accepts_max && listener.fd >= 0; ++i) {
      if (!slots_.Ready()) {
        if (!slots_.full()) {
          ++counters_.no_memory;
          counters_.errors.Add(ENOMEM);
        }
        return PauseAccepting();
      }
      ++counters_.system_calls;
      const int fd = kernel_.Accept(listener.fd);
      if (fd < 0) {
        if (fd == -EAGAIN) return;
        if (fd == -EINTR) continue;
        counters_.errors.Add(-fd);
        if (!OnePeersTrouble(-fd)) return PauseAccepting();
        continue;
      }
      OpenAccepted(fd, listener);
    }
  }

  void OpenAccepted(int fd, const Listener& listener) {
    Slot& slot = *slots_.Take();
    slot.fd = fd;
    slot.tag = listener.tag;
    slot.accepted = true;
    SetTransport(slot, listener.transport);
    ++counters_.accepted;
    if constexpr (ChecksPeers<H, EpollLoop>) {
      if (!handler_.OnAccept(*this, Arrival{.tag = listener.tag, .fd = fd})) {
        ++counters_.not_welcome;
        return Abort(slot);
      }
    }
    slot.open = true;
    handler_.OnOpen(*this, slot);
    if (!slot.dead) Register(slot);
    List(slot);  // what the handler asked for comes after what else this turn brought
  }

  // A listener that can't be served stays readable, and would spin: it leaves epoll until a
  // connection closed, or a moment passed.
  void PauseAccepting() {
    ++counters_.accept_pauses;
    pause_.Start();
    for (Listener& listener : listeners_) {
      if (listener.fd >= 0 && !listener.datagrams) Unwatch(listener.fd);
    }
  }

  void ResumeAccepting() {
    pause_.Clear();
    for (size_t i = 0; i < listeners_.size(); ++i) {
      if (listeners_[i].fd < 0 || listeners_[i].datagrams) continue;
      if (!WatchListenerAgain(i)) return PauseAccepting();
    }
  }

  // --- datagrams --------------------------------------------------------------------------------

  void ReceiveDatagrams(Listener& listener, uint32_t index) {
    if constexpr (TakesDatagrams<H, EpollLoop>) {
      batch_->Rewind();
      ++counters_.system_calls;
      const int count = kernel_.ReceiveMany(listener.fd, batch_->in.data(), DatagramBatch::kCount);
      if (count < 0) return OnDatagramError(listener, -count);
      listener.pause.Received();
      receiving_datagrams_ = &listener;
      for (int i = 0; i < count; ++i) {
        const msghdr& header = batch_->in[i].msg_hdr;
        if (header.msg_flags & MSG_TRUNC) {
          ++counters_.truncated;
          continue;
        }
        Datagram datagram = {.tag = listener.tag,
                             .socket = index,
                             .bytes = {},
                             .path = {.peer = reinterpret_cast<sockaddr*>(&batch_->peer[i]),
                                      .peer_size = header.msg_namelen,
                                      .local = ReadLocalAddress(header),
                                      .hops_left = ReadHopsLeft(header, counters_.receives)}};
        const Bytes all = {static_cast<std::byte*>(batch_->payload[i].iov_base),
                           batch_->in[i].msg_len};
        const size_t segment = listener.udp_gro ? ReadSegmentBytes(header) : 0;
        ++counters_.receives;
        counters_.received_bytes += all.size();
        Bytes rest = all;
        do {
          datagram.bytes = segment > 0 ? rest.first(std::min(segment, rest.size())) : rest;
          ++counters_.datagrams_received;
          handler_.OnDatagram(*this, datagram);
          rest = rest.subspan(datagram.bytes.size());
        } while (!rest.empty());
      }
      FlushAnswers();
      receiving_datagrams_ = nullptr;
    }
  }

  // A socket that fails for longer stays readable, and would spin: it leaves epoll for a moment.
  void OnDatagramError(Listener& listener, int error) {
    if (error == EAGAIN || error == EINTR) return;
    counters_.errors.Add(error);
    if (!listener.pause.Failed(error)) return;
    ++counters_.datagram_pauses;
    datagrams_pause_ = true;
    Unwatch(listener.fd);
  }

  // Returns how long to wait at most.
  Nanos ResumeDatagrams(Nanos timeout) {
    datagrams_pause_ = false;
    for (size_t i = 0; i < listeners_.size(); ++i) {
      DatagramPause& pause = listeners_[i].pause;
      if (pause.Due()) {
        pause.Clear();
        if (!WatchListenerAgain(i)) pause.Failed(ENOMEM);
      }
      datagrams_pause_ |= pause.active();
      timeout = pause.Clip(timeout);
    }
    return timeout;
  }

  // Within OnDatagram: answers are gathered, and sent in one call when the batch is through. Bytes
  // that are lent stay where they are until then.
  void Gather(const DatagramPath& path, Bytes out) {
    DatagramBatch& batch = *batch_;
    if (receiving_datagrams_->udp_gro && batch.answers > 0 && batch.answered == path.peer &&
        batch.answer[batch.answers - 1].Extend(out)) {
      batch.out[batch.answers - 1].msg_hdr = batch.answer[batch.answers - 1].header;
      return;
    }
    if (batch.answers == DatagramBatch::kCount) FlushAnswers();
    const std::byte* begin = batch.buffers.get();
    const bool lent = out.data() >= begin &&
                      out.data() < begin + batch.payload[0].iov_len * DatagramBatch::kCount;
    batch.copy[batch.answers] = nullptr;
    if (!lent && !out.empty()) {
      BlockPool::Block* block = batch.copy[batch.answers] = blocks_.Take(out.size());
      if (block == nullptr) {
        ++counters_.no_memory;
        ++counters_.datagrams_dropped;
        return counters_.errors.Add(ENOMEM);
      }
      ++counters_.replies_copied;
      std::copy(out.begin(), out.end(), block->data());
      out = {block->data(), out.size()};
    }
    DatagramOut& answer = batch.answer[batch.answers];
    answer.Prepare(path, out);
    batch.answered = path.peer;
    batch.out[batch.answers++] = {.msg_hdr = answer.header, .msg_len = 0};
  }

  void FlushAnswers() {
    if (batch_->answers == 0) return;
    SendDatagrams(*receiving_datagrams_, batch_->out.data(), batch_->answer.data(),
                  batch_->answers);
    for (unsigned i = 0; i < batch_->answers; ++i) {
      if (batch_->copy[i] != nullptr) blocks_.Return(batch_->copy[i]);
    }
    batch_->answers = 0;
  }

  // Sends what the kernel takes; the one that it refuses is dropped, and the others go on.
  void SendDatagrams(const Listener& listener, mmsghdr* messages, const DatagramOut* datagrams,
                     unsigned count) {
    while (count > 0) {
      ++counters_.system_calls;
      int sent = kernel_.SendMany(listener.fd, messages, count);
      if (sent == -EINTR) continue;
      if (sent < 0) {
        counters_.errors.Add(-sent);
        counters_.datagrams_dropped += datagrams->count;
        sent = 1;
      } else {
        for (int i = 0; i < sent; ++i) {
          counters_.sent_bytes += messages[i].msg_len;
          counters_.datagrams_sent += datagrams[i].count;
        }
        counters_.sends += sent;
      }
      messages += sent;
      datagrams += sent;
      count -= sent;
    }
  }

  // --- a connection's progress ------------------------------------------------------------------

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

  // Does what the slot's state asks for. The only place that calls the handler about an open
  // connection, and that closes.
  void Advance(Slot& slot) {
    advancing_ = &slot;
    if (slot.readable && MayReceive(slot)) Receive(slot);
    if (slot.drain_due && Pending(slot) == 0 && slot.open && !slot.closing && !slot.dead) {
      slot.drain_due = false;
      handler_.OnDrained(*this, slot);
    }
    if (slot.finish && !slot.finished && Pending(slot) == 0 && !slot.dead && !slot.connecting) {
      slot.finished = true;
      ++counters_.system_calls;
      const int result = kernel_.Shutdown(slot.fd, SHUT_WR);
      if (result < 0 && result != -ENOTCONN) Fail(slot, -result);  // ENOTCONN: the peer reset it
    }
    advancing_ = nullptr;
    if (slot.dead || (slot.closing && Pending(slot) == 0)) return CloseNow(slot);
    const bool more = (slot.readable && MayReceive(slot)) || (slot.drain_due && Pending(slot) == 0);
    if (more) List(slot);
    if (!slot.edge && !slot.connecting) UpdateInterest(slot);
  }

  void Receive(Slot& slot) {
    const int receives_max = slot.edge || drains_ ? kReceivesMax : 1;  // a level is told again
    for (int i = 0; i < receives_max; ++i) {
      const size_t size = ReceiveSize(slot);
      ++counters_.system_calls;
      const int flags = slot.messages ? MSG_TRUNC : 0;
      const ssize_t n = slot.stamped ? ReceiveStamped(slot, size, flags)
                                     : kernel_.Receive(slot.fd, buffer_.get(), size, flags);
      if (n > 0) {
        if (static_cast<size_t>(n) > size) {
          ++counters_.truncated;  // a message
        } else {
          Deliver(slot, {buffer_.get(), static_cast<size_t>(n)});
        }
        if (!MayReceive(slot)) return;
        if (drains_ || (slot.edge && (static_cast<size_t>(n) == size || slot.hung_up))) continue;
        slot.readable = false;
        return;
      }
      if (n == -EINTR) continue;
      slot.readable = false;
      if (n == 0 && !slot.endless) {
        slot.ended = true;
        handler_.OnEnd(*this, slot);
      } else if (n != 0 && n != -EAGAIN) {
        Fail(slot, static_cast<int>(-n));
      }
      return;
    }
    slot.readable = slot.edge;
  }

  ssize_t ReceiveStamped(Slot& slot, size_t size, int flags) {
    stamped_.Prepare(buffer_.get(), size);
    const ssize_t n = kernel_.ReceiveMessage(slot.fd, &stamped_.header, flags);
    slot.received_at_ns = n > 0 ? stamped_.received_at_ns() : 0;
    return n;
  }

  // How much to take in at once: what is received must fit in the bound if none of it can be sent
  // on. A message comes whole or not at all.
  size_t ReceiveSize(const Slot& slot) const {
    if (slot.messages) return options_.recv_buffer_bytes;
    const size_t queued = slot.queue.bytes(), bound = options_.pending_bytes_max;
    return std::min<size_t>(options_.recv_buffer_bytes, queued < bound ? bound - queued : bound);
  }

  void Deliver(Slot& slot, Bytes in) {
    ++counters_.receives;
    counters_.received_bytes += in.size();
    ++slot.progress;
    receiving_ = &slot;
    lent_ = in;
    handler_.OnReceive(*this, slot, in);
    receiving_ = nullptr;
    if (!held_.empty()) {
      const Bytes out = held_;
      held_ = {};
      const size_t sent = slot.dead ? out.size() : SendNow(slot, out);
      if (sent < out.size()) Enqueue(slot, out.subspan(sent));
    } else if (!slot.dead && !slot.blocked && Pending(slot) != 0) {
      Flush(slot);
    }
  }

  void CloseNow(Slot& slot) {
    CloseDescriptor(slot.fd);
    slot.queue.Clear(blocks_);
    if (slot.open || !slot.accepted) {
      ++counters_.closed;
      handler_.OnClose(*this, slot, slot.error);
    }
    slots_.Free(slot);
    if (pause_.active()) ResumeAccepting();
  }

  // --- sending ----------------------------------------------------------------------------------

  // Within OnReceive: what goes out is gathered, and sent in one call when the handler returned.
  // Lent bytes are not even copied for that.
  void Hold(Slot& slot, Bytes out) {
    const bool lent =
        out.data() >= lent_.data() && out.data() + out.size() <= lent_.data() + lent_.size();
    if (Pending(slot) == 0 && lent && held_.empty()) {
      held_ = out;
    } else if (lent && !held_.empty() && held_.data() + held_.size() == out.data() &&
               !slot.messages) {
      held_ = {held_.data(), held_.size() + out.size()};
    } else {
      if (!held_.empty()) Enqueue(slot, held_);
      held_ = {};
      Enqueue(slot, out);
    }
  }

  void Enqueue(Slot& slot, Bytes out) {
    if (slot.dead) return;
    ++counters_.replies_copied;
    const bool queued =
        slot.messages ? slot.queue.AppendMessage(out, blocks_) : slot.queue.Append(out, blocks_);
    if (!queued) [[unlikely]]
      return OutOfMemory(slot);
    if (!slot.full && Pending(slot) >= options_.pending_bytes_max) {
      slot.full = true;
      ++counters_.receive_pauses;
    }
  }

  // Sends what the socket takes; the rest waits for EPOLLOUT.
  size_t SendNow(Slot& slot, Bytes out) {
    while (true) {
      ++counters_.system_calls;
      const ssize_t n = kernel_.Send(slot.fd, out);
      if (n >= 0) {
        ++counters_.sends;
        counters_.sent_bytes += n;
        ++slot.progress;
        slot.blocked = static_cast<size_t>(n) < out.size();
        return n;
      }
      if (n == -EINTR) continue;
      slot.blocked = n == -EAGAIN;
      if (n != -EAGAIN) Fail(slot, static_cast<int>(-n));
      return 0;
    }
  }

  void Flush(Slot& slot) {
    while (!slot.stable.empty()) {
      slot.stable = slot.stable.subspan(SendNow(slot, slot.stable));
      if (slot.blocked || slot.dead) return;
    }
    while (!slot.queue.empty()) {
      const size_t sent = SendNow(slot, slot.queue.Front());
      if (!slot.messages) slot.queue.Consume(sent, blocks_);
      if (slot.blocked || slot.dead) break;
      if (slot.messages) slot.queue.ConsumeMessage(blocks_);
    }
    if (slot.full && Pending(slot) <= options_.pending_bytes_max / 2) {
      slot.full = false;
      if (slot.readable) List(slot);
    }
  }

  H& handler_;
  const LoopOptions options_;
  [[no_unique_address]] K kernel_;
  int epoll_ = -1;
  int timer_ = -1;
  Nanos timer_at_ = {};  // CLOCK_MONOTONIC
  bool timer_armed_ = false;
  Waker waker_;
  std::deque<Listener> listeners_;
  ConnectRetries connect_retries_;
  std::unique_ptr<DatagramBatch> batch_;           // where datagrams are listened for
  const Listener* receiving_datagrams_ = nullptr;  // a batch of it is at the handler
  AcceptPause pause_;
  bool datagrams_pause_ = false;  // of some listener
  SlotTable<Slot> slots_;
  AttentionList attention_;
  BlockPool blocks_;
  std::unique_ptr<std::byte[]> buffer_;
  StampedReceive stamped_;
  std::vector<epoll_event> events_;  // options_.events_max; as many as a wait brings
  bool edge_triggered_ = true, drains_ = false;
  bool shutting_down_ = false;
  const Slot* advancing_ = nullptr;  // Advance() is at work on it: no need to list it
  const Slot* receiving_ = nullptr;  // its OnReceive is running
  Bytes lent_;                       // what that OnReceive was lent
  Bytes held_;                       // the part of lent_ that is to be sent
  Counters counters_;
};

}  // namespace io
