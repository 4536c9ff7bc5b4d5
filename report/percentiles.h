#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace report {

// Percentiles as a person reads them, one line a row, in the order given, without newlines:
//
//   p99    512 µs  [498, 530]
//   p99.99 too few samples (36,887 needed, 12,000 had)
//
// The brackets are the interval that holds the true percentile with 95 % confidence, in the unit of
// the value unless one is written. Each of `rows` is an object: percentile (in (0, 100)); value,
// low and high in ns; enough, whether the sample is large enough for an upper bound; count, the
// sample's size. Needed are ln(0.025) / ln(percentile / 100) values: of fewer, all may lie below
// the percentile with a probability above 2.5 %, so none is an upper bound.
std::vector<std::string> PercentileLines(const nlohmann::ordered_json& rows);

}  // namespace report
