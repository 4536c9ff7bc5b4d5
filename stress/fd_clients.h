#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "io/endpoint.h"
#include "stats/histogram.h"

// Connections to a server that runs out of descriptors.
namespace stress {

// What a connection is there for. Each sends a request as soon as the kernel has connected it.
enum class FdGroup : uint8_t {
  kExisting,  // there before all others, asks at a steady rate
  kFilling,   // takes a descriptor of the server
  kWaiting,   // comes when there is none: it waits in the backlog
};
inline constexpr size_t kFdGroups = 3;

// Which part of the experiment a request of an existing connection belongs to.
enum class FdPhase : uint8_t { kBefore, kFilling, kAtLimit, kRecovery };
inline constexpr size_t kFdPhases = 4;

struct FdClientOptions {
  io::Endpoint at;  // of a server that echoes; a stream
  std::string backend = "epoll";
  uint32_t message_bytes = 64;  // of a request; up to 16 KiB, which no two ends wait for
  double rate = 100;            // requests a second, of each existing connection
  int cpu = -1;                 // where the thread runs; -1: anywhere
};

// A group so far. Whoever was answered was accepted; whoever wasn't may wait in the backlog.
struct FdCounts {
  uint64_t asked = 0;          // to connect
  uint64_t connected = 0;      // by the kernel
  uint64_t failed = 0;         // never connected
  uint64_t answered = 0;       // at least once
  uint64_t dropped_fin = 0;    // closed by the server without an answer, by a FIN
  uint64_t dropped_reset = 0;  // likewise by a reset
  uint64_t lost = 0;           // closed by the server after an answer
  uint64_t closed = 0;         // by us
  // At the moment: connected; of these never answered; of these with a request under way.
  uint64_t open = 0, unanswered = 0, owed = 0;

  uint64_t dropped() const { return dropped_fin + dropped_reset; }
  uint64_t connecting() const { return asked - connected - failed; }
};

// A phase of the existing connections.
struct FdPhaseCounts {
  uint64_t requests = 0, replies = 0;
  uint64_t asked = 0, answered = 0;  // connections, at least once
};

struct FdView {
  std::array<FdCounts, kFdGroups> groups;
  std::array<FdPhaseCounts, kFdPhases> phases;
  bool paced = false;                        // existing connections ask at their rate
  uint64_t checked = 0, check_answered = 0;  // by Check()
  uint64_t corrupt_bytes = 0;                // received, that were not what had been sent
  // CLOCK_MONOTONIC; 0: not yet. Just before the first connection that Release() closed; the first
  // answers of waiting connections since then: the first and the last of these.
  int64_t released_ns = 0, first_answer_ns = 0, last_answer_ns = 0;
  uint64_t answers_since = 0;  // waiting connections that were answered since then
  std::string failure;         // why the first that failed to connect did

  const FdCounts& of(FdGroup group) const { return groups[static_cast<size_t>(group)]; }
  FdCounts& of(FdGroup group) { return groups[static_cast<size_t>(group)]; }
};

// Such connections, on a loop in a thread of their own; every byte that comes is verified. Made and
// used by one thread; what it asks for is done soon, and View() tells when.
class FdClients {
 public:
  explicit FdClients(FdClientOptions options) : options_(std::move(options)) {}
  ~FdClients() { (void)Stop(); }
  FdClients(const FdClients&) = delete;
  FdClients& operator=(const FdClients&) = delete;

  // Fails where there is no loop, or no such CPU.
  absl::Status Start();

  // Connects so many more.
  void Open(FdGroup group, uint64_t count);
  // Closes so many, with a FIN; those that were answered first.
  void Close(FdGroup group, uint64_t count);
  // The same of kFilling, and notes the time.
  void Release(uint64_t count);
  // From now on existing connections ask at their rate, for that phase; nothing: they don't ask.
  // Latencies are from when a request was due.
  void Pace(std::optional<FdPhase> phase);
  // A request on each open connection that has none under way.
  void Check();

  FdView View() const;
  // Why the thread had to end: what its loop said. OK while it runs.
  absl::Status status() const;

  // Ends the thread; what is open is reset, and counts no more. Safe to call again.
  absl::Status Stop();
  // After Stop().
  const stats::Histogram& latency(FdPhase phase) const {
    return latencies_[static_cast<size_t>(phase)];
  }

 private:
  template <class Backend>
  class Driver;
  struct Command {
    enum class Kind : uint8_t { kOpen, kClose, kRelease, kPace, kCheck, kStop } kind;
    FdGroup group = FdGroup::kExisting;
    uint64_t count = 0;
    std::optional<FdPhase> phase = std::nullopt;
  };

  template <class Backend>
  void Run(std::promise<absl::Status> ready);
  void Post(const Command& command);

  const FdClientOptions options_;
  std::array<stats::Histogram, kFdPhases> latencies_;  // the thread's, until Stop()
  std::thread thread_;

  mutable std::mutex mutex_;
  std::vector<Command> commands_;
  FdView view_;
  absl::Status status_;
  std::function<void()> wake_ = [] {};
};

}  // namespace stress
