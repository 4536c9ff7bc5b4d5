#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "io/endpoint.h"
#include "loadgen/arrivals.h"
#include "services/sizes.h"

// What people type about load: rates over time, sizes, text with escapes. As cli/values.h.
namespace cli {

struct TypedRates {
  loadgen::RatePlan plan;       // passes its Check()
  bool per_connection = false;  // its rates are one connection's: the caller multiplies them
};

// Rates over time, parts separated by commas: "200k", constant; "10k/10s,50k/10s", steps;
// "10k:100k/60s", a ramp. Only the last part may lack its length, if it is no ramp. "100/conn" is a
// rate of each connection; a plan has either all parts so or none. Rates as ParseRate() takes them,
// but digits aren't grouped with commas.
absl::StatusOr<TypedRates> ParseRates(const std::string& text);

// Sizes of requests, each at least one byte: "64"; "64..16KiB", uniform, both included;
// "64:90,16KiB:10", weighted; "exp:1KiB", exponential with that mean; "lognormal:1KiB,2.0", with
// that median and sigma; "pareto:64,1.2", with that least size and alpha. One size alone is at most
// 1 GiB, others services::SizePlan::kMax, to which distributions are truncated.
absl::StatusOr<services::SizePlan> ParseSizes(const std::string& text);

// Counts of at least one: "100", or "50..200", both included, of which the first isn't the larger.
// At most 1e15. Returns the least and the most.
absl::StatusOr<std::pair<uint64_t, uint64_t>> ParseCounts(const std::string& text);

// Addresses to connect to `to` from, separated by commas, without ports: "127.0.0.1,127.0.0.2".
absl::StatusOr<std::vector<io::Endpoint>> ParseSources(const std::string& text,
                                                       const io::Endpoint& to);

// Text with \r \n \t \0 \\ and \xHH in place of what they mean. A 0 may be followed by any digit.
absl::StatusOr<std::string> ParseEscapes(const std::string& text);

}  // namespace cli
