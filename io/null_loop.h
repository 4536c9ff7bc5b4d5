#pragma once

#include <netinet/in.h>
#include <poll.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "io/attention_list.h"
#include "io/byte_queue.h"
#include "io/errors.h"
#include "io/event_loop.h"
#include "io/slot_table.h"
#include "io/waker.h"

namespace io {

// The event loop without sockets: what it promises is io/event_loop.h's, over streams in memory.
// The tool's own cost is measured on it, and services are tested on it. Two kinds of connection:
//
//   * Between Listen() and Connect() of the same loop: both ends are the handler's.
//   * OpenFed(): the peer is the caller, who feeds bytes in and finds what was sent in a string, or
//     nowhere.
template <class H>
class NullLoop {
 public:
  static constexpr std::string_view kName = "null";

  static absl::Status Probe() { return absl::OkStatus(); }

  explicit NullLoop(H& handler, const LoopOptions& options = {})
      : handler_(handler), options_(options), slots_(options.connections_max) {}
  NullLoop(const NullLoop&) = delete;
  NullLoop& operator=(const NullLoop&) = delete;
  ~NullLoop() { Shutdown(); }

  absl::Status Open() {
    if (!waker_.Open()) {
      return absl::ResourceExhaustedError(absl::StrCat("eventfd: ", ErrnoName(errno)));
    }
    buffer_ = std::make_unique_for_overwrite<std::byte[]>(options_.recv_buffer_bytes);
    return absl::OkStatus();
  }

  absl::StatusOr<Endpoint> Listen(const Endpoint& at, const ListenOptions& listen) {
    const Endpoint real = at.port() != 0 || at.is_unix() ? at : at.WithPort(next_port_++);
    for (const Listener& other : listeners_) {
      if (other.at == real && !(listen.reuse_port && other.reuse_port)) {
        return absl::AlreadyExistsError(absl::StrCat("port ", real.port(), " is in use on ",
                                                     real.ToString(), ": ", ErrnoName(EADDRINUSE)));
      }
    }
    listeners_.push_back({real, listen.tag, listen.reuse_port});
    return real;
  }

  void StopListening() noexcept {
    for (Listener& listener : listeners_) listener.open = listener.sends = false;
  }

  void RetireListeners() noexcept {
    for (Listener& listener : listeners_) listener.open = false;
  }

  absl::StatusOr<Connection*> Connect(const Endpoint& at, uint64_t tag = 0,
                                      const ConnectOptions& /*connect*/ = {}) {
    if (shutting_down_) return absl::FailedPreconditionError("the loop is shutting down");
    Slot* slot = slots_.Take();
    if (slot == nullptr) {
      if (!slots_.full()) return absl::ResourceExhaustedError("no memory for a connection");
      return absl::ResourceExhaustedError(
          absl::StrCat("the limit of ", options_.connections_max, " connections is reached"));
    }
    slot->used = true;
    slot->tag = tag;
    SetTransport(*slot, at.transport());
    const auto listener =
        std::find_if(listeners_.begin(), listeners_.end(),
                     [&](const Listener& other) { return other.open && other.at == at; });
    if (listener != listeners_.end() && at.is_datagram()) {
      slot->socket = static_cast<uint32_t>(listener - listeners_.begin());
      ++counters_.connected;
      List(*slot);
      return slot;
    }
    Slot* peer = listener == listeners_.end() ? nullptr : slots_.Take();
    if (peer == nullptr) {
      const bool no_memory = listener != listeners_.end() && !slots_.full();
      counters_.no_memory += no_memory;
      Fail(*slot, no_memory ? ENOMEM : ECONNREFUSED);
      return slot;
    }
    peer->used = true;
    peer->tag = listener->tag;
    peer->accepted = true;
    SetTransport(*peer, at.transport());
    slot->peer = peer->index;
    peer->peer = slot->index;
    ++counters_.connected;
    ++counters_.accepted;
    List(*slot);
    List(*peer);
    return slot;
  }

  // Opens a connection whose peer is the caller; what the handler sends is appended to `sink`, or
  // only counted.
  Connection& OpenFed(std::string* sink = nullptr) {
    Slot& slot = *slots_.Take();
    slot.used = true;
    slot.fed = true;
    slot.sink = sink;
    slot.accepted = true;
    ++counters_.accepted;
    slot.open = true;
    handler_.OnOpen(*this, slot);
    Settle(slot);
    return slot;
  }
  // The peer of a fed connection sends. REQUIRES: in.size() <= recv_buffer_bytes.
  void Feed(Connection& c, Bytes in) {
    Slot& slot = static_cast<Slot&>(c);
    Deliver(slot, in);
    Settle(slot);
  }
  // The peer of a fed connection sends FIN.
  void FeedEnd(Connection& c) {
    Slot& slot = static_cast<Slot&>(c);
    slot.ended = true;
    handler_.OnEnd(*this, slot);
    Settle(slot);
  }

  void Send(Connection& c, Bytes out) noexcept {
    Slot& slot = static_cast<Slot&>(c);
    if (out.empty() || slot.finish || slot.closing || slot.dead) return;
    slot.drain_due = true;
    if (slot.fed) {
      counters_.sent_bytes += out.size();
      ++counters_.sends;
      if (slot.sink != nullptr) slot.sink->append(AsText(out));
      return;
    }
    if (slot.dead || !Append(slot, slot.queue, out)) return OutOfMemory(slot);
    if (!slot.full && slot.queue.bytes() >= options_.pending_bytes_max) {
      slot.full = true;
      ++counters_.receive_pauses;
    }
    List(slot);
  }

  void SendStable(Connection& c, Bytes out) noexcept { Send(c, out); }

  void SendDatagram(uint32_t socket, const DatagramPath& path, Bytes out) noexcept {
    Slot* peer = path.peer_size == sizeof(sockaddr_in) ? AtAddress(path.peer) : nullptr;
    if (socket >= listeners_.size() || !listeners_[socket].sends || peer == nullptr ||
        peer->inbox.bytes() >= kWindow) {
      ++counters_.datagrams_dropped;
      return;
    }
    if (!out.empty() && !Append(*peer, peer->inbox, out)) {
      ++counters_.no_memory;
      ++counters_.datagrams_dropped;
      return counters_.errors.Add(ENOMEM);
    }
    ++counters_.sends;
    ++counters_.datagrams_sent;
    counters_.sent_bytes += out.size();
    List(*peer);
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
    slot.dead = slot.reset = true;
    List(slot);
  }

  void PauseReceive(Connection& c) noexcept { static_cast<Slot&>(c).paused = true; }

  void ResumeReceive(Connection& c) noexcept {
    static_cast<Slot&>(c).paused = false;
    List(static_cast<Slot&>(c));
  }

  absl::Status RunOnce(Nanos timeout) {
    if (attention_.empty()) {
      pollfd waker = {.fd = waker_.fd(), .events = POLLIN, .revents = 0};
      const timespec until = ToTimespec(timeout);
      if (ppoll(&waker, 1, timeout == kForever ? nullptr : &until, nullptr) > 0) waker_.Clear();
    }
    ++counters_.turns;
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

  const Counters& counters() const { return counters_; }
  uint32_t connections() const { return slots_.taken(); }
  uint64_t operations_in_kernel() const { return 0; }
  uint32_t buffers_lent() const { return 0; }
  uint32_t listening() const {
    return static_cast<uint32_t>(
        std::count_if(listeners_.begin(), listeners_.end(),
                      [](const Listener& listener) { return listener.open; }));
  }
  uint32_t waiting() const { return 0; }
  size_t unsent(const Connection& c) const { return static_cast<const Slot&>(c).queue.bytes(); }
  uint64_t taken_by_peer(const Connection& c) { return static_cast<const Slot&>(c).progress; }
  int fd(const Connection&) const { return -1; }
  Connection* Find(uint32_t index, uint32_t generation) {
    Slot* slot = slots_.Find(index, generation);
    return slot != nullptr && slot->open && !slot->dead ? slot : nullptr;
  }

  template <class F>
  void ForEachConnection(F f) {
    for (uint32_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].used) f(slots_[i]);
    }
  }

 private:
  static constexpr uint32_t kNone = ~0u;
  static constexpr size_t kWindow =
      256 * 1024;  // bytes on their way to one end: a socket's buffers

  struct Slot : Connection {
    uint32_t peer = kNone;
    uint32_t socket = kNone;  // where its datagrams go
    int error = 0;
    bool used : 1 = false;
    bool fed : 1 = false;
    bool open : 1 = false;
    bool fin_received : 1 = false;  // the peer sent FIN, behind what is in the inbox
    bool ended : 1 = false;         // OnEnd was called
    bool finish : 1 = false;
    bool finished : 1 = false;
    bool closing : 1 = false;
    bool dead : 1 = false;
    bool reset : 1 = false;  // Abort(): the peer sees ECONNRESET
    bool paused : 1 = false;
    bool full : 1 = false;
    bool listed : 1 = false;
    bool drain_due : 1 = false;
    bool endless : 1 = false;  // datagrams
    std::string* sink = nullptr;
    ByteQueue queue;  // sent, and not yet in the peer's inbox
    ByteQueue inbox;  // on its way to us

    void Reset() {
      const uint32_t keep_index = index, keep_generation = generation;
      *this = Slot();
      index = keep_index;
      generation = keep_generation;
    }
  };

  struct Listener {
    Endpoint at;
    uint64_t tag;
    bool reuse_port;
    bool open = true, sends = true;
  };

  static void SetTransport(Slot& slot, Transport transport) {
    slot.endless = transport == Transport::kUdp || transport == Transport::kUnixDatagram;
    slot.messages = slot.endless || transport == Transport::kUnixSeqpacket;
  }

  // Each end of datagrams has an address of its own: 127.0.0.0/8 and a port that tell the slot and
  // its generation.
  static sockaddr_in AddressOf(const Slot& slot) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(0x7f000000 | slot.index);
    address.sin_port = htons(static_cast<uint16_t>(1024 + slot.generation % 64512));
    return address;
  }
  Slot* AtAddress(const sockaddr* address) {
    const auto& v4 = *reinterpret_cast<const sockaddr_in*>(address);
    const uint32_t index = ntohl(v4.sin_addr.s_addr) & 0xffffff;
    if (v4.sin_family != AF_INET || index >= slots_.size()) return nullptr;
    Slot& slot = slots_[index];
    return slot.used && slot.endless && AddressOf(slot).sin_port == v4.sin_port ? &slot : nullptr;
  }

  [[nodiscard]] bool Append(const Slot& slot, ByteQueue& queue, Bytes bytes) {
    return slot.messages ? queue.AppendMessage(bytes, blocks_) : queue.Append(bytes, blocks_);
  }

  void List(Slot& slot) {
    if (slot.listed) return;
    slot.listed = true;
    attention_.Push({slot.index, slot.generation});
  }

  Slot* Peer(Slot& slot) { return slot.peer == kNone ? nullptr : &slots_[slot.peer]; }

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
    slot.reset = true;
    Fail(slot, ENOMEM);
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

  void Deliver(Slot& slot, Bytes in) {
    ++slot.progress;
    ++counters_.receives;
    counters_.received_bytes += in.size();
    handler_.OnReceive(*this, slot, in);
  }

  // What a fed connection owes after a callback: nothing ever waits, so it is drained at once.
  void Settle(Slot& slot) {
    if (slot.drain_due && !slot.closing && !slot.dead) {
      slot.drain_due = false;
      handler_.OnDrained(*this, slot);
    }
  }

  void Advance(Slot& slot) {
    if (!slot.open && !slot.dead) {
      slot.open = true;
      handler_.OnOpen(*this, slot);
    }
    if (!slot.dead) Transmit(slot);
    const bool may_receive =
        !slot.ended && !slot.closing && !slot.dead && !slot.paused && !slot.full;
    if (may_receive) Receive(slot);
    if (slot.drain_due && slot.queue.empty() && !slot.closing && !slot.dead) {
      slot.drain_due = false;
      handler_.OnDrained(*this, slot);
    }
    if (slot.finish && !slot.finished && slot.queue.empty() && !slot.dead) SendFin(slot);
    if (slot.dead || (slot.closing && slot.queue.empty())) CloseNow(slot);
  }

  // Moves what is queued into the peer's inbox, as far as its window allows.
  void Transmit(Slot& slot) {
    if (slot.queue.empty()) return;
    ++slot.progress;
    if (slot.endless) return TransmitDatagrams(slot);
    Slot* peer = Peer(slot);
    if (peer == nullptr) return Fail(slot, slot.fin_received ? EPIPE : ECONNRESET);
    if (peer->inbox.bytes() >= kWindow) return;  // it lists us when it has read
    while (!slot.queue.empty() && peer->inbox.bytes() < kWindow) {
      const Bytes front = slot.queue.Front();
      const Bytes out = slot.messages
                            ? front
                            : front.first(std::min(front.size(), kWindow - peer->inbox.bytes()));
      if (!Append(*peer, peer->inbox, out)) return OutOfMemory(slot);
      counters_.sent_bytes += out.size();
      slot.messages ? slot.queue.ConsumeMessage(blocks_) : slot.queue.Consume(out.size(), blocks_);
    }
    ++counters_.sends;
    Drained(slot);
    List(*peer);
  }

  void TransmitDatagrams(Slot& slot) {
    if constexpr (TakesDatagrams<H, NullLoop>) {
      const sockaddr_in from = AddressOf(slot);
      while (!slot.queue.empty() && !slot.dead) {
        const Listener& listener = listeners_[slot.socket];
        if (!listener.open) return Fail(slot, ECONNREFUSED);
        const Bytes bytes = slot.queue.Front();
        counters_.sent_bytes += bytes.size();
        ++counters_.sends;
        if (bytes.size() > options_.recv_buffer_bytes) {
          ++counters_.truncated;
        } else {
          std::copy(bytes.begin(), bytes.end(), buffer_.get());
          ++counters_.receives;
          ++counters_.datagrams_received;
          counters_.received_bytes += bytes.size();
          handler_.OnDatagram(*this,
                              Datagram{.tag = listener.tag,
                                       .socket = slot.socket,
                                       .bytes = {buffer_.get(), bytes.size()},
                                       .path = {.peer = reinterpret_cast<const sockaddr*>(&from),
                                                .peer_size = sizeof(from),
                                                .local = {},
                                                .hops_left = 0}});
        }
        slot.queue.ConsumeMessage(blocks_);
      }
      Drained(slot);
    }
  }

  void Drained(Slot& slot) {
    if (!slot.full || slot.queue.bytes() > options_.pending_bytes_max / 2) return;
    slot.full = false;
    List(slot);
  }

  void Receive(Slot& slot) {
    if (!slot.inbox.empty()) {
      const Bytes front = slot.inbox.Front();
      const Bytes in = front.first(std::min<size_t>(front.size(), options_.recv_buffer_bytes));
      std::copy(in.begin(), in.end(), buffer_.get());
      if (slot.messages) {
        const bool truncated = front.size() > in.size();
        slot.inbox.ConsumeMessage(blocks_);
        truncated ? void(++counters_.truncated) : Deliver(slot, {buffer_.get(), in.size()});
      } else {
        slot.inbox.Consume(in.size(), blocks_);
        Deliver(slot, {buffer_.get(), in.size()});
      }
      if (Slot* peer = Peer(slot); peer != nullptr && !peer->queue.empty()) List(*peer);
      List(slot);
    } else if (slot.fin_received) {
      slot.ended = true;
      handler_.OnEnd(*this, slot);
    }
  }

  void SendFin(Slot& slot) {
    slot.finished = true;
    if (Slot* peer = Peer(slot)) {
      peer->fin_received = true;
      List(*peer);
    }
  }

  void CloseNow(Slot& slot) {
    if (Slot* peer = Peer(slot)) {
      const bool lost = !slot.inbox.empty();  // closed with bytes unread: a reset, as TCP has it
      peer->peer = kNone;
      peer->fin_received = true;
      if (slot.reset || lost) Fail(*peer, ECONNRESET);
      List(*peer);
    }
    slot.queue.Clear(blocks_);
    slot.inbox.Clear(blocks_);
    if (slot.open || !slot.accepted) {
      ++counters_.closed;
      handler_.OnClose(*this, slot, slot.error);
    }
    slots_.Free(slot);
  }

  H& handler_;
  const LoopOptions options_;
  Waker waker_;
  std::deque<Listener> listeners_;
  uint16_t next_port_ = 32768;
  SlotTable<Slot> slots_;
  AttentionList attention_;
  BlockPool blocks_;
  std::unique_ptr<std::byte[]> buffer_;
  bool shutting_down_ = false;
  Counters counters_;
};

}  // namespace io
