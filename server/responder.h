#pragma once

#include <sys/socket.h>
#include <time.h>

#include <algorithm>
#include <bitset>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "io/bytes.h"
#include "io/event_loop.h"
#include "server/delay_queue.h"
#include "server/kept_requests.h"
#include "server/server.h"
#include "server/service_host.h"
#include "server/socket_filter.h"
#include "server/source_limiter.h"

namespace server {

// What the threads of a server share.
struct Common {
  explicit Common(const ServerOptions& its_options)
      : options(its_options),
        services(its_options.service),
        sources(its_options.connections_per_source) {}

  struct Listener {
    uint8_t service = 0;
    io::Endpoint at;
    bool filtered = false;  // accepted sockets inherit a filter, to be detached
  };

  const ServerOptions& options;
  ServiceHost services;
  SourceLimiter sources;
  std::vector<Listener> listeners;    // by tag
  std::bitset<65536> datagram_ports;  // of our own UDP sockets
};

// The server's end of all services, as the handler of a thread's loop: decides who is served, keeps
// a session for each connection, answers through the loop, at once or when a delay has passed, and
// closes who idles or stalls.
class Responder {
 public:
  static constexpr int64_t kNever = INT64_MAX;

  Responder(Common& common, uint32_t thread)
      : common_(common),
        log_(common.options.log != nullptr ? &common.options.log->ring(thread) : nullptr),
        requests_(common.listeners.size()),
        delayed_bytes_max_(common.options.delayed_bytes_max / std::max(1u, common.options.threads)),
        sweep_interval_(SweepInterval(common.options)) {}

  const std::vector<uint64_t>& requests() const { return requests_; }
  const Refusals& refusals() const { return refusals_; }
  size_t delayed() const { return delayed_.size(); }
  size_t delayed_bytes() const { return delayed_.bytes(); }

  // Monotonic time in ns, as delays and limits count it.
  static int64_t Now() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1'000'000'000 + now.tv_nsec;
  }

  // When Tick() is due next; kNever.
  int64_t NextTick() const {
    return std::min(delayed_.NextDue(), open_ > 0 ? next_sweep_ : kNever);
  }

  // Sends the replies that are due, and looks after a part of the connections. To be called after
  // each turn of the loop, when NextTick() has come.
  //
  // Connections are judged by time in which the loop turned. Where this comes late (the process was
  // stopped, the machine slept), what peers sent meanwhile may lie in sockets yet: so first there
  // is another turn, and of a gap that is long beside the limits nothing counts.
  template <class L>
  void Tick(L& loop, int64_t now) {
    delayed_.PopDue(now, [&](uint32_t index, uint32_t generation, io::Bytes out) {
      return index == kDatagram ? SendDelayedDatagram(loop, out)
                                : SendDelayed(loop, index, generation, out);
    });
    if (open_ == 0 || now < next_sweep_) return;
    const int64_t part = sweep_interval_ / kSweepParts, late = now - next_sweep_;
    if (late > sweep_interval_) unjudged_ns_ += late;
    if (late > part && !std::exchange(turns_first_, true)) {
      next_sweep_ = now;
      return;
    }
    turns_first_ = false;
    Sweep(loop, now - unjudged_ns_);
    next_sweep_ = now + part;
  }

  // Ends a connection, as the loop's End() does, once all that it asked is answered.
  template <class L>
  void End(L& loop, io::Connection& c) noexcept {
    Session* session = c.index < sessions_.size() ? &sessions_[c.index] : nullptr;
    const bool its = session != nullptr && session->open && session->generation == c.generation;
    if (!its || session->kept == nullptr) return loop.End(c);
    session->ending = true;
  }

  // --- the loop's callbacks ---------------------------------------------------------------------

  template <class L>
  bool OnAccept(L&, const io::Arrival& arrival) noexcept {
    const Common::Listener& listener = common_.listeners[arrival.tag];
    arriving_source_ = {};
    try {
      if (arrival.peer != nullptr) return AdmitAddress(arrival.peer, arrival.peer_size);
      if (listener.filtered) SocketFilter::Detach(arrival.fd);
      return listener.at.is_unix() ? AdmitProcess(arrival.fd) : AdmitAddress(arrival.fd);
    } catch (const std::bad_alloc&) {
      ++refusals_.no_memory;
      return false;
    }
  }

  template <class L>
  void OnOpen(L& loop, io::Connection& c) noexcept {
    if (!MakeRoom(c.index)) {
      common_.sources.Release(arriving_source_);
      return OutOfMemory(loop, c);
    }
    Session& session = sessions_[c.index];
    session = Session();
    session.generation = c.generation;
    session.open = true;
    session.source = arriving_source_;
    session.service = common_.listeners[c.tag].service;
    if (open_++ == 0)
      next_sweep_ = sweep_interval_ == kNever ? kNever : Now() + sweep_interval_ / kSweepParts;
    if (log_ != nullptr) LogOpen(c);
    common_.services.With(session.service, [&](auto& service, auto number) {
      Reply<L> reply{*this, loop, c, session};
      requests_[c.tag] += service.OnOpen(session.service_session.emplace<number>(), reply);
    });
  }

  template <class L>
  void OnReceive(L& loop, io::Connection& c, io::Bytes in) noexcept {
    Session& session = sessions_.data()[c.index];  // OnOpen made room for it
    if (log_ != nullptr) [[unlikely]]
      logged_[c.index].bytes_in += in.size();
    common_.services.With(session.service, [&](auto& service, auto number) {
      Reply<L> reply{*this, loop, c, session};
      auto* its = std::get_if<number>(&session.service_session);
      if (its == nullptr) __builtin_unreachable();  // OnOpen emplaced it
      requests_.data()[c.tag] += service.OnReceive(*its, in, reply);
    });
  }

  template <class L>
  void OnEnd(L& loop, io::Connection& c) noexcept {
    Session& session = sessions_[c.index];
    if (session.kept == nullptr) return CloseWhenSent(loop, c, session);
    session.closing = true;  // once what it asked is answered
  }

  template <class L>
  void OnDrained(L& loop, io::Connection& c) noexcept {
    Session& session = sessions_[c.index];
    common_.services.With(session.service, [&](auto& service, auto number) {
      Reply<L> reply{*this, loop, c, session};
      auto& its = *std::get_if<number>(&session.service_session);
      if constexpr (requires { service.OnDrained(its, reply); }) {
        requests_[c.tag] += service.OnDrained(its, reply);
      }
      if constexpr (requires { service.kKeeps; }) {
        if (session.kept != nullptr) AnswerKept(service, its, reply);
      }
    });
  }

  template <class L>
  void OnClose(L&, io::Connection& c, int error) noexcept {
    // One for whom there was no memory: its slot may have had a session before.
    if (c.index >= sessions_.size()) return;
    Session& session = sessions_[c.index];
    if (!session.open || session.generation != c.generation) return;
    --open_;
    common_.sources.Release(session.source);
    if (log_ != nullptr) LogClose(c, error);
    session.open = false;
    session.kept.reset();
    if (session.delayed > 0) {
      delayed_.Forget(std::exchange(session.delayed, 0), std::exchange(session.delayed_bytes, 0),
                      [this](uint32_t index, uint32_t generation) {
                        return index == kDatagram || HasSession(index, generation);
                      });
    }
  }

  template <class L>
  void OnDatagram(L& loop, const io::Datagram& in) noexcept {
    if (in.path.peer_size == 0) return;  // nobody to answer
    const bool elsewhere = in.path.peer->sa_family != AF_UNIX;
    if (elsewhere && !AdmitDatagram(in)) return;
    DatagramReply<L> reply{*this, loop, in, elsewhere && !IsLoopback(in.path.peer)};
    common_.services.With(common_.listeners[in.tag].service, [&](auto& service, auto) {
      if constexpr (requires { service.OnDatagram(in.bytes, reply); }) {
        requests_[in.tag] += service.OnDatagram(in.bytes, reply);
      }
    });
  }

 private:
  static constexpr uint32_t kDatagram = ~0u;  // a delayed reply that has no connection
  static constexpr int kSweepParts = 32;      // each sweep looks at one part of the connections

  struct Session {
    uint32_t generation = 0;
    uint32_t progress = 0;       // the connection's, when it was looked at last
    uint64_t taken = 0;          // by the peer, likewise
    int64_t quiet_since_ns = 0;  // when it was first seen with that progress
    int64_t stuck_since_ns = 0;  // while bytes waited, and no more were taken; 0: none waited
    int64_t last_due_ns = 0;     // of its delayed replies
    uint32_t delayed = 0;
    size_t delayed_bytes = 0;            // of memory: DelayQueue::Cost()
    std::unique_ptr<KeptRequests> kept;  // while there are any, it isn't received from
    SourceKey source;
    uint8_t service = 0;
    bool open = false;
    bool closing = false;  // once all is answered, and the delayed replies are sent
    bool ending = false;   // End(), once all is answered
    bool paused = false;   // too much is delayed
    ServiceHost::Session service_session;
  };

  // What becomes of kept requests that are given to a service again.
  struct Again {
    size_t left = 0;  // bytes that it didn't take
    bool closed = false;
  };

  // Kept only where connections are logged.
  struct Logged {
    LogPeer peer;
    int64_t opened_ns = 0;
    uint64_t bytes_in = 0, bytes_out = 0;
  };

  // Where a delayed datagram goes; its payload follows.
  struct SavedPath {
    uint32_t socket;
    socklen_t peer_size;
    io::LocalAddress local;
    uint8_t hops_left;
    sockaddr_storage peer;
  };

  template <class L>
  struct Reply {
    Responder& responder;
    L& loop;
    io::Connection& connection;
    Session& session;
    Again* again = nullptr;

    bool full() const noexcept {
      return loop.unsent(connection) >= responder.common_.options.loop.pending_bytes_max ||
             (again == nullptr && session.kept != nullptr);
    }
    void Keep(io::Bytes rest) noexcept {
      if (again != nullptr) {
        again->left = rest.size();
      } else {
        responder.Keep(loop, connection, session, rest);
      }
    }
    void Write(io::Bytes out) noexcept {
      if (responder.log_ != nullptr) [[unlikely]]
        responder.logged_[connection.index].bytes_out += out.size();
      if (session.delayed > 0) [[unlikely]] {
        return responder.Delay(loop, connection, session, std::chrono::nanoseconds(0), out);
      }
      loop.Send(connection, out);
    }
    void WriteStable(io::Bytes out) noexcept {
      if (responder.log_ != nullptr) [[unlikely]]
        responder.logged_[connection.index].bytes_out += out.size();
      loop.SendStable(connection, out);
    }
    void WriteAfter(std::chrono::nanoseconds delay, io::Bytes out) noexcept {
      if (responder.log_ != nullptr) [[unlikely]]
        responder.logged_[connection.index].bytes_out += out.size();
      responder.Delay(loop, connection, session, delay, out);
    }
    void Close() noexcept {
      if (again != nullptr) again->closed = true;
      responder.CloseWhenSent(loop, connection, session);
    }
    void Violation() noexcept {
      ++responder.refusals_.violations;
      Close();
    }
  };

  template <class L>
  struct DatagramReply {
    Responder& responder;
    L& loop;
    const io::Datagram& in;
    bool distrusted;  // the sender's address may be forged

    size_t room() const noexcept {
      return distrusted ? in.bytes.size() : io::DatagramBytesMax(in.path.peer->sa_family);
    }
    void Write(io::Bytes out) noexcept {
      if (Fits(out)) loop.SendDatagram(in.socket, in.path, out);
    }
    void WriteAfter(std::chrono::nanoseconds delay, io::Bytes out) noexcept {
      if (Fits(out)) responder.DelayDatagram(in, delay, out);
    }
    bool Fits(io::Bytes out) noexcept {
      if (out.size() <= room()) return true;
      ++responder.refusals_.datagrams_amplified;
      return false;
    }
  };

  // --- who is served ----------------------------------------------------------------------------

  bool AdmitAddress(int fd) {
    sockaddr_storage storage;
    socklen_t size = sizeof(storage);
    auto* peer = reinterpret_cast<sockaddr*>(&storage);
    if (getpeername(fd, peer, &size) != 0) return false;  // it is gone already (ENOTCONN)
    return AdmitAddress(peer, size);
  }

  bool AdmitAddress(const sockaddr* peer, socklen_t size) {
    if (!common_.options.access.Allows(peer)) {
      ++refusals_.denied;
      return false;
    }
    if (!common_.sources.Admit(peer, &arriving_source_)) {
      ++refusals_.over_source_limit;
      return false;
    }
    if (log_ != nullptr) arriving_peer_ = LogPeer(peer, size);
    return true;
  }

  bool AdmitProcess(int fd) {
    const UnixAccess& access = common_.options.unix_access;
    if (log_ == nullptr && access.uids.empty() && access.gids.empty()) return true;
    const auto peer = ReadPeerCredentials(fd);
    if (!peer.ok() || !access.Allows(*peer)) {
      ++refusals_.denied;
      return false;
    }
    arriving_peer_ = LogPeer(ucred{.pid = peer->pid, .uid = peer->uid, .gid = peer->gid});
    return true;
  }

  // A datagram's sender may be forged, and another server: two that answer each other never stop.
  bool AdmitDatagram(const io::Datagram& in) {
    if (!common_.options.access.Allows(in.path.peer)) {
      ++refusals_.denied;
      return false;
    }
    const uint16_t port = ntohs(reinterpret_cast<const sockaddr_in*>(in.path.peer)->sin_port);
    const bool may_bounce = port < IPPORT_RESERVED || common_.datagram_ports[port];
    if (!may_bounce && in.path.hops_left != 1) return true;  // 1: it has bounced all the way down
    ++refusals_.datagrams_refused;
    return false;
  }

  // Nobody elsewhere can forge a loopback address: such packets are dropped as martians.
  static bool IsLoopback(const sockaddr* peer) {
    if (peer->sa_family == AF_INET) {
      return (ntohl(reinterpret_cast<const sockaddr_in*>(peer)->sin_addr.s_addr) >> 24) == 127;
    }
    const in6_addr& address = reinterpret_cast<const sockaddr_in6*>(peer)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(&address) ||
           (IN6_IS_ADDR_V4MAPPED(&address) && address.s6_addr[12] == 127);
  }

  // --- memory -----------------------------------------------------------------------------------

  bool HasSession(uint32_t index, uint32_t generation) const {
    return sessions_[index].open && sessions_[index].generation == generation;
  }

  // For the session in this slot, and what is logged of it. False: there is no memory.
  bool MakeRoom(uint32_t index) noexcept {
    if (index < sessions_.size()) [[likely]]
      return true;
    try {
      if (log_ != nullptr) logged_.resize(index + 1);
      sessions_.resize(index + 1);
    } catch (const std::bad_alloc&) {
      return false;
    }
    return true;
  }

  // What can't be kept for a connection ends it, and nobody else. It is counted once, whatever its
  // service writes before that comes about.
  template <class L>
  void Drop(L& loop, io::Connection& c, uint64_t Refusals::*why) noexcept {
    if (loop.Find(c.index, c.generation) == nullptr) return;  // it ends already
    ++(refusals_.*why);
    loop.Abort(c);
  }
  template <class L>
  void OutOfMemory(L& loop, io::Connection& c) noexcept {
    Drop(loop, c, &Refusals::no_memory);
  }

  // --- requests that wait -----------------------------------------------------------------------

  // Keeps what a service has no room to answer, and receives nothing more before it has.
  template <class L>
  void Keep(L& loop, io::Connection& c, Session& session, io::Bytes rest) noexcept {
    if (session.kept == nullptr) {
      session.kept.reset(new (std::nothrow) KeptRequests);
      loop.PauseReceive(c);
    }
    if (session.kept == nullptr || !session.kept->Add(rest, c.messages)) OutOfMemory(loop, c);
  }

  // All that was answered has left: answers more, up to the bound.
  template <class L>
  void AnswerKept(auto& service, auto& its, Reply<L>& reply) {
    const std::unique_ptr<KeptRequests>& kept = reply.session.kept;
    Again again;
    reply.again = &again;
    while (!kept->empty() && !again.closed && !reply.full()) {
      again.left = 0;
      requests_[reply.connection.tag] += service.OnReceive(its, kept->Front(), reply);
      kept->Take(again.left);
    }
    if (!kept->empty() && !again.closed) return;
    reply.session.kept.reset();
    if (again.closed) return;
    if (reply.session.ending) reply.loop.End(reply.connection);
    if (reply.session.closing) return CloseWhenSent(reply.loop, reply.connection, reply.session);
    if (!reply.session.paused) reply.loop.ResumeReceive(reply.connection);
  }

  // --- replies that wait ------------------------------------------------------------------------

  // A connection's replies count like bytes pending. Those of all have a bound as well: from half
  // of it on, who adds to them isn't received from until some of his have left, and who exceeds it
  // is reset.
  template <class L>
  void Delay(L& loop, io::Connection& c, Session& session, std::chrono::nanoseconds delay,
             io::Bytes out) {
    const size_t cost = DelayQueue::Cost(out.size());
    if (delayed_.bytes() + cost > delayed_bytes_max_) {
      return Drop(loop, c, &Refusals::over_delayed_limit);
    }
    session.last_due_ns = std::max(session.last_due_ns, Now() + delay.count());
    if (!delayed_.Add(session.last_due_ns, c.index, c.generation, out)) return OutOfMemory(loop, c);
    ++session.delayed;
    session.delayed_bytes += cost;
    if (!session.paused && (session.delayed_bytes >= common_.options.loop.pending_bytes_max ||
                            delayed_.bytes() >= delayed_bytes_max_ / 2)) {
      session.paused = true;
      loop.PauseReceive(c);
    }
  }

  // False where it was forgotten: its connection has closed.
  template <class L>
  bool SendDelayed(L& loop, uint32_t index, uint32_t generation, io::Bytes out) {
    if (!HasSession(index, generation)) return false;
    Session& session = sessions_[index];
    --session.delayed;
    session.delayed_bytes -= DelayQueue::Cost(out.size());
    io::Connection* c = loop.Find(index, generation);
    if (c == nullptr) return true;  // it is about to close
    loop.Send(*c, out);
    if (session.paused && session.delayed_bytes <= common_.options.loop.pending_bytes_max / 2) {
      session.paused = false;
      loop.ResumeReceive(*c);
    }
    if (session.closing && session.delayed == 0) loop.Close(*c);
    return true;
  }

  template <class L>
  void CloseWhenSent(L& loop, io::Connection& c, Session& session) {
    if (session.delayed == 0) return loop.Close(c);
    session.closing = true;
    loop.PauseReceive(c);
  }

  void DelayDatagram(const io::Datagram& in, std::chrono::nanoseconds delay, io::Bytes out) {
    // Half of the bound: they can't be held back.
    if (delayed_.bytes() + DelayQueue::Cost(sizeof(SavedPath) + out.size()) >
        delayed_bytes_max_ / 2) {
      ++refusals_.over_delayed_limit;
      return;
    }
    SavedPath path = {.socket = in.socket,
                      .peer_size = in.path.peer_size,
                      .local = in.path.local,
                      .hops_left = in.path.hops_left,
                      .peer = {}};
    std::memcpy(&path.peer, in.path.peer, in.path.peer_size);
    const io::Bytes head = {reinterpret_cast<const std::byte*>(&path), sizeof(path)};
    if (!delayed_.Add(Now() + delay.count(), kDatagram, 0, head, out)) ++refusals_.no_memory;
  }

  template <class L>
  bool SendDelayedDatagram(L& loop, io::Bytes saved) {
    SavedPath path;
    std::memcpy(&path, saved.data(), sizeof(path));
    loop.SendDatagram(path.socket,
                      {.peer = reinterpret_cast<sockaddr*>(&path.peer),
                       .peer_size = path.peer_size,
                       .local = path.local,
                       .hops_left = path.hops_left},
                      saved.subspan(sizeof(path)));
    return true;
  }

  // --- limits -----------------------------------------------------------------------------------

  // Each connection is looked at once an interval: a quarter of the shorter limit, so that nobody
  // outlasts his by more than a quarter.
  static int64_t SweepInterval(const ServerOptions& options) {
    int64_t shortest = kNever;
    for (const io::Nanos limit : {options.idle_timeout, options.stall_timeout}) {
      if (limit.count() > 0) shortest = std::min(shortest, limit.count());
    }
    return shortest == kNever ? kNever : std::max<int64_t>(shortest / 4, kSweepParts * 1'000'000);
  }

  template <class L>
  void Sweep(L& loop, int64_t now) {
    for (size_t i = sweep_part_; i < sessions_.size(); i += kSweepParts) {
      Session& session = sessions_[i];
      if (!session.open) continue;
      io::Connection* c = loop.Find(static_cast<uint32_t>(i), session.generation);
      if (c != nullptr) LookAfter(loop, *c, session, now);
    }
    sweep_part_ = (sweep_part_ + 1) % kSweepParts;
  }

  template <class L>
  void LookAfter(L& loop, io::Connection& c, Session& session, int64_t now) {
    const int64_t stall = common_.options.stall_timeout.count();
    const uint64_t taken = loop.unsent(c) > 0 ? loop.taken_by_peer(c) : 0;
    if (loop.unsent(c) == 0) {
      session.stuck_since_ns = 0;
    } else if (session.stuck_since_ns == 0 || session.taken != taken) {
      session.taken = taken;
      session.stuck_since_ns = now;
      session.quiet_since_ns = now;  // whoever takes bytes is not idle, and who stalls not either
    } else if (stall > 0 && now - session.stuck_since_ns >= stall) {
      ++refusals_.stalled;
      return loop.Abort(c);
    }
    if (session.quiet_since_ns == 0 || session.progress != c.progress || session.delayed > 0) {
      session.progress = c.progress;
      session.quiet_since_ns = now;
      return;
    }
    const int64_t quiet = now - session.quiet_since_ns;
    const int64_t idle = common_.options.idle_timeout.count();
    if (idle > 0 && quiet >= idle) {
      ++refusals_.idle;
      loop.unsent(c) > 0 ? loop.Abort(c) : loop.Close(c);
    }
  }

  // --- the log ----------------------------------------------------------------------------------

  static int64_t WallClock() {
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1'000'000'000 + now.tv_nsec;
  }

  void LogOpen(const io::Connection& c) {
    logged_[c.index] = {.peer = arriving_peer_, .opened_ns = Now()};
    log_->Push({.time_ns = WallClock(),
                .event = ConnectionRecord::Event::kOpen,
                .listener = static_cast<uint16_t>(c.tag),
                .peer = arriving_peer_});
  }

  void LogClose(const io::Connection& c, int error) {
    const Logged& logged = logged_[c.index];
    log_->Push({.time_ns = WallClock(),
                .event = ConnectionRecord::Event::kClose,
                .listener = static_cast<uint16_t>(c.tag),
                .error = error,
                .bytes_in = logged.bytes_in,
                .bytes_out = logged.bytes_out,
                .duration_ns = Now() - logged.opened_ns,
                .peer = logged.peer});
  }

  Common& common_;
  ConnectionRing* const log_;
  std::vector<Session> sessions_;   // by slot
  std::vector<Logged> logged_;      // by slot
  std::vector<uint64_t> requests_;  // by listener
  Refusals refusals_;
  DelayQueue delayed_;
  const uint64_t delayed_bytes_max_;  // this thread's part of the server's
  SourceKey arriving_source_;         // of the connection that OnAccept let pass, until its OnOpen
  LogPeer arriving_peer_;
  uint64_t open_ = 0;
  const int64_t sweep_interval_;  // in which all connections are looked at once
  int64_t next_sweep_ = kNever;
  size_t sweep_part_ = 0;
  bool turns_first_ = false;  // a sweep came late, and waits for another turn
  int64_t unjudged_ns_ = 0;   // all gaps together, in which the loop didn't turn
};

}  // namespace server
