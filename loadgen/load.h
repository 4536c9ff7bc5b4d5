#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "io/counters.h"
#include "io/endpoint.h"
#include "io/event_loop.h"
#include "loadgen/arrivals.h"
#include "loadgen/interval.h"
#include "loadgen/text_client.h"
#include "loadgen/workload.h"
#include "services/service.h"
#include "stats/cpu_usage.h"
#include "stats/histogram.h"
#include "stats/tcp_sample.h"

namespace loadgen {

// The services whose replies can be verified, for LoadOptions::service.
std::vector<std::string> ServiceNames();
// LoadOptions::service for a protocol that isn't ours: LoadOptions::text says how it goes.
inline constexpr std::string_view kTextService = "text";
// Who speaks, and when. REQUIRES: a name of these.
services::Exchange ExchangeOf(const std::string& service);
// The longest request that a server of it takes; 0: any.
uint64_t RequestBytesMax(const std::string& service);
// The largest message that a socket of this machine sends to `at`, where the transport keeps
// messages (a Unix socket's depends on net.core.wmem_default); elsewhere any size will do: 0.
uint64_t MessageBytesMax(const io::Endpoint& at);

// How we end a connection that is there for one request, once it is answered.
enum class Ending : uint8_t {
  kClose,  // close(2): the kernel waits for the server's FIN, and keeps the address in TIME_WAIT
  kFin,    // our FIN, and close(2) when the server's has come: LoadResult::close is that time
  kReset,  // a reset: no TIME_WAIT
};

// One class of load: connections that all do the same.
struct LoadOptions {
  std::string name;  // of the class, where there are several
  io::Endpoint at;
  std::string backend = "io_uring";  // a name of io::Loops
  std::string backend_fallback;      // why it isn't the first choice; "" where it is
  Workload workload = Workload::kRequestReply;
  std::string service = "echo";  // a name of services::All: how requests look, and replies
  TextOptions text;              // of kTextService
  uint32_t connections = 64;
  uint32_t depth = 1;  // requests in flight on each connection, at most
  uint32_t threads = 1;
  std::vector<int> cpus;        // thread i is pinned to cpus[i mod size]; empty: not pinned
  uint64_t message_bytes = 64;  // a request; of a source: what counts as a reply
  services::SizePlan sizes;     // of requests; unless it varies, message_bytes
  std::string reply_text = services::ServiceOptions().text;    // what `reply` has to answer
  services::Delay delay = {.a = std::chrono::nanoseconds(0)};  // that `delay` has at least to take
  services::Delay think = {.a = std::chrono::nanoseconds(0)};  // closed loop: from reply to request
  uint64_t requests = 0;  // in all; 0: as many as fit in duration_ns
  int64_t duration_ns = 10'000'000'000;
  int64_t warmup_ns = 1'000'000'000;
  bool warmup_auto = false;  // until the rate has settled; warmup_ns at least, kWarmupMaxNs at most
  RatePlan rate;             // of all threads together, from the window's begin; empty: closed loop
  Arrivals arrivals = Arrivals::kConstant;
  uint64_t seed = 1;
  // For all connections to open and be answered once, and for each that is opened later. Where
  // connecting is a part of the request, reply_timeout_ns holds for each, too.
  int64_t connect_timeout_ns = 10'000'000'000;
  double connect_rate = 0;    // connections a second; 0: as fast as it goes
  int64_t reconnect_ns = -1;  // a broken connection is opened again after this; below 0: never
  // Where `most` isn't 0: a connection is closed when it has had so many requests, drawn evenly
  // from both on, and another takes its place. REQUIRES: requests that are sent on a stream, and a
  // workload that has many on a connection.
  struct {
    uint64_t least = 0, most = 0;
  } requests_per_connection;
  int64_t drain_timeout_ns = 2'000'000'000;  // for the last replies, at the end
  int64_t reply_timeout_ns = 0;    // then a request is given up; 0: never. REQUIRED over datagrams
  int64_t deadline_ns = 0;         // open loop: a request that late isn't sent any more; 0: all are
  Ending ending = Ending::kClose;  // of crr, where the service doesn't close first
  uint64_t errors_max = 0;         // the run ends early beyond so many; 0: it doesn't
  bool stop_without_ports = false;  // it ends early when no port is left to connect from
  double loss_max = 0.01;  // over datagrams: the share of requests that may be lost, or doubled
  std::vector<io::Endpoint> sources;  // addresses to connect from; empty: the kernel's choice
  bool spin = false;                  // never sleep: busy polling
  uint32_t timestamp_every = 64;      // one in so many connections has kernel receive timestamps
  int64_t interval_ns = 100'000'000;  // of the series
  pid_t server_pid = 0;  // whose CPU time is measured over the same window; 0: nobody's
  // The generator queues nothing, so a bound on that would only interrupt its receiving.
  io::LoopOptions loop = {.pending_bytes_max = 16 << 20};

  static constexpr int64_t kWarmupMaxNs = 10'000'000'000;

  bool open_loop() const { return !rate.segments.empty(); }
};

// A byte that is not what it has to be.
struct Corruption {
  uint64_t connection, offset;
  uint8_t expected, got;
};

// How a connection failed.
struct Failure {
  enum class Kind : uint8_t {
    kConnect,
    kConnectTimeout,
    kBroken,
    kClosed,
    kTimeout,
    kSurplus,
    kCorrupt
  };
  Kind kind;
  int error;            // an errno, or 0
  uint64_t connection;  // its number in the run
  int64_t at_ns;        // since the window's begin; below 0: before
  uint64_t requests;    // that it had begun
  uint32_t in_flight;   // of these, without a reply
};

struct LoadErrors {
  io::ErrorCounts by_errno;        // connections that failed to open, or broke
  uint64_t connect_failed = 0;     // of these, before they were open
  uint64_t connect_timed_out = 0;  // connections not open in time
  uint64_t closed_by_server = 0;   // connections that the server ended, without an error, but for
                                   // LoadResult::connections.closed_by_server
  uint64_t timeouts = 0;           // requests without a reply when reply_timeout_ns had passed
  uint64_t unanswered = 0;         // requests without a reply when drain_timeout_ns had passed
  uint64_t surplus = 0;            // replies that nobody asked for
  uint64_t corrupt_connections = 0;
  uint64_t service = 0;         // the service's own proof failed: `problem` says how
  uint64_t reconciliation = 0;  // what the server counted otherwise: Reconciliation says what
  uint64_t total() const {
    return by_errno.total() + connect_timed_out + closed_by_server + timeouts + unanswered +
           surplus + corrupt_connections + service + reconciliation;
  }
};

// What became of requests over datagrams, and of their replies; over the whole run.
struct DatagramCounts {
  uint64_t lost = 0;       // requests without a reply when reply_timeout_ns had passed
  uint64_t late = 0;       // of these, answered after that
  uint64_t reordered = 0;  // replies that came after one to a later request of their connection
  uint64_t doubled = 0;    // replies that came again
};

// Of open loop, over the window.
struct ScheduleCounts {
  uint64_t offered = 0;  // requests that were due
  uint64_t shed = 0;     // of these, not sent, because they were later than deadline_ns
  uint64_t unsent = 0;   // of these, not sent, because no connection was free until the end
};

// One interval of the series.
struct SeriesRow {
  double begin_s, length_s;
  uint64_t offered, requests, errors;
  int64_t p50_ns, p90_ns, p99_ns, p99_9_ns, max_ns;
};

struct LoadResult {
  double duration_s = 0;        // the measured window
  double warmup_s = 0;          // before it
  uint64_t requests = 0;        // answered in the window
  double throughput_rps = 0;    // the sum over threads, each by its own window
  uint64_t requests_total = 0;  // answered, warm-up and opening included
  struct {
    uint64_t requested = 0, opened = 0, answered = 0;
    uint64_t silent = 0;  // asked, or waited for, and never answered
    // On a connection and those that were opened in its place, in the window.
    uint64_t requests_min = 0, requests_median = 0, requests_max = 0;
    uint64_t closed_by_client = 0;  // after their requests_per_connection
    // With reconnect_ns: in order and between two replies. What was under way on these was sent
    // again, on others.
    uint64_t closed_by_server = 0;
    uint64_t retried_requests = 0;
  } connections;
  double opening_s = 0;  // until all connections were open and answered
  struct {
    uint64_t sent = 0, received = 0, corrupt = 0;  // over the whole run
  } bytes;
  struct {
    uint64_t sent = 0, received = 0;
  } window_bytes;
  LoadErrors errors;
  std::vector<Corruption> corruptions;  // the first few
  std::vector<Failure> failures;        // the first few
  std::string problem;                  // what the service's proof, or opening, found; one sentence
  ScheduleCounts schedule;

  // Latencies of the requests of the window; empty where there are none. In open loop those that
  // were due in the window, in closed loop those that were answered in it.
  stats::Histogram latency;     // open loop: response time, from when it was due; else service time
  stats::Histogram service;     // open loop: service time, from the send to the reply
  stats::Histogram connect;     // from connect(2) to an open connection; over the whole run
  stats::Histogram first_byte;  // of each connection, to the first byte: from its first send, or
                                // from connect(2) where it is there for one request
  stats::Histogram close;       // Ending::kFin: from our FIN to the server's; over the whole run
  stats::Histogram lag;         // open loop: how late we sent, though a connection was free
  stats::Histogram loop_lag;    // how late a timer of 10 ms was served, in the window
  stats::Histogram client_wait;    // how long replies lay in our kernel, of sampled connections
  stats::Histogram client_sample;  // the service times of the same requests
  uint64_t censored = 0;           // in `latency` with the time that they waited in vain

  int64_t cpu_ns = 0;         // of our threads, in the window
  uint64_t system_calls = 0;  // by our loops, in the window
  stats::ThreadUsage usage;   // of our threads, in the window
  double cpu_share_max = 0;   // of the busiest thread
  int64_t stopped_ns = 0;  // of the window, that a thread stood still for: the most of any thread
  int64_t server_cpu_ns = -1;           // in the window; -1: not measured
  bool server_cpu_by_metrics = false;   // as the server says itself, not the kernel
  double server_thread_share_max = -1;  // of its busiest thread's time; -1: not measured
  uint64_t lost_requests = 0;           // sent on connections that broke
  stats::TcpSample tcp;  // the kernel's view of some connections, at the window's end
  DatagramCounts datagrams;
  double loss_max = 0;               // LoadOptions::loss_max
  bool silence_may_be_loss = false;  // datagrams by count: nothing is sent again for one lost
  bool interrupted = false;
  bool too_many_errors = false;  // it ended early: LoadOptions::errors_max
  bool out_of_ports = false;     // a connection had no port left to connect from: EADDRNOTAVAIL
  io::Counters io;               // over the whole run
  std::vector<SeriesRow> series;

  // The share of requests that were lost or answered twice.
  double LossShare() const {
    const uint64_t over = datagrams.lost + datagrams.doubled;
    return over == 0 ? 0 : static_cast<double>(over) / (requests_total + datagrams.lost);
  }

  // Whether all that was asked was answered, and rightly.
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

// A run of load: one class, or several at the same time, each with threads of its own, so that what
// one class has to do never delays the reading of another's replies. All but Progress() belong
// to one thread.
class Load {
 public:
  explicit Load(std::vector<LoadOptions> classes);
  ~Load();

  // Starts the threads. Fails where one can't open its loop.
  absl::Status Start();
  // Before Start(): once all connections are open and answered, none is sent anything until Go().
  void WaitWhenOpen() noexcept;
  // Whether that is so: all are open, or those that could be.
  bool Opened() const noexcept;
  void Go() noexcept;
  // No more connections are opened; those that aren't answered when drain_timeout_ns has passed are
  // not waited for. With the others the run goes on. Safe to call again.
  void StopOpening() noexcept;
  // What the classes do, after what was asked for was made to fit: no more threads than
  // connections.
  std::vector<LoadOptions> classes() const;
  // Ends the run early: what was measured so far is the result. Safe to call again.
  void Interrupt() noexcept;
  // Of all classes together, or of one.
  LoadProgress Progress() const;
  LoadProgress Progress(size_t of) const;
  // Calls f(class, interval) for each interval that all threads of a class have completed since,
  // and sees whether an automatic warm-up may end. To be called about once an interval.
  using OnInterval = std::function<void(size_t, const Interval&)>;
  void Collect(const OnInterval& f = {});
  // Becomes readable (poll(2)) when the run has ended.
  int ended_fd() const;
  // Waits for the end, and passes on the last intervals. The status is a thread's failure to run at
  // all; errors of the load itself are in the results, one a class.
  absl::Status Wait(std::vector<LoadResult>* results, const OnInterval& f = {});

  struct Shared;
  struct Class;
  class Part;

 private:
  LoadProgress ProgressOf(const Class& load) const;
  void CollectAll(bool at_end, const OnInterval& f);

  std::unique_ptr<Shared> shared_;
};

}  // namespace loadgen
