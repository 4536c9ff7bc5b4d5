#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/statusor.h"
#include "bench/arm.h"
#include "bench/round.h"
#include "bench/verdict.h"

namespace bench {

// The metrics of a round. The first that is named in CompareOptions gates; the others inform.
struct Metric {
  const char* key;  // in JSON, and for --metric; report/compare_text.cc has the words
  bool lower_is_better;
  double RoundResult::*value;
};
inline constexpr Metric kMetrics[] = {
    {"server_cpu_us", true, &RoundResult::server_cpu_us},
    {"requests_per_s", false, &RoundResult::requests_per_s},
    {"p99_ns", true, &RoundResult::p99_ns},
    {"server_syscalls", true, &RoundResult::server_syscalls},
    {"client_cpu_us", true, &RoundResult::client_cpu_us},
};

struct CompareOptions {
  Arm a, b;
  std::vector<Scenario> scenarios;
  RoundPlan plan;
  std::string metric = "server_cpu_us";  // the one that the verdict is about
  double margin = 0.05;                  // the difference that matters
  int64_t budget_ns = 300'000'000'000;   // for all scenarios
  int pairs_max = 80;                    // for each
  uint64_t seed = 0;                     // of the random order within pairs
};

// Where a comparison is, for a progress line.
struct CompareProgress {
  std::string scenario;
  int pair = 0;         // being played, from 1
  int next_look = 0;    // pairs after which it is judged
  int64_t left_ns = 0;  // at the most
  std::string note;     // news worth a line of their own; "" otherwise
};

// Plays pairs of rounds, A and B adjacent and in random order, over all scenarios in turn, until
// each has its verdict, the budget is spent or the user interrupts. Looks after 10, 20, 40 and 80
// pairs, and once more where the budget ends. `json` becomes the result, schema
// "ringside.compare/1"; it is filled with what was measured also where an error is returned (an arm
// fails, or too many rounds are void).
absl::Status Compare(const CompareOptions& options,
                     const std::function<void(const CompareProgress&)>& progress,
                     nlohmann::ordered_json* json, bool* interrupted);

}  // namespace bench
