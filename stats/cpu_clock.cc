#include "stats/cpu_clock.h"

#include <time.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace stats {
namespace {

constexpr pid_t kPidMax = 1 << 22;  // Linux's PID_MAX_LIMIT, proc_sys_kernel(5).

int64_t ToNanos(const timespec& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

int64_t ReadClock(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return ToNanos(time);
}

absl::Status NoSuchProcess(pid_t pid) {
  return absl::NotFoundError(absl::StrCat("process ", pid, " doesn't exist"));
}

// Adds the CPU time of all processes below `pid`; those that end meanwhile are left out.
void AddChildren(pid_t pid, int64_t* sum) {
  std::error_code error;
  const std::filesystem::path tasks = absl::StrCat("/proc/", pid, "/task");
  for (const auto& task : std::filesystem::directory_iterator(tasks, error)) {
    std::ifstream children(task.path() / "children");
    for (pid_t child; children >> child;) {
      const absl::StatusOr<int64_t> cpu = ProcessCpuNanos(child);
      if (cpu.ok()) *sum += *cpu;
      AddChildren(child, sum);
    }
  }
}

}  // namespace

absl::StatusOr<int64_t> ProcessTreeCpuNanos(pid_t pid) {
  absl::StatusOr<int64_t> sum = ProcessCpuNanos(pid);
  if (sum.ok()) AddChildren(pid, &*sum);
  return sum;
}

absl::StatusOr<int64_t> ProcessCpuNanos(pid_t pid) {
  // A clock's id has 29 bits for the process: the C library would cut a larger number, and 0 would
  // be ourselves.
  if (pid <= 0 || pid > kPidMax) return NoSuchProcess(pid);
  clockid_t clock;
  const int error = clock_getcpuclockid(pid, &clock);
  if (error == ESRCH) return NoSuchProcess(pid);
  if (error != 0) return absl::ErrnoToStatus(error, absl::StrCat("clock_getcpuclockid ", pid));
  timespec time{};
  if (clock_gettime(clock, &time) == 0) return ToNanos(time);
  // The process ended between the two calls.
  if (errno == EINVAL || errno == ESRCH) return NoSuchProcess(pid);
  return absl::ErrnoToStatus(errno, absl::StrCat("clock_gettime of process ", pid));
}

int64_t OwnCpuNanos() { return ReadClock(CLOCK_PROCESS_CPUTIME_ID); }

int64_t ThreadCpuNanos() { return ReadClock(CLOCK_THREAD_CPUTIME_ID); }

}  // namespace stats
