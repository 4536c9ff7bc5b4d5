#include "server/prometheus.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <initializer_list>

namespace server {
namespace {

// absl::StrCat of a distribution's abseil may know no std::string_view.
void Append(std::string* text, std::initializer_list<std::string_view> parts) {
  for (const std::string_view part : parts) *text += part;
}

std::string Cat(std::initializer_list<std::string_view> parts) {
  std::string text;
  Append(&text, parts);
  return text;
}

// How many bytes from `at` on are one UTF-8 character; 0: none (RFC 3629, section 4).
size_t Utf8Length(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) -> unsigned {
    return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0;
  };
  const auto tail = [&](size_t i) { return (byte(i) & 0xc0) == 0x80; };
  const unsigned first = byte(0), second = byte(1);
  if (first < 0x80) return 1;
  if (first < 0xc2) return 0;  // a continuation, or longer than need be
  if (first < 0xe0) return tail(1) ? 2 : 0;
  if (first < 0xf0) {
    if (first == 0xe0 && second < 0xa0) return 0;  // longer than need be
    if (first == 0xed && second > 0x9f) return 0;  // a surrogate
    return tail(1) && tail(2) ? 3 : 0;
  }
  if (first > 0xf4) return 0;
  if (first == 0xf0 && second < 0x90) return 0;  // longer than need be
  if (first == 0xf4 && second > 0x8f) return 0;  // beyond U+10FFFF
  return tail(1) && tail(2) && tail(3) ? 4 : 0;
}

// In label values \, " and line feed are escaped; in a HELP text " is not.
std::string Escaped(std::string_view text, bool quotes) {
  std::string escaped;
  for (size_t at = 0; at < text.size();) {
    const size_t length = Utf8Length(text, at);
    if (length == 0) {
      escaped += "\xef\xbf\xbd";  // U+FFFD
      ++at;
      continue;
    }
    if (text[at] == '\\') {
      escaped += "\\\\";
    } else if (text[at] == '\n') {
      escaped += "\\n";
    } else if (text[at] == '"' && quotes) {
      escaped += "\\\"";
    } else {
      escaped += text.substr(at, length);
    }
    at += length;
  }
  return escaped;
}

bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool IsMetricName(std::string_view name) {
  const auto starts = [](char c) { return IsLetter(c) || c == ':'; };
  return !name.empty() && starts(name[0]) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return starts(c) || IsDigit(c); });
}

bool IsLabelName(std::string_view name) {
  return !name.empty() && IsLetter(name[0]) && !name.starts_with("__") &&
         std::all_of(name.begin(), name.end(), [](char c) { return IsLetter(c) || IsDigit(c); });
}

std::string DoubleText(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  return {text, end};
}

}  // namespace

std::string LabelText(std::string_view value) { return Escaped(value, /*quotes=*/true); }

MetricValue::MetricValue(double value)
    : text_(DoubleText(value)), negative_(value < 0 || std::isnan(value)) {}

MetricHistogram SecondsHistogram(const stats::Histogram& recorded,
                                 std::span<const double> bounds_s) {
  MetricHistogram histogram;
  histogram.count = recorded.count();
  histogram.sum = recorded.Mean() * static_cast<double>(recorded.count()) / 1e9;
  for (const double bound : bounds_s) {
    const auto ns = static_cast<int64_t>(
        std::clamp(bound * 1e9, 0.0, static_cast<double>(stats::Histogram::kHighest)));
    histogram.buckets.push_back({.bound = bound, .at_or_below = recorded.CountAtOrBelow(ns)});
  }
  return histogram;
}

void PrometheusPage::Misuse(std::string_view what) {
  if (!status_.ok()) return;
  status_ = absl::InvalidArgumentError(Cat({"metric '", name_, "': ", what}));
}

void PrometheusPage::Begin(Kind kind, std::string_view type, std::string_view name,
                           std::string_view help) {
  name_ = name;
  kind_ = Kind::kNone;
  series_.clear();
  if (!IsMetricName(name)) return Misuse("not a name that the format allows");
  if (kind == Kind::kCounter && !name.ends_with("_total")) {
    return Misuse("a counter's name ends in _total");
  }
  if (help.empty()) return Misuse("it has no help text");
  std::vector<std::string> taken = {name_};
  if (kind == Kind::kHistogram) {
    for (const char* suffix : {"_bucket", "_sum", "_count"}) {
      taken.push_back(Cat({name, suffix}));
    }
  }
  for (const std::string& each : taken) {
    if (names_.contains(each)) return Misuse("the name is taken by another metric of the page");
  }
  names_.insert(taken.begin(), taken.end());
  kind_ = kind;
  Append(&text_, {"# HELP ", name, " ", Escaped(help, /*quotes=*/false), "\n# TYPE ", name, " ",
                  type, "\n"});
}

void PrometheusPage::Counter(std::string_view name, std::string_view help) {
  Begin(Kind::kCounter, "counter", name, help);
}

void PrometheusPage::Gauge(std::string_view name, std::string_view help) {
  Begin(Kind::kGauge, "gauge", name, help);
}

void PrometheusPage::Histogram(std::string_view name, std::string_view help) {
  Begin(Kind::kHistogram, "histogram", name, help);
}

bool PrometheusPage::Labels(const MetricLabels& labels, std::string* text) {
  for (size_t i = 0; i < labels.size(); ++i) {
    const auto& [name, value] = labels[i];
    if (!IsLabelName(name) || (kind_ == Kind::kHistogram && name == "le")) {
      Misuse(Cat({"'", name, "' may not be the name of a label"}));
      return false;
    }
    for (size_t j = 0; j < i; ++j) {
      if (labels[j].first != name) continue;
      Misuse(Cat({"it has the label '", name, "' twice"}));
      return false;
    }
    Append(text, {i == 0 ? "" : ",", name, "=\"", Escaped(value, /*quotes=*/true), "\""});
  }
  return true;
}

// Whether no sample of this metric has the same labels, in any order.
bool PrometheusPage::Claim(const MetricLabels& labels) {
  MetricLabels sorted = labels;
  std::sort(sorted.begin(), sorted.end());
  std::string key;
  for (const auto& [name, value] : sorted) {
    Append(&key, {name, "=\"", Escaped(value, /*quotes=*/true), "\","});
  }
  if (series_.insert(std::move(key)).second) return true;
  Misuse("two samples have the same labels");
  return false;
}

void PrometheusPage::Line(std::string_view suffix, std::string_view labels,
                          std::string_view value) {
  Append(&text_, {name_, suffix, labels.empty() ? "" : "{", labels, labels.empty() ? " " : "} ",
                  value, "\n"});
}

void PrometheusPage::Sample(const MetricValue& value, const MetricLabels& labels) {
  if (kind_ != Kind::kCounter && kind_ != Kind::kGauge) {
    return Misuse("a sample without a counter or gauge that it belongs to");
  }
  if (kind_ == Kind::kCounter && value.negative()) return Misuse("a counter is never below 0");
  std::string text;
  if (Labels(labels, &text) && Claim(labels)) Line("", text, value.text());
}

void PrometheusPage::Sample(const MetricHistogram& histogram, const MetricLabels& labels) {
  if (kind_ != Kind::kHistogram) {
    return Misuse("a histogram's sample without a histogram that it belongs to");
  }
  const MetricHistogram::Bucket* before = nullptr;
  for (const auto& bucket : histogram.buckets) {
    if (!std::isfinite(bucket.bound)) return Misuse("a histogram's bounds are finite");
    if (before != nullptr && bucket.bound <= before->bound) {
      return Misuse("a histogram's bounds rise");
    }
    if (bucket.at_or_below > histogram.count ||
        (before != nullptr && bucket.at_or_below < before->at_or_below)) {
      return Misuse("a histogram's counts add up, bound by bound");
    }
    before = &bucket;
  }
  std::string text;
  if (!Labels(labels, &text) || !Claim(labels)) return;
  const auto bucket_line = [&](double bound, uint64_t count) {
    Line("_bucket", Cat({text, text.empty() ? "" : ",", "le=\"", DoubleText(bound), "\""}),
         std::to_string(count));
  };
  for (const auto& bucket : histogram.buckets) bucket_line(bucket.bound, bucket.at_or_below);
  bucket_line(HUGE_VAL, histogram.count);
  Line("_sum", text, DoubleText(histogram.sum));
  Line("_count", text, std::to_string(histogram.count));
}

absl::StatusOr<std::string> PrometheusPage::Finish() {
  if (!status_.ok()) return status_;
  return std::move(text_);
}

}  // namespace server
