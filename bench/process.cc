#include "bench/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace bench {
namespace {

// Why a child never became the program: what setrlimit(2), or else execvp(3), said.
struct Failure {
  int error = 0;
  bool of_limit = false;
};

// In the child, between fork and exec: only async-signal-safe calls.
[[noreturn]] void BecomeProgram(char* const* argv, const cpu_set_t* cpus, uint64_t nofile, int out,
                                int err, int failed, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // the parent died before the line above
  setpgid(0, 0);                        // Ctrl-C is for the parent, which ends us in order
  for (const int key : {SIGINT, SIGTERM, SIGQUIT}) {  // one that came before: ignoring discards it
    signal(key, SIG_IGN);
    signal(key, SIG_DFL);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  if (cpus != nullptr) sched_setaffinity(0, sizeof(*cpus), cpus);
  const int nothing = open("/dev/null", O_RDONLY);
  dup2(nothing, STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  const rlimit descriptors = {.rlim_cur = nofile, .rlim_max = nofile};
  Failure failure;
  if (nofile != 0 && setrlimit(RLIMIT_NOFILE, &descriptors) != 0) {
    failure.of_limit = true;
  } else {
    execvp(argv[0], argv);
  }
  failure.error = errno;
  [[maybe_unused]] const ssize_t n = write(failed, &failure, sizeof(failure));
  _exit(127);
}

std::string ReadAll(int fd) {
  std::string text;
  char part[4096];
  for (off_t at = 0;; at = static_cast<off_t>(text.size())) {
    const ssize_t n = pread(fd, part, sizeof(part), at);
    if (n <= 0) return text;
    text.append(part, static_cast<size_t>(n));
  }
}

int64_t Nanos(const timeval& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + int64_t{time.tv_usec} * 1'000;
}

}  // namespace

absl::StatusOr<Process> Process::Start(const std::vector<std::string>& argv,
                                       const std::vector<int>& cpus, uint64_t nofile) {
  Process process;
  process.out_ = memfd_create("stdout", MFD_CLOEXEC);
  process.err_ = memfd_create("stderr", MFD_CLOEXEC);
  int failed[2];
  if (process.out_ < 0 || process.err_ < 0 || pipe2(failed, O_CLOEXEC) != 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no descriptor for a process: ", strerror(errno)));
  }
  std::vector<char*> words;
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int cpu : cpus) CPU_SET(cpu, &set);
  const pid_t parent = getpid();
  process.pid_ = fork();
  const int error = errno;
  if (process.pid_ == 0) {
    BecomeProgram(words.data(), cpus.empty() ? nullptr : &set, nofile, process.out_, process.err_,
                  failed[1], parent);
  }
  close(failed[1]);
  if (process.pid_ < 0) {
    close(failed[0]);
    return absl::ResourceExhaustedError(
        absl::StrCat("no process can be started for ", argv[0], ": ", strerror(error),
                     "; see: ulimit -u, and the control group's pids.max"));
  }
  process.pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, process.pid_, 0));
  Failure failure;
  const bool no_exec = read(failed[0], &failure, sizeof(failure)) == sizeof(failure);
  close(failed[0]);
  if (no_exec && failure.of_limit) {
    return absl::InvalidArgumentError(absl::StrCat("RLIMIT_NOFILE can't be ", nofile, " for ",
                                                   argv[0], ": ", strerror(failure.error)));
  }
  if (no_exec) {
    return absl::NotFoundError(absl::StrCat("can't run ", argv[0], ": ", strerror(failure.error)));
  }
  return process;
}

Process::Process(Process&& other) noexcept { *this = std::move(other); }

Process& Process::operator=(Process&& other) noexcept {
  if (this == &other) return *this;
  Release();
  pid_ = std::exchange(other.pid_, -1);
  pidfd_ = std::exchange(other.pidfd_, -1);
  out_ = std::exchange(other.out_, -1);
  err_ = std::exchange(other.err_, -1);
  exit_code_ = other.exit_code_;
  cpu_ns_ = other.cpu_ns_;
  peak_bytes_ = other.peak_bytes_;
  ended_ = other.ended_;
  return *this;
}

Process::~Process() { Release(); }

void Process::Release() {
  if (pid_ > 0 && !ended_) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  for (int fd : {pidfd_, out_, err_}) {
    if (fd >= 0) close(fd);
  }
  pid_ = pidfd_ = out_ = err_ = -1;
}

std::string Process::Output() const { return ReadAll(out_); }

std::string Process::Errors() const { return ReadAll(err_); }

void Process::Signal(int signal) const {
  if (!ended_) kill(pid_, signal);
}

Process::Waited Process::Wait(int64_t timeout_ns, int interrupt_fd) {
  if (ended_) return Waited::kEnded;
  pollfd fds[2] = {{.fd = pidfd_, .events = POLLIN, .revents = 0},
                   {.fd = interrupt_fd, .events = POLLIN, .revents = 0}};
  const timespec timeout = {.tv_sec = timeout_ns / 1'000'000'000,
                            .tv_nsec = timeout_ns % 1'000'000'000};
  if (ppoll(fds, 2, &timeout, nullptr) <= 0) return Waited::kTimeout;
  if (fds[0].revents == 0) return Waited::kInterrupted;
  int status = 0;
  rusage usage = {};
  wait4(pid_, &status, 0, &usage);
  ended_ = true;
  cpu_ns_ = Nanos(usage.ru_utime) + Nanos(usage.ru_stime);
  peak_bytes_ = int64_t{usage.ru_maxrss} * 1024;
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return Waited::kEnded;
}

absl::StatusOr<std::vector<std::string>> SplitWords(const std::string& command) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  char quote = 0;
  for (size_t i = 0; i < command.size(); ++i) {
    const char c = command[i];
    if (quote == 0 && (c == ' ' || c == '\t')) {
      if (in_word) words.push_back(std::exchange(word, {}));
      in_word = false;
      continue;
    }
    in_word = true;
    if (quote == 0 && (c == '\'' || c == '"')) {
      quote = c;
    } else if (c == quote && quote != 0) {
      quote = 0;
    } else if (c == '\\' && quote != '\'' && i + 1 < command.size()) {
      word += command[++i];
    } else {
      word += c;
    }
  }
  if (quote != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", command, "': a ", std::string(1, quote), " is not closed"));
  }
  if (in_word) words.push_back(word);
  return words;
}

}  // namespace bench
