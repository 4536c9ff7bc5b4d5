#pragma once

#include <span>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/statusor.h"

namespace report {

// Runs of `load` ("ringside.load/1"), of several hosts or one after the other, as one: histograms
// are merged bucket by bucket and percentiles taken from the sum, never averaged; counts and rates
// are summed, which for rates means that the runs were at the same time; the verdict is the most
// serious one. `merged` is their number. What has no sum is missing (`tcp`, `server`, `series`,
// `kernel`: whose hosts may be the same).
//
// The runs are as ReadResult() gives them. InvalidArgument: fewer than two, another schema, runs of
// different loads (which have no common latency), sums that don't fit 64 bits, a damaged histogram.
absl::StatusOr<nlohmann::ordered_json> MergeLoads(std::span<const nlohmann::ordered_json> runs);

}  // namespace report
