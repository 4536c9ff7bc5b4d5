#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <regex>
#include <string>
#include <thread>
#include <vector>

#include "io/backends.h"
#include "io/sockets.h"
#include "server/metrics.h"
#include "server/server.h"
#include "tests/unit/descriptors.h"

// A server with a thread that hangs: it sits in a handler of a signal, in read(2), until it is let
// go. And the order of a takeover, with the servers of both sides in this process.
namespace server {
namespace {

constexpr std::chrono::milliseconds kPatience{50};

bool Until(const std::function<bool()>& holds) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

int let_go[2];             // the pipe that a thread that hangs reads
std::atomic<int> hung{0};  // threads that hang

void Hang(int) {
  const int error = errno;
  hung.fetch_add(1);
  char byte;
  while (read(let_go[0], &byte, 1) < 0 && errno == EINTR) {
  }
  errno = error;
}

// The kernel's number of the thread of this process with that name; 0: none.
pid_t ThreadOf(const std::string& name) {
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string its;
    std::getline(std::ifstream(task.path() / "comm"), its);
    if (its == name) return std::stoi(task.path().filename());
  }
  return 0;
}

class Client {
 public:
  explicit Client(const io::Endpoint& at) : fd_(*io::OpenConnector(at, /*nonblocking=*/false)) {
    const timeval hang = {.tv_sec = 60, .tv_usec = 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &hang, sizeof(hang));
    EXPECT_EQ(connect(fd_, at.address(), at.size()), 0) << std::strerror(errno);
  }
  ~Client() { close(fd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  void Say() const { EXPECT_EQ(send(fd_, "x", 1, MSG_NOSIGNAL), 1); }
  // Whether it is answered; it waits for that.
  testing::AssertionResult Hears() const {
    char byte;
    // With a time limit it is interrupted by what a ring of this thread left to do (signal(7)).
    const ssize_t n = TEMP_FAILURE_RETRY(recv(fd_, &byte, 1, 0));
    if (n == 1) return testing::AssertionSuccess();
    return testing::AssertionFailure() << (n == 0 ? "it ended" : std::strerror(errno));
  }

 private:
  int fd_;
};

class ServerHang : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const absl::Status available = io::ProbeBackend(GetParam());
    if (!available.ok()) GTEST_SKIP() << available;
    ASSERT_EQ(pipe2(let_go, O_CLOEXEC), 0);
    hung = 0;
    struct sigaction action = {};
    action.sa_handler = &Hang;
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR2, &action, nullptr);
  }
  void TearDown() override {
    if (let_go[0] > 0) close(let_go[0]), close(let_go[1]);
  }

  ServerOptions Options(uint32_t threads, io::Nanos patience = kPatience) const {
    ServerOptions options;
    options.listeners = {{.service = "echo", .at = *io::Resolve("127.0.0.1:0")}};
    options.backend = GetParam();
    options.threads = threads;
    options.drain_deadline = std::chrono::milliseconds(10);
    options.thread_patience = patience;
    return options;
  }
  static void Serve(Server& server, std::vector<PassedSocket> inherited = {}) {
    ASSERT_TRUE(server.Open(std::move(inherited)).ok());
    const absl::Status started = server.Start();
    ASSERT_TRUE(started.ok()) << started;
    ASSERT_TRUE(server.Serve().ok());
  }
  // ThreadSanitizer holds a signal back until the thread calls what it intercepts, which may be a
  // lock of ours.
  static bool SignalsComeLate() {
#if defined(__SANITIZE_THREAD__)
    return true;
#else
    return false;
#endif
  }
  // Has thread 1 hang, in its loop, and waits until it does.
  static void HangThread1(Server& server) {
    ASSERT_TRUE(Until([&] {
      std::vector<ServerSummary> threads;
      server.Snapshot(&threads);
      return std::ranges::none_of(threads, [](const auto& its) { return its.features.empty(); });
    }));
    const pid_t thread = ThreadOf("worker 1");
    ASSERT_GT(thread, 0);
    ASSERT_EQ(syscall(SYS_tgkill, getpid(), thread, SIGUSR2), 0);
    ASSERT_TRUE(Until([] { return hung == 1; }));
  }
  // On a machine that others keep busy, threads that don't hang may be late, too.
  static bool NamesThread1(const absl::Status& status) {
    return std::regex_search(std::string(status.message()),
                             std::regex("^threads? ([0-9, ]+(and )?)?1[ ,].*do(es)? not"));
  }
  static void LetGo() { ASSERT_EQ(write(let_go[1], "x", 1), 1); }
};
INSTANTIATE_TEST_SUITE_P(Backends, ServerHang, testing::Values("epoll", "io_uring"),
                         [](const auto& test) { return test.param; });

TEST_P(ServerHang, IsNamedWhenItIsToRetireAndDoesSoLater) {
  if (SignalsComeLate()) GTEST_SKIP() << "signals come late";
  Server server(Options(3));
  Serve(server);
  HangThread1(server);
  const absl::Status retired = server.Retire();  // this would hang
  EXPECT_TRUE(absl::IsDeadlineExceeded(retired)) << retired;
  EXPECT_TRUE(NamesThread1(retired)) << retired;
  EXPECT_EQ(server.UntilOverdue(), io::kForever);  // those who are connected may take their time
  LetGo();
  ServerSummary summary;
  EXPECT_TRUE(server.Wait(&summary).ok());
}

TEST_P(ServerHang, IsNamedWhenItIsToEnd) {
  if (SignalsComeLate()) GTEST_SKIP() << "signals come late";
  {
    Server server(Options(2));
    Serve(server);
    HangThread1(server);
    // Who asks has an answer, and waits for it once.
    EXPECT_TRUE(MetricsPage(Options(2), server, 0).ok());
    server.Drain();
    EXPECT_LT(server.UntilOverdue(), std::chrono::seconds(60));
    ServerSummary summary;
    const absl::Status ended = server.Wait(&summary);  // this would hang
    EXPECT_TRUE(absl::IsDeadlineExceeded(ended)) << ended;
    EXPECT_TRUE(NamesThread1(ended)) << ended;
    EXPECT_EQ(server.UntilOverdue(), io::Nanos::zero());
  }
  // It goes on without its server, and ends.
  LetGo();
  EXPECT_TRUE(Until([] { return ThreadOf("worker 1") == 0; }));
}

// The running server accepts until it has retired; from then on nobody does, until the new one
// serves. Who connects in between waits, and is the new one's.
TEST_P(ServerHang, TheOldOneStopsBeforeTheNewOneAccepts) {
  constexpr auto kForLong = std::chrono::seconds(60);
  Server old(Options(1, kForLong));
  Serve(old);
  const io::Endpoint at = old.listeners()[0].at;
  ServerOptions options = Options(1, kForLong);
  options.listeners[0].at = at;
  Server next(options);
  std::vector<PassedSocket> passed;
  for (const PassedSocket& socket : old.SocketsToPass()) {
    passed.push_back({fcntl(socket.fd, F_DUPFD_CLOEXEC, 3), "echo=" + at.ToString()});
  }
  ASSERT_TRUE(next.Open(std::move(passed)).ok());
  ASSERT_TRUE(next.listeners()[0].inherited);
  ASSERT_TRUE(next.Start().ok());
  const Client first(at);
  first.Say();
  EXPECT_TRUE(first.Hears());
  EXPECT_TRUE(old.Retire().ok());
  const Client between(at);
  between.Say();
  first.Say();
  EXPECT_TRUE(first.Hears()) << "who is connected is served on";
  EXPECT_EQ(old.Snapshot().io.accepted, 1u);
  ASSERT_TRUE(next.Serve().ok());
  EXPECT_TRUE(between.Hears());
  EXPECT_EQ(next.Snapshot().io.accepted, 1u);
  EXPECT_EQ(old.Snapshot().io.accepted, 1u);
}

}  // namespace
}  // namespace server
