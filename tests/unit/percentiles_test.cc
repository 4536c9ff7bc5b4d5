#include "report/percentiles.h"

#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <vector>

#include <nlohmann/json.hpp>

#include "stats/histogram.h"

namespace report {
namespace {

using Json = nlohmann::ordered_json;

Json Row(double percentile, int64_t value, int64_t low, int64_t high, uint64_t count) {
  return {{"percentile", percentile}, {"value", value}, {"low", low}, {"high", high},
          {"enough", true},           {"count", count}};
}

Json TooFew(double percentile, uint64_t count) {
  Json row = Row(percentile, 0, 0, 0, count);
  row["enough"] = false;
  return row;
}

TEST(PercentileLines, AreATable) {
  const Json rows = {Row(50, 212'400, 211'900, 213'000, 12'000),
                     Row(99, 512'000, 498'000, 530'000, 12'000),
                     Row(99.9, 1'010'000, 980'000, 1'250'000, 12'000), TooFew(99.99, 12'000)};
  EXPECT_EQ(PercentileLines(rows),
            (std::vector<std::string>{"p50     212 µs  [212, 213]",         //
                                      "p99     512 µs  [498, 530]",         //
                                      "p99.9  1.01 ms  [980 µs, 1.25 ms]",  //
                                      "p99.99 too few samples (36,887 needed, 12,000 had)"}));
}

TEST(PercentileLines, KeepTheUnitsThatDiffer) {
  const auto line = [](int64_t value, int64_t low, int64_t high) {
    return PercentileLines(Json::array({Row(99, value, low, high, 1000)})).front();
  };
  EXPECT_EQ(line(640, 0, 999), "p99  640 ns  [0, 999]");
  EXPECT_EQ(line(990, 980, 1010), "p99  990 ns  [980 ns, 1.01 µs]");
  EXPECT_EQ(line(61'000'000'000, 60'000'000'000, 62'000'000'000), "p99    1m1s  [1m, 1m2s]");
  EXPECT_EQ(line(60'000'000'000, 12'000'000'000, 62'000'000'000), "p99      1m  [12 s, 1m2s]");
}

TEST(PercentileLines, ClaimNothingWithoutSamples) {
  EXPECT_EQ(PercentileLines(Json::array({TooFew(99, 0)})),
            std::vector<std::string>{"p99 no samples"});
  EXPECT_TRUE(PercentileLines(Json::array()).empty());
}

// What is said to be needed is what stats::Histogram needs.
TEST(PercentileLines, NeedWhatTheHistogramNeeds) {
  for (const auto& [percentile, needed, text] :
       std::vector<std::tuple<double, uint64_t, std::string>>{
           {50, 6, "p50 too few samples (6 needed, 5 had)"},
           {90, 36, "p90 too few samples (36 needed, 35 had)"},
           {99, 368, "p99 too few samples (368 needed, 367 had)"},
           {99.9, 3688, "p99.9 too few samples (3,688 needed, 3,687 had)"},
           {99.99, 36'887, "p99.99 too few samples (36,887 needed, 36,886 had)"}}) {
    stats::Histogram histogram;
    histogram.Record(1000, needed - 1);
    EXPECT_FALSE(histogram.Confidence(percentile).enough) << percentile;
    EXPECT_EQ(PercentileLines(Json::array({TooFew(percentile, needed - 1)})).front(), text);
    histogram.Record(1000);
    EXPECT_TRUE(histogram.Confidence(percentile).enough) << percentile;
  }
}

}  // namespace
}  // namespace report
