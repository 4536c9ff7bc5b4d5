#include "bench/compare_json.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "bench/own_server.h"
#include "stats/hdr_codec.h"
#include "stats/histogram_json.h"
#include "stats/signed_rank.h"

namespace bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kSignificance = 0.05;  // of the other metrics, with Holm's correction

// JSON has neither infinity nor NaN: null.
Json Finite(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

const char* Name(Part part) {
  switch (part) {
    case Part::kFull:
      return "full";
    case Part::kPaced:
      return "paced";
    case Part::kSearch:
      return "search";
    case Part::kRound:
      return "round";
  }
  return "";
}

const char* Name(Role role) {
  switch (role) {
    case Role::kBaseline:
      return "baseline";
    case Role::kArm:
      return "arm";
    case Role::kSelfCheck:
      return "self-check";
  }
  return "";
}

// Our own path says nothing on another machine: it is the `revision` of the result.
Json ArmJson(const Arm& arm, bool ablation) {
  std::vector<std::string> words = arm.command;
  if (words[0] == OwnExecutable()) words[0] = "ringside";
  Json json = {{"name", arm.name},
               {"command", absl::StrJoin(words, " ")},
               {"load", absl::StrJoin(arm.load, " ")},
               {"role", Name(arm.role)}};
  if (ablation) {
    json["feature"] =
        arm.feature.empty() ? Json(nullptr) : Json({{"name", arm.feature}, {"change", arm.change}});
  }
  return json;
}

// The metrics that any round knows.
std::set<size_t> KnownMetrics(const std::vector<Record>& records) {
  std::set<size_t> known;
  for (const Record& record : records) {
    known.insert(MetricIndex(record.scenario.metric));
    for (const Block& block : record.blocks) {
      for (const auto& round : block.arms) {
        for (size_t metric = 0; round.has_value() && metric < kMetricCount; ++metric) {
          if (!std::isnan(round->figures.values[metric])) known.insert(metric);
        }
      }
    }
  }
  return known;
}

Json MetricsJson(const std::set<size_t>& known) {
  Json json = Json::object();
  for (const size_t index : known) {
    const Metric& metric = kMetrics[index];
    json[metric.key] = {{"label", metric.label},
                        {"unit", metric.unit},
                        {"better", metric.lower_is_better ? "lower" : "higher"},
                        {"part", Name(metric.part)}};
  }
  return json;
}

Json PlanJson(const CompareOptions& options) {
  const RoundPlan& plan = options.plan;
  return {{"transport", plan.transport},
          {"client_backend", plan.client_backend},
          {"client_backend_fallback",
           plan.client_backend_fallback.empty() ? Json() : Json(plan.client_backend_fallback)},
          {"warmup_s", plan.warmup_ns / 1e9},
          {"window_s", plan.window_ns / 1e9},
          {"server_cpus", plan.cpus.server},
          {"client_cpus", plan.cpus.client},
          {"seed", options.seed},
          {"pairs_max", options.pairs_max},
          {"budget_s", options.budget_ns / 1e9},
          {"steal_max", plan.steal_max},
          {"others_max", plan.others_max},
          {"inconclusive", options.inconclusive_passes ? "pass" : "fail"}};
}

Json RoundJson(const RoundResult& round, const std::set<size_t>& metrics) {
  Json json = Json::object();
  for (const size_t metric : metrics) {
    json[kMetrics[metric].key] = Finite(round.figures.values[metric]);
  }
  json["steal"] = round.steal;
  json["others"] = round.others;
  json["void"] = round.void_why.empty() ? Json(nullptr) : Json(round.void_why);
  const auto hdr = [](const std::string& text) {
    return text.empty() ? Json(nullptr) : Json(text);
  };
  json["hdr"] = {{"full", hdr(round.full_hdr)}, {"paced", hdr(round.paced_hdr)}};
  return json;
}

Json BlockJson(const Block& block, const std::set<size_t>& metrics) {
  Json json = {{"begin_s", block.begin_s}, {"order", block.order}, {"void", nullptr}};
  Json arms = Json::array();
  for (size_t arm = 0; arm < block.arms.size(); ++arm) {
    const auto& round = block.arms[arm];
    arms.push_back(round.has_value() ? RoundJson(*round, metrics) : Json(nullptr));
    if (round.has_value() && !round->void_why.empty() && json["void"].is_null()) {
      json["void"] = {{"arm", arm}, {"why", round->void_why}};
    }
  }
  json["arms"] = std::move(arms);
  return json;
}

// The latencies of all rounds that count, in one histogram; null: there are none.
Json MergedJson(const Record& record, size_t arm, std::string RoundResult::*hdr) {
  stats::Histogram all;
  for (const Block& block : record.blocks) {
    const auto& round = block.arms[arm];
    if (!round.has_value() || !round->void_why.empty() || ((*round).*hdr).empty()) continue;
    const auto histogram = stats::DecodeHdr((*round).*hdr);
    if (histogram.ok()) all.Merge(*histogram);
  }
  return all.count() == 0 ? Json(nullptr) : stats::TimesJson(all);
}

Json KernelJson(const Record& record, size_t arm) {
  KernelChanges changes;
  for (const Block& block : record.blocks) {
    const auto& round = block.arms[arm];
    if (!round.has_value() || !round->void_why.empty()) continue;
    for (const auto& [name, change] : round->kernel) {
      changes[name].delta += change.delta;
      changes[name].meaning = change.meaning;
    }
  }
  Json json = Json::array();
  for (const auto& [name, change] : changes) {
    json.push_back({{"name", name}, {"delta", change.delta}, {"meaning", change.meaning}});
  }
  return json;
}

// The middle one of those that are known.
Json MedianJson(std::vector<double> values) {
  std::erase_if(values, [](double value) { return std::isnan(value); });
  return Finite(stats::Median(std::move(values)));
}

Json ScenarioArmJson(const Record& record, size_t arm, const std::set<size_t>& metrics) {
  Json medians = Json::object();
  for (const size_t metric : metrics) {
    medians[kMetrics[metric].key] = MedianJson(Values(record, arm, metric));
  }
  const auto bound =
      std::count_if(record.blocks.begin(), record.blocks.end(), [&](const Block& block) {
        return block.arms[arm].has_value() && block.arms[arm]->generator_bound;
      });
  return {{"medians", medians},
          {"latency",
           {{"full", MergedJson(record, arm, &RoundResult::full_hdr)},
            {"paced", MergedJson(record, arm, &RoundResult::paced_hdr)}}},
          {"kernel", KernelJson(record, arm)},
          {"generator_bound", bound}};
}

// Estimate and interval of the metrics beside the gating one, and whether they differ at all, with
// Holm's correction for their number.
Json OtherMetricsJson(const Record& record, size_t arm, const std::set<size_t>& metrics) {
  std::vector<size_t> judged;
  std::vector<stats::PairedEstimate> estimates;
  std::vector<double> p_values;
  for (const size_t metric : metrics) {
    const std::vector<double> logs = LogRatios(record, arm, metric);
    if (metric == MetricIndex(record.scenario.metric) || logs.empty()) continue;
    judged.push_back(metric);
    estimates.push_back(stats::SignedRank(logs, kLookConfidence));
    p_values.push_back(estimates.back().p_value);
  }
  const std::vector<double> adjusted = stats::HolmAdjust(p_values);
  Json json = Json::object();
  for (size_t i = 0; i < judged.size(); ++i) {
    const bool differs = adjusted[i] < kSignificance;
    json[kMetrics[judged[i]].key] = {{"ratio", Finite(std::exp(estimates[i].estimate))},
                                     {"ratio_low", Finite(std::exp(estimates[i].low))},
                                     {"ratio_high", Finite(std::exp(estimates[i].high))},
                                     {"p_holm", Finite(adjusted[i])},
                                     {"difference", !differs                    ? "none found"
                                                    : estimates[i].estimate > 0 ? "higher"
                                                                                : "lower"}};
  }
  return json;
}

// Why a verdict isn't to be believed, whatever its interval says; "" where it is.
std::string Doubt(const Record& record, const Comparison& comparison,
                  const CompareOptions& options) {
  if (!comparison.gave_up.empty()) return comparison.gave_up;
  for (const Comparison& other : record.comparisons) {
    if (options.arms[other.arm].role != Role::kSelfCheck || other.arm == comparison.arm) continue;
    if (other.judged && other.judgement.verdict == Verdict::kSame) continue;
    return absl::StrCat("the self-check failed: ", options.arms[0].name,
                        " against itself was not the same (",
                        other.judged ? Name(other.judgement.verdict) : "not judged", ")");
  }
  return "";
}

Json VerdictJson(const Record& record, const Comparison& comparison,
                 const CompareOptions& options) {
  const std::string doubt = Doubt(record, comparison, options);
  if (!comparison.judged && doubt.empty()) return nullptr;
  const Judgement& judgement = comparison.judgement;
  Json json = {{"verdict", doubt.empty() ? Name(judgement.verdict) : Name(Verdict::kCannotTell)},
               {"pairs", judgement.pairs},
               {"ratio", nullptr},
               {"ratio_low", nullptr},
               {"ratio_high", nullptr},
               {"confidence", judgement.confidence},
               {"more_pairs", doubt.empty() ? judgement.more_pairs : 0},
               {"reachable", nullptr},
               {"why", doubt.empty() ? Json(nullptr) : Json(doubt)}};
  if (!comparison.judged) return json;
  json["ratio"] = Finite(judgement.ratio_estimate);
  json["ratio_low"] = Finite(judgement.ratio_low);
  json["ratio_high"] = Finite(judgement.ratio_high);
  json["reachable"] = Finite(judgement.reachable);
  return json;
}

Json ScenarioJson(const Record& record, const CompareOptions& options) {
  const Scenario& scenario = record.scenario;
  const std::set<size_t> metrics = KnownMetrics({record});
  Json json = {
      {"name", scenario.name},
      {"x", Finite(scenario.x)},
      {"workload", scenario.workload},
      {"service", scenario.service},
      {"connections", scenario.connections},
      {"message_bytes", scenario.message_bytes == 0 ? Json(nullptr) : Json(scenario.message_bytes)},
      {"size", scenario.size},
      {"depth", scenario.depth},
      {"threads", scenario.threads == 0 ? Json(nullptr) : Json(scenario.threads)},
      {"load", absl::StrJoin(scenario.load, " ")},
      {"pace_rps", scenario.pace_rps > 0 ? Json(scenario.pace_rps) : Json(nullptr)},
      {"arrivals", scenario.pace_rps > 0 ? Json(scenario.arrivals) : Json(nullptr)},
      {"metric", scenario.metric},
      {"margin", scenario.margin},
      {"objective", scenario.objective.empty() ? Json(nullptr) : Json(scenario.objective)}};
  Json arms = Json::array(), comparisons = Json::array(), rounds = Json::array();
  for (size_t arm = 0; arm < options.arms.size(); ++arm) {
    arms.push_back(ScenarioArmJson(record, arm, metrics));
  }
  for (const Comparison& comparison : record.comparisons) {
    comparisons.push_back({{"arm", comparison.arm},
                           {"against", 0},
                           {"verdict", VerdictJson(record, comparison, options)},
                           {"metrics", OtherMetricsJson(record, comparison.arm, metrics)}});
  }
  for (const Block& block : record.blocks) rounds.push_back(BlockJson(block, metrics));
  json["arms"] = std::move(arms);
  json["comparisons"] = std::move(comparisons);
  json["rounds"] = std::move(rounds);
  return json;
}

// Whether the first arm against itself was the same in each scenario; null without a self-check.
Json SelfCheckJson(const std::vector<Record>& records, const CompareOptions& options) {
  bool asked = false, passed = true;
  for (const Record& record : records) {
    for (const Comparison& comparison : record.comparisons) {
      if (options.arms[comparison.arm].role != Role::kSelfCheck) continue;
      asked = true;
      passed &= comparison.judged && comparison.judgement.verdict == Verdict::kSame;
    }
  }
  return asked ? Json({{"passed", passed}}) : Json(nullptr);
}

Json TimeJson(const TimeSpent& time) {
  const int64_t played = time.measured_ns + time.warmup_ns;
  return {{"wall_s", time.wall_ns / 1e9},
          {"measured_s", time.measured_ns / 1e9},
          {"warmup_s", time.warmup_ns / 1e9},
          {"overhead_share", Finite(1 - static_cast<double>(played) / time.wall_ns)}};
}

}  // namespace

Json ResultJson(const CompareOptions& options, const std::vector<Record>& records,
                const TimeSpent& time) {
  Json arms = Json::array(), scenarios = Json::array();
  for (const Arm& arm : options.arms) arms.push_back(ArmJson(arm, options.ablation));
  for (const Record& record : records) scenarios.push_back(ScenarioJson(record, options));
  Json json = {
      {"schema", "ringside.compare/2"}, {"kind", options.ablation ? "ablation" : "compare"},
      {"arms", std::move(arms)},        {"metrics", MetricsJson(KnownMetrics(records))},
      {"plan", PlanJson(options)},      {"sweep", nullptr}};
  if (options.sweep.has_value()) {
    json["sweep"] = {{"parameter", options.sweep->parameter}, {"values", options.sweep->values}};
  }
  json["scenarios"] = std::move(scenarios);
  json["self_check"] = SelfCheckJson(records, options);
  json["time"] = TimeJson(time);
  return json;
}

}  // namespace bench
