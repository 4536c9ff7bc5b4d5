#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "io/counters.h"
#include "io/endpoint.h"
#include "io/event_loop.h"
#include "server/access_list.h"
#include "server/connection_log.h"
#include "server/systemd.h"
#include "server/takeover.h"
#include "server/unix_access.h"
#include "services/service.h"

namespace server {

// The services that there are, for ListenSpec::service.
std::vector<std::string> ServiceNames();

// A service at an address.
struct ListenSpec {
  std::string service = "echo";  // a name of services::All
  io::Endpoint at;
};

struct ServerOptions {
  std::vector<ListenSpec> listeners;  // at least one
  std::string backend = "io_uring";   // a name of io::Loops
  std::string backend_fallback;       // why it isn't the first choice; "" where it is
  uint32_t threads = 1;
  std::vector<int> cpus;  // thread i is pinned to cpus[i mod size]; empty: not pinned
  int backlog = 4096;     // listen(2), for each thread's listener
  bool udp_gro = false;   // io::ListenOptions
  services::ServiceOptions service;
  // connections_max and the rest are of each thread.
  io::LoopOptions loop;
  bool busy_poll = false;                  // never sleep
  uint32_t connections_per_source = 0;     // over all threads; 0: any number
  uint64_t delayed_bytes_max = 256 << 20;  // of replies that wait for their time; divided evenly
                                           // among the threads
  io::Nanos idle_timeout{0};               // nothing came or left for so long; 0: never
  io::Nanos stall_timeout{0};              // bytes wait, and the peer took none; 0: never
  AccessList access;
  UnixAccess unix_access;
  ConnectionLog* log = nullptr;  // one ring a thread; nullptr: no log
  io::Nanos drain_deadline = std::chrono::seconds(5);
  // How long a thread may leave a word of ours without an answer before it is taken for one that
  // hangs; five times that for its end.
  io::Nanos thread_patience = std::chrono::seconds(2);
};

// What became of peers that were not served, or not to the end.
struct Refusals {
  uint64_t denied = 0;             // by the access list, or by the uid and gid lists
  uint64_t over_source_limit = 0;  // connections_per_source was reached
  uint64_t idle = 0;               // closed at idle_timeout
  uint64_t stalled = 0;            // closed at stall_timeout
  uint64_t violations = 0;         // broke the service's protocol
  uint64_t datagrams_refused = 0;  // their answer could bounce for ever: from a well-known port, or
                                   // one of ours, or after as many bounces as IP has hops
  uint64_t over_delayed_limit = 0;   // reset, or datagrams not answered: delayed_bytes_max
  uint64_t no_memory = 0;            // ended, not accepted, or datagrams not answered: ENOMEM
  uint64_t datagrams_amplified = 0;  // not answered: the answer would be longer than the question

  void Merge(const Refusals& other) {
    denied += other.denied;
    over_source_limit += other.over_source_limit;
    idle += other.idle;
    stalled += other.stalled;
    violations += other.violations;
    datagrams_refused += other.datagrams_refused;
    over_delayed_limit += other.over_delayed_limit;
    no_memory += other.no_memory;
    datagrams_amplified += other.datagrams_amplified;
  }
};

// What a server, or one of its threads, did so far.
struct ServerSummary {
  io::Counters io;
  std::string features;  // what the backend ran with: io_uring's, as far as the kernel has them
  std::vector<uint64_t> requests;  // answered, as each listener's service counts them
  Refusals refusals;
  uint64_t open = 0;                 // connections, now; at the end: when draining began
  uint64_t aborted_at_deadline = 0;  // of these, reset because the drain deadline passed
  uint64_t delayed = 0;              // replies that wait for their time
  uint64_t delayed_bytes = 0;        // of memory that these hold
  int64_t cpu_ns = 0;                // of the worker threads, user and system
  int64_t elapsed_ns = 0;            // since all threads listened

  uint64_t requests_total() const {
    uint64_t sum = 0;
    for (uint64_t each : requests) sum += each;
    return sum;
  }
  void Merge(const ServerSummary& other);
};

// A listener as it became: the real address.
struct OpenedListener {
  std::string service;
  io::Endpoint at;
  std::string request_unit;  // what the service counts: "receive", "line", "64 bytes", ...
  bool inherited = false;    // from a predecessor, or the service manager
};

// A server: an event loop for each thread, and on it a socket of each listener. TCP and UDP have a
// SO_REUSEPORT socket a thread; Unix sockets are shared by all threads, and those of TCP where
// accepted connections take direct descriptors.
//
// Its life: Open() -> [drop privileges] -> Start() -> [finish a takeover] -> Serve() -> Drain() or
// Retire() -> Wait(). All belong to one thread.
class Server {
 public:
  explicit Server(ServerOptions options);
  ~Server();

  // Opens all sockets, or adopts those that a predecessor or the service manager (`activated`,
  // which then stand for all of options.listeners) passed. What of them isn't asked for is closed,
  // and told in warnings(). Errors: as of io::OpenListener().
  absl::Status Open(std::vector<PassedSocket> inherited = {},
                    std::vector<ActivatedSocket> activated = {});

  // Where connections are logged: a ring a thread. REQUIRES: before Start().
  void LogTo(ConnectionLog* log) { options_.log = log; }

  // Starts the threads, up to the point where each has its loop, and nothing is accepted yet. With
  // an error nothing is left running; where it is of the backend (io::IsBackendRefused()), it may
  // be called again after UseBackend().
  absl::Status Start();
  // Another backend, since the one that was asked for can't run: `why`. REQUIRES: before Start(),
  // or after one that failed.
  void UseBackend(const std::string& backend, const std::string& why);

  // Accepts, from now on.
  absl::Status Serve();

  // The real addresses, after Open().
  const std::vector<OpenedListener>& listeners() const;
  // What went not quite as it was asked for, after Open(): one sentence each.
  const std::vector<std::string>& warnings() const;
  // Copies of the listeners' descriptors, for a successor: they stay open until the server is gone.
  std::vector<PassedSocket> SocketsToPass() const;

  // Stops accepting, answers what is under way, sends FIN on each connection, and resets those that
  // the peer has not closed by the drain deadline. Returns at once; Wait() waits.
  void Drain() noexcept;
  // Stops accepting, and returns when every thread has; serves on whoever is connected, until the
  // last has closed. The sockets live on with a successor. DeadlineExceeded, with the numbers of
  // the threads that hang: these have not answered for the patience. Such a thread accepts nobody
  // while it hangs, and stops when it goes on; so the successor may begin all the same.
  absl::Status Retire();
  // Ends a drain early: resets what is left.
  void Abort() noexcept;

  // What all threads did so far; what a thread that is busy for longer than 200 ms did, as it was
  // asked last. By thread, if asked for.
  ServerSummary Snapshot(std::vector<ServerSummary>* by_thread = nullptr);

  // Waits until every thread ended, and adds up. A thread that failed gives its error.
  // DeadlineExceeded, with the numbers of the threads that hang: they have not ended for five times
  // the patience after Abort(), or after the deadline of Drain(). Of these the summary has what
  // they told last; they are left to themselves, with what they use, but for options.log: end the
  // process before that goes.
  absl::Status Wait(ServerSummary* summary);
  // How long until a thread that hasn't ended is one that hangs; io::kForever while none is to end.
  io::Nanos UntilOverdue() const;
  // Becomes readable (poll(2)) when the first thread failed, or all have ended.
  int ended_fd() const;
  // With which backend, and what else was asked for.
  const ServerOptions& options() const { return options_; }

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;  // with the threads: one that hangs may outlive us
  ServerOptions& options_;          // *shared_'s
};

}  // namespace server
