#include "cli/hgrm.h"

namespace cli {

report::Distribution DistributionOf(const stats::Histogram& histogram) {
  report::Distribution distribution;
  histogram.ForEachBucket([&](int64_t, int64_t highest, uint64_t count) {
    distribution.buckets.push_back({highest, count});
  });
  distribution.mean_ns = histogram.Mean();
  distribution.stddev_ns = histogram.StdDev();
  distribution.bucket_count = stats::Histogram::kHdrBucketCount;
  distribution.sub_bucket_count = stats::Histogram::kHdrSubBucketCount;
  return distribution;
}

}  // namespace cli
