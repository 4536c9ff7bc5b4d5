#include "bench/process.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdint>

namespace bench {
namespace {

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
      Process::Start({"sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; ls /"}, {});
  ASSERT_TRUE(process.ok()) << process.status();
  EXPECT_EQ(process->cpu_ns(), 0);
  constexpr int64_t kHangNs = 60'000'000'000;
  ASSERT_EQ(process->Wait(kHangNs, -1), Process::Waited::kEnded);
  EXPECT_EQ(process->exit_code(), 0);
  EXPECT_GT(process->cpu_ns(), 0);
  // The kernel scales each of the two sums on its own, and rounds to a microsecond.
  EXPECT_NEAR(process->cpu_ns(), ChildrenCpuNs() - before, 10'000);
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
