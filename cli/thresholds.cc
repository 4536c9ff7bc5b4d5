#include "cli/thresholds.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "cli/suggest.h"
#include "cli/values.h"
#include "report/format.h"

namespace cli {
namespace {

using Json = nlohmann::ordered_json;
using Operator = Threshold::Operator;
using Quantity = Threshold::Quantity;

constexpr char kExamples[] = "write METRIC, one of > >= < <=, and VALUE, such as 'p99>1ms'";

// A figure that is no duration, and where in the JSON it is.
struct Plain {
  const char* name;
  Quantity quantity;
  const char* pointer;
};

constexpr Plain kPlain[] = {
    {"rps", Quantity::kRate, "/throughput_rps"},
    {"errors", Quantity::kCount, "/errors/total"},
    {"silent", Quantity::kCount, "/connections/silent"},
    {"lost", Quantity::kCount, "/datagrams/lost"},
    {"requests", Quantity::kCount, "/requests"},
    {"loss", Quantity::kShare, "/datagrams/loss_share"},
    {"cpu_us_per_request", Quantity::kMicroseconds, "/server/cpu_us_per_request"},
    {"server.cpu_us_per_request", Quantity::kMicroseconds, "/server/cpu_us_per_request"},
    {"client.cpu_us_per_request", Quantity::kMicroseconds, "/client/cpu_us_per_request"},
};

const Plain* FindPlain(std::string_view metric) {
  const auto found = std::find_if(std::begin(kPlain), std::end(kPlain),
                                  [&](const Plain& plain) { return plain.name == metric; });
  return found == std::end(kPlain) ? nullptr : found;
}

// "service.p99" is "service" and "p99"; "p99.9" has no times in front.
struct DurationMetric {
  std::string times, statistic;
};

DurationMetric Split(const std::string& metric) {
  for (const std::string times : {"response", "service", "connect"}) {
    if (metric.starts_with(times) && metric.substr(times.size()).starts_with('.')) {
      return {times, metric.substr(times.size() + 1)};
    }
  }
  return {"", metric};
}

// 99.9 of "p99.9"; NaN where it is no percentile at all.
double PercentileOf(const std::string& statistic) {
  double percentile = 0;
  const std::string digits = statistic.substr(std::min<size_t>(1, statistic.size()));
  const bool number = statistic.starts_with('p') &&
                      digits.find_first_not_of("0123456789.") == std::string::npos &&
                      !digits.empty() && digits.front() != '.' && digits.back() != '.' &&
                      absl::SimpleAtod(digits, &percentile);
  return number ? percentile : std::nan("");
}

absl::Status Wrong(const std::string& text, const std::string& what, const std::string& want) {
  return absl::InvalidArgumentError(absl::StrCat("'", text, "': ", what, "; ", want));
}

absl::Status UnknownMetric(const Threshold& threshold) {
  std::vector<std::string> names = {"p50", "p90", "p99", "p99.9", "mean", "min", "max"};
  for (const char* times : {"response.", "service.", "connect."}) {
    for (const char* statistic : {"p50", "p99", "mean", "min", "max"}) {
      names.push_back(absl::StrCat(times, statistic));
    }
  }
  for (const Plain& plain : kPlain) names.emplace_back(plain.name);
  const std::string close = Closest(threshold.metric, names);
  return Wrong(threshold.text, absl::StrCat("there is no metric '", threshold.metric, "'"),
               close.empty()
                   ? "it is one of pN, mean, min, max (also with response., service. or connect. "
                     "before it), rps, errors, silent, lost, requests, loss, cpu_us_per_request"
                   : absl::StrCat("did you mean ", close, "?"));
}

// What the metric is measured in, and its percentile.
absl::Status FindMetric(Threshold* threshold) {
  if (const Plain* plain = FindPlain(threshold->metric)) {
    threshold->quantity = plain->quantity;
    return absl::OkStatus();
  }
  const std::string statistic = Split(threshold->metric).statistic;
  threshold->quantity = Quantity::kDuration;
  if (statistic == "mean" || statistic == "min") return absl::OkStatus();
  threshold->percentile = statistic == "max" ? 100 : PercentileOf(statistic);
  if (std::isnan(threshold->percentile)) return UnknownMetric(*threshold);
  if (threshold->percentile <= 0 || threshold->percentile > 100) {
    return Wrong(threshold->text, absl::StrCat("there is no percentile ", statistic),
                 "it is above p0 and at most p100");
  }
  return absl::OkStatus();
}

// `parsed` as a plain number; its error tells the metric.
template <class T>
absl::StatusOr<double> Value(const Threshold& threshold, const absl::StatusOr<T>& parsed) {
  if (parsed.ok()) return static_cast<double>(*parsed);
  return absl::InvalidArgumentError(
      absl::StrCat("'", threshold.text, "': ", std::string(parsed.status().message())));
}

bool HasUnit(const std::string& value) {
  return value.find_first_not_of("0123456789.,_ ") != std::string::npos;
}

absl::StatusOr<double> ParseValue(const Threshold& threshold, const std::string& value) {
  if (value.empty()) return Wrong(threshold.text, "the value is missing", kExamples);
  switch (threshold.quantity) {
    case Quantity::kDuration:
      return Value(threshold, ParseDuration(value));
    case Quantity::kRate:
      return Value(threshold, ParseRate(value));
    case Quantity::kCount:
      return Value(threshold, ParseCount(value));
    case Quantity::kShare:
      if (!HasUnit(value)) {
        return Wrong(threshold.text, absl::StrCat(value, " has no unit"),
                     absl::StrCat("write ", value, "%"));
      }
      return Value(threshold, ParsePercent(value));
    case Quantity::kMicroseconds: {
      const auto ns = Value(threshold, ParseDuration(HasUnit(value) ? value : value + "us"));
      return ns.ok() ? absl::StatusOr<double>(*ns / 1e3) : ns;
    }
  }
  return 0;
}

bool Holds(double actual, Operator op, double bound) {
  switch (op) {
    case Operator::kGreater:
      return actual > bound;
    case Operator::kGreaterEqual:
      return actual >= bound;
    case Operator::kLess:
      return actual < bound;
    case Operator::kLessEqual:
      return actual <= bound;
  }
  return false;
}

std::string Rounded(Quantity quantity, double value) {
  switch (quantity) {
    case Quantity::kDuration:
      return report::FormatDuration(std::llround(value));
    case Quantity::kRate:
      return report::FormatRate(value);
    case Quantity::kCount:
      return report::FormatCount(static_cast<uint64_t>(value));
    case Quantity::kShare:
      return absl::StrFormat("%.3g %%", value * 100);
    case Quantity::kMicroseconds:
      return absl::StrFormat("%.3g µs", value);
  }
  return "";
}

std::string Exact(Quantity quantity, double value) {
  switch (quantity) {
    case Quantity::kDuration:
      return absl::StrFormat("%.15g ns", value);
    case Quantity::kRate:
      return absl::StrFormat("%.15g/s", value);
    case Quantity::kCount:
      return report::FormatCount(static_cast<uint64_t>(value));
    case Quantity::kShare:
      return absl::StrFormat("%.15g %%", value * 100);
    case Quantity::kMicroseconds:
      return absl::StrFormat("%.15g µs", value);
  }
  return "";
}

absl::Status Missing(const Threshold& threshold, const std::string& why) {
  return absl::FailedPreconditionError(absl::StrCat(
      "--fail-if ", threshold.text, ": this run has no ", threshold.metric, ": ", why));
}

std::string WhyNoPlain(const Json& load, const Plain& plain) {
  const std::string_view pointer = plain.pointer;
  if (pointer.starts_with("/datagrams")) return "only datagrams get lost (udp://, unix-dgram:)";
  if (pointer.starts_with("/server") && !load.contains("server")) {
    return "the server's process could not be found (give --server-pid), so only "
           "client.cpu_us_per_request was measured";
  }
  return "its result doesn't tell";
}

absl::StatusOr<double> PlainFigure(const Threshold& threshold, const Plain& plain,
                                   const Json& load) {
  const Json::json_pointer pointer(plain.pointer);
  if (!load.contains(pointer) || !load[pointer].is_number()) {
    return Missing(threshold, WhyNoPlain(load, plain));
  }
  if (plain.quantity == Quantity::kMicroseconds && load.value("requests", uint64_t{0}) == 0) {
    return Missing(threshold, "no request was answered while it measured");
  }
  return load[pointer].get<double>();
}

// Where the times of this name are: the latency that the run is about, or the times beside it.
std::string KeyOf(const std::string& times, const std::string& kind) {
  if (times == "connect") return "connect_ns";
  return times.empty() || times == kind ? "latency_ns"
         : times == "service"           ? "service_ns"
                                        : "response_ns";
}

std::string WhyNoTimes(const std::string& times, const std::string& kind) {
  if (times == "connect") return "connecting was not measured";
  if (kind.empty()) return "its service has no replies to wait for";
  if (times == "response" && kind == "service") {
    return "in closed loop no request has a time at which it was due; give --rate, or ask for "
           "service.pN";
  }
  return "no request was answered while it measured";
}

absl::StatusOr<double> DurationFigure(const Threshold& threshold, const Json& load,
                                      const PercentileLookup& lookup) {
  const DurationMetric metric = Split(threshold.metric);
  const Json& latency = load["latency_ns"];
  const std::string kind =
      latency.contains("kind") && latency["kind"].is_string() ? latency["kind"] : Json("");
  const std::string key = KeyOf(metric.times, kind);
  const Json times = load.value(key, Json::object());
  if (!times.is_object() || times.value("count", uint64_t{0}) == 0) {
    return Missing(threshold, WhyNoTimes(metric.times, kind));
  }
  // 99.90 is 99.9, and a key has no dot.
  const std::string statistic =
      threshold.percentile == 100 ? "max"
      : threshold.percentile > 0
          ? absl::StrReplaceAll(absl::StrFormat("p%.10g", threshold.percentile), {{".", "_"}})
          : std::string(metric.statistic);
  if (times.contains(statistic) && times[statistic].is_number()) {
    return times[statistic].get<double>();
  }
  std::optional<double> found;
  const std::string& name = metric.times.empty() ? kind : metric.times;
  if (threshold.percentile > 0 && lookup) found = lookup(name, threshold.percentile);
  if (!found.has_value()) return Missing(threshold, "its result doesn't tell");
  return *found;
}

}  // namespace

absl::StatusOr<Threshold> ParseThreshold(const std::string& text) {
  Threshold threshold = {};
  threshold.percentile = -1;
  threshold.text = std::string(absl::StripAsciiWhitespace(text));
  if (threshold.text.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("the threshold is empty; ", kExamples));
  }
  const size_t begin = threshold.text.find_first_of("<>=!");
  if (begin == std::string::npos) return Wrong(threshold.text, "no comparison", kExamples);
  const size_t end =
      std::min(threshold.text.find_first_not_of("<>=!", begin), threshold.text.size());
  const std::string op = threshold.text.substr(begin, end - begin);
  const std::array<std::string_view, 4> operators = {">", ">=", "<", "<="};
  const auto known = std::find(operators.begin(), operators.end(), op);
  if (known == operators.end()) {
    return Wrong(threshold.text, absl::StrCat("'", op, "' is no comparison"), kExamples);
  }
  threshold.op = static_cast<Operator>(known - operators.begin());
  threshold.metric = std::string(absl::StripAsciiWhitespace(threshold.text.substr(0, begin)));
  if (threshold.metric.empty()) return Wrong(threshold.text, "the metric is missing", kExamples);
  const absl::Status metric = FindMetric(&threshold);
  if (!metric.ok()) return metric;
  const auto value =
      ParseValue(threshold, std::string(absl::StripAsciiWhitespace(threshold.text.substr(end))));
  if (!value.ok()) return value.status();
  threshold.value = *value;
  return threshold;
}

absl::StatusOr<ThresholdOutcome> EvaluateThreshold(const Threshold& threshold, const Json& load,
                                                   const PercentileLookup& lookup) {
  const Plain* plain = FindPlain(threshold.metric);
  const auto actual = plain != nullptr ? PlainFigure(threshold, *plain, load)
                                       : DurationFigure(threshold, load, lookup);
  if (!actual.ok()) return actual.status();
  ThresholdOutcome outcome = {.text = threshold.text,
                              .actual = Rounded(threshold.quantity, *actual),
                              .breached = Holds(*actual, threshold.op, threshold.value),
                              .line = {}};
  if (*actual != threshold.value &&
      outcome.actual == Rounded(threshold.quantity, threshold.value)) {
    outcome.actual = Exact(threshold.quantity, *actual);
  }
  outcome.line = outcome.breached ? absl::StrCat(threshold.metric, " is ", outcome.actual,
                                                 ", and --fail-if says ", threshold.text)
                                  : absl::StrCat(threshold.metric, " is ", outcome.actual,
                                                 ", which passes --fail-if ", threshold.text);
  return outcome;
}

}  // namespace cli
