#include "bench/supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <iterator>
#include <string_view>

namespace bench {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kLeftoversNs = 10'000 * kMs;  // from SIGTERM to SIGKILL
// How often the program's output is looked at: seldom, since this may be in a measurement; often
// where it writes a lot.
constexpr int64_t kTrimNs = 50 * kMs, kTrimChattyNs = 2 * kMs;
constexpr int64_t kChattyBytes = 1 << 20;

int64_t Now() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

int64_t Nanos(const timeval& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + int64_t{time.tv_usec} * 1'000;
}

// In the program's process, before it is the program.
[[noreturn]] void BecomeProgram(const Program& program, pid_t supervisor) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != supervisor) _exit(127);  // it died before the line above
  setpgid(0, 0);                            // Ctrl-C is for our user, who ends us in order
  for (int key : {SIGINT, SIGTERM, SIGQUIT, SIGCHLD, SIGPIPE}) signal(key, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (program.cpus != nullptr) sched_setaffinity(0, sizeof(*program.cpus), program.cpus);
  const int nothing = open("/dev/null", O_RDONLY);
  dup2(nothing, STDIN_FILENO);
  dup2(program.out, STDOUT_FILENO);
  dup2(program.err, STDERR_FILENO);
  const rlimit descriptors = {.rlim_cur = program.nofile, .rlim_max = program.nofile};
  ProgramFailure failure;
  if (program.nofile != 0 && setrlimit(RLIMIT_NOFILE, &descriptors) != 0) {
    failure.of_limit = true;
  } else {
    execvp(program.argv[0], program.argv);
  }
  failure.error = errno;
  [[maybe_unused]] const ssize_t n = write(program.failed, &failure, sizeof(failure));
  _exit(127);
}

// Closes all but these: what we have open would stay open in it (a listener, the end of a pipe).
void CloseAllBut(std::array<int, 3> kept) {
  std::sort(kept.begin(), kept.end());
  unsigned from = 0;
  for (const int fd : kept) {
    if (fd < 0) continue;
    const auto at = static_cast<unsigned>(fd);
    if (at > from) close_range(from, at - 1, 0);
    from = at + 1;
  }
  close_range(from, ~0u, 0);
}

// Lets go of what a stream has between its first and its last bytes: the file stays as long as it
// is, with a hole, so the writer notices nothing. Whether a lot was written since the last time.
class Trimmed {
 public:
  Trimmed(int fd, uint64_t kept)
      : fd_(fd),
        kept_(static_cast<int64_t>(std::min<uint64_t>(kept, INT64_MAX / 2))),
        trimmed_((kept_ + kPage - 1) / kPage * kPage) {}

  bool Trim() {
    struct stat file = {};
    if (fstat(fd_, &file) != 0) return false;
    const bool chatty = file.st_size - seen_ > kChattyBytes;
    seen_ = file.st_size;
    const int64_t end = (file.st_size - kept_) / kPage * kPage;
    if (end > trimmed_) {
      fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, trimmed_, end - trimmed_);
      trimmed_ = end;
    }
    return chatty;
  }

 private:
  static constexpr int64_t kPage = 4096;
  const int fd_;
  const int64_t kept_;
  int64_t seen_ = 0, trimmed_;
};

// Calls `visit` with each child that this thread has: those it made, and those it adopted.
template <class Visit>
void ForEachChild(Visit visit) {
  const int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;  // a kernel without CONFIG_PROC_CHILDREN: the process group has to do
  char part[4096];
  pid_t pid = 0;
  for (ssize_t n; (n = read(fd, part, sizeof(part))) > 0;) {
    for (const char c : std::string_view(part, static_cast<size_t>(n))) {
      if (c >= '0' && c <= '9') {
        pid = pid * 10 + (c - '0');
      } else if (pid != 0) {
        visit(pid);
        pid = 0;
      }
    }
  }
  close(fd);
}

// The program, from its start to the end of its last descendant.
class Supervision {
 public:
  Supervision(const Program& program, pid_t pid)
      : trims_(program.bytes_kept != UINT64_MAX),
        out_(program.out, program.bytes_kept),
        err_(program.err, program.bytes_kept),
        pid_(pid) {}

  ProgramEnd Await() {
    sigset_t awaited;
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGCHLD);
    sigaddset(&awaited, SIGTERM);
    while (Reap()) {
      if (ended_ && !killing_) EndLeftovers();
      if (killing_) KillAll();
      const int64_t wait = WaitNs();
      const timespec timeout = {.tv_sec = wait / 1'000'000'000, .tv_nsec = wait % 1'000'000'000};
      if (sigtimedwait(&awaited, nullptr, &timeout) == SIGTERM) killing_ = true;
    }
    if (trims_) out_.Trim(), err_.Trim();
    rusage usage = {};
    getrusage(RUSAGE_CHILDREN, &usage);
    end_.cpu_ns = Nanos(usage.ru_utime) + Nanos(usage.ru_stime);
    end_.peak_bytes = int64_t{usage.ru_maxrss} * 1024;
    return end_;
  }

 private:
  // False: there is nobody left.
  bool Reap() {
    while (true) {
      int status = 0;
      const pid_t pid = waitpid(-1, &status, WNOHANG);
      if (pid == 0) return true;
      if (pid < 0 && errno == EINTR) continue;
      if (pid < 0) return false;
      if (pid != pid_) continue;
      ended_ = true;
      end_.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
  }

  int64_t WaitNs() {
    if (killing_) return kMs;  // orphans come to us a moment later
    int64_t wait = 3'600'000 * kMs;
    if (ended_) wait = std::min(wait, std::max<int64_t>(give_up_ - Now(), 0));
    if (ended_) wait = std::min(wait, 10 * kMs);  // the same
    if (!trims_) return wait;
    const bool out = out_.Trim(), err = err_.Trim();
    return std::min(wait, out || err ? kTrimChattyNs : kTrimNs);
  }

  // SIGTERM for the program's group once, and for each who left it once: a second one might cut its
  // orderly end short.
  void EndLeftovers() {
    const int64_t now = Now();
    if (give_up_ == 0) {
      give_up_ = now + kLeftoversNs;
      kill(-pid_, SIGTERM);
    }
    if (now >= give_up_) killing_ = true;
    ForEachChild([this](pid_t child) {
      const auto told_end = told_.begin() + told_count_;
      if (getpgid(child) == pid_ || std::find(told_.begin(), told_end, child) != told_end) return;
      kill(child, SIGTERM);
      if (told_count_ < std::ssize(told_)) told_[static_cast<size_t>(told_count_++)] = child;
    });
  }

  void KillAll() {
    if (!ended_) kill(pid_, SIGKILL);
    kill(-pid_, SIGKILL);
    ForEachChild([](pid_t child) { kill(child, SIGKILL); });
  }

  const bool trims_;
  Trimmed out_, err_;
  const pid_t pid_;
  ProgramEnd end_;
  bool ended_ = false, killing_ = false;
  int64_t give_up_ = 0;
  std::array<pid_t, 256> told_ = {};
  std::ptrdiff_t told_count_ = 0;
};

template <class Word>
void Tell(int fd, const Word& word) {
  [[maybe_unused]] const ssize_t n = write(fd, &word, sizeof(word));
}

}  // namespace

void Supervise(const Program& program, int tell, pid_t parent) {
  setpgid(0, 0);  // neither Ctrl-C nor a signal to our group is for it
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  signal(SIGCHLD, SIG_DFL);
  prctl(PR_SET_NAME, "supervisor");
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(127);  // the parent died before the line above
  const pid_t supervisor = getpid();
  const pid_t pid = fork();
  if (pid == 0) BecomeProgram(program, supervisor);
  Tell(tell, ProgramStart{.pid = pid, .error = pid < 0 ? errno : 0});
  if (pid < 0) _exit(127);
  CloseAllBut({tell, program.out, program.err});
  Tell(tell, Supervision(program, pid).Await());
  _exit(0);
}

}  // namespace bench
