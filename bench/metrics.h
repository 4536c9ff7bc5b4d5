#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <string_view>

namespace bench {

// What of a round a metric is taken from: closed loop at full speed; a fixed rate; the search for
// the highest rate that keeps an objective; or all of it.
enum class Part { kFull, kPaced, kSearch, kRound };

// Something that is measured in each round of each arm.
struct Metric {
  const char* key;    // in JSON, and for --metric
  const char* label;  // "server CPU a request"
  const char* unit;   // "ns", "us", "bytes", "per_s", "count": results/SCHEMA.md
  bool lower_is_better;
  Part part;
};

// In the order in which reports show them.
inline constexpr Metric kMetrics[] = {
    {"rate_max", "highest rate that keeps the objective", "per_s", false, Part::kSearch},
    {"server_cpu_us", "server CPU a request", "us", true, Part::kPaced},
    {"requests_per_s", "requests/s", "per_s", false, Part::kFull},
    {"p50_ns", "p50 latency", "ns", true, Part::kFull},
    {"p90_ns", "p90 latency", "ns", true, Part::kFull},
    {"p99_ns", "p99 latency", "ns", true, Part::kFull},
    {"p99_9_ns", "p99.9 latency", "ns", true, Part::kFull},
    {"full_server_cpu_us", "server CPU a request", "us", true, Part::kFull},
    {"full_server_syscalls", "server's system calls a request", "count", true, Part::kFull},
    {"full_client_cpu_us", "client CPU a request", "us", true, Part::kFull},
    {"server_syscalls", "server's system calls a request", "count", true, Part::kPaced},
    {"client_cpu_us", "client CPU a request", "us", true, Part::kPaced},
    {"achieved_rps", "requests/s of those asked for", "per_s", false, Part::kPaced},
    {"paced_p50_ns", "p50 response time", "ns", true, Part::kPaced},
    {"paced_p90_ns", "p90 response time", "ns", true, Part::kPaced},
    {"paced_p99_ns", "p99 response time", "ns", true, Part::kPaced},
    {"paced_p99_9_ns", "p99.9 response time", "ns", true, Part::kPaced},
    {"server_memory_bytes", "server's peak memory", "bytes", true, Part::kRound},
};
inline constexpr size_t kMetricCount = std::size(kMetrics);

// Whether both ends decide it: a rate or a latency is that of the slower one. CPU, system calls and
// memory are of the end that they are counted at, whichever the other's limit was.
constexpr bool IsOfBothEnds(const Metric& metric) {
  const std::string_view unit = metric.unit;
  return unit == "per_s" || unit == "ns";
}

// The index of a metric by its key; kMetricCount where there is none.
constexpr size_t MetricIndex(std::string_view key) {
  size_t index = 0;
  while (index < kMetricCount && key != kMetrics[index].key) ++index;
  return index;
}

// A value for each metric, in the order of kMetrics; NaN: not known.
struct Figures {
  std::array<double, kMetricCount> values;
  Figures() { values.fill(std::nan("")); }
  double& operator[](std::string_view key) { return values[MetricIndex(key)]; }
  double operator[](std::string_view key) const { return values[MetricIndex(key)]; }
};

}  // namespace bench
