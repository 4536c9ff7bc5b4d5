#include "stress/stopped_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "io/errors.h"
#include "stats/proc_file.h"

namespace stress {
namespace {

constexpr auto kStopPatience = std::chrono::seconds(5);

int SendSignal(int pidfd, int signal) {
  return static_cast<int>(syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0));
}

// Whether all threads of it are stopped: "T" or, under a debugger, "t" (proc_pid_stat(5)). Nothing:
// it has ended.
std::optional<bool> IsStopped(pid_t pid) {
  std::error_code error;
  std::filesystem::directory_iterator threads(absl::StrCat("/proc/", pid, "/task"), error);
  if (error) return std::nullopt;
  for (; threads != std::filesystem::directory_iterator(); threads.increment(error)) {
    if (error) return std::nullopt;
    const auto stat = stats::ReadProcFile(threads->path().string() + "/stat");
    if (!stat.ok()) continue;                  // that thread has ended
    const size_t name_end = stat->rfind(')');  // a name may have anything in it
    if (name_end == std::string::npos || name_end + 2 >= stat->size()) continue;
    const char state = (*stat)[name_end + 2];
    if (state != 'T' && state != 't' && state != 'Z') return false;
  }
  return true;
}

// The helper: between fork and _exit only system calls, since others of our threads may have held
// locks.
[[noreturn]] void Wait(int alive, int pidfd) {
  setsid();  // neither Ctrl-C nor the terminal's end is for it
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  // Nothing else of ours may stay open in it: not our sockets, nor the pipe of another helper.
  if (dup3(alive, 0, 0) < 0 || dup3(pidfd, 1, 0) < 0 || close_range(2, ~0u, 0) != 0) _exit(1);
  char byte;
  while (read(0, &byte, 1) < 0 && errno == EINTR) {
  }
  SendSignal(1, SIGCONT);
  _exit(0);
}

absl::Status OpenError(pid_t pid, int error) {
  const std::string name = io::ErrnoName(error);
  switch (error) {
    case ESRCH:
    case EINVAL:  // the number of a thread
      return absl::NotFoundError(absl::StrCat("there is no process ", pid, ": ", name));
    case EPERM:
      return absl::PermissionDeniedError(absl::StrCat(
          "process ", pid, " is another user's, and may not be stopped: ", name, "; be root"));
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN:
      return absl::ResourceExhaustedError(absl::StrCat("can't stop process ", pid, ": ", name));
    default:
      return absl::InternalError(absl::StrCat("can't stop process ", pid, ": ", name));
  }
}

// Waits until nothing of it runs any more.
absl::Status AwaitStopped(pid_t pid) {
  const auto give_up = std::chrono::steady_clock::now() + kStopPatience;
  while (true) {
    const auto stopped = IsStopped(pid);
    if (!stopped) return absl::NotFoundError(absl::StrCat("process ", pid, " has ended"));
    if (*stopped) return absl::OkStatus();
    if (std::chrono::steady_clock::now() > give_up) {
      return absl::InternalError(absl::StrCat("process ", pid, " didn't stop in 5 s of SIGSTOP"));
    }
    poll(nullptr, 0, 1);
  }
}

}  // namespace

absl::StatusOr<StoppedProcess> StoppedProcess::Stop(pid_t pid) {
  if (pid <= 1 || pid == getpid()) {
    return absl::InvalidArgumentError(
        absl::StrCat("process ", pid, " is not one to stop; name the server's"));
  }
  const auto before = IsStopped(pid);
  if (!before) return OpenError(pid, ESRCH);
  StoppedProcess stopped;
  if (*before) return stopped;  // who stopped it wants it so
  stopped.pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (stopped.pidfd_ < 0) return OpenError(pid, errno);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return OpenError(pid, errno);
  stopped.alive_ = ends[1];
  stopped.helper_ = fork();
  if (stopped.helper_ == 0) Wait(ends[0], stopped.pidfd_);
  const int error = errno;
  close(ends[0]);
  if (stopped.helper_ < 0) return OpenError(pid, error);
  if (SendSignal(stopped.pidfd_, SIGSTOP) != 0) return OpenError(pid, errno);
  const absl::Status status = AwaitStopped(pid);
  if (!status.ok()) return status;
  return stopped;
}

StoppedProcess::StoppedProcess(StoppedProcess&& other) noexcept { *this = std::move(other); }

StoppedProcess& StoppedProcess::operator=(StoppedProcess&& other) noexcept {
  if (this == &other) return *this;
  Resume();
  pidfd_ = std::exchange(other.pidfd_, -1);
  alive_ = std::exchange(other.alive_, -1);
  helper_ = std::exchange(other.helper_, -1);
  return *this;
}

StoppedProcess::~StoppedProcess() { Resume(); }

void StoppedProcess::Resume() {
  if (pidfd_ >= 0) {
    SendSignal(pidfd_, SIGCONT);  // ESRCH: it has ended meanwhile
    close(pidfd_);
  }
  if (alive_ >= 0) close(alive_);
  if (helper_ > 0) {
    while (waitpid(helper_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  pidfd_ = alive_ = helper_ = -1;
}

}  // namespace stress
