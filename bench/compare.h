#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/statusor.h"
#include "bench/arm.h"
#include "bench/round.h"
#include "bench/scenario.h"
#include "bench/verdict.h"

namespace bench {

// What differs from scenario to scenario.
struct Sweep {
  std::string parameter;  // "connections"
  std::vector<double> values;
};

struct CompareOptions {
  std::vector<Arm> arms;  // the first is the baseline
  std::vector<Scenario> scenarios;
  RoundPlan plan;
  int64_t budget_ns = 300'000'000'000;  // for all scenarios
  int pairs_max = 80;                   // rounds for each
  uint64_t seed = 0;                 // of the order within rounds; of the load of the nth, seed + n
  bool ablation = false;             // arms are the first one with a feature switched
  bool inconclusive_passes = false;  // what can't be told is no failure: for the result's `plan`
  std::optional<Sweep> sweep;
};

// Where a comparison is, for a progress line.
struct CompareProgress {
  std::string scenario;
  int pair = 0;         // being played, from 1
  int next_look = 0;    // pairs after which it is judged
  int64_t left_ns = 0;  // at the most
  std::string note;     // news worth a line of their own; "" otherwise
};

// Plays rounds over all scenarios in turn: in each, all arms adjacent and in random order, so that
// each further arm makes a pair with the first. Looks after 10, 20, 40 and 80 pairs, and once more
// where the budget ends; an arm whose verdict is reached is not played any more. Ends when all
// verdicts are reached, the budget is spent or the user interrupts.
//
// `json` becomes the result, schema "ringside.compare/2" (results/SCHEMA.md) without what the
// program says of itself; it is filled with what was measured also where an error is returned: an
// arm fails, or its rounds are void again and again. Where that is because the machine is busy with
// others, it is no error, but nothing that can be told.
absl::Status Compare(const CompareOptions& options,
                     const std::function<void(const CompareProgress&)>& progress,
                     nlohmann::ordered_json* json, bool* interrupted);

}  // namespace bench
