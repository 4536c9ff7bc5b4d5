// Many more connections than file descriptors: a server and a load generator, a process each, whose
// connections take direct descriptors at both ends.

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>

#include <filesystem>
#include <iostream>

#include "tests/integrity/peer.h"
#include "tests/tier.h"

namespace integrity {
namespace {

// A network that only this thread, and what it starts, is in: its ports, and those in TIME_WAIT,
// are nobody else's. It has 127.0.0.0/8.
class OwnNetwork {
 public:
  OwnNetwork() : before_(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
    entered_ = before_ >= 0 && unshare(CLONE_NEWNET) == 0;
    if (!entered_) problem_ = "no network of its own: " + io::ErrnoName(errno);
    if (entered_) BringUpLoopback();
  }
  OwnNetwork(const OwnNetwork&) = delete;
  OwnNetwork& operator=(const OwnNetwork&) = delete;
  ~OwnNetwork() {
    if (entered_) setns(before_, CLONE_NEWNET);
    if (before_ >= 0) close(before_);
  }
  const std::string& problem() const { return problem_; }

 private:
  void BringUpLoopback() {
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ifreq lo = {};
    std::strcpy(lo.ifr_name, "lo");
    lo.ifr_flags = IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &lo) != 0) problem_ = "lo stays down: " + io::ErrnoName(errno);
    close(fd);
  }

  int before_;
  bool entered_ = false;
  std::string problem_;
};

// "" or why a program with these flags can't run here, in its own words.
std::string Refusal(std::vector<std::string> flags) {
  flags.insert(flags.begin(), {RINGSIDE_BINARY, "serve", "0"});
  bench::Process probe = cli_tests::Start(std::move(flags));
  while (probe.Output().empty()) {
    if (probe.Wait(1'000'000, -1) == bench::Process::Waited::kEnded) return probe.Errors();
  }
  probe.Signal(SIGTERM);
  cli_tests::WaitFor(probe);
  return "";
}

// The program under this RLIMIT_NOFILE.
std::vector<std::string> Limited(uint64_t limit, std::vector<std::string> command) {
  command.insert(command.begin(), {"sh", "-c", absl::StrCat("ulimit -n ", limit, "; exec \"$@\""),
                                   "sh", RINGSIDE_BINARY});
  return command;
}

size_t DescriptorsOf(pid_t pid) {
  const std::filesystem::directory_iterator all(absl::StrCat("/proc/", pid, "/fd"));
  return std::distance(begin(all), end(all));
}

TEST(Direct, HoldsMoreConnectionsThanThereAreDescriptors) {
  LEFT_TO_ALL();
  constexpr uint64_t kMany = kSanitized ? 7'500 : 75'000;
  constexpr uint64_t kLimit = kMany * 4 / 15;  // RLIMIT_NOFILE of both: 20,000
  constexpr int kThreads = 5;                  // at each end; four would just do
  constexpr int64_t kRestingBytesMax = 300;    // of the server's memory
  if (geteuid() != 0) GTEST_SKIP() << "only root may make networks";
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_max < kLimit) GTEST_SKIP() << "RLIMIT_NOFILE allows less than " << kLimit;
  const std::string refusal = Refusal({"--backend", "io_uring", "--direct"});
  if (!refusal.empty()) GTEST_SKIP() << refusal;
  const OwnNetwork network;
  if (!network.problem().empty()) GTEST_SKIP() << network.problem();

  const std::string threads = std::to_string(kThreads);
  Server server = Server::By(
      Limited(kLimit, {"serve", "127.0.0.1:0", "--json", "--backend", "io_uring", "--direct",
                       "--threads", threads, "--connections-per-source", "0"}));
  const pid_t pid = server.process().pid();
  const std::string address = "127.0.0.1:" + server.port();
  // Touches what the server has once, not for each.
  constexpr uint64_t kFew = 800, kRequests = 80'000;
  cli_tests::LoadJson({address, "-c", std::to_string(kFew), "-n", std::to_string(kRequests),
                       "--source", "127.0.0.5"});
  const int64_t resident = ResidentBytes(pid);
  const size_t descriptors = DescriptorsOf(pid);
  bench::Process load = cli_tests::Start(Limited(kLimit, {"load",
                                                          address,
                                                          "--backend",
                                                          "io_uring",
                                                          "--direct",
                                                          "-t",
                                                          threads,
                                                          "-c",
                                                          std::to_string(kMany),
                                                          "--workload",
                                                          "hold",
                                                          "--heartbeat",
                                                          "1h",
                                                          "--source",
                                                          "127.0.0.1,127.0.0.2,127.0.0.3,127.0.0.4",
                                                          "--duration",
                                                          "1h",
                                                          "--warmup",
                                                          "0s",
                                                          "--connect-timeout",
                                                          "1h",
                                                          "--json",
                                                          "-"}));
  const auto give_up =
      std::chrono::steady_clock::now() + std::chrono::nanoseconds(cli_tests::kHangNs);
  Json status;
  do {  // every connection is there, and its bytes have come back
    ASSERT_LT(std::chrono::steady_clock::now(), give_up) << "hangs: " << status;
    ASSERT_NE(load.Wait(20'000'000, -1), bench::Process::Waited::kEnded) << load.Errors();
    status = server.Status();
  } while (status["connections"]["open"] != kMany || status["requests"] < kRequests + kMany);

  EXPECT_LE(DescriptorsOf(pid), descriptors);
  EXPECT_LT(DescriptorsOf(load.pid()), 20u * kThreads);
  const int64_t each = (ResidentBytes(pid) - resident) / static_cast<int64_t>(kMany);
  std::cout << each << " bytes for each of " << kMany << " connections\n";
  if (!kSanitized) {
    EXPECT_LE(each, kRestingBytesMax);
  }
  load.Signal(SIGINT);
  const cli_tests::Ended ended = cli_tests::WaitFor(load);
  const Json result = Json::parse(ended.out, nullptr, false);
  ASSERT_FALSE(result.is_discarded()) << ended.err;
  EXPECT_EQ(result["connections"]["answered"], kMany);
  EXPECT_EQ(result["errors"]["total"], 0) << result["errors"];
  EXPECT_EQ(result["bytes"]["corrupt"], 0);
  const Json summary = StopAndCheck(server, kFew + kMany);
  EXPECT_EQ(summary["errors"]["total"], 0) << summary["errors"];
}

}  // namespace
}  // namespace integrity
