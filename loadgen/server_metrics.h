#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "io/endpoint.h"

namespace loadgen {

// Where a server's metrics are.
struct MetricsAddress {
  io::Endpoint at;
  std::string path = "/metrics";

  // "127.0.0.1:9100", "9100/custom", "http://[::1]:9100/metrics", "unix:/run/m.sock". Errors: as
  // of io::Resolve(), and InvalidArgument for what is no stream.
  static absl::StatusOr<MetricsAddress> Parse(const std::string& text);
};

// A sample of a page.
struct MetricSample {
  std::string name;
  std::vector<std::pair<std::string, std::string>> labels;  // as they stand there
  double value = 0;                                         // also NaN and infinite

  // A label's value; "" where there is none.
  std::string_view Label(std::string_view label) const;
};

// What a server says, as it may be shown: what isn't printable ASCII as \xHH, and its first 200
// bytes. So no page controls a terminal, or breaks a file.
std::string Shown(std::string_view said);

// The samples of a page in Prometheus' text exposition format, version 0.0.4
// (https://prometheus.io/docs/instrumenting/exposition_formats/). Lines that are none are left out.
std::vector<MetricSample> ParseMetrics(std::string_view page);

// What a server says of itself; counters since it began.
struct ServerMetrics {
  struct Listener {
    std::string address, service;
    std::string unit = {};  // of a request, as the server counts it; "": it doesn't say
    uint64_t requests = 0;
    friend bool operator==(const Listener&, const Listener&) = default;
  };

  int64_t at_ns = 0;         // CLOCK_MONOTONIC, when it was asked
  double cpu_seconds = -1;   // of `ringside serve` its worker threads'; -1: it doesn't say
  bool is_ringside = false;  // the rest is there
  double uptime_s = 0;
  uint64_t accepted = 0, open = 0;  // connections
  uint64_t received_bytes = 0, sent_bytes = 0;
  uint64_t truncated = 0;  // messages that were longer than its receive buffer: dropped
  std::vector<Listener> listeners;

  // Whether the server has served nothing in between.
  bool SameCounts(const ServerMetrics& other) const {
    return accepted == other.accepted && open == other.open &&
           received_bytes == other.received_bytes && sent_bytes == other.sent_bytes &&
           listeners == other.listeners;
  }
};

// Picks it from a page: of `ringside serve --metrics`, or any exporter's process_cpu_seconds_total.
// Takes time and memory in proportion to the page. ResourceExhausted: it names more listeners than
// kListenersMax.
inline constexpr size_t kListenersMax = 4096;
absl::StatusOr<ServerMetrics> PickMetrics(std::string_view page);

// Asks a server, and waits for up to timeout_ns, for a page of up to 16 MiB. Errors: as of
// io::HttpGet() and PickMetrics(), and FailedPrecondition where the page tells neither of the two.
absl::StatusOr<ServerMetrics> ReadServerMetrics(const MetricsAddress& from, int64_t timeout_ns);

}  // namespace loadgen
