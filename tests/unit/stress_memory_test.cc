#include <gtest/gtest.h>

#include <fstream>

#include "stress/kernel_memory.h"
#include "stress/memory_guard.h"
#include "stress/time_wait.h"
#include "tests/unit/fake_root.h"

namespace stress {
namespace {

// Has a /proc with what the kernel says of memory.
class FakeProc : public stats::FakeRoot {
 public:
  void Memory(int64_t available_kib, int64_t slab_kib, int64_t reclaimable_kib = 0) const {
    Write("/proc/meminfo",
          "MemTotal:       9000000 kB\nMemAvailable:   " + std::to_string(available_kib) +
              " kB\nSlab:           " + std::to_string(slab_kib) +
              " kB\nSReclaimable:   " + std::to_string(reclaimable_kib) + " kB\n");
  }
  std::string folder() const { return path() + "/proc"; }
};

TEST(MemoryGuard, StopsBelowItsFloorAndNamesIt) {
  const FakeProc proc;
  MemoryGuard guard(3ull << 30, proc.path());
  EXPECT_FALSE(guard.Check());  // the kernel doesn't say
  EXPECT_EQ(guard.lowest_bytes(), -1);
  proc.Memory(3 << 20, 0);
  EXPECT_FALSE(guard.Check());  // just enough
  proc.Memory((3 << 20) - 1, 0);
  const auto limit = guard.Check();
  ASSERT_TRUE(limit);
  EXPECT_EQ(limit->name, "memory floor");
  EXPECT_EQ(limit->value.find("3 GiB, of which "), 0u) << limit->value;
  proc.Memory(4 << 20, 0);
  EXPECT_FALSE(guard.Check());
  EXPECT_EQ(guard.lowest_bytes(), int64_t{(3 << 20) - 1} * 1024);
}

// Those of open sockets are in SReclaimable, and can't be reclaimed.
TEST(MemoryGuard, DoesNotCountWhatOpenSocketsHold) {
  const FakeProc proc;
  proc.Memory(8 << 20, 0, 1 << 20);
  MemoryGuard guard(3ull << 30, proc.path());
  EXPECT_FALSE(guard.Check());
  proc.Memory(6 << 20, 0, 4 << 20);  // 3 GiB more of it
  EXPECT_FALSE(guard.Check());
  proc.Memory((6 << 20) - 1, 0, 4 << 20);
  EXPECT_TRUE(guard.Check());
}

TEST(MemoryGuard, KnowsTheControlGroup) {
  const stats::FakeRoot root;
  const std::string groups = "/sys/fs/cgroup/";
  root.Write("/proc/meminfo", "MemAvailable:   8388608 kB\n");
  root.Write("/proc/self/cgroup", "0::/box\n");
  root.Write(groups + "cgroup.controllers", "memory\n");
  root.Write(groups + "box/memory.max", "4294967296\n");
  root.Write(groups + "box/memory.current", "1073741824\n");
  root.Write(groups + "box/memory.stat", "inactive_file 0\n");
  EXPECT_EQ(AvailableMemoryBytes(root.path()), int64_t{3} << 30);
  MemoryGuard guard(4ull << 30, root.path());
  EXPECT_TRUE(guard.Check());
}

TEST(MemoryGuard, ReadsThisMachine) {
  EXPECT_GT(AvailableMemoryBytes(), 0);
  MemoryGuard none(0);
  EXPECT_FALSE(none.Check());
  MemoryGuard all(~0ull);
  EXPECT_TRUE(all.Check());
}

constexpr char kSlabinfo[] =
    "slabinfo - version: 2.1\n"
    "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables "
    "<limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n"
    "TCP                  131    156   2432   13    8 : tunables    0    0    0 : slabdata     12 "
    "    12      0\n"
    "broken line\n"
    "tw_sock_TCP            5     64    248   16    1 : tunables    0    0    0 : slabdata      4 "
    "     4      0\n";

TEST(KernelMemory, ReadsSlabinfo) {
  const auto caches = internal::ParseSlabinfo(kSlabinfo, 4096);
  ASSERT_EQ(caches.size(), 2u);
  EXPECT_EQ(caches.at("TCP").objects, 131);
  EXPECT_EQ(caches.at("TCP").bytes, 12 * 8 * 4096);
  EXPECT_EQ(caches.at("tw_sock_TCP").bytes, 4 * 4096);
}

TEST(KernelMemory, DividesWhatGrew) {
  const FakeProc proc;
  proc.Memory(1000, 100);
  KernelMemory before = KernelMemory::Read(proc.folder());
  proc.Memory(900, 140);
  KernelMemory after = KernelMemory::Read(proc.folder());
  EXPECT_EQ(after.slab_bytes, 140 * 1024);
  EXPECT_EQ(ToJson(before, after, 10)["bytes_each"], nullptr);  // no sockstat there
  before.socket_buffer_bytes = 4096;
  after.socket_buffer_bytes = 8192;
  before.caches = {{"TCP", {.objects = 1, .bytes = 4096}}, {"filp", {.objects = 9, .bytes = 100}}};
  after.caches = {{"TCP", {.objects = 3, .bytes = 8192}}, {"filp", {.objects = 9, .bytes = 100}}};
  const Json json = ToJson(before, after, 10);
  EXPECT_EQ(json["slab_bytes"], 40 * 1024);
  EXPECT_EQ(json["available_bytes"], -100 * 1024);
  EXPECT_DOUBLE_EQ(json["bytes_each"].get<double>(), (40 * 1024 + 4096) / 10.0);
  ASSERT_EQ(json["caches"].size(), 1u);
  EXPECT_EQ(json["caches"][0], Json({{"name", "TCP"}, {"objects", 2}, {"bytes", 4096}}));
  EXPECT_EQ(ToJson(before, after, 0)["bytes_each"], nullptr);
}

TEST(PortBudget, LastsUpToARate) {
  PortBudget budget = {.first = 32768, .last = 60999, .ports = 28'232, .held_s = 60};
  EXPECT_NEAR(budget.rate_max(), 470.5, 0.1);
  EXPECT_FALSE(budget.UsedUpAfter(470));
  ASSERT_TRUE(budget.UsedUpAfter(1000));
  EXPECT_NEAR(*budget.UsedUpAfter(1000), 28.2, 0.1);
  EXPECT_EQ(ToJson(budget, 1000, /*held=*/false)["used_up_after_s"], nullptr);
  budget.held_s = 1;
  EXPECT_FALSE(budget.UsedUpAfter(28'232));
}

TEST(PortLimit, NamesTheRangeAndTheMends) {
  const Limit limit = PortLimit({.first = 40000, .last = 40049, .ports = 100, .sources = 2});
  EXPECT_EQ(limit.name, "net.ipv4.ip_local_port_range");
  EXPECT_EQ(limit.value, "40000 40049: 100 ports of 2 addresses");
  EXPECT_NE(limit.mend.find("sysctl -w net.ipv4.ip_local_port_range="), std::string::npos);
}

TEST(TimeWaitSeries, StaysBounded) {
  TimeWaitSeries series;
  for (int i = 0; i < 2'000; ++i) series.Sample(i);
  const Json looks = series.ToJson();
  EXPECT_LT(looks.size(), 600u);
  EXPECT_GT(looks.size(), 200u);
  EXPECT_EQ(looks[0]["at_s"], 0);
  for (size_t i = 1; i < looks.size(); ++i) EXPECT_GT(looks[i]["at_s"], looks[i - 1]["at_s"]);
  EXPECT_GE(series.peak(), 0);
}

}  // namespace
}  // namespace stress
