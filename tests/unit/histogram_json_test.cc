#include "stats/histogram_json.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "stats/hdr_codec.h"

namespace stats {
namespace {

TEST(HistogramJson, HoldsTheHistogramWhole) {
  stats::Histogram histogram;
  for (const int64_t ns : {2, 4, 4, 4, 5, 5, 7, 9}) histogram.Record(ns);
  const nlohmann::ordered_json json = HistogramJson(histogram);
  EXPECT_EQ(json["count"], 8);
  EXPECT_EQ(json["min"], 2);
  EXPECT_EQ(json["mean"], 5.0);
  EXPECT_EQ(json["stddev"], 2.0);
  EXPECT_EQ(json["max"], 9);
  const auto decoded = stats::DecodeHdr(json["hdr"].get<std::string>());
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, histogram);  // below 2048 ns each value has a bucket of its own
}

TEST(HistogramJson, WithoutValuesItsFiguresAreNull) {
  const nlohmann::ordered_json json = HistogramJson(stats::Histogram());
  EXPECT_EQ(json["count"], 0);
  for (const char* name : {"min", "mean", "stddev", "max"})
    EXPECT_TRUE(json[name].is_null()) << name;
  const auto decoded = stats::DecodeHdr(json["hdr"].get<std::string>());
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->count(), 0u);
}

}  // namespace
}  // namespace stats
