#include "report/rows.h"

#include <vector>

#include <nlohmann/json.hpp>

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

std::string ErrnoList(const nlohmann::ordered_json& by_errno) {
  std::vector<std::string> parts;
  for (const auto& [name, count] : by_errno.items()) {
    parts.push_back(absl::StrCat(FormatCount(count.get<uint64_t>()), " × ", name));
  }
  return absl::StrJoin(parts, ", ");
}

}  // namespace report
