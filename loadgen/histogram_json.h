#pragma once

#include <nlohmann/json_fwd.hpp>

#include "stats/histogram.h"

namespace loadgen {

// A histogram of latencies, whole: "count"; "min", "mean", "stddev" and "max" in ns; and "hdr", its
// buckets as stats::EncodeHdr() writes them, from which HdrHistogram's tools and stats::DecodeHdr()
// make it again. Empty, the figures are null.
nlohmann::ordered_json HistogramJson(const stats::Histogram& histogram);

}  // namespace loadgen
