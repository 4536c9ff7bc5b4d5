// The program where the kernel refuses what it needs at its start. strace(1) makes the calls fail.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace faults {
namespace {

// A child with its standard output and error in pipes.
class Process {
 public:
  explicit Process(const std::vector<std::string>& arguments) {
    int out[2], err[2];
    if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) return;
    out_ = out[0];
    err_ = err[0];
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
    std::vector<char*> argv;
    for (const std::string& argument : arguments) {
      argv.push_back(const_cast<char*>(argument.c_str()));
    }
    argv.push_back(nullptr);
    // LeakSanitizer is a tracer itself, and can't work beside another.
    std::string options = "ASAN_OPTIONS=detect_leaks=0";
    std::vector<char*> environment = {options.data()};
    for (char** variable = environ; *variable != nullptr; ++variable) {
      environment.push_back(*variable);
    }
    environment.push_back(nullptr);
    if (posix_spawnp(&pid_, argv[0], &actions, nullptr, argv.data(), environment.data()) != 0) {
      pid_ = -1;
    }
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    close(err[1]);
  }
  ~Process() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(out_);
    close(err_);
  }

  // Reads its output until a line is complete; "" at the end.
  std::string OutputLine() {
    while (output_.find('\n') == std::string::npos && Read(out_, &output_)) continue;
    const size_t end = output_.find('\n');
    return end == std::string::npos ? "" : output_.substr(0, end);
  }
  // All of its standard error; waits for its end.
  std::string Errors() {
    while (Read(err_, &errors_)) continue;
    return errors_;
  }
  void Terminate() { kill(pid_, SIGTERM); }
  // Its exit status; -1 when it was killed.
  int Wait() {
    int status = -1;
    if (pid_ <= 0 || waitpid(pid_, &status, 0) != pid_) return -1;
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  static constexpr int kHangMs = 30'000;

  static bool Read(int fd, std::string* into) {
    pollfd readable = {.fd = fd, .events = POLLIN, .revents = 0};
    if (poll(&readable, 1, kHangMs) <= 0) return false;
    char part[4096];
    const ssize_t n = read(fd, part, sizeof(part));
    if (n > 0) into->append(part, n);
    return n > 0;
  }

  pid_t pid_ = -1;
  int out_ = -1, err_ = -1;
  std::string output_, errors_;
};

// `program` with its calls failing as strace's -e inject= says. strace runs beside it (-D), so that
// the child is the program itself.
std::vector<std::string> UnderStrace(const std::string& inject, std::vector<std::string> program) {
  const std::string call = inject.substr(0, inject.find(':'));
  std::vector<std::string> command = {
      "strace",          "-f", "-D", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e",
      "inject=" + inject};
  command.insert(command.end(), program.begin(), program.end());
  return command;
}

class Refused : public testing::Test {
 protected:
  void SetUp() override {
    Process works(UnderStrace("getppid:error=EPERM", {"true"}));
    works.Errors();
    if (works.Wait() != 0) GTEST_SKIP() << "strace isn't installed, or may not trace";
  }

  // The server doesn't start: a reason with all of `words`. Exit status 77 where the backend can't
  // run here at all.
  static void ExpectExit(const std::string& inject, const std::string& backend, int status,
                         const std::vector<std::string>& words) {
    SCOPED_TRACE(inject);
    Process serve(UnderStrace(inject, {RINGSIDE_BINARY, "serve", "--backend", backend, "0"}));
    EXPECT_EQ(serve.OutputLine(), "") << "it is ready, although it can't be";
    const std::string errors = serve.Errors();
    EXPECT_EQ(serve.Wait(), status);
    EXPECT_EQ(errors.find("ringside serve: "), 0u) << errors;
    for (const std::string& word : words) {
      EXPECT_NE(errors.find(word), std::string::npos) << word << " is missing in: " << errors;
    }
  }

  // The server starts with epoll, and says why.
  static void ExpectFallback(const std::string& inject, const std::vector<std::string>& words) {
    SCOPED_TRACE(inject);
    Process serve(
        UnderStrace(inject, {RINGSIDE_BINARY, "serve", "--backend", "auto", "--json", "0"}));
    const std::string ready = serve.OutputLine();
    EXPECT_NE(ready.find("\"backend\":\"epoll\""), std::string::npos) << ready;
    serve.Terminate();
    const std::string errors = serve.Errors();
    EXPECT_EQ(serve.Wait(), 0);
    EXPECT_NE(errors.find("using epoll"), std::string::npos) << errors;
    for (const std::string& word : words) {
      EXPECT_NE(errors.find(word), std::string::npos) << word << " is missing in: " << errors;
    }
  }
};

struct Reason {
  std::string inject;
  std::vector<std::string> words;
};

std::vector<Reason> SetupRefusals() {
  return {{"io_uring_setup:error=ENOSYS", {"ENOSYS", "seccomp"}},
          {"io_uring_setup:error=EPERM", {"io_uring"}},  // the sysctl, or a filter
          {"io_uring_setup:error=ENOMEM", {"ENOMEM", "RLIMIT_MEMLOCK", "ulimit -l"}},
          {"io_uring_setup:error=EMFILE", {"EMFILE", "ulimit -n"}},
          {"io_uring_setup:error=ENFILE", {"ENFILE"}},
          {"io_uring_setup:error=EINVAL", {"too old"}},
          {"io_uring_register:error=EINVAL", {"too old"}}};
}

TEST_F(Refused, UringEndsTheServerWithTheReason) {
  for (const Reason& reason : SetupRefusals())
    ExpectExit(reason.inject, "io_uring", 77, reason.words);
}

// A feature that is asked for, and that the kernel lacks: a reason with its name and the Linux that
// has it. Which of the server's calls tries it is not for a test to know: each is refused in turn,
// until it was that one.
TEST_F(Refused, AFeatureThatTheKernelLacksIsNamed) {
  constexpr int kCallsMost = 60;
  const struct {
    std::string feature, call, words;
  } cases[] = {{"sqpoll", "io_uring_setup", "sqpoll needs Linux 5.1; this kernel ("},
               {"incremental-buffers", "io_uring_register",
                "incremental-buffers needs Linux 6.12; this kernel ("}};
  for (const auto& [feature, call, words] : cases) {
    SCOPED_TRACE(feature);
    bool named = false;
    // From liburing 2.5 on, a refused set-up is tried once more without a flag of its own
    // (IORING_SETUP_NO_SQARRAY): then it takes two refusals.
    for (int n = 0; n < 2 * kCallsMost && !named; ++n) {
      const int nth = 1 + n % kCallsMost, last = nth + n / kCallsMost;
      Process serve(
          UnderStrace(absl::StrCat(call, ":error=EINVAL:when=", nth, "..", last),
                      {RINGSIDE_BINARY, "serve", "--backend", "io_uring", "--with", feature, "0"}));
      const bool ready = !serve.OutputLine().empty();
      if (ready) serve.Terminate();
      const std::string errors = serve.Errors();
      const int status = serve.Wait();
      if (ready) {
        EXPECT_EQ(status, 0) << "call " << nth << ": " << errors;
        continue;
      }
      EXPECT_EQ(errors.find("ringside serve: "), 0u) << "call " << nth << ": " << errors;
      named = errors.find(words) != std::string::npos;
      if (named) {
        EXPECT_EQ(status, 77) << errors;
      }
    }
    EXPECT_TRUE(named) << "none of the calls tried it";
  }
}

TEST_F(Refused, AutoFallsBackToEpollAndSaysSo) {
  for (const Reason& reason : SetupRefusals()) ExpectFallback(reason.inject, reason.words);
}

TEST_F(Refused, EpollEndsTheServerWithTheReason) {
  ExpectExit("epoll_create1:error=EMFILE", "epoll", 1, {"EMFILE"});
  ExpectExit("epoll_ctl:error=ENOSPC", "epoll", 1, {"ENOSPC", "max_user_watches"});
  ExpectExit("socket:error=EMFILE", "epoll", 1, {"EMFILE", "ulimit -n"});
  ExpectExit("bind:error=EACCES", "epoll", 1, {"EACCES", "CAP_NET_BIND_SERVICE"});
  ExpectExit("eventfd2:error=EMFILE", "epoll", 1, {"eventfd"});
  ExpectExit("listen:error=EADDRINUSE", "epoll", 1, {"EADDRINUSE", "in use"});
}

}  // namespace
}  // namespace faults
