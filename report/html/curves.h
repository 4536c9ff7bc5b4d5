#pragma once

#include <cstdint>
#include <optional>
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
  Json Column(double x, const stats::Histogram& histogram) const;

 private:
  std::vector<double> edges_ns_;
};

// A column to be: of a map by its index, at x.
struct HeatColumn {
  size_t map;
  double x;
  stats::Histogram histogram;
};

// A "heat" block, of rows that hold all of the columns; null where there are none.
Json HeatBlock(const std::vector<std::string>& maps, const std::vector<HeatColumn>& columns,
               const Json& x);

}  // namespace report::html
