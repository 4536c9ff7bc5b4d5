#include "report/html/curves.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "report/fields.h"
#include "stats/hdr_codec.h"

namespace report::html {
namespace {

constexpr int kPointsANine = 20;
constexpr int kRowsMax = 44;

uint64_t Saturated(uint64_t a, uint64_t b) {
  return b > std::numeric_limits<uint64_t>::max() - a ? std::numeric_limits<uint64_t>::max()
                                                      : a + b;
}

bool Lower(const Json& a, const Json& b) { return fields::Number(a[1]) < fields::Number(b[1]); }

double Rounded(double value) { return std::round(value * 1e4) / 1e4; }

}  // namespace

std::optional<stats::Histogram> Decoded(const Json& hdr) {
  if (!hdr.is_string()) return std::nullopt;
  absl::StatusOr<stats::Histogram> histogram = stats::DecodeHdr(hdr.get<std::string>());
  if (!histogram.ok() || histogram->count() == 0) return std::nullopt;
  return *std::move(histogram);
}

Json PercentileCurve(const stats::Histogram& histogram) {
  Json points = Json::array();
  const auto count = static_cast<double>(histogram.count());
  for (int i = 0;; ++i) {
    const double x = std::pow(10, static_cast<double>(i) / kPointsANine);
    if (x >= count) break;
    points.push_back({Rounded(x), histogram.Percentile((1 - 1 / x) * 100)});
  }
  points.push_back({count, histogram.max()});
  return points;
}

double ThinFrom(uint64_t count) {
  // 0.025 = p^count, and x = 1 / (1 - p).
  return 1 / (1 - std::pow(0.025, 1 / static_cast<double>(count)));
}

HeatRows::HeatRows(int64_t low_ns, int64_t high_ns, int rows_max) {
  const double low = std::log2(std::max<double>(1, static_cast<double>(low_ns)));
  const double high = std::log2(std::max<double>(1, static_cast<double>(high_ns)));
  // The finest steps of a doubling that fit; coarser than a doubling where none does.
  double step = 0.125;
  while ((high - low) / step > rows_max - 2) step *= 2;
  const double first = std::floor(low / step);
  const double last = std::floor(high / step) + 1;
  for (double i = first; i <= last; ++i) edges_ns_.push_back(std::exp2(i * step));
}

int HeatRows::RowOf(double ns) const {
  const auto above = std::upper_bound(edges_ns_.begin(), edges_ns_.end(), ns);
  const auto row = static_cast<int>(above - edges_ns_.begin()) - 1;
  return std::clamp(row, 0, static_cast<int>(edges_ns_.size()) - 2);
}

void AddHighest(const std::vector<Json>& group, Json& points) {
  if (!group.empty()) points.push_back(*std::max_element(group.begin(), group.end(), Lower));
}

void AddLowAndHigh(const std::vector<Json>& group, Json& points) {
  if (group.empty()) return;
  const auto [low, high] = std::minmax_element(group.begin(), group.end(), Lower);
  points.push_back(*std::min(low, high));
  if (low != high) points.push_back(*std::max(low, high));
}

void HeatCounts::Add(const stats::Histogram& histogram) {
  if (histogram.count() == 0) return;
  histogram.ForEachBucket([&](int64_t lowest, int64_t highest, uint64_t count) {
    const double ns = (static_cast<double>(lowest) + static_cast<double>(highest)) / 2;
    uint64_t& sum = counts_[static_cast<int>(std::floor(std::log2(std::max(1.0, ns)) * 8))];
    sum = Saturated(sum, count);
  });
  total_ = Saturated(total_, histogram.count());
  min_ = std::min(min_, histogram.min());
  max_ = std::max(max_, histogram.max());
}

Json HeatRows::Column(double x, const HeatCounts& of) const {
  std::vector<uint64_t> counts(edges_ns_.size() - 1);
  of.ForEach([&](double ns, uint64_t count) {
    uint64_t& sum = counts[RowOf(ns)];
    sum = Saturated(sum, count);
  });
  const auto used = [](uint64_t count) { return count > 0; };
  const auto first = std::find_if(counts.begin(), counts.end(), used);
  const auto last = std::find_if(counts.rbegin(), counts.rend(), used).base();
  Json column = {{"x", Rounded(x)}, {"first", first - counts.begin()}, {"counts", Json::array()}};
  for (auto count = first; count < last; ++count) column["counts"].push_back(*count);
  column["total"] = of.total();
  return column;
}

HeatColumns::HeatColumns(std::vector<std::string> maps, size_t group) : group_(group) {
  for (std::string& name : maps) maps_.push_back({std::move(name), {}});
}

void HeatColumns::Add(size_t map, double x, const stats::Histogram& histogram) {
  Map& of = maps_[map];
  if (of.columns.empty() || of.in_last == group_) {
    of.columns.push_back({x, {}});
    of.in_last = 0;
  }
  of.columns.back().counts.Add(histogram);
  ++of.in_last;
}

Json HeatColumns::Block(const Json& x) const {
  int64_t low = std::numeric_limits<int64_t>::max(), high = -1;
  for (const Map& map : maps_) {
    for (const Column& column : map.columns) {
      low = std::min(low, column.counts.min());
      high = std::max(high, column.counts.max());
    }
  }
  if (high < 0) return nullptr;
  const HeatRows rows(low, high, kRowsMax);
  Json block = {{"type", "heat"}, {"x", x}, {"edges_ns", Json::array()}, {"maps", Json::array()}};
  for (const double edge : rows.edges_ns()) block["edges_ns"].push_back(std::round(edge * 10) / 10);
  for (const Map& map : maps_) {
    Json columns = Json::array();
    for (const Column& column : map.columns)
      columns.push_back(rows.Column(column.x, column.counts));
    block["maps"].push_back({{"name", map.name}, {"columns", std::move(columns)}});
  }
  return block;
}

}  // namespace report::html
