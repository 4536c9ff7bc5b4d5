#include "loadgen/histogram_json.h"

#include <nlohmann/json.hpp>

#include "stats/hdr_codec.h"

namespace loadgen {

nlohmann::ordered_json HistogramJson(const stats::Histogram& histogram) {
  nlohmann::ordered_json json = {{"count", histogram.count()},
                                 {"min", nullptr},
                                 {"mean", nullptr},
                                 {"stddev", nullptr},
                                 {"max", nullptr}};
  if (histogram.count() > 0) {
    json["min"] = histogram.min();
    json["mean"] = histogram.Mean();
    json["stddev"] = histogram.StdDev();
    json["max"] = histogram.max();
  }
  json["hdr"] = stats::EncodeHdr(histogram);
  return json;
}

}  // namespace loadgen
