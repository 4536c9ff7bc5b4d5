#include "stats/cgroups.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <vector>

#include "stats/proc_file.h"
#include "stats/text_files.h"

namespace stats {
namespace {

// Where a controller's groups are, and which of them is ours.
struct Hierarchy {
  int version = 0;    // 0: there is none
  std::string mount;  // its folder
  std::string path;   // of our group in it: "/", "/outer/inner"
};

// The lines of /proc/self/cgroup are "4:memory:/path" (version 1) and "0::/path" (version 2). A
// controller belongs to one version at a time.
Hierarchy FindHierarchy(const std::string& root, const std::string& controller,
                        const std::string& who = "self") {
  const std::string mounts = root + "/sys/fs/cgroup";
  std::string unified = "/";
  std::ifstream file(root + "/proc/" + who + "/cgroup");
  for (std::string line; std::getline(file, line);) {
    std::istringstream parts(line);
    std::string number, names, path;
    std::getline(parts, number, ':');
    std::getline(parts, names, ':');
    std::getline(parts, path);
    if (names.empty()) unified = path;
    std::istringstream list(names);
    for (std::string name; std::getline(list, name, ',');) {
      if (name == controller) return {1, mounts + "/" + names, path};
    }
  }
  std::error_code error;
  if (std::filesystem::exists(mounts + "/cgroup.controllers", error)) return {2, mounts, unified};
  return {};
}

// The folders of our group and of all above it. In a container, the path may be the host's, and
// only the last of them be there.
std::vector<std::string> Folders(const Hierarchy& at) {
  std::vector<std::string> folders;
  for (std::string path = at.path; path.size() > 1;
       path.resize(std::max<size_t>(path.rfind('/'), 1))) {
    if (path.front() != '/') break;
    folders.push_back(at.mount + path);
  }
  folders.push_back(at.mount);
  return folders;
}

// Whether the hierarchy can be seen. A group of it without the file of a limit, as the first of all
// is, has no limit.
bool IsThere(const Hierarchy& at) {
  std::error_code error;
  return at.version == 2 ||
         (at.version == 1 && std::filesystem::exists(at.mount + "/cgroup.procs", error));
}

// "max", and what version 1 writes for no limit: the largest multiple of a page.
std::optional<uint64_t> ParseLimit(const std::string& line) {
  constexpr uint64_t kHuge = uint64_t{1} << 62;
  if (line == "max") return kUnlimited;
  const auto number = ParseNumber<uint64_t>(line);
  return number && *number >= kHuge ? kUnlimited : number;
}

// The files that a limited resource is written in.
struct Files {
  const char* max;
  const char* now;
  const char* reclaimable;  // a field of memory.stat; nullptr: nothing is
};

uint64_t Left(const std::string& folder, const Files& files, uint64_t max) {
  const uint64_t now = ParseNumber<uint64_t>(FirstLine(folder + "/" + files.now)).value_or(0);
  uint64_t reclaimable = 0;
  if (files.reclaimable != nullptr) {
    const std::string field = FieldOf(folder + "/memory.stat", files.reclaimable, ' ');
    reclaimable = std::min(now, ParseNumber<uint64_t>(field).value_or(0));
  }
  return max - std::min(max, now - reclaimable);
}

CgroupLimit Tightest(const std::string& root, const std::string& controller, const Files& v1,
                     const Files& v2) {
  const Hierarchy at = FindHierarchy(root, controller);
  if (!IsThere(at)) return {};
  const Files& files = at.version == 1 ? v1 : v2;
  CgroupLimit limit = {kUnlimited, kUnlimited};
  for (const std::string& folder : Folders(at)) {
    const auto max = ParseLimit(FirstLine(folder + "/" + files.max));
    if (!max) continue;
    limit.max = std::min(*limit.max, *max);
    if (*max != kUnlimited) limit.left = std::min(*limit.left, Left(folder, files, *max));
  }
  return limit;
}

// A group's quota in CPUs; infinity where the group doesn't say.
double QuotaOf(const std::string& folder, int version) {
  constexpr double kNone = std::numeric_limits<double>::infinity();
  double quota = 0, period = 0;
  if (version == 1) {
    std::istringstream(FirstLine(folder + "/cpu.cfs_quota_us")) >> quota;  // -1: none
    std::istringstream(FirstLine(folder + "/cpu.cfs_period_us")) >> period;
  } else {
    const std::string text = FirstLine(folder + "/cpu.max");
    if (!text.starts_with("max")) std::istringstream(text) >> quota >> period;
  }
  return quota > 0 && period > 0 ? quota / period : kNone;
}

}  // namespace

std::optional<double> CgroupCpus(const std::string& root) {
  const Hierarchy at = FindHierarchy(root, "cpu");
  if (!IsThere(at)) return std::nullopt;
  double cpus = std::numeric_limits<double>::infinity();
  for (const std::string& folder : Folders(at)) {
    cpus = std::min(cpus, QuotaOf(folder, at.version));
  }
  return cpus;
}

CgroupThrottling CgroupThrottled(int pid, const std::string& root) {
  CgroupThrottling throttled;
  const Hierarchy at = FindHierarchy(root, "cpu", pid == 0 ? "self" : std::to_string(pid));
  if (!IsThere(at)) return throttled;
  const auto field = [](const std::string& folder, const char* name) {
    return ParseNumber<uint64_t>(FieldOf(folder + "/cpu.stat", name, ' ')).value_or(0);
  };
  for (const std::string& folder : Folders(at)) {
    const double cpus = QuotaOf(folder, at.version);
    if (!std::isfinite(cpus)) continue;
    throttled.cpus = throttled.group.empty() ? cpus : std::min(throttled.cpus, cpus);
    if (throttled.group.empty()) throttled.group = folder.substr(at.mount.size());
    if (throttled.group.empty()) throttled.group = "/";
    throttled.periods += field(folder, "nr_throttled");
    throttled.ns += static_cast<int64_t>(at.version == 1 ? field(folder, "throttled_time")
                                                         : field(folder, "throttled_usec") * 1000);
  }
  return throttled;
}

CgroupLimit CgroupMemory(const std::string& root) {
  return Tightest(root, "memory",
                  {"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"},
                  {"memory.max", "memory.current", "inactive_file"});
}

CgroupLimit CgroupPids(const std::string& root) {
  constexpr Files kBoth = {"pids.max", "pids.current", nullptr};
  return Tightest(root, "pids", kBoth, kBoth);
}

}  // namespace stats
