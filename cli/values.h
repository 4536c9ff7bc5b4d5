#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/delay.h"

// What people type: counts, sizes, durations, rates, CPU lists, percents.
//
// Every Parse function fails with InvalidArgument and a message of one sentence, "<what is wrong>;
// <what would be right>", without the flag's name: whoever knows the flag puts it in front. A unit
// is understood in either case and after a space, and digits may be grouped in threes ("1,000,000"
// or "1_000_000"), so that whatever report/format.h prints can be pasted back.
namespace cli {

// A whole number, with k, M, G or T for powers of 1000: "64", "10k", "1.5M".
absl::StatusOr<uint64_t> ParseCount(const std::string& text);

// A size in bytes: "64", "64B", "16KiB" (1024-based), "16k" or "16kB" (1000-based).
absl::StatusOr<uint64_t> ParseBytes(const std::string& text);

// A duration in nanoseconds, never negative: "10s", "1m30s", "250ms", "1.5s", "48us". The unit is
// required, even for zero. Units are lower-case: ns, us (or µs), ms, s, m (or min), h.
absl::StatusOr<int64_t> ParseDuration(const std::string& text);

// A rate per second: "100k", "100k/s", "2.5M", "0.5".
absl::StatusOr<double> ParseRate(const std::string& text);

// CPU numbers in the order typed, each at most once: "0", "0,2-3".
absl::StatusOr<std::vector<int>> ParseCpuList(const std::string& text);

// A percentage as a fraction: "5%" and "5" are 0.05. Over 100 % is allowed here.
absl::StatusOr<double> ParsePercent(const std::string& text);

// How long a reply waits, at most services::Delay::kMax: a duration; "1ms..10ms", uniform, both
// included; "exp:5ms", exponential with that mean; "normal:5ms,1ms", normal with that mean and
// standard deviation, truncated at 0.
absl::StatusOr<services::Delay> ParseDelay(const std::string& text);

}  // namespace cli
