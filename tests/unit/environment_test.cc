#include "stats/environment.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <limits>
#include <string>

#include "stats/cpu_clock.h"
#include "stats/steal.h"
#include "tests/unit/fake_root.h"

namespace stats {
namespace {

TEST(Environment, KnowsThisMachine) {
  const Environment environment = CollectEnvironment();
  EXPECT_EQ(environment.machine_id.size(), 16u);
  EXPECT_EQ(environment.machine_id.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_EQ(environment.machine_id, CollectEnvironment().machine_id);
  EXPECT_GE(std::stoi(environment.Get("machine", "cpus_online")), 1);
  EXPECT_GE(std::stoi(environment.Get("machine", "cpus_allowed")), 1);
  EXPECT_GT(std::stoll(environment.Get("machine", "memory_bytes")), 1 << 20);
  EXPECT_NE(environment.Get("system", "kernel_release"), "unknown");
  EXPECT_NE(environment.Get("limits", "nofile_soft"), "unknown");
  for (const EnvironmentGroup& group : environment.groups) {
    EXPECT_FALSE(group.items.empty()) << group.name;
    for (const auto& [name, value] : group.items) EXPECT_FALSE(value.empty()) << name;
  }
}

TEST(Environment, MeasuresASystemCall) {
  EXPECT_GT(std::stoi(CollectEnvironment().Get("machine", "system_call_ns")), 0);
}

TEST(Environment, DoesNotRevealTheMachineId) {
  const FakeRoot root;
  root.Write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
  const Environment environment = CollectEnvironment(root.path());
  EXPECT_EQ(std::string("0123456789abcdef0123456789abcdef").find(environment.machine_id),
            std::string::npos);
  root.Write("/etc/machine-id", "0123456789abcdef0123456789abcdee\n");
  EXPECT_NE(CollectEnvironment(root.path()).machine_id, environment.machine_id);
}

TEST(Environment, MissingFilesAreUnknown) {
  const FakeRoot root;
  const Environment environment = CollectEnvironment(root.path());
  for (const char* item : {"cpu", "smt", "caches", "numa_nodes", "memory_bytes", "virtualisation",
                           "product", "clock_source", "mitigations"}) {
    EXPECT_EQ(environment.Get("machine", item), "unknown") << item;
  }
  EXPECT_EQ(environment.Get("machine", "governor"), "none");
  EXPECT_EQ(environment.Get("system", "os"), "unknown");
  EXPECT_EQ(environment.Get("limits", "cgroup_cpus"), "unknown");
  EXPECT_EQ(environment.Get("sysctls", "net.core.somaxconn"), "unknown");
  EXPECT_EQ(environment.Get("no such group", "cpu"), "unknown");
  EXPECT_EQ(environment.Get("machine", "no such item"), "unknown");
}

TEST(Environment, ReadsTheKernelsFiles) {
  const FakeRoot root;
  const std::string cpus = "/sys/devices/system/cpu/";
  root.Write("/proc/cpuinfo",
             "processor\t: 0\nmodel\t\t: 7\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu vme\n");
  root.Write("/proc/meminfo", "MemTotal:       24684092 kB\nMemFree: 1 kB\n");
  root.Write("/proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n");
  root.Write("/etc/os-release", "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n");
  root.Write(cpus + "smt/active", "1\n");
  root.Write(cpus + "cpu0/cpufreq/scaling_governor", "performance\n");
  root.Write(cpus + "cpu1/cpufreq/scaling_governor", "powersave\n");
  root.Write(cpus + "cpu0/cache/index0/level", "1\n");
  root.Write(cpus + "cpu0/cache/index0/type", "Data\n");
  root.Write(cpus + "cpu0/cache/index0/size", "48K\n");
  root.Write(cpus + "cpu0/cache/index1/level", "2\n");
  root.Write(cpus + "cpu0/cache/index1/type", "Unified\n");
  root.Write(cpus + "cpu0/cache/index1/size", "1024K\n");
  root.Write(cpus + "vulnerabilities/meltdown", "Not affected\n");
  root.Write(cpus + "vulnerabilities/spectre_v1", "Mitigation: usercopy\n");
  root.Write(cpus + "vulnerabilities/spectre_v2", "Mitigation: Retpolines\n");
  root.Write(cpus + "vulnerabilities/tsa", "Vulnerable: no microcode\n");
  root.Write("/sys/devices/system/node/node0/cpulist", "0\n");
  root.Write("/sys/devices/system/node/node1/cpulist", "1\n");
  root.Write("/sys/class/dmi/id/sys_vendor", "Amazon EC2\n");
  root.Write("/sys/class/dmi/id/product_name", "m7i.metal\n");

  const Environment environment = CollectEnvironment(root.path());
  EXPECT_EQ(environment.Get("machine", "cpu"), "Some CPU @ 2 GHz");
  EXPECT_EQ(environment.Get("machine", "memory_bytes"), "25276510208");
  EXPECT_EQ(environment.Get("machine", "smt"), "on");
  EXPECT_EQ(environment.Get("machine", "governor"), "performance, powersave");
  EXPECT_EQ(environment.Get("machine", "caches"), "L1d 48K, L2 1024K");
  EXPECT_EQ(environment.Get("machine", "mitigations"),
            "mitigated: spectre_v1, spectre_v2; vulnerable: tsa");
  EXPECT_EQ(environment.Get("machine", "numa_nodes"), "2");
  EXPECT_EQ(environment.Get("machine", "virtualisation"), "none");
  EXPECT_EQ(environment.Get("machine", "product"), "Amazon EC2 m7i.metal");
  EXPECT_EQ(environment.Get("system", "os"), "Debian GNU/Linux 12");
  EXPECT_EQ(environment.Get("sysctls", "net.ipv4.ip_local_port_range"), "32768 60999");
}

TEST(Environment, NamesAnArmCpuByItsNumbers) {
  const FakeRoot root;
  root.Write("/proc/cpuinfo", "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n");
  EXPECT_EQ(CollectEnvironment(root.path()).Get("machine", "cpu"), "implementer 0x41 part 0xd0c");
}

TEST(Environment, TheTightestCgroupLimitHolds) {
  const FakeRoot root;
  root.Write("/proc/self/cgroup", "0::/outer/inner\n");
  root.Write("/sys/fs/cgroup/cgroup.controllers", "cpu memory\n");
  root.Write("/sys/fs/cgroup/outer/cpu.max", "150000 100000\n");
  root.Write("/sys/fs/cgroup/outer/inner/cpu.max", "400000 100000\n");
  root.Write("/sys/fs/cgroup/outer/memory.max", "max\n");
  const Environment environment = CollectEnvironment(root.path());
  EXPECT_EQ(environment.Get("limits", "cgroup_cpus"), "1.50");
  EXPECT_EQ(environment.Get("limits", "cgroup_memory_bytes"), "unlimited");
  root.Write("/sys/fs/cgroup/outer/inner/memory.max", "1073741824\n");
  EXPECT_EQ(CollectEnvironment(root.path()).Get("limits", "cgroup_memory_bytes"), "1073741824");
}

TEST(Environment, KnowsVersion1OfControlGroups) {
  const FakeRoot root;
  const std::string groups = "/sys/fs/cgroup/";
  root.Write("/proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/a/b\n0::/\n");
  root.Write(groups + "cpu,cpuacct/cgroup.procs", "1\n");
  root.Write(groups + "cpu,cpuacct/a/cpu.cfs_quota_us", "250000\n");
  root.Write(groups + "cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
  root.Write(groups + "memory/cgroup.procs", "1\n");
  root.Write(groups + "memory/memory.limit_in_bytes", "9223372036854771712\n");
  root.Write(groups + "memory/a/memory.limit_in_bytes", "536870912\n");
  root.Write(groups + "memory/a/b/memory.limit_in_bytes", "1073741824\n");
  const Environment environment = CollectEnvironment(root.path());
  EXPECT_EQ(environment.Get("limits", "cgroup_cpus"), "2.50");
  EXPECT_EQ(environment.Get("limits", "cgroup_memory_bytes"), "536870912");
  root.Write(groups + "cpu,cpuacct/a/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(CollectEnvironment(root.path()).Get("limits", "cgroup_cpus"), "unlimited");
}

TEST(Environment, SaysWhatShowsTheContainer) {
  const FakeRoot root;
  EXPECT_EQ(CollectEnvironment(root.path()).Get("system", "container"), "none");
  root.Write("/run/.containerenv", "");
  const Environment environment = CollectEnvironment(root.path());
  EXPECT_EQ(environment.Get("system", "container"), "podman");
  EXPECT_EQ(environment.Get("system", "container_evidence"), "/run/.containerenv");
}

TEST(Steal, AddsUpTheColumns) {
  const FakeRoot root;
  root.Write("/stat", "cpu  100 20 30 4000 50 6 7 80 90 10\ncpu0 1 1 1 1 1 1 1 1 1 1\n");
  const CpuTimes times = ReadCpuTimes(root.path() + "/stat");
  const auto tick = static_cast<double>(sysconf(_SC_CLK_TCK));
  EXPECT_DOUBLE_EQ(times.user_s, 120 / tick);
  EXPECT_DOUBLE_EQ(times.system_s, 43 / tick);
  EXPECT_DOUBLE_EQ(times.idle_s, 4050 / tick);
  EXPECT_DOUBLE_EQ(times.steal_s, 80 / tick);
  EXPECT_DOUBLE_EQ(times.total_s, 4293 / tick);
}

TEST(Steal, UnreadableTimesAreZero) {
  const FakeRoot root;
  EXPECT_EQ(ReadCpuTimes(root.path() + "/none").total_s, 0);
  root.Write("/stat", "cpu 1 2 3\n");
  EXPECT_EQ(ReadCpuTimes(root.path() + "/stat").total_s, 0);
}

TEST(Steal, ShareIsWithinZeroAndOne) {
  const CpuTimes before{.steal_s = 10, .total_s = 100};
  EXPECT_DOUBLE_EQ(StealShare(before, {.steal_s = 15, .total_s = 200}), 0.05);
  EXPECT_EQ(StealShare(before, before), 0);
  EXPECT_EQ(StealShare(before, {.steal_s = 5, .total_s = 200}), 0);
  EXPECT_GT(ReadCpuTimes().total_s, 0);
}

// Uses CPU time until the clock has moved this far.
void Burn(int64_t ns) {
  const int64_t end = ThreadCpuNanos() + ns;
  while (ThreadCpuNanos() < end) {
  }
}

TEST(CpuClock, CountsWorkNotWaiting) {
  const int64_t process = OwnCpuNanos(), thread = ThreadCpuNanos();
  Burn(2'000'000);
  EXPECT_GE(ThreadCpuNanos() - thread, 2'000'000);
  EXPECT_GE(OwnCpuNanos() - process, 2'000'000);
}

TEST(CpuClock, ReadsAnotherProcess) {
  int ready[2], stop[2];
  ASSERT_EQ(pipe(ready), 0);
  ASSERT_EQ(pipe(stop), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    close(stop[1]);
    Burn(3'000'000);
    char byte = 0;
    if (write(ready[1], &byte, 1) != 1 || read(stop[0], &byte, 1) < 0) _exit(1);
    _exit(0);
  }
  char byte;
  EXPECT_EQ(read(ready[0], &byte, 1), 1);
  const absl::StatusOr<int64_t> used = ProcessCpuNanos(child);
  close(stop[1]);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  ASSERT_TRUE(used.ok()) << used.status().ToString();
  EXPECT_GE(*used, 3'000'000);
  // Reaped by now.
  EXPECT_TRUE(absl::IsNotFound(ProcessCpuNanos(child).status()));
  for (const int fd : {ready[0], ready[1], stop[0]}) close(fd);
}

TEST(CpuClock, AnAbsentProcessIsNotFound) {
  for (const pid_t pid : {1 << 22, std::numeric_limits<pid_t>::max(), 0, -1}) {
    EXPECT_TRUE(absl::IsNotFound(ProcessCpuNanos(pid).status())) << pid;
  }
}

}  // namespace
}  // namespace stats
