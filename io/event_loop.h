#pragma once

// The contract of an event loop: what io/epoll_loop.h, io/uring_loop.h and io/null_loop.h promise
// alike, and what tests/contract/ holds them to.
//
//   * Receive is pushed. There is no Recv(): the loop lends bytes to its handler, so that a backend
//     whose kernel picks the buffer (io_uring) needs no copy.
//   * One thread. A loop is opened, run and closed by one thread; only Wake() may be called by
//     another. Every callback runs inside RunOnce() (or Shutdown()), never inside Send(),
//     Connect(), Close() or another callback of the same loop.
//   * Send() takes the bytes or copies them. Bytes are sent in the order they were given. Bytes
//     that lie inside what OnReceive was just lent are borrowed where that is cheaper.
//   * Bounds. Bytes that were received and not yet sent on, and bytes queued otherwise, count as
//     pending. At pending_bytes_max the loop stops receiving from that connection until half of
//     them have left; what is received meanwhile fits in the bound (io_uring before Linux 6.17: it
//     may exceed it by what was under way). At connections_max, or without a free descriptor, it
//     stops accepting until a connection closed: who comes meanwhile waits in the backlog, and is
//     served then. Handlers don't see either; the counters do.
//   * Memory that can't be had ends the connection that needs it: it is reset, OnClose says ENOMEM,
//     and `no_memory` counts it. Who can't be accepted for want of memory waits in the backlog (or,
//     where the kernel has accepted him already, is reset); a datagram is dropped. Nothing is
//     thrown once the loop is open, but by what returns a status: Listen() and Connect().
//   * What the kernel loses for want of memory (EBADR of io_uring_enter(2)) nobody can know: all
//     connections with something under way are reset, with EBADR, `lost_completions` counts it, and
//     the loop goes on with others.
//   * After PauseReceive(), bytes that were already under way may still come. A peer's reset is
//     seen at the latest when something is sent to it, or received from it again.
//   * Two ends that each queue more than pending_bytes_max in one piece, and read nothing
//     meanwhile, wait for each other: a bound is a bound.
//   * OnClose comes exactly once for each OnOpen, and once for each Connect() that failed (then
//     without OnOpen). After it, the Connection may serve another peer.
//   * A connect has no time limit but the kernel's, of minutes; to a full Unix socket it has none.
//     Who wants one keeps the Connection of Connect(), which is valid until its OnOpen or OnClose,
//     and calls Abort(): OnClose follows, without OnOpen and without an error. Find() doesn't see
//     it before it is open.
//   * Connecting from a chosen source (ConnectOptions::from). What bind(2) refuses, Connect()
//     returns: AlreadyExists (EADDRINUSE: another socket has the port), NotFound (EADDRNOTAVAIL:
//     the address is none of this machine's), PermissionDenied (a privileged port; a directory),
//     InvalidArgument (the source is of another kind than the destination). That the combination of
//     both addresses is taken only connect(2) finds: OnClose with EADDRNOTAVAIL.
//   * Messages. A connection over a transport that keeps messages (Unix seqpacket; UDP and Unix
//     datagrams from the side that connected) carries one with each Send() and each OnReceive. One
//     that is longer than recv_buffer_bytes is dropped and counted. Datagrams are lost without a
//     word, and never end: no OnEnd.
//   * Datagram sockets. Listen() on UDP or Unix datagrams opens one socket for all peers. What
//     comes is lent to OnDatagram, with the path it took; SendDatagram() sends along a path, at
//     once or never: where the kernel does not take it, it is dropped and counted. An answer goes
//     out with one hop less than it was asked with (DatagramPath). A socket that fails again and
//     again is left alone for a moment each time (io/datagram_pause.h).

#include <sys/socket.h>

#include <chrono>
#include <concepts>
#include <cstdint>
#include <ctime>
#include <string_view>

#include "absl/status/statusor.h"
#include "io/bytes.h"
#include "io/counters.h"
#include "io/datagram.h"
#include "io/endpoint.h"
#include "io/loop_features.h"

namespace io {

using Nanos = std::chrono::nanoseconds;

// For RunOnce(): wait until something happens.
inline constexpr Nanos kForever = Nanos::max();

// A timeout as the kernel's calls take it; one that has passed already is none to wait for.
inline timespec ToTimespec(Nanos timeout) {
  if (timeout < Nanos::zero()) timeout = Nanos::zero();
  return {.tv_sec = static_cast<time_t>(timeout.count() / 1'000'000'000),
          .tv_nsec = static_cast<long>(timeout.count() % 1'000'000'000)};
}

// One end of a stream, or of an exchange of messages, as a handler sees it. It belongs to the loop.
struct Connection {
  uint32_t index = 0;       // its slot: < connections_max; no two open connections share one
  uint32_t generation = 0;  // how many earlier connections had this slot
  uint64_t tag = 0;         // the caller's own: what was given to Listen() or Connect()
  bool accepted = false;    // by a listener; otherwise we connected
  bool messages = false;    // the transport keeps them
  uint32_t progress = 0;    // changes whenever bytes came or left; wraps
  // In OnReceive: when the kernel received the last of these bytes, CLOCK_REALTIME. 0 where it
  // doesn't say (ConnectOptions::receive_timestamps).
  int64_t received_at_ns = 0;
};

// A connection that was accepted, as OnAccept is asked about it.
struct Arrival {
  uint64_t tag = 0;                // its listener's
  int fd = -1;                     // to ask the kernel about it; -1: it took a direct descriptor
  const sockaddr* peer = nullptr;  // where that one comes from; for the call
  socklen_t peer_size = 0;
};

struct LoopOptions {
  uint32_t recv_buffer_bytes = 64 * 1024;  // the most that one OnReceive carries
  uint32_t recv_buffers = 1024;            // io_uring: provided buffers, at most 32768
  uint32_t pending_bytes_max = 48 * 1024;  // a connection, waiting to be sent
  uint32_t connections_max = 1'000'000;
  uint32_t submission_entries = 1024;  // io_uring: the submission ring; halved where memory lacks
  uint32_t completion_entries = 8192;  // io_uring: the completion ring
  // io_uring (Linux 6.7): so many connections that we open, over IP, take no file descriptor each,
  // but one of the ring's own table (io/direct_descriptors.h); 0: none. taken_by_peer() sees of
  // these whole sends only. Where it can't be had, Open() says why; epoll has nothing like it.
  uint32_t direct_descriptors = 0;
  // io_uring (Linux 6.7): likewise, so many connections that we accept, over IP; 0: accepted ones
  // take a file descriptor each. Both numbers together are the ring's table. Listeners with
  // ListenOptions::shared fill the tables of several loops evenly.
  uint32_t direct_accepts = 0;
  // What is done otherwise than by default. Of the other backend's nothing is looked at. Open()
  // refuses what this kernel doesn't have.
  FeatureSwitches features = {};
  uint32_t events_max = 512;  // epoll: taken by one wait
  // io_uring (Linux 6.12): gathers completions for so long before it returns with fewer than a
  // batch; 0: returns with the first. At least one has to come.
  uint32_t min_wait_us = 0;
  uint32_t loops = 1;      // such loops of this process: how many an error says the needs of
  bool datagrams = false;  // io_uring: Open() has memory for datagram listeners, or says why not;
                           // else the first Listen() of one does
};

struct ListenOptions {
  int backlog = 4096;       // listen(2): the kernel caps it at net.core.somaxconn
  bool reuse_port = false;  // SO_REUSEPORT: several loops share the address, the kernel divides
  uint64_t tag = 0;         // becomes the tag of each accepted connection, and of each datagram
  int fd = -1;              // a socket that is bound and listens already: the loop's from now on
  bool udp_gro = false;     // UDP: takes, and answers, several datagrams of a peer in one piece
  bool shared = false;      // other loops accept from the same socket: Unix has no SO_REUSEPORT
};

struct ConnectOptions {
  // Where to connect from; nullptr: the kernel picks. Read in Connect() only.
  //   * IP: an address, or the wildcard for any, and a port. Port 0 is picked by connect(2), so
  //   that
  //     it may serve several destinations at once (IP_BIND_ADDRESS_NO_PORT, ip(7)). Another may be
  //     in TIME_WAIT, or in use to another destination, if that socket was bound like this
  //     (SO_REUSEADDR; not over UDP, where two sockets would share what comes).
  //   * Unix: a path or an abstract name of its own. A path stays behind: the caller removes it.
  // NullLoop has nothing to bind, and ignores it.
  const Endpoint* from = nullptr;
  // Has the kernel note when it receives, and Connection::received_at_ns tell it: over TCP, MPTCP
  // and UDP. A segment may hold bytes that are lent later only; the time is that of the newest
  // segment. The first packets may have none, since the kernel starts to note times, for the whole
  // machine, a moment after the first socket asked. Unix sockets have none, and NullLoop neither.
  // Receiving costs such a connection more; others nothing.
  bool receive_timestamps = false;
};

// What a loop calls. All are noexcept; `c` is valid for the call, and later until OnClose.
template <class H, class L>
concept Handler = requires(H h, L& loop, Connection& c, Bytes in, int error) {
  { h.OnOpen(loop, c) }
  noexcept;  // accepted, or connected
  { h.OnReceive(loop, c, in) }
  noexcept;  // in: 1 to recv_buffer_bytes bytes, lent
  { h.OnEnd(loop, c) }
  noexcept;  // the peer will send no more; we still may
  { h.OnDrained(loop, c) }
  noexcept;  // all that was sent is with the kernel
  { h.OnClose(loop, c, error) }
  noexcept;  // error: an errno, or 0
};

// What a handler may have besides:
//   * void OnDatagram(L&, const Datagram&) noexcept. REQUIRED to listen on datagrams.
//   * bool OnAccept(L&, const Arrival&) noexcept: whether an accepted connection is welcome. If
//   not,
//     it is reset, and nothing else is called for it; if it is, its OnOpen follows at once.
template <class H, class L>
concept TakesDatagrams = requires(H h, L& loop, const Datagram& datagram) {
  { h.OnDatagram(loop, datagram) }
  noexcept;
};
template <class H, class L>
concept ChecksPeers = requires(H h, L& loop, const Arrival& arrival) {
  { h.OnAccept(loop, arrival) } -> std::same_as<bool>;
};

template <class L>
concept EventLoop = requires(L loop, Connection& c, const Endpoint& at, const ListenOptions& listen,
                             uint64_t tag, const ConnectOptions& connect, Bytes out, Nanos timeout,
                             const DatagramPath& path) {
  { L::kName } -> std::convertible_to<std::string_view>;
  // Whether this backend runs here. If not: why (kernel, sysctl, seccomp, memlock) and the mend.
  { L::Probe() } -> std::same_as<absl::Status>;
  // Takes what the loop needs from the kernel, for the calling thread.
  { loop.Open() } -> std::same_as<absl::Status>;
  // Accepts connections, or takes datagrams, at `at`; port 0 picks a free one. Returns the real
  // address.
  { loop.Listen(at, listen) } -> std::same_as<absl::StatusOr<Endpoint>>;
  // Accepts no more, and takes no more datagrams. Connections that wait in the backlog are reset by
  // the kernel, unless somebody else holds the listener too.
  { loop.StopListening() }
  noexcept;
  // The same where somebody else holds the sockets too, and loses nobody: whom the kernel has given
  // us is served, also those of waiting(), and datagrams can be sent until StopListening().
  { loop.RetireListeners() }
  noexcept;
  // Listeners and datagram sockets from which something can still come: 0 some turns after
  // StopListening() or RetireListeners().
  { loop.listening() } -> std::convertible_to<uint32_t>;
  // Who is accepted already, and waits for connections_max to allow it.
  { loop.waiting() } -> std::convertible_to<uint32_t>;
  // Starts to connect. Errors here are the machine's (no descriptor, a source that can't be bound);
  // the peer's, and those of connect(2), come as OnClose.
  { loop.Connect(at, tag) } -> std::same_as<absl::StatusOr<Connection*>>;
  { loop.Connect(at, tag, connect) } -> std::same_as<absl::StatusOr<Connection*>>;
  { loop.Send(c, out) }
  noexcept;
  // Send() without a copy: the bytes stay as they are until OnDrained or OnClose. REQUIRES: all
  // that was sent before has drained.
  { loop.SendStable(c, out) }
  noexcept;
  // Sends a datagram from socket number `socket` (Datagram::socket). Any time, not only in
  // OnDatagram.
  { loop.SendDatagram(uint32_t{}, path, out) }
  noexcept;
  // Sends what is queued, then tells the peer that no more comes (FIN). Receiving goes on.
  { loop.End(c) }
  noexcept;
  // Sends what is queued, then closes.
  { loop.Close(c) }
  noexcept;
  // Closes now, with a reset where the transport has one; what is queued is lost.
  { loop.Abort(c) }
  noexcept;
  // Stops and resumes receiving from this peer: its window fills, and it feels it.
  { loop.PauseReceive(c) }
  noexcept;
  { loop.ResumeReceive(c) }
  noexcept;
  // Waits up to `timeout` for something to happen and handles it; doesn't wait where the handler
  // had to be called before. May return early. An error is the loop's end.
  { loop.RunOnce(timeout) } -> std::same_as<absl::Status>;
  // Ends the current, or the next, wait of RunOnce(). Any thread, and signal handlers: errno stays
  // as it is.
  { loop.Wake() }
  noexcept;
  // Aborts all connections, with their OnClose, and returns when the kernel holds nothing of ours.
  { loop.Shutdown() }
  noexcept;
  // Bytes that wait to be sent.
  { loop.unsent(c) } -> std::convertible_to<size_t>;
  // Changes when the peer takes some of what was sent to it, also in the middle of a send. One
  // system call.
  { loop.taken_by_peer(c) } -> std::convertible_to<uint64_t>;
  // Its descriptor, to ask the kernel about it; it stays the loop's. -1 where it has none, or a
  // direct one.
  { loop.fd(c) } -> std::convertible_to<int>;
  // The open connection that has this slot in this generation, or nullptr: it is gone.
  { loop.Find(uint32_t{}, uint32_t{}) } -> std::same_as<Connection*>;
  { loop.counters() } -> std::same_as<const Counters&>;
  { loop.connections() } -> std::convertible_to<uint32_t>;           // open, opening or closing
  { loop.operations_in_kernel() } -> std::convertible_to<uint64_t>;  // 0 after Shutdown()
  { loop.buffers_lent() } -> std::convertible_to<uint32_t>;          // 0 when nothing is being sent
  // Calls f(Connection&) for each open connection.
  {loop.ForEachConnection([](Connection&) {})};
};

}  // namespace io
