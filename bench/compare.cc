#include "bench/compare.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "stats/signed_rank.h"

namespace bench {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

// Void rounds in a row after which nothing will be learned here.
constexpr int kVoidInRowMax = 6;
constexpr double kPaceShare = 0.6;  // of the slower arm's full speed, at the most

struct Pair {
  RoundResult a, b;
  bool a_first;
};

struct State {
  Scenario scenario;
  std::vector<Pair> pairs;
  std::vector<Json> voids;
  int void_in_row = 0;
  int64_t pair_ns = 0;  // how long the last one took
  Judgement judgement = {};
  bool judged = false, done = false;
};

const Metric& Gate(const CompareOptions& options) {
  for (const Metric& metric : kMetrics) {
    if (options.metric == metric.key) return metric;
  }
  return kMetrics[0];
}

std::vector<double> LogRatios(const State& state, const Metric& metric) {
  std::vector<double> logs;
  for (const Pair& pair : state.pairs) {
    const double a = pair.a.*metric.value, b = pair.b.*metric.value;
    if (a > 0 && b > 0) logs.push_back(std::log(b / a));
  }
  return logs;
}

std::vector<double> Values(const State& state, const Metric& metric, bool of_a) {
  std::vector<double> values;
  for (const Pair& pair : state.pairs) values.push_back((of_a ? pair.a : pair.b).*metric.value);
  return values;
}

// Rounded down to two digits, so that a pace reads well and repeats.
double TwoDigits(double value) {
  const double unit = std::pow(10, std::floor(std::log10(value)) - 1);
  return std::floor(value / unit) * unit;
}

// JSON has neither infinity nor NaN: null.
Json Finite(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json RoundJson(const RoundResult& round) {
  Json json = {{"requests_per_s", round.requests_per_s},
               {"p99_ns", round.p99_ns},
               {"server_cpu_us", round.server_cpu_us},
               {"client_cpu_us", round.client_cpu_us},
               {"full_server_cpu_us", round.full_server_cpu_us},
               {"full_client_cpu_us", round.full_client_cpu_us},
               {"steal", round.steal}};
  const auto told = [](double value) { return value >= 0 ? Json(value) : Json(nullptr); };
  json["server_syscalls"] = told(round.server_syscalls);
  json["full_server_syscalls"] = told(round.full_server_syscalls);
  return json;
}

Json JudgementJson(const Judgement& judgement) {
  return {{"verdict", Name(judgement.verdict)},         {"pairs", judgement.pairs},
          {"ratio", Finite(judgement.ratio_estimate)},  {"ratio_low", Finite(judgement.ratio_low)},
          {"ratio_high", Finite(judgement.ratio_high)}, {"confidence", kLookConfidence},
          {"more_pairs", judgement.more_pairs},         {"reachable", Finite(judgement.reachable)}};
}

// The metrics beside the gating one: estimate and interval, and whether they differ at all, with
// Holm's correction for their number.
Json SecondaryJson(const State& state, const CompareOptions& options) {
  std::vector<const Metric*> metrics;
  std::vector<stats::PairedEstimate> estimates;
  std::vector<double> p_values;
  for (const Metric& metric : kMetrics) {
    const std::vector<double> logs = LogRatios(state, metric);
    if (&metric == &Gate(options) || logs.empty()) continue;
    metrics.push_back(&metric);
    estimates.push_back(stats::SignedRank(logs, kLookConfidence));
    p_values.push_back(estimates.back().p_value);
  }
  const std::vector<double> adjusted = stats::HolmAdjust(p_values);
  Json json = Json::object();
  for (size_t i = 0; i < metrics.size(); ++i) {
    const bool differs = adjusted[i] < 0.05;
    json[metrics[i]->key] = {{"ratio", Finite(std::exp(estimates[i].estimate))},
                             {"ratio_low", Finite(std::exp(estimates[i].low))},
                             {"ratio_high", Finite(std::exp(estimates[i].high))},
                             {"p_holm", Finite(adjusted[i])},
                             {"difference", !differs                    ? "none found"
                                            : estimates[i].estimate > 0 ? "higher"
                                                                        : "lower"}};
  }
  return json;
}

Json ScenarioJson(const State& state, const CompareOptions& options) {
  Json medians = Json::object();
  for (const Metric& metric : kMetrics) {
    if (state.pairs.empty()) break;
    const double a = stats::Median(Values(state, metric, true));
    const double b = stats::Median(Values(state, metric, false));
    medians[metric.key] = {{"a", a >= 0 ? Json(a) : Json(nullptr)},
                           {"b", b >= 0 ? Json(b) : Json(nullptr)}};
  }
  Json pairs = Json::array();
  for (const Pair& pair : state.pairs) {
    pairs.push_back(
        {{"first", pair.a_first ? "a" : "b"}, {"a", RoundJson(pair.a)}, {"b", RoundJson(pair.b)}});
  }
  Json json = {{"name", state.scenario.name},
               {"connections", state.scenario.connections},
               {"message_bytes", state.scenario.message_bytes},
               {"depth", state.scenario.depth},
               {"pace_rps", state.scenario.pace_rps}};
  json["verdict"] = state.judged ? JudgementJson(state.judgement) : Json(nullptr);
  json["medians"] = medians;
  json["secondary"] = SecondaryJson(state, options);
  json["void_pairs"] = state.voids;
  json["pairs"] = pairs;
  return json;
}

class Comparison {
 public:
  Comparison(const CompareOptions& options,
             const std::function<void(const CompareProgress&)>& progress)
      : options_(options), progress_(progress), order_(options.seed), begun_(Clock::now()) {
    for (const Scenario& scenario : options.scenarios) states_.push_back({.scenario = scenario});
  }

  absl::Status Play() {
    absl::Status status = FindPaces();
    while (status.ok() && AnyOpen() && !OutOfBudget()) {
      for (State& state : states_) {
        if (!status.ok() || state.done || OutOfBudget()) continue;
        status = PlayPair(state);
      }
    }
    for (State& state : states_) {
      if (!state.done) JudgeNow(state, /*last=*/true);
    }
    return status;
  }

  Json ToJson() const {
    Json json = Json::array();
    for (const State& state : states_) json.push_back(ScenarioJson(state, options_));
    return json;
  }

 private:
  bool AnyOpen() const {
    return std::any_of(states_.begin(), states_.end(),
                       [](const State& state) { return !state.done; });
  }

  int64_t LeftNs() const {
    return options_.budget_ns - std::chrono::nanoseconds(Clock::now() - begun_).count();
  }

  bool OutOfBudget() const {
    int64_t pair_ns = 0;
    for (const State& state : states_) pair_ns = std::max(pair_ns, state.pair_ns);
    return LeftNs() < pair_ns;
  }

  void Tell(const State& state, std::string note) {
    const int pairs = static_cast<int>(state.pairs.size());
    int look = options_.pairs_max;
    for (int candidate : kLooks) {
      if (candidate > pairs) look = std::min(look, candidate);
    }
    int64_t left = 0;
    for (const State& other : states_) {
      if (!other.done)
        left += other.pair_ns * (options_.pairs_max - static_cast<int>(other.pairs.size()));
    }
    progress_({.scenario = state.scenario.name,
               .pair = pairs + 1,
               .next_look = look,
               .left_ns = std::min(std::max<int64_t>(0, LeftNs()), left > 0 ? left : LeftNs()),
               .note = std::move(note)});
  }

  // A pace that the slower arm holds: the scenario's own, or a share of its full speed.
  absl::Status FindPaces() {
    for (State& state : states_) {
      Tell(state, "");
      double slower = INFINITY;
      for (const Arm* arm : {&options_.a, &options_.b}) {
        const auto speed = FullSpeed(*arm, state.scenario, options_.plan);
        if (!speed.ok()) return speed.status();
        slower = std::min(slower, *speed);
      }
      state.scenario.pace_rps = std::min(state.scenario.pace_rps, TwoDigits(kPaceShare * slower));
    }
    return absl::OkStatus();
  }

  absl::Status PlayPair(State& state) {
    Tell(state, "");
    const auto begun = Clock::now();
    Pair pair = {.a = {}, .b = {}, .a_first = (order_() & 1) != 0};
    for (bool a_turn : {pair.a_first, !pair.a_first}) {
      auto round = PlayRound(a_turn ? options_.a : options_.b, state.scenario, options_.plan);
      if (!round.ok()) return round.status();
      (a_turn ? pair.a : pair.b) = *round;
    }
    state.pair_ns = std::chrono::nanoseconds(Clock::now() - begun).count();
    if (!pair.a.void_why.empty() || !pair.b.void_why.empty()) return NoteVoid(state, pair);
    state.void_in_row = 0;
    state.pairs.push_back(pair);
    const int count = static_cast<int>(state.pairs.size());
    if (count >= options_.pairs_max) {
      JudgeNow(state, /*last=*/true);
    } else if (IsLook(count)) {
      JudgeNow(state, /*last=*/false);
    }
    return absl::OkStatus();
  }

  absl::Status NoteVoid(State& state, const Pair& pair) {
    const bool of_a = !pair.a.void_why.empty();
    const std::string& why = of_a ? pair.a.void_why : pair.b.void_why;
    const std::string& arm = of_a ? options_.a.name : options_.b.name;
    state.voids.push_back({{"arm", of_a ? "a" : "b"}, {"why", why}});
    if (++state.void_in_row < kVoidInRowMax) return absl::OkStatus();
    return absl::InternalError(absl::StrCat(kVoidInRowMax, " rounds of ", state.scenario.name,
                                            " in a row were void; the last, of '", arm,
                                            "': ", why));
  }

  void JudgeNow(State& state, bool last) {
    const Metric& gate = Gate(options_);
    state.judgement = Judge(LogRatios(state, gate), options_.margin, gate.lower_is_better, last);
    state.judged = true;
    state.done = state.judgement.final;
    const size_t pairs = state.pairs.size();
    Tell(state, absl::StrFormat("%s after %d %s: %s", state.scenario.name, pairs,
                                pairs == 1 ? "pair" : "pairs",
                                state.done ? Name(state.judgement.verdict) : "not decided yet"));
  }

  const CompareOptions& options_;
  const std::function<void(const CompareProgress&)>& progress_;
  std::mt19937_64 order_;
  Clock::time_point begun_;
  std::vector<State> states_;
};

// Our own path says nothing on another machine: it is the `revision` of the result.
Json ArmJson(const Arm& arm) {
  std::vector<std::string> words = arm.command;
  if (words[0] == OwnExecutable()) words[0] = "ringside";
  return {{"name", arm.name}, {"command", absl::StrJoin(words, " ")}};
}

}  // namespace

absl::Status Compare(const CompareOptions& options,
                     const std::function<void(const CompareProgress&)>& progress, Json* json,
                     bool* interrupted) {
  Comparison comparison(options, progress);
  const absl::Status status = comparison.Play();
  *interrupted = absl::IsCancelled(status);
  (*json)["schema"] = "ringside.compare/1";
  (*json)["a"] = ArmJson(options.a);
  (*json)["b"] = ArmJson(options.b);
  (*json)["metric"] = Gate(options).key;
  (*json)["margin"] = options.margin;
  (*json)["seed"] = options.seed;
  (*json)["service"] = options.plan.service;
  (*json)["transport"] = options.plan.transport;
  (*json)["client_backend"] = options.plan.client_backend;
  (*json)["warmup_s"] = options.plan.warmup_ns / 1e9;
  (*json)["window_s"] = options.plan.window_ns / 1e9;
  (*json)["server_cpus"] = options.plan.cpus.server;
  (*json)["client_cpus"] = options.plan.cpus.client;
  (*json)["interrupted"] = *interrupted;
  (*json)["scenarios"] = comparison.ToJson();
  return *interrupted ? absl::OkStatus() : status;
}

}  // namespace bench
