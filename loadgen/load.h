#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "io/counters.h"
#include "io/endpoint.h"
#include "io/event_loop.h"
#include "services/service.h"
#include "stats/histogram.h"

namespace loadgen {

// The services whose replies can be verified, for LoadOptions::service.
std::vector<std::string> ServiceNames();
// Who speaks, and when. REQUIRES: a name of these.
services::Exchange ExchangeOf(const std::string& service);
// The largest message that a socket of this machine sends to `at`, where the transport keeps
// messages (a Unix socket's depends on net.core.wmem_default); elsewhere any size will do: 0.
uint64_t MessageBytesMax(const io::Endpoint& at);

struct LoadOptions {
  io::Endpoint at;
  std::string backend = "io_uring";  // a name of io::Loops
  std::string service = "echo";      // a name of services::All: how requests look, and replies
  uint32_t connections = 64;
  uint32_t depth = 1;  // requests in flight on each connection, at most
  uint32_t threads = 1;
  std::vector<int> cpus;        // thread i is pinned to cpus[i mod size]; empty: not pinned
  uint64_t message_bytes = 64;  // a request; of a source: what counts as a reply
  std::string reply_text = services::ServiceOptions().text;    // what `reply` has to answer
  services::Delay delay = {.a = std::chrono::nanoseconds(0)};  // that `delay` has at least to take
  uint64_t requests = 0;  // in all; 0: as many as fit in duration_ns
  int64_t duration_ns = 10'000'000'000;
  int64_t warmup_ns = 1'000'000'000;
  double pace =
      0;  // requests per second, in evenly spaced bursts of one on each connection; 0: closed loop
  int64_t connect_timeout_ns = 10'000'000'000;  // for all connections to open and be answered once
  int64_t drain_timeout_ns = 2'000'000'000;     // for the last replies, at the end
  int64_t reply_timeout_ns = 1'000'000'000;     // over datagrams: then a request counts as lost
  double loss_max = 0.01;  // over datagrams: the share of requests that may be lost, or doubled
  pid_t server_pid = 0;    // whose CPU time is measured over the same window; 0: nobody's
  // The generator queues nothing, so a bound on that would only interrupt its receiving.
  io::LoopOptions loop = {.pending_bytes_max = 16 << 20};
};

// A byte that is not what it has to be.
struct Corruption {
  uint64_t connection, offset;
  uint8_t expected, got;
};

struct LoadErrors {
  io::ErrorCounts by_errno;        // connections that failed to open, or broke
  uint64_t connect_failed = 0;     // of these, before they were open
  uint64_t connect_timed_out = 0;  // not open when connect_timeout_ns had passed
  uint64_t closed_by_server = 0;   // connections that the server ended, without an error
  uint64_t unanswered = 0;         // requests without a reply when drain_timeout_ns had passed
  uint64_t surplus = 0;            // replies that nobody asked for
  uint64_t corrupt_connections = 0;
  uint64_t service = 0;  // the service's own proof failed: `problem` says how
  uint64_t total() const {
    return by_errno.total() + connect_timed_out + closed_by_server + unanswered + surplus +
           corrupt_connections + service;
  }
};

// What became of requests over datagrams, and of their replies; over the whole run.
struct DatagramCounts {
  uint64_t lost = 0;       // requests without a reply when reply_timeout_ns had passed
  uint64_t late = 0;       // of these, answered after that
  uint64_t reordered = 0;  // replies that came after one to a later request of their connection
  uint64_t doubled = 0;    // replies that came again
};

struct LoadResult {
  double duration_s = 0;        // the measured window
  uint64_t requests = 0;        // answered in the window
  double throughput_rps = 0;    // the sum over threads, each by its own window
  uint64_t requests_total = 0;  // answered, warm-up and opening included
  struct {
    uint64_t requested = 0, opened = 0, answered = 0, silent = 0;
    uint64_t requests_min = 0, requests_median = 0,
             requests_max = 0;  // on a connection, in the window
  } connections;
  struct {
    uint64_t sent = 0, received = 0, corrupt = 0;  // over the whole run
  } bytes;
  LoadErrors errors;
  std::vector<Corruption> corruptions;  // the first few
  std::string problem;                  // what the service's proof, or opening, found; one sentence
  stats::Histogram latency;  // service time: from the send to the reply, in the window; empty where
                             // there is none
  int64_t cpu_ns = 0;        // of our threads, in the window
  uint64_t system_calls = 0;     // by our loops, in the window
  int64_t server_cpu_ns = -1;    // in the window; -1: not measured
  int64_t pace_late_max_ns = 0;  // the latest burst, behind its time
  uint64_t lost_requests = 0;    // sent on connections that broke
  DatagramCounts datagrams;
  double loss_max = 0;               // LoadOptions::loss_max
  bool silence_may_be_loss = false;  // datagrams by count: nothing is sent again for one lost
  bool interrupted = false;
  io::Counters io;  // over the whole run

  // The share of requests that were lost or answered twice.
  double LossShare() const {
    const uint64_t over = datagrams.lost + datagrams.doubled;
    return over == 0 ? 0 : static_cast<double>(over) / (requests_total + datagrams.lost);
  }

  bool valid() const {
    const bool all_answered =
        connections.silent == 0 && connections.answered >= connections.requested;
    return !interrupted && errors.total() == 0 && requests > 0 &&
           (all_answered || silence_may_be_loss) && LossShare() <= loss_max;
  }
};

// How far a run has come; written while it runs.
struct LoadProgress {
  enum class Phase { kConnecting, kWarmup, kMeasuring, kDraining };
  Phase phase;
  uint64_t requests;  // answered so far
  uint64_t open;      // connections
};

// A run of load. Start(), Interrupt() and Wait() belong to one thread; Progress() may be called
// meanwhile by it.
class Load {
 public:
  explicit Load(LoadOptions options);
  ~Load();

  // Starts the threads. Fails where one can't open its loop.
  absl::Status Start();
  // Ends the run early: what was measured so far is the result. Safe to call again.
  void Interrupt() noexcept;
  LoadProgress Progress() const;
  // Becomes readable (poll(2)) when the run has ended.
  int ended_fd() const;
  // Waits for the end. The status is a thread's failure to run at all; errors of the load itself
  // are in the result.
  absl::Status Wait(LoadResult* result);

  struct Shared;

 private:
  LoadOptions options_;
  std::unique_ptr<Shared> shared_;
};

}  // namespace loadgen
