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

// Bytes. Page cache that the kernel would drop first (inactive_file) counts as left.
CgroupLimit CgroupMemory(const std::string& root = "");

// Processes and threads.
CgroupLimit CgroupPids(const std::string& root = "");

}  // namespace stats
