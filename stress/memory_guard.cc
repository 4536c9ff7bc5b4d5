#include "stress/memory_guard.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "report/format.h"
#include "stats/cgroups.h"
#include "stress/proc_fields.h"

namespace stress {

namespace {

// A field of /proc/meminfo; -1: there is none.
int64_t MeminfoBytes(const std::string& root, std::string_view name) {
  const auto text = stats::ReadProcFile(root + "/proc/meminfo");
  return text.ok() ? FieldBytes(*text, name) : -1;
}

int64_t ReclaimableBytes(const std::string& root) {
  return std::max<int64_t>(0, MeminfoBytes(root, "SReclaimable:"));
}

}  // namespace

int64_t AvailableMemoryBytes(const std::string& root) {
  const int64_t machine = MeminfoBytes(root, "MemAvailable:");
  const std::optional<uint64_t> group = stats::CgroupMemory(root).left;
  if (!group || *group > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return machine;
  const auto left = static_cast<int64_t>(*group);
  return machine < 0 ? left : std::min(machine, left);
}

MemoryGuard::MemoryGuard(uint64_t floor_bytes, std::string root)
    : floor_bytes_(floor_bytes),
      root_(std::move(root)),
      reclaimable_bytes_(ReclaimableBytes(root_)) {}

std::optional<Limit> MemoryGuard::Check() {
  int64_t available = AvailableMemoryBytes(root_);
  if (available < 0) return std::nullopt;
  const int64_t grown = std::max<int64_t>(0, ReclaimableBytes(root_) - reclaimable_bytes_);
  available = std::max<int64_t>(0, available - grown);
  lowest_bytes_ = lowest_bytes_ < 0 ? available : std::min(lowest_bytes_, available);
  if (static_cast<uint64_t>(available) >= floor_bytes_) return std::nullopt;
  return Limit{.name = "memory floor",
               .value = absl::StrCat(report::FormatBytes(floor_bytes_), ", of which ",
                                     report::FormatBytes(available), " is available"),
               .mend = "--memory-floor SIZE, or free memory first: ps -e --sort=-rss -o rss,comm"};
}

}  // namespace stress
