#include "report/rows.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "report/format.h"

namespace report {

std::string Row(const char* name, const std::string& text) {
  return absl::StrFormat("  %-12s %s\n", name, text);
}

std::string Counted(uint64_t count, const char* one) {
  return absl::StrCat(FormatCount(count), " ", one, count == 1 ? "" : "s");
}

std::string ErrnoList(Reader by_errno) {
  std::vector<std::string> parts;
  for (const auto& [name, count] : by_errno.items()) {
    parts.push_back(absl::StrCat(FormatCount(count.get<uint64_t>()), " × ", name));
  }
  return absl::StrJoin(parts, ", ");
}

std::string TimeText(Reader ns) {
  return ns.is_number() ? FormatDuration(ns.get<int64_t>()) : "unknown";
}

std::string SecondsText(Reader s) {
  if (!s.is_number()) return "unknown";
  constexpr double kMost = static_cast<double>(std::numeric_limits<int64_t>::max() / 2) / 1e9;
  return FormatDuration(static_cast<int64_t>(std::clamp(s.get<double>(), -kMost, kMost) * 1e9));
}

}  // namespace report
