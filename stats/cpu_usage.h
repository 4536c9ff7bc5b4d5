#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

// Who had the CPUs: a thread, the machine, and others than those that were to be measured. What a
// process and its children used is in stats/cpu_clock.h.
namespace stats {

// How the scheduler treated a thread since it began.
struct RunQueue {
  int64_t ran_ns;     // on a CPU
  int64_t waited_ns;  // runnable, while its CPU ran something else: another thread had the core
  int64_t slices;     // times it was put on a CPU
};

// Of thread `tid` of this process. Nothing where there is no such thread, or the kernel doesn't
// account for it (it needs CONFIG_SCHED_INFO). Some 5 us.
// Source: /proc/PID/task/TID/schedstat, Documentation/scheduler/sched-stats.rst.
std::optional<RunQueue> RunQueueOf(pid_t tid, const std::string& tasks = "/proc/self/task");

// How long each thread of process `pid` has run so far, by thread. Empty where there is no such
// process, or the kernel doesn't account for it.
std::map<pid_t, int64_t> ThreadsRan(pid_t pid);

// What a thread used since it began.
struct ThreadUsage {
  int64_t cpu_ns = 0;                // user and system
  int64_t waited_ns = -1;            // RunQueue::waited_ns; -1: the kernel doesn't say
  int64_t voluntary_switches = 0;    // It waited for something and gave up its CPU.
  int64_t involuntary_switches = 0;  // Its slice was over, or a more urgent thread came.
  int64_t minor_faults = 0;          // pages mapped without I/O
  int64_t major_faults = 0;          // pages that had to be read from a device

  // The calling thread's. Some 5 us. Source: getrusage(2), RUSAGE_THREAD.
  static ThreadUsage Now();
};

// What was used between two readings of one thread.
ThreadUsage operator-(const ThreadUsage& after, const ThreadUsage& before);

// What a CPU did since boot, or all of them together, in ns of CPU time. The kernel shows it in
// ticks of 10 ms, and rounds down.
struct CpuNanos {
  int64_t user_ns = 0;       // programs, niced ones and guests too
  int64_t system_ns = 0;     // the kernel, on behalf of programs and its own threads
  int64_t interrupt_ns = 0;  // interrupts and softirqs, where packets are received
  int64_t idle_ns = 0;       // waiting for I/O too
  int64_t steal_ns = 0;      // ready to run while the hypervisor ran something else

  int64_t busy_ns() const { return user_ns + system_ns + interrupt_ns; }
};

struct MachineCpu {
  CpuNanos all;
  std::map<int, CpuNanos> cpus;  // by number; those that are online

  // Errors: those of ReadProcFile(); Internal where the file has no line "cpu". Its cost grows with
  // the machine: some 50 us and more, as interrupts are listed too. Source: proc_stat(5).
  static absl::StatusOr<MachineCpu> Read(const std::string& path = "/proc/stat");
  static absl::StatusOr<MachineCpu> Parse(std::string_view text);
};

// Parts of a time, each 0 to 1; together 1, or 0 when no time has passed.
struct CpuShares {
  double busy = 0;
  double idle = 0;
  double steal = 0;
};

// How CPUs spent the time between two readings. What went back (it happens to idle and steal) is
// taken as 0.
CpuShares Shares(const CpuNanos& before, const CpuNanos& after);

// CPU time that went to others than those known.
struct OthersCpu {
  int64_t cpu_ns = 0;  // busy time of all CPUs, less what the known ones used; never below 0
  // Of this, up to so much may be interrupts and softirqs on behalf of the known ones: kernels with
  // CONFIG_IRQ_TIME_ACCOUNTING charge those to no process. Only what is above is surely others'.
  int64_t interrupt_ns = 0;
  // What cpu_ns may be off by, at the least: a tick of each CPU. A kernel that accounts by ticks
  // (CONFIG_TICK_CPU_ACCOUNTING, the usual one) charges a tick to whoever runs when it comes: a
  // sample, whose error grows with the square root of the window. Windows below a second tell
  // little.
  int64_t error_ns = 0;
};

// What others used between two readings of the machine, when the known processes (ourselves, the
// server) used `known_ns` in between: differences of OwnCpuNanos() and ProcessTreeCpuNanos(), read
// next to those of the machine. The kernel's own threads are others.
OthersCpu Others(const MachineCpu& before, const MachineCpu& after, int64_t known_ns);

// /proc/PID/task/TID/schedstat; for tests. All zero: the kernel has it, and doesn't count.
namespace internal {
std::optional<RunQueue> ParseSchedstat(std::string_view text);
}

}  // namespace stats
