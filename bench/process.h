#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace bench {

// A program that runs beside us: started without a shell, pinned, its output kept in memory. It has
// a process group of its own, so that Ctrl-C is not for it. It and all its descendants are ended
// when the Process goes, and should we die first (bench/supervisor.h).
class Process {
 public:
  // For a program that may say anything, such as somebody's server.
  static constexpr uint64_t kSomeBytes = 64 * 1024;

  // Starts argv[0], looked up in PATH, on the CPUs given (none: on all). `nofile`: its
  // RLIMIT_NOFILE, soft and hard (setrlimit(2)); 0: as ours. NotFound where there is no such
  // program; InvalidArgument where that limit can't be set: above our hard one only root may.
  // `bytes_kept`: of what it writes to each of its streams only the first and the last so many stay
  // in memory (for a moment more: what it writes in 50 ms); it never waits for that.
  static absl::StatusOr<Process> Start(const std::vector<std::string>& argv,
                                       const std::vector<int>& cpus, uint64_t nofile = 0,
                                       uint64_t bytes_kept = UINT64_MAX);
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  ~Process();

  pid_t pid() const { return pid_; }

  // What it has written so far; a line tells how much was left out for `bytes_kept`.
  std::string Output() const;
  std::string Errors() const;

  // To the program alone, not to its descendants.
  void Signal(int signal) const;

  enum class Waited { kEnded, kTimeout, kInterrupted };
  // Waits for its end, and that of its descendants: those that are left when it ended get SIGTERM,
  // and after 10 s SIGKILL. Gives up after timeout_ns, or when interrupt_fd (-1: none) becomes
  // readable.
  Waited Wait(int64_t timeout_ns, int interrupt_fd);
  // After kEnded: its exit code, or 128 + the signal that ended it.
  int exit_code() const { return exit_code_; }
  // After kEnded: the CPU time of it and of its descendants, but for children that nobody waited
  // for (SIGCHLD ignored), user and system (getrusage(2)).
  int64_t cpu_ns() const { return cpu_ns_; }
  // After kEnded: the most memory that it had resident. Where it never had as much as this process,
  // from which it was made, that of this process (getrusage(2), ru_maxrss).
  int64_t peak_bytes() const { return peak_bytes_; }
  bool ended() const { return ended_; }

 private:
  Process() = default;
  void Release();
  void AwaitSupervisor() const;

  pid_t supervisor_ = -1, pid_ = -1;
  int pidfd_ = -1, out_ = -1, err_ = -1;
  int told_ = -1;  // what the supervisor tells
  uint64_t bytes_kept_ = UINT64_MAX;
  int exit_code_ = -1;
  int64_t cpu_ns_ = 0, peak_bytes_ = 0;
  bool ended_ = false;
};

// Splits a command into words as a shell does, with '…', "…" and \; without expanding anything.
absl::StatusOr<std::vector<std::string>> SplitWords(const std::string& command);

}  // namespace bench
