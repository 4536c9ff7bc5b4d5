#include "report/hgrm.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <sstream>
#include <string>

#include "stats/histogram.h"

namespace report {
namespace {

// The texts were made by HdrHistogram 2.1.11 for Java (Debian's libhdrhistogram-java): the same
// values recorded in a Histogram(1, 100'000'000'000, 3), outputPercentileDistribution(out, 5,
// 1000.0).
const char kEmpty[] =
    R"(       Value     Percentile TotalCount 1/(1-Percentile)

#[Mean    =        0.000, StdDeviation   =        0.000]
#[Max     =        0.000, Total count    =            0]
#[Buckets =           27, SubBuckets     =         2048]
)";

// 10 times the squares of 1 to 100.
const char kSquares[] =
    R"(       Value     Percentile TotalCount 1/(1-Percentile)

       0.010 0.000000000000          1           1.00
       1.000 0.100000000000         10           1.11
       4.001 0.200000000000         20           1.25
       9.007 0.300000000000         30           1.43
      16.007 0.400000000000         40           1.67
      25.007 0.500000000000         50           2.00
      30.255 0.550000000000         55           2.22
      36.031 0.600000000000         60           2.50
      42.271 0.650000000000         65           2.86
      49.023 0.700000000000         70           3.33
      56.255 0.750000000000         75           4.00
      60.863 0.775000000000         78           4.44
      64.031 0.800000000000         80           5.00
      68.927 0.825000000000         83           5.71
      72.255 0.850000000000         85           6.67
      77.503 0.875000000000         88           8.00
      79.231 0.887500000000         89           8.89
      81.023 0.900000000000         90          10.00
      84.671 0.912500000000         92          11.43
      86.527 0.925000000000         93          13.33
      88.383 0.937500000000         94          16.00
      90.303 0.943750000000         95          17.78
      90.303 0.950000000000         95          20.00
      92.223 0.956250000000         96          22.86
      94.143 0.962500000000         97          26.67
      94.143 0.968750000000         97          32.00
      96.063 0.971875000000         98          35.56
      96.063 0.975000000000         98          40.00
      96.063 0.978125000000         98          45.71
      98.047 0.981250000000         99          53.33
      98.047 0.984375000000         99          64.00
      98.047 0.985937500000         99          71.11
      98.047 0.987500000000         99          80.00
      98.047 0.989062500000         99          91.43
     100.031 0.990625000000        100         106.67
     100.031 1.000000000000        100
#[Mean    =       33.837, StdDeviation   =       30.093]
#[Max     =      100.031, Total count    =          100]
#[Buckets =           27, SubBuckets     =         2048]
)";

const char kHighest[] =
    R"(       Value     Percentile TotalCount 1/(1-Percentile)

       0.000 0.000000000000          1           1.00
100059316.223 0.100000000000 1000000000002           1.11
100059316.223 1.000000000000 1000000000002
#[Mean    = 100025761.792, StdDeviation   =      100.026]
#[Max     = 100059316.223, Total count    = 1000000000002]
#[Buckets =           27, SubBuckets     =         2048]
)";

// A text without the line of the mean: Java takes a bucket's middle to be half of a ns higher.
std::string WithoutMean(const std::string& text) {
  std::istringstream lines(text);
  std::string kept;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("#[Mean")) kept += line + "\n";
  }
  return kept;
}

stats::Histogram Squares() {
  stats::Histogram histogram;
  for (int64_t i = 1; i <= 100; ++i) histogram.Record(10 * i * i);
  return histogram;
}

TEST(Hgrm, IsWhatJavaPrints) {
  Distribution squares = DistributionOf(Squares());
  EXPECT_EQ(WithoutMean(HgrmText(squares)), WithoutMean(kSquares));
  EXPECT_NEAR(squares.mean_ns, 33837, 2);
  EXPECT_NEAR(squares.stddev_ns, 30093, 2);
  squares.mean_ns = 33837;
  squares.stddev_ns = 30093;
  EXPECT_EQ(HgrmText(squares), kSquares);
}

TEST(Hgrm, OfNothingHasNoRows) { EXPECT_EQ(HgrmText(DistributionOf(stats::Histogram())), kEmpty); }

// A bucket that skips many levels, and values that need more room than the columns have.
TEST(Hgrm, HoldsTheHighestValues) {
  stats::Histogram histogram;
  histogram.Record(stats::Histogram::kHighest, 1'000'000'000'000);
  histogram.Record(stats::Histogram::kHighest - 1);
  histogram.Record(0);
  EXPECT_EQ(WithoutMean(HgrmText(DistributionOf(histogram))), WithoutMean(kHighest));
}

// In floating point all of the values are reached before the last bucket.
TEST(Hgrm, EndsWhereCountsExceedADoublesPrecision) {
  const std::string text =
      HgrmText({.buckets = {{1000, uint64_t{1} << 62}, {2000, 1}}, .mean_ns = 1000});
  EXPECT_NE(text.find("       2.000 1.000000000000 4611686018427387905\n#[Mean"), std::string::npos)
      << text;
}

}  // namespace
}  // namespace report
