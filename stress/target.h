#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/own_server.h"
#include "io/endpoint.h"
#include "loadgen/server_metrics.h"
#include "stress/result.h"

namespace stress {

// Whom an experiment is made with.
struct TargetOptions {
  std::optional<io::Endpoint> at;  // somebody's server; nothing: one of our own is started
  pid_t server_pid = 0;            // of somebody's; 0: whoever listens there, on this machine

  // Of our own, which is started on a CPU of its own (bench/cpus.h):
  std::string address = "127.0.0.1:0";  // where it listens
  std::string backend = "epoll";
  std::string service = "echo";
  std::vector<std::string> flags;  // more for `ringside serve`; --cpus among them: it isn't pinned
  uint64_t nofile = 0;             // its RLIMIT_NOFILE; 0: as ours
};

// What the server has used so far; -1: that can't be told.
struct TargetUse {
  int64_t cpu_ns = -1;     // it and its children, user and system
  int64_t rss_bytes = -1;  // resident memory, of the process alone
  int64_t pss_bytes = -1;  // the same, shared pages divided among who shares them
  int64_t descriptors = -1;
};
// TargetUse of process `pid`, 0: nobody. Sources: /proc/PID/{smaps_rollup,fd}, proc(5); some ms of
// a process with much memory, and its page tables are locked meanwhile: not for inside a window.
TargetUse UseOf(pid_t pid);

// A server under test. One thread.
class Target {
 public:
  // Starts our own, or finds the process of somebody's. Cancelled: interrupted. Errors of the start
  // carry what the server wrote to stderr.
  static absl::StatusOr<Target> Start(const TargetOptions& options, const Context& context);

  const io::Endpoint& at() const { return at_; }
  bool ours() const { return ours_; }
  // 0: nobody is known.
  pid_t pid() const { return pid_; }
  // Where the load generator's threads run beside our own server; empty: anywhere.
  const std::vector<int>& client_cpus() const { return client_cpus_; }

  TargetUse Use() const { return UseOf(pid_); }

  // What our own says of itself (its --metrics). FailedPrecondition for somebody's; else as
  // loadgen::ReadServerMetrics().
  absl::StatusOr<loadgen::ServerMetrics> Metrics() const;

  // Ends our own (SIGTERM), whose summary ("ringside.serve/1") it returns; null of somebody's, and
  // when it was stopped before.
  // Waits for its end even after an interrupt. An error: it failed, or had died before.
  absl::StatusOr<Json> Stop();

 private:
  Target() = default;

  io::Endpoint at_;
  pid_t pid_ = 0;
  std::vector<int> client_cpus_;
  bool ours_ = false;
  std::optional<bench::OwnServer> own_;  // until it is stopped
  std::string metrics_;                  // where its metrics are
};

// "server" in results: "ours", "address", "pid", and what it used "before" and "after": "cpu_ns",
// "rss_bytes", "pss_bytes", "descriptors". What isn't known is null.
Json ToJson(const Target& target, const TargetUse& before, const TargetUse& after);

}  // namespace stress
