#pragma once

#include <concepts>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "stats/histogram.h"

// Metrics in Prometheus' text exposition format, version 0.0.4:
// https://prometheus.io/docs/instrumenting/exposition_formats/
//
// It is ours because the distribution has prometheus-cpp only as shared C++ libraries that bring
// civetweb and curl, which would end "one file to copy".
namespace server {

// A label's value as it is written, between quotes: escaped, and what is no UTF-8 replaced.
std::string LabelText(std::string_view value);

// The Content-Type of such a page.
inline constexpr std::string_view kPrometheusContentType =
    "text/plain; version=0.0.4; charset=utf-8";

// Labels in the order in which they are written. A value may hold any bytes: those that are no
// UTF-8, which the format demands, are written as U+FFFD.
using MetricLabels = std::vector<std::pair<std::string_view, std::string>>;

// A value as it is written: an integer exactly, a double in the fewest digits that read back as
// the same; "NaN", "+Inf", "-Inf".
class MetricValue {
 public:
  template <std::integral T>
  MetricValue(T value) : text_(std::to_string(value)), negative_(value < T{0}) {}  // NOLINT
  MetricValue(double value);                                                       // NOLINT

  const std::string& text() const { return text_; }
  // Below 0, or NaN: what a counter can't be.
  bool negative() const { return negative_; }

 private:
  std::string text_;
  bool negative_;
};

// A histogram as it stands: how many observations were at or below each bound, and of all of them
// the number and the sum.
struct MetricHistogram {
  struct Bucket {
    double bound;  // finite, rising; +Inf is added
    uint64_t at_or_below;
  };
  std::vector<Bucket> buckets;
  uint64_t count = 0;
  double sum = 0;
};

// `recorded`, which is in ns, with these bounds in seconds. Its buckets are 0.1 % wide, so a count
// may hold values that far above its bound; the sum is exact within 0.05 %.
MetricHistogram SecondsHistogram(const stats::Histogram& recorded,
                                 std::span<const double> bounds_s);

// Writes one page: a metric's name and meaning, then its samples, then the next metric's. Misuse (a
// name that the format forbids or that was there before, the same labels twice, a sample of another
// kind, a counter below 0) leaves that sample out, and Finish() tells the first one. One thread.
class PrometheusPage {
 public:
  // Begins a metric. Names: [a-zA-Z_:][a-zA-Z0-9_:]*, a counter's ending in "_total". `help` is one
  // sentence, not empty.
  void Counter(std::string_view name, std::string_view help);
  void Gauge(std::string_view name, std::string_view help);
  void Histogram(std::string_view name, std::string_view help);

  // A sample of the counter or gauge that was begun last. Label names: [a-zA-Z_][a-zA-Z0-9_]*,
  // without "__" in front.
  void Sample(const MetricValue& value, const MetricLabels& labels = {});
  // A sample of the histogram that was begun last. The label "le" is taken.
  void Sample(const MetricHistogram& histogram, const MetricLabels& labels = {});

  // The page, or the first misuse (InvalidArgument). The object is spent.
  absl::StatusOr<std::string> Finish();

 private:
  enum class Kind { kNone, kCounter, kGauge, kHistogram };
  void Begin(Kind kind, std::string_view type, std::string_view name, std::string_view help);
  // The labels as they are written, without braces; false where they are not valid.
  bool Labels(const MetricLabels& labels, std::string* text);
  bool Claim(const MetricLabels& labels);
  void Line(std::string_view suffix, std::string_view labels, std::string_view value);
  void Misuse(std::string_view what);

  std::string text_;
  Kind kind_ = Kind::kNone;  // of the metric that was begun last; kNone: it was not valid
  std::string name_;
  std::set<std::string, std::less<>> names_;  // that samples were or may be written under
  std::set<std::string> series_;              // of the metric that was begun last
  absl::Status status_;
};

}  // namespace server
