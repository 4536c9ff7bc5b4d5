#pragma once

#include <sched.h>
#include <sys/types.h>

#include <cstdint>

namespace bench {

// Between a Process and its program stands a process of ours, which sees to it that nothing of the
// program outlives either end: not what a wrapper left behind (`sh -c 'server & wait'`), not who
// went into a session of its own, and not all that when we are killed ourselves. Every orphan among
// the program's descendants becomes its child (PR_SET_CHILD_SUBREAPER, prctl(2)), and it is told of
// our death (PR_SET_PDEATHSIG).

// What it is to start. Descriptors are the caller's.
struct Program {
  char* const* argv = nullptr;
  const cpu_set_t* cpus = nullptr;   // nullptr: those of the caller
  uint64_t nofile = 0;               // RLIMIT_NOFILE; 0: the caller's
  int out = -1, err = -1;            // its stdout and stderr, memfd_create(2)
  uint64_t bytes_kept = UINT64_MAX;  // of each: what isn't in its first or last so many is let go
  int failed = -1;                   // gets a ProgramFailure if it can't be run; close-on-exec
};

// Why a child never became the program: what setrlimit(2), or else execvp(3), said.
struct ProgramFailure {
  int error = 0;
  bool of_limit = false;
};

// What the supervisor tells, in this order.
struct ProgramStart {
  pid_t pid = -1;  // the leader of a process group of its own
  int error = 0;   // of fork(2), where there is no pid
};
struct ProgramEnd {        // of it and all its descendants
  int exit_code = 0;       // of the program; 128 + the signal that ended it
  int64_t cpu_ns = 0;      // of all that were waited for, by their parents or here
  int64_t peak_bytes = 0;  // ru_maxrss, getrusage(2)
};

// The body of a process that was forked for this and has only this thread. What of the program is
// still there when the program itself has ended gets SIGTERM, and 10 s later SIGKILL. On SIGTERM,
// and when `parent` dies, all is killed at once. `tell` gets what is told. Only system calls:
// others of the caller's threads may have held locks.
[[noreturn]] void Supervise(const Program& program, int tell, pid_t parent);

}  // namespace bench
