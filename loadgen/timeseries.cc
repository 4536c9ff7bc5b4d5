#include "loadgen/timeseries.h"

#include <cerrno>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "io/errors.h"
#include "report/json_text.h"

namespace loadgen {
namespace {

using Json = nlohmann::ordered_json;

// Without a single latency, its figures are null: 0 ns would be a claim.
Json Latency(const stats::Histogram& latency) {
  Json json = {{"count", latency.count()}, {"min", nullptr},   {"p50", nullptr}, {"p90", nullptr},
               {"p99", nullptr},           {"p99_9", nullptr}, {"max", nullptr}};
  if (latency.count() == 0) return json;
  json["min"] = latency.min();
  json["p50"] = latency.Percentile(50);
  json["p90"] = latency.Percentile(90);
  json["p99"] = latency.Percentile(99);
  json["p99_9"] = latency.Percentile(99.9);
  json["max"] = latency.max();
  return json;
}

double PerSecond(uint64_t count, int64_t length_ns) {
  return length_ns > 0 ? static_cast<double>(count) * 1e9 / static_cast<double>(length_ns) : 0;
}

const char* WriteAdvice(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "; make room, or choose another path";
    case EFBIG:
      return "; raise the limit (ulimit -f), or use longer intervals";
    case EPIPE:
      return "; its reader has gone";
    default:
      return "";
  }
}

}  // namespace

std::string TimeseriesLine(const Interval& interval, const TimeseriesFormat& format) {
  Json json = {
      {"schema", "ringside.interval/1"},
      {"number", interval.number},
      {"begin_s", static_cast<double>(interval.begin_ns) / 1e9},
      {"length_s", static_cast<double>(interval.length_ns) / 1e9},
      {"offered_rps",
       format.open_loop ? Json(PerSecond(interval.offered, interval.length_ns)) : Json()},
      {"achieved_rps", PerSecond(interval.requests, interval.length_ns)},
      {"requests", interval.requests},
      {"errors", interval.errors},
      {"connections", interval.connections},
      {"bytes_received", interval.bytes_received},
      {"bytes_sent", interval.bytes_sent},
      {"latency_ns", Latency(interval.latency)},
  };
  if (!format.name.empty()) json["class"] = format.name;
  if (format.encode_histogram) json["hdr"] = format.encode_histogram(interval.latency);
  return report::JsonText(json) + "\n";
}

void TimeseriesWriter::Begin(report::OutputFile file) {
  file_ = std::move(file);
  error_ = 0;
  lines_ = 0;
}

void TimeseriesWriter::Add(const Interval& interval, const TimeseriesFormat& format) {
  if (!file_.is_open() || error_ != 0) return;
  error_ = file_.Append(TimeseriesLine(interval, format));
  if (error_ == 0) ++lines_;
}

absl::Status TimeseriesWriter::Close() {
  if (!file_.is_open()) return absl::OkStatus();
  const std::string path = file_.path();
  const int ended = file_.End();
  if (error_ == 0) error_ = ended;
  if (error_ == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(
      "writing intervals to '", path, "' failed after ", lines_,
      lines_ == 1 ? " line: " : " lines: ", io::ErrnoName(error_), WriteAdvice(error_)));
}

}  // namespace loadgen
