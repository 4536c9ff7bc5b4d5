#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "report/html/view.h"
#include "stats/histogram.h"

// Curves and heat maps of histograms.
namespace report::html {

// The histogram of a *times* object's or a round's text; none where there is no text, it can't be
// read, or nothing was recorded.
std::optional<stats::Histogram> Decoded(const Json& hdr);

// The quantiles of a histogram that isn't empty as points [1 / (1 - p), ns]: 20 for each further
// nine, from the median on and a few below it, up to the maximum, which is at x = count.
Json PercentileCurve(const stats::Histogram& histogram);

// The x from which on a percentile has no upper bound at 95 % confidence: its count is below
// ln(0.025) / ln(p).
double ThinFrom(uint64_t count);

// What a page can show, and a reader see: a column or a point is then of several intervals.
constexpr size_t kColumnsMax = 360;
constexpr size_t kPointsMax = 1000;

// How many of `count` in a row are drawn as one, so that at most `most` are drawn.
constexpr size_t GroupOf(size_t count, size_t most) {
  return count == 0 ? 1 : (count - 1) / most + 1;
}

// Adds to a chart's points those that stand for a group of them, each [x, y]: the highest; or the
// lowest and the highest in their order, for a rate's stall is its lowest. Nothing of an empty one.
void AddHighest(const std::vector<Json>& group, Json& points);
void AddLowAndHigh(const std::vector<Json>& group, Json& points);

// Histograms, added up and as coarse as the finest row of a heat map.
class HeatCounts {
 public:
  void Add(const stats::Histogram& histogram);
  uint64_t total() const { return total_; }
  int64_t min() const { return min_; }
  int64_t max() const { return max_; }
  // Calls f(ns, count): a value that stands for `count` of its eighth of a doubling.
  template <class F>
  void ForEach(const F& f) const {
    for (const auto& [eighth, count] : counts_) f(std::exp2((eighth + 0.5) / 8), count);
  }

 private:
  std::map<int, uint64_t> counts_;  // by the eighth of a doubling
  uint64_t total_ = 0;
  int64_t min_ = std::numeric_limits<int64_t>::max(), max_ = 0;
};

// Rows of a heat map: of equal height in the logarithm.
class HeatRows {
 public:
  // Rows that hold values from `low_ns` to `high_ns`, at least 1 and at most `rows_max` of them.
  HeatRows(int64_t low_ns, int64_t high_ns, int rows_max);

  // Where rows begin, and the last one ends.
  const std::vector<double>& edges_ns() const { return edges_ns_; }

  // The row of a value; those beyond an end are in the row at it.
  int RowOf(double ns) const;

  // {x, first, counts, total}: a column, without the rows that have nothing above and below.
  Json Column(double x, const HeatCounts& counts) const;

 private:
  std::vector<double> edges_ns_;
};

// The columns of heat maps to be, which hold no histogram: of thousands the memory adds up.
class HeatColumns {
 public:
  // Each column is of `group` histograms of its map, one after the other.
  HeatColumns(std::vector<std::string> maps, size_t group);

  // The next histogram of a map by its index, at x.
  void Add(size_t map, double x, const stats::Histogram& histogram);

  // A "heat" block, of rows that hold all of the columns; null where there are none.
  Json Block(const Json& x) const;

 private:
  struct Column {
    double x;
    HeatCounts counts;
  };
  struct Map {
    std::string name;
    std::vector<Column> columns;
    size_t in_last = 0;
  };

  const size_t group_;
  std::vector<Map> maps_;
};

}  // namespace report::html
