#pragma once

#include <nlohmann/json_fwd.hpp>

#include "stats/histogram.h"

namespace stats {

// A histogram of latencies, whole: "count"; "min", "mean", "stddev" and "max" in ns; and "hdr", its
// buckets as EncodeHdr() writes them, from which HdrHistogram's tools and DecodeHdr() make it
// again. Empty, the figures are null: 0 ns would be a claim.
nlohmann::ordered_json HistogramJson(const Histogram& histogram);

// The same with percentiles "p50" to "p99_99" in ns, and their confidence intervals: a *times*
// object of results/SCHEMA.md.
nlohmann::ordered_json TimesJson(const Histogram& histogram);

}  // namespace stats
