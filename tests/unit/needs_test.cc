#include "stats/needs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace stats {
namespace {

// A machine on which everything fits.
MachineLimits Roomy() {
  MachineLimits limits;
  limits.nofile = {1024, 1 << 20};
  limits.nproc = {100'000, 100'000};
  limits.root = limits.raise = false;
  limits.nr_open = 1 << 30;
  limits.file_max = kUnlimited;
  limits.files_open = 1000;
  limits.somaxconn = 4096;
  limits.syn_backlog = 8192;
  limits.syncookies = 1;
  limits.port_first = 32768;
  limits.port_last = 60999;
  limits.ports_reserved = 0;
  limits.time_wait = limits.orphans = 0;
  limits.time_wait_max = limits.orphans_max = 1 << 24;
  limits.tcp_memory_pages = {1 << 24, 1 << 24, 1 << 25};
  limits.memory_bytes = limits.memory_available_bytes = uint64_t{64} << 30;
  limits.cgroup_memory_bytes = limits.cgroup_pids = {kUnlimited, kUnlimited};
  limits.pid_max = limits.threads_max = 4'000'000;
  limits.loopback_up = true;
  return limits;
}

Finding Of(const MachineLimits& limits, const Wanted& wanted, const std::string& limit) {
  for (const Finding& finding : Assess(limits, wanted)) {
    if (finding.limit == limit) return finding;
  }
  ADD_FAILURE() << "nothing was found of " << limit;
  return {};
}

bool Says(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Needs, NothingStopsARoomyMachine) {
  for (const Finding& finding : Assess(Roomy(), {.connections = 10'000})) {
    EXPECT_EQ(finding.severity, Severity::kOk) << finding.limit;
    EXPECT_EQ(finding.text, "") << finding.limit;
    EXPECT_EQ(finding.mend, "") << finding.limit;
  }
}

// Locked memory matters where rings are charged to it: epoll does without, a ring doesn't.
TEST(Needs, RingsNeedLockedMemory) {
  MachineLimits limits = Roomy();
  limits.memlock = {64 << 10, 64 << 10};
  Wanted wanted = {.threads = 4, .ring_bytes = 216 << 10};
  const Finding finding = Of(limits, wanted, "RLIMIT_MEMLOCK");
  EXPECT_EQ(finding.severity, Severity::kFlag);
  EXPECT_EQ(finding.needs, 2u * 4 * (216 << 10));
  EXPECT_TRUE(Says(finding.text, "1728 KiB") && Says(finding.text, "64 KiB")) << finding.text;
  EXPECT_TRUE(Says(finding.mend, "ulimit -l 1728")) << finding.mend;
  wanted.direct = true;
  EXPECT_EQ(Of(limits, wanted, "RLIMIT_MEMLOCK").severity, Severity::kStops);
  limits.memlock.soft = 8 << 20;
  EXPECT_EQ(Of(limits, wanted, "RLIMIT_MEMLOCK").severity, Severity::kOk);
}

// What can't be read is unknown: it neither fits nor stops, and no command is made up.
TEST(Needs, WhatIsUnknownIsSaidToBe) {
  for (const Finding& finding : Assess({}, {.connections = 1'000'000})) {
    EXPECT_EQ(finding.severity, Severity::kUnknown) << finding.limit;
    EXPECT_EQ(finding.mend, "") << finding.limit;
  }
}

TEST(Needs, DescriptorsAreOfEachProcess) {
  MachineLimits limits = Roomy();
  limits.nofile.hard = DescriptorsOf(5000, 2);
  const Wanted wanted = {.connections = 5000, .threads = 2};
  EXPECT_EQ(Of(limits, wanted, "RLIMIT_NOFILE").severity, Severity::kOk);
  limits.nofile.hard = *limits.nofile.hard - 1;
  const Finding finding = Of(limits, wanted, "RLIMIT_NOFILE");
  EXPECT_EQ(finding.severity, Severity::kStops);
  EXPECT_EQ(finding.needs, DescriptorsOf(5000, 2));
  EXPECT_FALSE(Fits(Assess(limits, wanted)));
}

TEST(Needs, TheCommandIsOneThatThisUserMayGive) {
  MachineLimits limits = Roomy();
  limits.nofile.hard = 20'000;
  const Wanted wanted = {.connections = 1'000'000};
  EXPECT_TRUE(Says(Of(limits, wanted, "RLIMIT_NOFILE").text, "CAP_SYS_RESOURCE is missing"));
  EXPECT_TRUE(Says(Of(limits, wanted, "RLIMIT_NOFILE").mend,
                   "sudo prlimit --nofile=1000052:1000052 --pid $$, LimitNOFILE=1000052"));
  limits.root = true;  // of a container
  EXPECT_TRUE(Says(Of(limits, wanted, "RLIMIT_NOFILE").mend, "from outside: prlimit"));
  limits.raise = true;
  EXPECT_TRUE(Says(Of(limits, wanted, "RLIMIT_NOFILE").mend, "ulimit -n 1000052"));
  limits.raise = std::nullopt;
  EXPECT_FALSE(Says(Of(limits, wanted, "RLIMIT_NOFILE").text, "CAP_SYS_RESOURCE"));
}

TEST(Needs, DirectDescriptorsAreBoundedForEachThread) {
  MachineLimits limits = Roomy();
  limits.nofile.hard = 20'000;
  EXPECT_EQ(DirectThreads(limits, 19'999), 1u);
  EXPECT_EQ(DirectThreads(limits, 20'000), 2u);
  EXPECT_EQ(DirectThreads(limits, 1'000'000), 51u);
  limits.nofile.hard = kUnlimited;
  EXPECT_EQ(DirectThreads(limits, 1'048'575), 1u);
  EXPECT_EQ(DirectThreads(limits, 1'048'576), 2u);
  for (const uint64_t none : {0, 1}) {
    limits.nofile.hard = none;
    EXPECT_EQ(DirectThreads(limits, 10), 0u);
  }
  limits.nofile.hard = std::nullopt;
  EXPECT_EQ(DirectThreads(limits, 10), 0u);
}

TEST(Needs, DirectDescriptorsAreOfferedWhereTheyHelp) {
  MachineLimits limits = Roomy();
  limits.nofile.hard = 20'000;
  Wanted wanted = {.connections = 1'000'000};
  EXPECT_TRUE(Says(Of(limits, wanted, "RLIMIT_NOFILE").mend, "--direct -b io_uring -t 51"));
  wanted.can_direct = false;
  EXPECT_FALSE(Says(Of(limits, wanted, "RLIMIT_NOFILE").mend, "--direct"));
  wanted.can_direct = wanted.direct = true;
  wanted.threads = 51;
  EXPECT_EQ(Of(limits, wanted, "RLIMIT_NOFILE").severity, Severity::kOk);
  EXPECT_TRUE(Fits(Assess(limits, wanted)));
  wanted.threads = 50;  // a table of 20,001
  EXPECT_EQ(Of(limits, wanted, "RLIMIT_NOFILE").severity, Severity::kStops);
  limits.nofile.hard = 256;  // more threads than there may be
  wanted = {.connections = 1'000'000};
  EXPECT_FALSE(Says(Of(limits, wanted, "RLIMIT_NOFILE").mend, "--direct"));
}

TEST(Needs, NrOpenStopsOnlyWhereTheLimitHasToBeRaisedBeyondIt) {
  MachineLimits limits = Roomy();
  limits.nr_open = 1000;
  EXPECT_EQ(Of(limits, {}, "fs.nr_open").severity, Severity::kOk);
  EXPECT_TRUE(Fits(Assess(limits, {})));
  limits.nofile.hard = 1000;
  EXPECT_EQ(Of(limits, {}, "fs.nr_open").mend, "sysctl -w fs.nr_open=10052");
}

TEST(Needs, BothEndsCountForTheMachine) {
  MachineLimits limits = Roomy();
  limits.file_max = 21'000;
  EXPECT_EQ(Of(limits, {.connections = 10'000}, "fs.file-max").needs, 1000u + 2 * 10'052);
  EXPECT_EQ(Of(limits, {.connections = 10'000}, "fs.file-max").severity, Severity::kStops);
  EXPECT_EQ(Of(limits, {.connections = 10'000}, "fs.file-max").mend, "sysctl -w fs.file-max=21104");
  EXPECT_EQ(Of(limits, {.connections = 10'000, .ends = 1}, "fs.file-max").severity, Severity::kOk);
  EXPECT_EQ(Of(limits, {.connections = 10'000, .direct = true}, "fs.file-max").severity,
            Severity::kStops);
  limits.root = true;
  EXPECT_EQ(Of(limits, {.connections = 10'000}, "fs.file-max").severity, Severity::kNote);
}

TEST(Needs, FewPortsAreMendedByMoreSources) {
  MachineLimits limits = Roomy();
  limits.port_first = 50'000;
  limits.port_last = 50'099;
  limits.ports_reserved = 10;
  const Finding finding = Of(limits, {.connections = 1000}, "net.ipv4.ip_local_port_range");
  EXPECT_EQ(finding.severity, Severity::kFlag);
  EXPECT_EQ(finding.has, 90u);
  EXPECT_TRUE(Says(finding.mend,
                   "load --source $(seq -s, -f 127.0.0.%g 12), or sysctl -w "
                   "net.ipv4.ip_local_port_range=\"1024 65535\""))
      << finding.mend;
  EXPECT_TRUE(Fits(Assess(limits, {.connections = 1000})));
  EXPECT_EQ(
      Of(limits, {.connections = 1000, .sources = 12}, "net.ipv4.ip_local_port_range").severity,
      Severity::kOk);
  // More than any range has: a wider one isn't offered.
  EXPECT_FALSE(
      Says(Of(limits, {.connections = 65'000}, "net.ipv4.ip_local_port_range").mend, "sysctl"));
  EXPECT_TRUE(Says(Of(limits, {.connections = 65'000}, "net.ipv4.ip_local_port_range").mend,
                   "127.0.{0..2}.{1..254}"));
  limits.ports_reserved = 100;
  EXPECT_EQ(Of(limits, {.connections = 1}, "net.ipv4.ip_local_port_range").severity,
            Severity::kStops);
}

TEST(Needs, MemoryIsTheMachinesOrTheGroups) {
  MachineLimits limits = Roomy();
  limits.memory_available_bytes = 10 << 20;
  Finding finding = Of(limits, {.connections = 10'000}, "memory");
  EXPECT_EQ(finding.severity, Severity::kStops);
  EXPECT_TRUE(Says(finding.text, "10 MiB are left on the machine")) << finding.text;
  EXPECT_TRUE(Says(finding.mend, "use 1192 connections")) << finding.mend;
  EXPECT_EQ(Of(limits, {.connections = 1192}, "memory").severity, Severity::kOk);
  limits = Roomy();
  limits.cgroup_memory_bytes = {64 << 20, 10 << 20};
  finding = Of(limits, {.connections = 10'000}, "memory");
  EXPECT_TRUE(Says(finding.text, "of the control group's")) << finding.text;
  EXPECT_TRUE(Says(finding.mend, "memory.max of the group by 74 MiB")) << finding.mend;
}

TEST(Needs, TheTightestOfThreadLimitsHolds) {
  MachineLimits limits = Roomy();
  limits.cgroup_pids = {100, 5};
  EXPECT_EQ(Of(limits, {}, "threads").has, 5u);
  EXPECT_EQ(Of(limits, {}, "threads").severity, Severity::kStops);
  limits.cgroup_pids = {};
  limits.nproc.soft = 3;
  EXPECT_EQ(Of(limits, {}, "threads").has, 3u);
  limits.root = true;
  EXPECT_EQ(Of(limits, {}, "threads").severity, Severity::kOk);
}

TEST(Needs, AConnectionTrackerStopsOnlyWhereItTracks) {
  MachineLimits limits = Roomy();
  const auto has = [&](const char* name) {
    const std::vector<Finding> findings = Assess(limits, {});
    return std::ranges::count(findings, name, &Finding::limit);
  };
  EXPECT_EQ(has("net.netfilter.nf_conntrack_max"), 0);
  limits.conntrack = true;
  limits.conntrack_max = 8000;
  limits.conntrack_count = 0;
  EXPECT_EQ(Of(limits, {}, "net.netfilter.nf_conntrack_max").severity, Severity::kNote);
  limits.conntrack_count = 12;
  const Finding finding = Of(limits, {}, "net.netfilter.nf_conntrack_max");
  EXPECT_EQ(finding.severity, Severity::kStops);
  EXPECT_TRUE(finding.mend.starts_with("sysctl -w net.netfilter.nf_conntrack_max=10012"));
}

TEST(Needs, ABacklogIsCapped) {
  MachineLimits limits = Roomy();
  limits.somaxconn = 128;
  const Finding finding = Of(limits, {.backlog = 4096}, "net.core.somaxconn");
  EXPECT_EQ(finding.severity, Severity::kNote);
  EXPECT_EQ(finding.mend, "sysctl -w net.core.somaxconn=4096");
  EXPECT_EQ(Of(limits, {.connections = 100}, "net.core.somaxconn").severity, Severity::kOk);
}

TEST(Needs, TheSynBacklogMattersWithoutCookies) {
  constexpr char kName[] = "net.ipv4.tcp_max_syn_backlog";
  MachineLimits limits = Roomy();
  limits.syn_backlog = 128;
  EXPECT_EQ(Of(limits, {}, kName).severity, Severity::kOk);
  limits.syncookies = 0;
  EXPECT_EQ(Of(limits, {}, kName).severity, Severity::kNote);
  limits.syncookies = std::nullopt;
  EXPECT_EQ(Of(limits, {}, kName).severity, Severity::kUnknown);
}

TEST(Needs, WhatOnlyShowsIsNoted) {
  MachineLimits limits = Roomy();
  limits.time_wait = 900;
  limits.time_wait_max = 10'000;
  limits.orphans_max = 10'000;
  limits.tcp_memory_pages[1] = 9'000;
  for (const char* name :
       {"net.ipv4.tcp_max_tw_buckets", "net.ipv4.tcp_max_orphans", "net.ipv4.tcp_mem"}) {
    EXPECT_EQ(Of(limits, {}, name).severity, Severity::kNote) << name;
    EXPECT_TRUE(Says(Of(limits, {}, name).mend, std::string("sysctl -w ") + name + "=")) << name;
  }
  EXPECT_TRUE(Fits(Assess(limits, {})));
}

TEST(Needs, LoopbackHasToBeUp) {
  MachineLimits limits = Roomy();
  limits.loopback_up = false;
  EXPECT_EQ(Of(limits, {}, "loopback").mend, "ip link set lo up");
  EXPECT_FALSE(Fits(Assess(limits, {})));
}

// Each finding that isn't fine says what and what to do, in one line.
TEST(Needs, EachShortfallIsOneLine) {
  MachineLimits limits = Roomy();
  limits.nofile.hard = limits.nr_open = limits.file_max = limits.somaxconn = 10;
  limits.syn_backlog = limits.time_wait_max = limits.orphans_max = limits.threads_max = 5;
  limits.syncookies = 0;
  limits.memory_available_bytes = 1000;
  limits.tcp_memory_pages[1] = 1;
  limits.loopback_up = false;
  limits.conntrack = true;
  limits.conntrack_count = limits.conntrack_max = 10;
  limits.port_last = *limits.port_first;
  for (const Finding& finding : Assess(limits, {})) {
    EXPECT_GT(finding.severity, Severity::kUnknown) << finding.limit;
    EXPECT_FALSE(finding.text.empty()) << finding.limit;
    EXPECT_FALSE(finding.mend.empty()) << finding.limit;
    EXPECT_EQ(Sentence(finding).find('\n'), std::string::npos) << finding.limit;
  }
}

}  // namespace
}  // namespace stats
