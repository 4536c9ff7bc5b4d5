#pragma once

#include <cstdint>
#include <optional>
#include <string>

// What the control groups that this process is in allow it: cgroups(7), versions 1 and 2, also both
// at once. A limit set on any group above ours holds for us too, so each figure is that of the
// tightest group that can be seen. `root` stands in for /.
namespace stats {

inline constexpr uint64_t kUnlimited = UINT64_MAX;

// A limit, and how much of it is left. kUnlimited: no group limits it. Empty: unknown.
struct CgroupLimit {
  std::optional<uint64_t> max;
  std::optional<uint64_t> left;  // of the group that has least left
};

// CPUs' worth of time: the quota; infinity where there is none.
std::optional<double> CgroupCpus(const std::string& root = "");

// How often, and for how long, the groups of a process were stopped because their CPU quota was
// used up, so far (cpu.stat: nr_throttled, throttled_usec or throttled_time). Of nested groups with
// a quota each, the sum.
struct CgroupThrottling {
  std::string group;     // the innermost with a quota, as its path; "" where there is none
  double cpus = 0;       // the tightest quota: cpu.max, cpu.cfs_quota_us
  uint64_t periods = 0;  // in which it was stopped
  int64_t ns = 0;        // for which its threads together were kept from running
};
// Of this process, or of `pid`; empty where no group has a quota, or it can't be read.
CgroupThrottling CgroupThrottled(int pid = 0, const std::string& root = "");

// Bytes. Page cache that the kernel would drop first (inactive_file) counts as left.
CgroupLimit CgroupMemory(const std::string& root = "");

// Processes and threads.
CgroupLimit CgroupPids(const std::string& root = "");

}  // namespace stats
