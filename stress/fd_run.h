#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "stats/histogram.h"
#include "stress/fd_clients.h"
#include "stress/fd_use.h"
#include "stress/fds.h"
#include "stress/memory_guard.h"
#include "stress/result.h"
#include "stress/target.h"

namespace stress {

// What a server did when its descriptors ran out, as far as the experiment went.
struct FdRow {
  std::string backend;    // of our own server; "": somebody's
  uint32_t existing = 0;  // connections there before, as asked for
  uint64_t beyond = 0;    // that came when no descriptor was left; no more than fill the limit
  std::optional<FdUse> before, at_limit, after;
  bool reached = false;    // no descriptor was left
  bool held = false;       // ... for as long as was asked for
  bool recovered = false;  // each waiting connection was answered or closed, or waited in vain
  FdView limited, end;     // when the hold ended, and in the end
  // Share of a CPU that the server used: without requests and with, before and at the limit.
  std::optional<double> idle_before, load_before, idle_at_limit, load_at_limit;
  // Connections in the listeners' accept queues at the limit, and how many may be; -1: unknown.
  int64_t queue = -1, queue_max = -1;
  uint64_t released = 0;  // connections closed, so that the waiting ones have their descriptors
  std::array<stats::Histogram, kFdPhases> latencies;
  int64_t accept_pauses = -1;  // as our own server counted; -1: unknown

  // Whether it works at the limit with nothing to do; nothing: not measured.
  std::optional<bool> spins() const;
  // Of the connections that came when no descriptor was left.
  uint64_t dropped() const { return end.of(FdGroup::kWaiting).dropped(); }
  // Existing connections that asked in the phase and had no answer in it.
  uint64_t unanswered_in(FdPhase phase) const;
};

// One server's run, from connecting to the last descriptor that it gave back. One thread.
class FdRun {
 public:
  FdRun(const FdsOptions& options, const Target& target, const Context& context, FdRow* row)
      : options_(options),
        target_(target),
        context_(context),
        guard_(options.memory_floor_bytes),
        row_(*row),
        clients_({.at = target.at(),
                  .backend = options.client_backend,
                  .message_bytes = options.message_bytes,
                  .rate = options.rate,
                  .cpu = target.client_cpus().empty() ? -1 : target.client_cpus().front()}) {}

  // Runs it to its end, a limit, a problem or an interrupt. Errors: ReadFdUse()'s, and the loop's.
  absl::Status Run();

  const std::optional<Limit>& limit() const { return limit_; }
  const std::string& problem() const { return problem_; }

 private:
  absl::Status Phases();
  bool Goes() const;  // nothing ended it
  absl::Status CheckReach();
  void Connect(FdGroup group, uint64_t count);
  template <class F>
  bool Await(F holds);
  void Rest(int64_t ns);
  std::optional<double> CpuShare(int64_t ns);
  void OpenExisting();
  absl::Status Fill();
  bool AwaitFilled();
  void StopFilling();
  void Beyond();
  void ReadQueue();
  void Hold();
  void Recover();
  absl::Status GiveBack();
  void PaceTo(std::optional<FdPhase> phase);

  const FdsOptions& options_;
  const Target& target_;
  const Context& context_;
  MemoryGuard guard_;
  FdRow& row_;
  FdClients clients_;
  std::array<uint64_t, kFdGroups> asked_ = {};  // of the clients, to connect
  std::optional<Limit> limit_;
  std::string problem_;
};

// A row of results, but for "server"; and what it says in a sentence.
Json ToJson(const FdRow& row);
std::string FindingOf(const FdRow& row);

}  // namespace stress
