#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "io/endpoint.h"
#include "stats/histogram.h"
#include "stress/memory_guard.h"
#include "stress/result.h"

namespace stress {

// What became of a connect(2).
enum class ConnectOutcome : uint8_t {
  kPending,   // nothing yet
  kOpened,    // by the client's view
  kTimedOut,  // of our patience, or of the kernel's (ETIMEDOUT)
  kRefused,   // ECONNREFUSED
  kReset,     // opened, and then reset by the server's kernel
  kNoRoom,    // a Unix socket whose queue is full: EAGAIN
  kFailed,    // any other errno
};

// Many connects at once, each with its time and the SYNs that the kernel sent again for it
// (TCP_INFO's tcpi_total_retrans, tcp(7)). One thread, no event loop of ours: it is about
// connect(2) alone. Connections are closed by a reset when it goes, so that no port stays in
// TIME_WAIT.
class Connects {
 public:
  struct Options {
    io::Endpoint at;
    uint64_t count = 1;
    int64_t timeout_ns = 10'000'000'000;  // of each, until it is opened and answered
    std::string message;                  // sent on each and awaited as an echo; "": nothing is
    uint64_t memory_floor_bytes = 0;
  };
  static absl::StatusOr<Connects> Make(const Options& options);
  Connects(Connects&& other) noexcept;
  Connects& operator=(Connects&&) = delete;
  ~Connects();

  // Begins all, as fast as one thread can, and waits until each is decided, the user wants an end,
  // or a limit is met.
  void Run(const Context& context);

  // Takes what has come since: answers, and resets. Doesn't wait.
  void Look() { Poll(0); }

  struct Step {  // the connects with as many SYNs sent again
    uint64_t opened = 0, timed_out = 0;
    std::vector<int64_t> connect_ns;  // of those opened, sorted
  };
  struct Summary {
    uint64_t begun = 0, opened = 0, answered = 0;
    uint64_t at_once = 0, retried = 0;  // with no SYN sent again, and with any
    uint64_t timed_out = 0, refused = 0, reset = 0, no_room = 0, failed = 0, pending = 0;
    uint64_t unanswered = 0, corrupt = 0;  // where an echo was awaited
    std::map<std::string, uint64_t> by_errno;
    std::map<uint32_t, Step> steps;
    stats::Histogram connect;
    int64_t begin_ns = 0;  // from the first connect(2) to the last
    std::vector<double>
        syn_retries_s;  // when the kernel sent one connect's SYN again, seen by looking
    // None was lost or late.
    bool Clean() const { return opened == begun && retried == 0 && unanswered + corrupt == 0; }
  };
  Summary Summarize() const;

  // The local ports of those that are open now.
  std::set<uint16_t> OpenPorts() const;

  const std::optional<Limit>& limit() const { return limit_; }

 private:
  struct Attempt {
    int fd = -1;
    ConnectOutcome outcome = ConnectOutcome::kPending;
    int error = 0;
    bool decided = false;  // nothing more is awaited of it
    bool answered = false, corrupt = false;
    uint32_t syn_retransmits = 0;
    uint32_t received = 0;  // bytes
    int64_t began_ns = 0, connect_ns = 0;
  };

  explicit Connects(const Options& options) : options_(options) {}
  bool Begin();
  void Decide(Attempt* attempt, ConnectOutcome outcome, int error);
  void Settle(Attempt* attempt);
  void Opened(Attempt* attempt);
  void OnEvents(Attempt* attempt, uint32_t events);
  void Receive(Attempt* attempt);
  void Check(Attempt* attempt, const char* bytes, size_t size);
  void Poll(int timeout_ms);
  void ExpireOverdue();
  void WatchWitness();
  bool MeetsLimit(int error);
  void LetGoOfSpare();
  uint32_t SynRetransmits(const Attempt& attempt) const;

  Options options_;
  int epoll_ = -1;
  std::vector<int>
      spare_;  // let go of where descriptors run out: others look at the kernel with them
  std::vector<Attempt> attempts_;
  uint64_t undecided_ = 0;
  size_t oldest_ = 0;  // no attempt before it is undecided
  size_t witness_ = 0;
  std::vector<double> syn_retries_s_;
  std::optional<Limit> limit_;
};

}  // namespace stress
