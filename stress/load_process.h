#pragma once

#include <sys/types.h>

#include <cstdint>

#include "absl/status/statusor.h"
#include "loadgen/load.h"
#include "stats/histogram.h"
#include "stress/result.h"

namespace stress {

// What a load in a process of its own found; of several, Merge() makes one.
struct LoadOutcome {
  uint64_t opened = 0, answered = 0;     // connections
  double opening_s = 0;                  // until the last was answered
  uint64_t heartbeats = 0, offered = 0;  // of the window: answered, and due
  uint64_t corrupt_bytes = 0, errors = 0;
  std::string problem;  // the first that opening, or the service's proof, found
  bool out_of_ports = false;
  Json by_errno = Json::object();  // connections that failed
  uint64_t unanswered = 0;         // of `errors`: requests without a reply at the end
  stats::Histogram connect, first_byte, heartbeat, service;  // loadgen::LoadResult's
  int64_t descriptors_before = -1, descriptors_after = -1;   // of its process

  void Merge(const LoadOutcome& other);
};

// A load that runs in a process of its own, forked from this one: so its memory and its descriptors
// are apart from the driver's, and there may be several, each with its own RLIMIT_NOFILE. It is
// told, and tells how far it is, through memory that both share. It ends with us
// (PR_SET_PDEATHSIG). One thread.
class LoadProcess {
 public:
  // How far it is.
  struct Progress {
    uint64_t open = 0, answered = 0;  // connections, while they are opened
    bool opened = false;              // all are, or those that could be
    bool closing = false;             // the window is over
    bool ended = false;               // the process is
  };

  // Forks. REQUIRES: this process has no other thread (fork(2) would leave their locks locked).
  // ResourceExhausted where no process, descriptor or memory can be had.
  static absl::StatusOr<LoadProcess> Start(const loadgen::LoadOptions& options);
  LoadProcess(LoadProcess&& other) noexcept;
  LoadProcess& operator=(LoadProcess&&) = delete;
  ~LoadProcess();  // kills it where it still runs

  pid_t pid() const { return pid_; }
  Progress Look();

  void Begin();        // to connect; before that, it only waits
  void StopOpening();  // loadgen::Load::StopOpening()
  void Go();           // loadgen::Load::Go()
  void Interrupt();    // loadgen::Load::Interrupt()

  // Waits for its end. An error: it couldn't run at all, or died.
  absl::StatusOr<LoadOutcome> Wait();

 private:
  struct Shared;

  LoadProcess() = default;
  static Json Run(const loadgen::LoadOptions& options, Shared& shared);

  pid_t pid_ = -1;
  int result_fd_ = -1;
  int status_ = -1;  // of waitpid(2), once it has ended
  Shared* shared_ = nullptr;
};

}  // namespace stress
