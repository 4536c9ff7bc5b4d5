#include "report/percentiles.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "report/format.h"
#include "report/reader.h"
#include "report/rows.h"

namespace report {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kTail = 0.025;      // of a two-sided interval of 95 %
constexpr size_t kValueColumns = 7;  // "12.3 ms"

std::string Name(Reader row) { return absl::StrFormat("p%.10g", row["percentile"].get<double>()); }

uint64_t Needed(double percentile) {
  return static_cast<uint64_t>(std::ceil(std::log(kTail) / std::log(percentile / 100)));
}

// " µs" of "512 µs"; "" of "1m30s".
std::string UnitOf(const std::string& duration) {
  const size_t space = duration.find(' ');
  return space == std::string::npos ? "" : duration.substr(space);
}

std::string Interval(int64_t low, int64_t high, const std::string& unit) {
  const std::string texts[] = {FormatDuration(low), FormatDuration(high)};
  const bool shared = !unit.empty() && UnitOf(texts[0]) == unit && UnitOf(texts[1]) == unit;
  const size_t cut = shared ? unit.size() : 0;
  return absl::StrCat("[", texts[0].substr(0, texts[0].size() - cut), ", ",
                      texts[1].substr(0, texts[1].size() - cut), "]");
}

std::string Figures(Reader row) {
  const uint64_t count = row["count"].get<uint64_t>();
  if (count == 0) return "no samples";
  if (!row["enough"].get<bool>()) {
    return absl::StrCat("too few samples (", FormatCount(Needed(row["percentile"].get<double>())),
                        " needed, ", FormatCount(count), " had)");
  }
  const std::string value = TimeText(row["value"]);
  const size_t columns = std::count_if(value.begin(), value.end(),
                                       [](char c) { return (c & 0xc0) != 0x80; });  // UTF-8
  const size_t pad = kValueColumns > columns ? kValueColumns - columns : 0;
  return absl::StrCat(
      std::string(pad, ' '), value, "  ",
      Interval(row["low"].get<int64_t>(), row["high"].get<int64_t>(), UnitOf(value)));
}

}  // namespace

std::vector<std::string> PercentileLines(const Json& json) {
  const Reader rows = json;
  size_t width = 0;
  for (const Reader row : rows) width = std::max(width, Name(row).size());
  std::vector<std::string> lines;
  for (const Reader row : rows) {
    lines.push_back(absl::StrFormat("%-*s %s", static_cast<int>(width), Name(row), Figures(row)));
  }
  return lines;
}

}  // namespace report
