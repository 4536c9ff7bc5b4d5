#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace stats {
class Histogram;
}

namespace report {

// A non-empty bucket of a histogram of latencies.
struct Bucket {
  int64_t highest_ns;  // the highest value that it counts
  uint64_t count;      // above 0
};

// A histogram, as HgrmText() needs it.
struct Distribution {
  std::vector<Bucket> buckets;  // in rising order
  double mean_ns = 0;
  double stddev_ns = 0;
  int bucket_count = 0;      // of the layout, as HdrHistogram counts them
  int sub_bucket_count = 0;  // likewise
};

// What HgrmText() needs of a histogram.
Distribution DistributionOf(const stats::Histogram& histogram);

// A percentile distribution file (.hgrm), as HdrHistogram's plotters read it: the text that
// outputPercentileDistribution() of its Java implementation prints with 5 ticks per half distance,
// values in µs and 3 decimals. As there, a row's value and the maximum are the highest value of
// their bucket, and the row of percentile 1 follows one with the same count. The 12th decimal of a
// percentile may differ by one: Java rounds the shortest decimal up where C rounds the exact one.
// Source: AbstractHistogram.java and PercentileIterator.java of
// https://github.com/HdrHistogram/HdrHistogram, 2.1.11.
std::string HgrmText(const Distribution& distribution);

}  // namespace report
