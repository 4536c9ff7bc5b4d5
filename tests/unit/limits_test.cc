#include "stats/limits.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>
#include <string>

#include "stats/cgroups.h"
#include "tests/unit/fake_root.h"

namespace stats {
namespace {

constexpr char kSysctls[] = "/proc/sys/";

// A usual server, as its kernel writes of it.
void WriteServer(const FakeRoot& root) {
  root.Write("/proc/self/limits",
             "Limit                     Soft Limit           Hard Limit           Units     \n"
             "Max processes             95867                unlimited            processes \n"
             "Max open files            1024                 524288               files     \n"
             "Max locked memory         8388608              8388608              bytes     \n");
  root.Write("/proc/self/status",
             "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t0000000001000000\n");
  root.Write("/proc/self/uid_map", "         0          0 4294967295\n");
  const std::string sysctls = kSysctls;
  root.Write(sysctls + "fs/nr_open", "1048576\n");
  root.Write(sysctls + "fs/file-max", "9223372036854775807\n");
  root.Write(sysctls + "fs/file-nr", "1760\t0\t9223372036854775807\n");
  root.Write(sysctls + "net/core/somaxconn", "128\n");
  root.Write(sysctls + "net/ipv4/ip_local_port_range", "32768\t60999\n");
  root.Write(sysctls + "net/ipv4/ip_local_reserved_ports", "8080,32768-32777,60990-61010\n");
  root.Write(sysctls + "net/ipv4/tcp_mem", "381861\t509149\t763722\n");
  root.Write(sysctls + "net/ipv4/tcp_rmem", "4096\t131072\t6291456\n");
  root.Write("/proc/meminfo", "MemTotal:       2000 kB\nMemAvailable:   1000 kB\n");
  root.Write("/proc/self/net/snmp", "Tcp: RtoAlgorithm ActiveOpens\nTcp: 1 2\n");
  root.Write("/proc/self/net/sockstat",
             "sockets: used 22\nTCP: inuse 5 orphan 3 tw 17 alloc 9 mem 11\n");
}

TEST(MachineLimits, AreReadFromTheKernelsFiles) {
  const FakeRoot root;
  WriteServer(root);
  const MachineLimits limits = ReadMachineLimits(root.path());
  EXPECT_EQ(limits.nofile.soft, 1024u);
  EXPECT_EQ(limits.nofile.hard, 524288u);
  EXPECT_EQ(limits.memlock.hard, 8388608u);
  EXPECT_EQ(limits.nproc.soft, 95867u);
  EXPECT_EQ(limits.nproc.hard, kUnlimited);
  EXPECT_EQ(limits.raise, true);
  EXPECT_EQ(limits.root, false);
  EXPECT_EQ(limits.nr_open, 1048576u);
  EXPECT_EQ(limits.files_open, 1760u);
  EXPECT_EQ(limits.somaxconn, 128u);
  EXPECT_EQ(limits.tcp_memory_pages[1], 509149u);
  EXPECT_EQ(limits.tcp_receive_bytes[2], 6291456u);
  EXPECT_EQ(limits.memory_available_bytes, 1024'000u);
  EXPECT_EQ(limits.time_wait, 17u);
  EXPECT_EQ(limits.orphans, 3u);
  EXPECT_EQ(limits.tcp_memory_used_pages, 11u);
}

TEST(MachineLimits, ReservedPortsDontCount) {
  const FakeRoot root;
  WriteServer(root);
  const MachineLimits limits = ReadMachineLimits(root.path());
  EXPECT_EQ(limits.ports_reserved, 20u);  // 8080 and those from 61000 aren't of the range
  EXPECT_EQ(limits.Ports(), 28232u - 20);
}

TEST(MachineLimits, WithoutAFileTheyAreUnknown) {
  const FakeRoot root;
  const MachineLimits limits = ReadMachineLimits(root.path());
  for (const Known& known : {limits.nofile.soft,
                             limits.nofile.hard,
                             limits.memlock.soft,
                             limits.nproc.hard,
                             limits.nr_open,
                             limits.file_max,
                             limits.files_open,
                             limits.somaxconn,
                             limits.syn_backlog,
                             limits.syncookies,
                             limits.port_first,
                             limits.ports_reserved,
                             limits.Ports(),
                             limits.time_wait,
                             limits.time_wait_max,
                             limits.orphans,
                             limits.tcp_memory_pages[1],
                             limits.conntrack_max,
                             limits.memory_bytes,
                             limits.MemoryLeft(),
                             limits.cgroup_memory_bytes.max,
                             limits.cgroup_pids.left,
                             limits.threads_max,
                             limits.io_uring_disabled,
                             limits.loopback_mtu_bytes}) {
    EXPECT_EQ(known, std::nullopt);
  }
  EXPECT_EQ(limits.raise, std::nullopt);
  EXPECT_EQ(limits.root, std::nullopt);
  EXPECT_EQ(limits.loopback_up, std::nullopt);
  EXPECT_EQ(limits.own_namespace, std::nullopt);
  EXPECT_FALSE(limits.conntrack);
}

// A range is known, but not what of it is reserved: how many are left isn't.
TEST(MachineLimits, PortsAreUnknownWithoutTheReservedOnes) {
  const FakeRoot root;
  WriteServer(root);
  std::filesystem::remove(root.path() + "/proc/sys/net/ipv4/ip_local_reserved_ports");
  EXPECT_EQ(ReadMachineLimits(root.path()).Ports(), std::nullopt);
  root.Write("/proc/sys/net/ipv4/ip_local_reserved_ports", "80-ab\n");
  EXPECT_EQ(ReadMachineLimits(root.path()).Ports(), std::nullopt);
  root.Write("/proc/sys/net/ipv4/ip_local_reserved_ports", "\n");
  EXPECT_EQ(ReadMachineLimits(root.path()).Ports(), 28232u);
}

TEST(MachineLimits, CapabilitiesOfAUserNamespaceDontCount) {
  const FakeRoot root;
  WriteServer(root);
  root.Write("/proc/self/status", "CapEff:\t000001ffffffffff\n");
  EXPECT_EQ(ReadMachineLimits(root.path()).raise, true);
  root.Write("/proc/self/uid_map", "         0       1000          1\n");
  EXPECT_EQ(ReadMachineLimits(root.path()).raise, false);
  EXPECT_EQ(ReadMachineLimits(root.path()).root, false);
}

TEST(MachineLimits, ANetworkNamespaceIsToldFromTheFirst) {
  const FakeRoot root;
  const auto link = [&](const std::string& of, const char* to) {
    std::filesystem::create_directories(root.path() + "/proc/" + of + "/ns");
    std::filesystem::remove(root.path() + "/proc/" + of + "/ns/net");
    std::filesystem::create_symlink(to, root.path() + "/proc/" + of + "/ns/net");
  };
  link("self", "net:[4026531840]");
  EXPECT_EQ(ReadMachineLimits(root.path()).own_namespace, std::nullopt);
  link("1", "net:[4026531840]");
  EXPECT_EQ(ReadMachineLimits(root.path()).own_namespace, false);
  link("self", "net:[4026532281]");
  EXPECT_EQ(ReadMachineLimits(root.path()).own_namespace, true);
}

TEST(MachineLimits, AreThoseOfThisProcess) {
  rlimit limit = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const MachineLimits limits = ReadMachineLimits();
  EXPECT_EQ(limits.nofile.soft, limit.rlim_cur);
  EXPECT_EQ(limits.nofile.hard, limit.rlim_max);
  EXPECT_GT(limits.page_bytes.value_or(0), 0u);
  EXPECT_NE(limits.loopback_up, std::nullopt);
  EXPECT_LE(limits.MemoryLeft().value_or(1), limits.memory_bytes.value_or(0));
}

TEST(CgroupThrottled, OfVersion2IsOfAllGroupsWithAQuota) {
  const FakeRoot root;
  root.Write("/proc/self/cgroup", "0::/outer/inner\n");
  root.Write("/sys/fs/cgroup/cgroup.controllers", "cpu\n");
  EXPECT_EQ(CgroupThrottled(0, root.path()).group, "");
  root.Write("/sys/fs/cgroup/outer/cpu.max", "200000 100000\n");
  root.Write("/sys/fs/cgroup/outer/cpu.stat",
             "usage_usec 9\nnr_periods 7\nnr_throttled 2\nthrottled_usec 3000\n");
  root.Write("/sys/fs/cgroup/outer/inner/cpu.max", "max 100000\n");
  root.Write("/sys/fs/cgroup/outer/inner/cpu.stat", "nr_throttled 5\nthrottled_usec 5\n");
  const CgroupThrottling outer = CgroupThrottled(0, root.path());
  EXPECT_EQ(outer.group, "/outer");
  EXPECT_EQ(outer.periods, 2u);
  EXPECT_EQ(outer.ns, 3'000'000);
  root.Write("/sys/fs/cgroup/outer/inner/cpu.max", "50000 100000\n");
  const CgroupThrottling both = CgroupThrottled(0, root.path());
  EXPECT_EQ(both.group, "/outer/inner");
  EXPECT_EQ(both.cpus, 0.5);
  EXPECT_EQ(both.periods, 7u);
}

TEST(CgroupThrottled, OfVersion1AndOfAnotherProcess) {
  const FakeRoot root;
  root.Write("/proc/self/cgroup", "4:cpu,cpuacct:/\n");
  root.Write("/proc/77/cgroup", "4:cpu,cpuacct:/box\n");
  root.Write("/sys/fs/cgroup/cpu,cpuacct/cgroup.procs", "");
  root.Write("/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "150000\n");
  root.Write("/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "100000\n");
  root.Write("/sys/fs/cgroup/cpu,cpuacct/box/cpu.stat",
             "nr_periods 9\nnr_throttled 4\nthrottled_time 123456\n");
  EXPECT_EQ(CgroupThrottled(0, root.path()).group, "");
  const CgroupThrottling box = CgroupThrottled(77, root.path());
  EXPECT_EQ(box.group, "/box");
  EXPECT_EQ(box.cpus, 1.5);
  EXPECT_EQ(box.periods, 4u);
  EXPECT_EQ(box.ns, 123456);
}

TEST(CgroupMemory, OfVersion2CountsWhatIsLeft) {
  const FakeRoot root;
  const std::string groups = "/sys/fs/cgroup/";
  root.Write("/proc/self/cgroup", "0::/pod/box\n");
  root.Write(groups + "cgroup.controllers", "memory pids\n");
  EXPECT_EQ(CgroupMemory(root.path()).max, kUnlimited);
  root.Write(groups + "pod/memory.max", "1000000\n");
  root.Write(groups + "pod/memory.current", "900000\n");
  root.Write(groups + "pod/memory.stat", "anon 1\ninactive_file 300000\n");
  root.Write(groups + "pod/box/memory.max", "500000\n");
  root.Write(groups + "pod/box/memory.current", "20000\n");
  root.Write(groups + "pod/box/pids.max", "100\n");
  root.Write(groups + "pod/box/pids.current", "93\n");
  EXPECT_EQ(CgroupMemory(root.path()).max, 500000u);
  EXPECT_EQ(CgroupMemory(root.path()).left, 400000u);  // of the outer group
  EXPECT_EQ(CgroupPids(root.path()).left, 7u);
  root.Write("/proc/meminfo", "MemTotal: 2000 kB\nMemAvailable: 1000 kB\n");
  EXPECT_EQ(ReadMachineLimits(root.path()).MemoryLeft(), 400000u);
}

// As in a container: the path is the host's, and the container's own group is at the mount.
TEST(CgroupMemory, OfVersion1IsFoundAtTheMount) {
  const FakeRoot root;
  const std::string groups = "/sys/fs/cgroup/memory/";
  root.Write("/proc/self/cgroup", "4:memory:/docker/0123\n3:pids:/docker/0123\n");
  EXPECT_EQ(CgroupMemory(root.path()).max, std::nullopt);  // nothing is mounted
  root.Write(groups + "cgroup.procs", "1\n");
  root.Write(groups + "memory.limit_in_bytes", "268435456\n");
  root.Write(groups + "memory.usage_in_bytes", "68435456\n");
  root.Write(groups + "memory.stat", "inactive_file 5\ntotal_inactive_file 8435456\n");
  EXPECT_EQ(CgroupMemory(root.path()).max, 268435456u);
  EXPECT_EQ(CgroupMemory(root.path()).left, 208435456u);
  EXPECT_EQ(CgroupPids(root.path()).max, std::nullopt);
}

}  // namespace
}  // namespace stats
