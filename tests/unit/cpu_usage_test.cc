#include "stats/cpu_usage.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "stats/cpu_clock.h"
#include "tests/unit/descriptors.h"

namespace stats::cpu_usage_tests {
namespace {

using unit_tests::ExitCodeOf;
using unit_tests::InChild;

constexpr int64_t kMs = 1'000'000;

constexpr char kStat[] =
    "cpu  100 20 30 400 50 6 7 8 90 0\n"
    "cpu0 60 10 20 300 40 3 4 5 50 0\n"
    "cpu3 40 10 10 100 10 3 3 3 40 0\n"
    "intr 28801950 0 0\nctxt 5\ncpufreq 3\n";

MachineCpu MustParse(const char* text) {
  absl::StatusOr<MachineCpu> machine = MachineCpu::Parse(text);
  EXPECT_TRUE(machine.ok()) << machine.status();
  return machine.ok() ? *std::move(machine) : MachineCpu{};
}

MachineCpu MustRead() {
  absl::StatusOr<MachineCpu> machine = MachineCpu::Read();
  EXPECT_TRUE(machine.ok()) << machine.status();
  return machine.ok() ? *std::move(machine) : MachineCpu{};
}

// Until `done`; the limit ends a hang.
template <class Done>
bool Until(Done done) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!done()) {
    if (std::chrono::steady_clock::now() > give_up) return false;
  }
  return true;
}

// A process that takes a CPU until it is killed.
pid_t Spinner() {
  return InChild([] {
    volatile bool forever = true;
    while (forever) {
    }
    return 0;
  });
}

void Kill(pid_t child) {
  kill(child, SIGKILL);
  EXPECT_EQ(ExitCodeOf(child), 128 + SIGKILL);
}

TEST(MachineCpu, ReadsTheColumnsOfEachCpu) {
  const MachineCpu machine = MustParse(kStat);
  EXPECT_EQ(machine.all.user_ns, 1200 * kMs);
  EXPECT_EQ(machine.all.system_ns, 300 * kMs);
  EXPECT_EQ(machine.all.interrupt_ns, 130 * kMs);
  EXPECT_EQ(machine.all.idle_ns, 4500 * kMs);
  EXPECT_EQ(machine.all.steal_ns, 80 * kMs);
  EXPECT_EQ(machine.all.busy_ns(), 1630 * kMs);
  ASSERT_EQ(machine.cpus.size(), 2u);
  EXPECT_EQ(machine.cpus.at(0).user_ns, 700 * kMs);
  EXPECT_EQ(machine.cpus.at(3).steal_ns, 30 * kMs);
}

TEST(MachineCpu, OldKernelsHaveFewerColumns) {
  EXPECT_EQ(MustParse("cpu 1 2 3 4\n").all.steal_ns, 0);
  EXPECT_EQ(MustParse("cpu 1 2 3 4\n").all.idle_ns, 40 * kMs);
}

TEST(MachineCpu, AFileOfSomethingElseIsAnError) {
  EXPECT_TRUE(absl::IsInternal(MachineCpu::Parse("").status()));
  EXPECT_TRUE(absl::IsInternal(MachineCpu::Parse("cpu0 1 2 3 4\n").status()));
  EXPECT_TRUE(absl::IsInternal(MachineCpu::Parse("cpu 1 2\n").status()));
  EXPECT_TRUE(absl::IsNotFound(MachineCpu::Read("/proc/none").status()));
}

TEST(MachineCpu, SharesAddUpToOne) {
  const CpuNanos before{.user_ns = 10, .idle_ns = 100, .steal_ns = 5};
  const CpuNanos after{.user_ns = 20, .interrupt_ns = 10, .idle_ns = 160, .steal_ns = 25};
  const CpuShares shares = Shares(before, after);
  EXPECT_DOUBLE_EQ(shares.busy, 0.2);
  EXPECT_DOUBLE_EQ(shares.idle, 0.6);
  EXPECT_DOUBLE_EQ(shares.steal, 0.2);
}

TEST(MachineCpu, SharesOfNoTimeAndOfTimeThatWentBack) {
  const CpuNanos before{.user_ns = 10, .idle_ns = 100, .steal_ns = 5};
  EXPECT_EQ(Shares(before, before).busy, 0);
  EXPECT_EQ(Shares(before, before).idle, 0);
  const CpuShares shares = Shares(before, {.user_ns = 20, .idle_ns = 90, .steal_ns = 4});
  EXPECT_DOUBLE_EQ(shares.busy, 1);
  EXPECT_EQ(shares.idle, 0);
  EXPECT_EQ(shares.steal, 0);
}

TEST(MachineCpu, ThisMachinesCpusAreAllThere) {
  const MachineCpu machine = MustRead();
  EXPECT_EQ(static_cast<int64_t>(machine.cpus.size()), sysconf(_SC_NPROCESSORS_ONLN));
  EXPECT_GT(machine.all.busy_ns(), 0);
}

TEST(Others, AreWhatIsLeftOfTheBusyTime) {
  MachineCpu before = MustParse(kStat), after = before;
  after.all.user_ns += 500 * kMs;
  after.all.interrupt_ns += 100 * kMs;
  after.all.idle_ns += 1000 * kMs;
  after.all.steal_ns += 1000 * kMs;
  EXPECT_EQ(Others(before, after, 0).cpu_ns, 600 * kMs);
  const OthersCpu others = Others(before, after, 350 * kMs);
  EXPECT_EQ(others.cpu_ns, 250 * kMs);
  EXPECT_EQ(others.interrupt_ns, 100 * kMs);
  EXPECT_EQ(others.error_ns, 20 * kMs);  // of two CPUs
  EXPECT_EQ(Others(before, after, 550 * kMs).interrupt_ns, 50 * kMs);
  EXPECT_EQ(Others(before, after, 601 * kMs).cpu_ns, 0);
  EXPECT_EQ(Others(before, after, 601 * kMs).interrupt_ns, 0);
}

TEST(Others, ASpinningProcessIsSeenUntilItIsKnown) {
  const pid_t child = Spinner();
  ASSERT_GT(child, 0);
  const MachineCpu before = MustRead();
  const int64_t ours_before = OwnCpuNanos(), child_before = ProcessTreeCpuNanos(child).value_or(0);
  int64_t ours = 0, others = 0, childs = 0;
  MachineCpu after;
  EXPECT_TRUE(Until([&] {
    std::this_thread::yield();
    after = MustRead();
    ours = OwnCpuNanos() - ours_before;
    childs = ProcessTreeCpuNanos(child).value_or(0) - child_before;
    others = Others(before, after, ours).cpu_ns;
    return others - Others(before, after, ours).error_ns >= 200 * kMs && childs >= 200 * kMs;
  }));
  EXPECT_LE(Others(before, after, ours + childs).cpu_ns, std::max<int64_t>(others - childs, 0));
  EXPECT_LT(Others(before, after, ours + childs).cpu_ns, others);
  Kill(child);
}

TEST(ThreadUsage, CountsCpuTimeSwitchesAndFaults) {
  const ThreadUsage before = ThreadUsage::Now();
  const size_t size = 64 * sysconf(_SC_PAGESIZE);
  void* pages = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(pages, MAP_FAILED);
  madvise(pages, size, MADV_NOHUGEPAGE);
  for (size_t at = 0; at < size; at += sysconf(_SC_PAGESIZE)) {
    static_cast<volatile char*>(pages)[at] = 1;
  }
  munmap(pages, size);
  while (ThreadCpuNanos() < before.cpu_ns + 5 * kMs) {
  }
  std::this_thread::sleep_for(std::chrono::nanoseconds(1));  // gives up the CPU
  const ThreadUsage used = ThreadUsage::Now() - before;
  EXPECT_GE(used.cpu_ns, 5 * kMs);
  EXPECT_GE(used.minor_faults, 64);
  EXPECT_GE(used.voluntary_switches, 1);
  EXPECT_GE(used.involuntary_switches, 0);
  EXPECT_GE(used.major_faults, 0);
}

TEST(ThreadUsage, IsOfTheThreadAlone) {
  const ThreadUsage before = ThreadUsage::Now();
  int64_t others_ns = 0;
  std::thread([&] {
    const ThreadUsage begun = ThreadUsage::Now();
    while (ThreadCpuNanos() < begun.cpu_ns + 50 * kMs) {
    }
    others_ns = (ThreadUsage::Now() - begun).cpu_ns;
  }).join();
  EXPECT_GE(others_ns, 50 * kMs);
  EXPECT_LT((ThreadUsage::Now() - before).cpu_ns, others_ns);
}

TEST(ThreadUsage, UnknownWaitsStayUnknown) {
  const ThreadUsage known{.waited_ns = 7}, later{.waited_ns = 9}, unknown{.waited_ns = -1};
  EXPECT_EQ((later - known).waited_ns, 2);
  EXPECT_EQ((later - unknown).waited_ns, -1);
  EXPECT_EQ((unknown - known).waited_ns, -1);
}

TEST(RunQueue, ReadsTheThreeNumbers) {
  const auto queue = internal::ParseSchedstat("139337 1970784 2\n");
  ASSERT_TRUE(queue.has_value());
  EXPECT_EQ(queue->ran_ns, 139337);
  EXPECT_EQ(queue->waited_ns, 1970784);
  EXPECT_EQ(queue->slices, 2);
  EXPECT_TRUE(internal::ParseSchedstat("5 0 1\n").has_value());  // It never waited.
}

TEST(RunQueue, UnknownWhereTheKernelDoesNotCount) {
  for (const char* text : {"", "\n", "0 0 0\n", "1 2\n", "1 x 2\n"}) {
    EXPECT_FALSE(internal::ParseSchedstat(text).has_value()) << text;
  }
  EXPECT_FALSE(RunQueueOf(0).has_value());
  EXPECT_FALSE(RunQueueOf(gettid(), "/proc/none").has_value());
}

// Confined to one CPU, two that spin wait for each other.
TEST(RunQueue, WaitsWhileAnotherHasTheCpu) {
  if (!RunQueueOf(gettid())) GTEST_SKIP() << "this kernel has no schedstat (CONFIG_SCHED_INFO)";
  cpu_set_t allowed, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  const pid_t child = Spinner();  // It inherits the CPU.
  ASSERT_GT(child, 0);
  const ThreadUsage before = ThreadUsage::Now();
  ThreadUsage used;
  EXPECT_TRUE(Until([&] {
    used = ThreadUsage::Now() - before;
    return used.waited_ns >= 10 * kMs && used.involuntary_switches > 0;
  }));
  Kill(child);
  EXPECT_EQ(sched_setaffinity(0, sizeof(allowed), &allowed), 0);
}

}  // namespace
}  // namespace stats::cpu_usage_tests
