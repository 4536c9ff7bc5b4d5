#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "io/counters.h"
#include "io/endpoint.h"
#include "io/event_loop.h"
#include "services/service.h"

namespace server {

// The services that there are, for ServerOptions::service.
std::vector<std::string> ServiceNames();

struct ServerOptions {
  io::Endpoint at;
  std::string backend = "io_uring";  // a name of io::Loops
  std::string service = "echo";      // a name of services::All
  uint32_t threads = 1;
  std::vector<int> cpus;       // thread i is pinned to cpus[i mod size]; empty: not pinned
  int backlog = 4096;          // listen(2), for each thread's listener
  uint64_t message_bytes = 0;  // what counts as a request, of services of bytes; 0: one receive
  std::string reply_text = services::ServiceOptions().text;
  services::Delay delay;
  io::LoopOptions loop;
  io::Nanos drain_deadline = std::chrono::seconds(5);
};

// What a server did, over all threads.
struct ServerSummary {
  io::Counters io;
  std::string features;   // what the backend ran with: io_uring's, as far as the kernel has them
  uint64_t requests = 0;  // answered, as the service counts them
  uint64_t open_at_drain = 0;        // connections, when draining began
  uint64_t aborted_at_deadline = 0;  // of these, reset because the drain deadline passed
  int64_t cpu_ns = 0;                // of the worker threads, user and system
  int64_t elapsed_ns = 0;            // since all threads listened
};

// A server: a listener (SO_REUSEPORT) and an event loop for each thread. Start() and Stop() belong
// to one thread.
class Server {
 public:
  explicit Server(ServerOptions options);
  ~Server();

  // Returns when every thread listens, or with the first thread's error: nothing is left running
  // then. REQUIRES: called once.
  absl::Status Start();

  // The real address, after Start().
  const io::Endpoint& address() const { return address_; }
  // The request that the service counts ("receive", "line", "64 bytes", ...).
  std::string request_unit() const;

  // Stops accepting, answers what is under way, sends FIN on each connection, and resets those that
  // the peer has not closed by the drain deadline. Returns at once; Wait() waits.
  void Drain() noexcept;
  // Ends a drain early: resets what is left.
  void Abort() noexcept;

  // Waits until every thread ended, and adds up. A thread that failed gives its error.
  absl::Status Wait(ServerSummary* summary);
  // Becomes readable (poll(2)) when the first thread failed, or all have ended.
  int ended_fd() const;

 private:
  struct Shared;
  ServerOptions options_;
  io::Endpoint address_;
  std::unique_ptr<Shared> shared_;
};

}  // namespace server
