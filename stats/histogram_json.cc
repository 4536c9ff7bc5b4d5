#include "stats/histogram_json.h"

#include <nlohmann/json.hpp>

#include "stats/hdr_codec.h"

namespace stats {
namespace {

using Json = nlohmann::ordered_json;

struct NamedPercentile {
  const char* key;
  double percentile;
};
constexpr NamedPercentile kPercentiles[] = {
    {"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99_9", 99.9}, {"p99_99", 99.99}};

Json FiguresJson(const Histogram& histogram) {
  if (histogram.count() == 0) {
    return {
        {"count", 0u}, {"min", nullptr}, {"mean", nullptr}, {"stddev", nullptr}, {"max", nullptr}};
  }
  return {{"count", histogram.count()},
          {"min", histogram.min()},
          {"mean", histogram.Mean()},
          {"stddev", histogram.StdDev()},
          {"max", histogram.max()}};
}

}  // namespace

Json HistogramJson(const Histogram& histogram) {
  Json json = FiguresJson(histogram);
  json["hdr"] = EncodeHdr(histogram);
  return json;
}

Json TimesJson(const Histogram& histogram) {
  Json json = FiguresJson(histogram);
  Json intervals = Json::array();
  for (const auto& [key, percentile] : kPercentiles) {
    json[key] = histogram.count() > 0 ? Json(histogram.Percentile(percentile)) : Json();
    const PercentileInterval interval = histogram.Confidence(percentile);
    intervals.push_back({{"percentile", percentile},
                         {"value", json[key]},
                         {"low", interval.low},
                         {"high", interval.enough ? Json(interval.high) : Json()},
                         {"enough", interval.enough},
                         {"count", histogram.count()}});
  }
  json["intervals_95"] = std::move(intervals);
  json["hdr"] = EncodeHdr(histogram);
  return json;
}

}  // namespace stats
