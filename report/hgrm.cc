#include "report/hgrm.h"

#include <cmath>

#include "absl/strings/str_format.h"
#include "stats/histogram.h"

namespace report {
namespace {

constexpr int kTicksPerHalfDistance = 5;
constexpr double kNanosPerMicro = 1000;

// The next percentile to report: each halving of the distance to 100 % has the same number of
// ticks.
double NextLevel(double level) {
  const double halvings = std::floor(std::log(100 / (100 - level)) / std::log(2));
  const double next = level + 100 / (kTicksPerHalfDistance * std::exp2(halvings + 1));
  return next > level ? next : 100;
}

void AppendRow(const Bucket& bucket, double level, uint64_t up_to, std::string* text) {
  absl::StrAppendFormat(text, "%12.3f %2.12f %10d", bucket.highest_ns / kNanosPerMicro, level / 100,
                        up_to);
  if (level < 100) absl::StrAppendFormat(text, " %14.2f", 1 / (1 - level / 100));
  text->push_back('\n');
}

// A row for each level, from 0 % on, at the bucket in which it is reached.
void AppendRows(const std::vector<Bucket>& buckets, std::string* text) {
  uint64_t total = 0;
  for (const Bucket& bucket : buckets) total += bucket.count;
  double level = 0;
  uint64_t up_to = 0;
  for (const Bucket& bucket : buckets) {
    up_to += bucket.count;
    const double reached = 100.0 * static_cast<double>(up_to) / static_cast<double>(total);
    while (level <= reached && level < 100) {
      AppendRow(bucket, level, up_to, text);
      level = NextLevel(level);
      if (up_to == total) break;  // the row of 100 % follows
    }
  }
  if (total > 0) AppendRow(buckets.back(), 100, total, text);
}

}  // namespace

Distribution DistributionOf(const stats::Histogram& histogram) {
  Distribution distribution;
  histogram.ForEachBucket([&](int64_t, int64_t highest, uint64_t count) {
    distribution.buckets.push_back({highest, count});
  });
  distribution.mean_ns = histogram.Mean();
  distribution.stddev_ns = histogram.StdDev();
  distribution.bucket_count = stats::Histogram::kHdrBucketCount;
  distribution.sub_bucket_count = stats::Histogram::kHdrSubBucketCount;
  return distribution;
}

std::string HgrmText(const Distribution& distribution) {
  std::string text = absl::StrFormat("%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount",
                                     "1/(1-Percentile)");
  AppendRows(distribution.buckets, &text);
  uint64_t total = 0;
  for (const Bucket& bucket : distribution.buckets) total += bucket.count;
  const int64_t max = distribution.buckets.empty() ? 0 : distribution.buckets.back().highest_ns;
  absl::StrAppendFormat(&text, "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n",
                        distribution.mean_ns / kNanosPerMicro,
                        distribution.stddev_ns / kNanosPerMicro);
  absl::StrAppendFormat(&text, "#[Max     = %12.3f, Total count    = %12d]\n", max / kNanosPerMicro,
                        total);
  absl::StrAppendFormat(&text, "#[Buckets = %12d, SubBuckets     = %12d]\n",
                        distribution.bucket_count, distribution.sub_bucket_count);
  return text;
}

}  // namespace report
