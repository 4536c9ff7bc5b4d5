#include "bench/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "bench/supervisor.h"

namespace bench {
namespace {

// The bytes of a file from `from` to `to`, or to its end.
std::string ReadPart(int fd, uint64_t from, uint64_t to = UINT64_MAX) {
  std::string text;
  char part[4096];
  while (from < to) {
    const ssize_t n =
        pread(fd, part, std::min<uint64_t>(sizeof(part), to - from), static_cast<off_t>(from));
    if (n <= 0) break;
    text.append(part, static_cast<size_t>(n));
    from += static_cast<uint64_t>(n);
  }
  return text;
}

// What a file has; where it has more than twice `bytes`, its first and its last so many.
std::string ReadKept(int fd, uint64_t bytes) {
  struct stat file = {};
  if (fstat(fd, &file) != 0) return "";
  const auto size = static_cast<uint64_t>(file.st_size);
  if (bytes > size || size - bytes <= bytes) return ReadPart(fd, 0);
  return absl::StrCat(ReadPart(fd, 0, bytes), "\n[", size - 2 * bytes, " bytes left out]\n",
                      ReadPart(fd, size - bytes));
}

// Whether a whole one came; not where the other end closed before.
template <class Word>
bool ReadWord(int fd, Word* word) {
  ssize_t n;
  do {
    n = read(fd, word, sizeof(*word));
  } while (n < 0 && errno == EINTR);
  return n == sizeof(*word);
}

}  // namespace

absl::StatusOr<Process> Process::Start(const std::vector<std::string>& argv,
                                       const std::vector<int>& cpus, uint64_t nofile,
                                       uint64_t bytes_kept) {
  Process process;
  process.bytes_kept_ = bytes_kept;
  process.out_ = memfd_create("stdout", MFD_CLOEXEC);
  process.err_ = memfd_create("stderr", MFD_CLOEXEC);
  int failed[2] = {-1, -1}, told[2] = {-1, -1};
  if (process.out_ < 0 || process.err_ < 0 || pipe2(failed, O_CLOEXEC) != 0 ||
      pipe2(told, O_CLOEXEC) != 0) {
    const int error = errno;
    for (const int fd : failed) {
      if (fd >= 0) close(fd);
    }
    return absl::ResourceExhaustedError(
        absl::StrCat("no descriptor for a process: ", strerror(error)));
  }
  std::vector<char*> words;
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int cpu : cpus) CPU_SET(cpu, &set);
  const Program program = {.argv = words.data(),
                           .cpus = cpus.empty() ? nullptr : &set,
                           .nofile = nofile,
                           .out = process.out_,
                           .err = process.err_,
                           .bytes_kept = bytes_kept,
                           .failed = failed[1]};
  const pid_t parent = getpid();
  process.supervisor_ = fork();
  if (process.supervisor_ == 0) Supervise(program, told[1], parent);
  const int fork_error = errno;
  close(failed[1]);
  close(told[1]);
  process.told_ = told[0];
  ProgramStart start;
  ProgramFailure failure;
  const bool started = process.supervisor_ > 0 && ReadWord(told[0], &start) && start.pid > 0;
  if (started) {
    process.pid_ = start.pid;
    process.pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, start.pid, 0));
  }
  const bool no_exec = ReadWord(failed[0], &failure);
  close(failed[0]);
  if (!started) {
    const int error = process.supervisor_ < 0 ? fork_error : start.error;
    return absl::ResourceExhaustedError(
        absl::StrCat("no process can be started for ", argv[0], ": ", strerror(error),
                     "; see: ulimit -u, and the control group's pids.max"));
  }
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
  supervisor_ = std::exchange(other.supervisor_, -1);
  pid_ = std::exchange(other.pid_, -1);
  pidfd_ = std::exchange(other.pidfd_, -1);
  out_ = std::exchange(other.out_, -1);
  err_ = std::exchange(other.err_, -1);
  told_ = std::exchange(other.told_, -1);
  bytes_kept_ = other.bytes_kept_;
  exit_code_ = other.exit_code_;
  cpu_ns_ = other.cpu_ns_;
  peak_bytes_ = other.peak_bytes_;
  ended_ = other.ended_;
  return *this;
}

Process::~Process() { Release(); }

void Process::Release() {
  if (supervisor_ > 0 && !ended_) {
    kill(supervisor_, SIGTERM);
    AwaitSupervisor();
  }
  for (int fd : {pidfd_, out_, err_, told_}) {
    if (fd >= 0) close(fd);
  }
  supervisor_ = pid_ = pidfd_ = out_ = err_ = told_ = -1;
}

void Process::AwaitSupervisor() const {
  while (waitpid(supervisor_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

std::string Process::Output() const { return ReadKept(out_, bytes_kept_); }

std::string Process::Errors() const { return ReadKept(err_, bytes_kept_); }

void Process::Signal(int signal) const {
  // By its descriptor: the number may be another's once the supervisor has waited for it.
  if (!ended_ && pidfd_ >= 0) syscall(SYS_pidfd_send_signal, pidfd_, signal, nullptr, 0);
}

Process::Waited Process::Wait(int64_t timeout_ns, int interrupt_fd) {
  if (ended_) return Waited::kEnded;
  pollfd fds[2] = {{.fd = told_, .events = POLLIN, .revents = 0},
                   {.fd = interrupt_fd, .events = POLLIN, .revents = 0}};
  const timespec timeout = {.tv_sec = timeout_ns / 1'000'000'000,
                            .tv_nsec = timeout_ns % 1'000'000'000};
  if (ppoll(fds, 2, &timeout, nullptr) <= 0) return Waited::kTimeout;
  if (fds[0].revents == 0) return Waited::kInterrupted;
  ProgramEnd end = {.exit_code = 128 + SIGKILL};  // so it is where the supervisor was killed
  ReadWord(told_, &end);
  AwaitSupervisor();
  ended_ = true;
  cpu_ns_ = end.cpu_ns;
  peak_bytes_ = end.peak_bytes;
  exit_code_ = end.exit_code;
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
