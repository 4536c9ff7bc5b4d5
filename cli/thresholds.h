#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/statusor.h"

// What makes a run a failure: --fail-if 'p99>1ms'.
namespace cli {

// A bound on one figure of a load run.
struct Threshold {
  enum class Operator { kGreater, kGreaterEqual, kLess, kLessEqual };
  // What the figure is measured in: ns, 1/s, a count, a share of 1, or µs.
  enum class Quantity { kDuration, kRate, kCount, kShare, kMicroseconds };

  std::string text;    // as typed, without spaces at either end
  std::string metric;  // as typed
  Operator op;
  Quantity quantity;
  double value;            // in the unit of `quantity`
  double percentile = -1;  // of a duration: in (0, 100]; -1: its mean, min, or none of these
};

// METRIC OPERATOR VALUE, with or without spaces between. The value makes the run a failure when the
// comparison holds. Metrics, and how their values are written:
//   pN (p50, p99.95), mean, min, max  a duration: 1ms, 250us. Of the latency that the run is about:
//                        the response time in open loop, else the service time. With response.,
//                        service. or connect. before it: of that time.
//   rps                  a rate: 100k, 2.5M
//   errors, silent, lost, requests  a count: 0, 10k; as in results/SCHEMA.md
//   loss                 a percentage: 0.1%
//   cpu_us_per_request   of the server; a number of µs (1.5), or a duration. With client. or
//   server.
//                        before it: of that side.
// Operators: > >= < <=. InvalidArgument: one sentence on what is wrong and what would be right.
absl::StatusOr<Threshold> ParseThreshold(const std::string& text);

// A percentile, in ns, of "response", "service" or "connect" time, of a run whose JSON doesn't list
// that percentile. nullopt where the run has no such times.
using PercentileLookup =
    std::function<std::optional<double>(std::string_view times, double percentile)>;

struct ThresholdOutcome {
  std::string text;    // the threshold's
  std::string actual;  // the figure, as people read it; exact where rounded it would mislead
  bool breached;
  std::string line;  // "p99 is 1.3 ms, and --fail-if says p99>1ms", without a newline
};

// Compares with a finished run ("ringside.load/1"). FailedPrecondition where the run has no such
// figure: that is a failure of the run as well, never a pass.
absl::StatusOr<ThresholdOutcome> EvaluateThreshold(const Threshold& threshold,
                                                   const nlohmann::ordered_json& load,
                                                   const PercentileLookup& lookup);

}  // namespace cli
