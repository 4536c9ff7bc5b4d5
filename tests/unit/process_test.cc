#include "bench/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/descriptors.h"

namespace bench {
namespace {

constexpr int64_t kHang = 60'000'000'000;  // ends a hung test

bool Until(const std::function<bool()>& holds) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::nanoseconds(kHang);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

bool IsGone(pid_t pid) { return kill(pid, 0) != 0 && errno == ESRCH; }

// A wrapper that leaves everything behind: a program beside it, one in a session of its own, and
// one of which it doesn't even know; all ignore SIGTERM if they are `deaf`. It says their numbers.
Process StartWrapper(bool deaf = false) {
  const std::string child = deaf ? "sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1000; done'"
                                 : "sh -c 'echo $$; exec sleep 1000'";
  return *Process::Start(
      {"sh", "-c", child + " & setsid " + child + " & (setsid " + child + " &); wait"}, {});
}

// The three, once they run.
std::vector<pid_t> LeftBehind(const Process& wrapper) {
  std::vector<pid_t> pids;
  EXPECT_TRUE(Until([&] {
    pids.clear();
    std::istringstream words(wrapper.Output());
    for (pid_t pid; words >> pid;) pids.push_back(pid);
    return pids.size() == 3;
  }));
  return pids;
}

TEST(Process, EndsWithAllThatItsProgramLeftBehind) {
  Process wrapper = StartWrapper();
  const std::vector<pid_t> pids = LeftBehind(wrapper);
  for (const pid_t pid : pids) EXPECT_FALSE(IsGone(pid));
  wrapper.Signal(SIGTERM);  // which a shell doesn't pass on
  ASSERT_EQ(wrapper.Wait(kHang, -1), Process::Waited::kEnded);
  EXPECT_EQ(wrapper.exit_code(), 128 + SIGTERM);
  for (const pid_t pid : pids) EXPECT_TRUE(IsGone(pid)) << pid;
}

TEST(Process, TakesTheDeafAlongWhenItGoes) {
  std::vector<pid_t> pids;
  {
    const Process wrapper = StartWrapper(/*deaf=*/true);
    pids = LeftBehind(wrapper);
  }
  for (const pid_t pid : pids) EXPECT_TRUE(IsGone(pid)) << pid;
}

TEST(Process, LeavesNothingWhenItsOwnerIsKilled) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const pid_t owner = unit_tests::InChild([&] {
    const Process wrapper = StartWrapper();
    const std::vector<pid_t> pids = LeftBehind(wrapper);
    if (write(ends[1], pids.data(), pids.size() * sizeof(pid_t)) < 0) return 1;
    pause();
    return 0;
  });
  std::vector<pid_t> pids(3);
  ASSERT_EQ(read(ends[0], pids.data(), 3 * sizeof(pid_t)), ssize_t(3 * sizeof(pid_t)));
  kill(owner, SIGKILL);
  EXPECT_EQ(unit_tests::ExitCodeOf(owner), 128 + SIGKILL);
  for (const pid_t pid : pids) EXPECT_TRUE(Until([&] { return IsGone(pid); })) << pid;
  close(ends[0]);
  close(ends[1]);
}

// What the memory files of this process's programs take, both streams of each.
int64_t StreamBytes() {
  int64_t sum = 0;
  for (const auto& fd : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    const std::string to = std::filesystem::read_symlink(fd.path(), error).string();
    struct stat file = {};
    if (to.rfind("/memfd:std", 0) == 0 && stat(fd.path().c_str(), &file) == 0) {
      sum += file.st_blocks * 512;
    }
  }
  return sum;
}

TEST(Process, OfAChattyProgramSomeIsKept) {
  constexpr int64_t kWritten = 20'000'000, kKept = 8192;
  auto process = Process::Start(
      {"sh", "-c", "echo first; yes | head -c 20000000; echo last; echo wrong >&2"}, {}, 0, kKept);
  ASSERT_TRUE(process.ok()) << process.status();
  ASSERT_EQ(process->Wait(kHang, -1), Process::Waited::kEnded);
  const std::string out = process->Output();
  EXPECT_EQ(out.substr(0, 6), "first\n");
  EXPECT_EQ(out.substr(out.size() - 5), "last\n");
  const int64_t all = kWritten + 6 + 5;
  const std::string left_out = "\n[" + std::to_string(all - 2 * kKept) + " bytes left out]\n";
  EXPECT_EQ(out.find(left_out), size_t{kKept});
  EXPECT_EQ(int64_t(out.size()), 2 * kKept + int64_t(left_out.size()));
  EXPECT_EQ(process->Errors(), "wrong\n");
  EXPECT_LE(StreamBytes(), 4 * kKept);  // whole pages
}

// User and system time of all children that were waited for.
int64_t ChildrenCpuNs() {
  rusage usage = {};
  getrusage(RUSAGE_CHILDREN, &usage);
  const auto ns = [](const timeval& t) { return t.tv_sec * 1'000'000'000L + t.tv_usec * 1'000L; };
  return ns(usage.ru_utime) + ns(usage.ru_stime);
}

TEST(Process, TellsTheCpuTimeOfItsProgramAndOfThoseThatItWaitedFor) {
  const int64_t before = ChildrenCpuNs();
  auto process =
      Process::Start({"sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; ls /"}, {});
  ASSERT_TRUE(process.ok()) << process.status();
  EXPECT_EQ(process->cpu_ns(), 0);
  constexpr int64_t kHangNs = 60'000'000'000;
  ASSERT_EQ(process->Wait(kHangNs, -1), Process::Waited::kEnded);
  EXPECT_EQ(process->exit_code(), 0);
  EXPECT_GT(process->cpu_ns(), 0);
  // The kernel scales each of the two sums on its own, and rounds to a microsecond. Besides there
  // is the process that watches over it.
  const int64_t all = ChildrenCpuNs() - before;
  EXPECT_LT(process->cpu_ns(), all + 10'000);
  EXPECT_GT(process->cpu_ns(), all / 2);
}

TEST(Process, SaysThatThereIsNoSuchProgram) {
  const auto process = Process::Start({"no-such-program-at-all"}, {});
  EXPECT_EQ(process.status().code(), absl::StatusCode::kNotFound);
}

TEST(Process, HasTheDescriptorsThatItIsGiven) {
  auto process = Process::Start({"sh", "-c", "ulimit -Sn; ulimit -Hn"}, {}, 77);
  ASSERT_TRUE(process.ok()) << process.status();
  ASSERT_EQ(process->Wait(60'000'000'000, -1), Process::Waited::kEnded);
  EXPECT_EQ(process->Output(), "77\n77\n");
  const auto wide = Process::Start({"true"}, {}, uint64_t{1} << 40);  // above fs.nr_open
  EXPECT_EQ(wide.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace bench
