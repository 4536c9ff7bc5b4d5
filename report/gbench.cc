#include <cmath>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "report/compare_words.h"
#include "report/formats.h"
#include "report/json_text.h"
#include "stats/signed_rank.h"

// Google Benchmark's JSON, as its compare.py reads it. Source: docs/user_guide.md and tools/gbench
// of https://github.com/google/benchmark, 1.7.1.
namespace report {
namespace gbench {
namespace {

using Json = nlohmann::ordered_json;

// What compare.py calls a change for the worse is a rise: rates become the time that one request
// takes, in ns.
double LowerIsBetter(const Json& metric, double value) {
  return metric["better"] == "higher" ? 1e9 / value : value;
}

std::string RowName(const Json& scenario, const Json& metric, const std::string& key,
                    const std::string& arm) {
  const bool inverted = metric["better"] == "higher";
  return absl::StrCat(scenario["name"].get<std::string>(), "/", key,
                      inverted ? "_as_ns_per_request" : "", arm.empty() ? "" : "/", arm);
}

Json Row(const std::string& name, const std::string& type, double value, const Json& metric) {
  return {{"name", name},      {"run_name", name},
          {"run_type", type},  {"threads", 1},
          {"iterations", 1},   {"real_time", value},
          {"cpu_time", value}, {"time_unit", metric["unit"] == "us" ? "us" : "ns"}};
}

void AddAggregate(const std::string& name, const char* aggregate, double value, const Json& metric,
                  size_t repetitions, Json* rows) {
  Json row = Row(name, "aggregate", value, metric);
  row["name"] = absl::StrCat(name, "_", aggregate);
  row["repetitions"] = repetitions;
  row["aggregate_name"] = aggregate;
  row["aggregate_unit"] = "time";
  row["iterations"] = repetitions;
  rows->push_back(std::move(row));
}

void AddRows(const std::string& name, const Json& metric, const std::vector<double>& values,
             Json* rows) {
  double sum = 0, squares = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    Json row = Row(name, "iteration", values[i], metric);
    row["repetitions"] = values.size();
    row["repetition_index"] = i;
    rows->push_back(std::move(row));
    sum += values[i];
  }
  const double mean = sum / static_cast<double>(values.size());
  for (const double value : values) squares += (value - mean) * (value - mean);
  const double stddev =
      values.size() < 2 ? 0 : std::sqrt(squares / static_cast<double>(values.size() - 1));
  AddAggregate(name, "mean", mean, metric, values.size(), rows);
  AddAggregate(name, "median", stats::Median(values), metric, values.size(), rows);
  AddAggregate(name, "stddev", stddev, metric, values.size(), rows);
}

// The figures of an arm's rounds that count; rates of 0 have no inverse.
std::vector<double> ValuesOf(const Json& scenario, size_t arm, const std::string& key,
                             const Json& metric) {
  std::vector<double> values;
  for (const Json& round : scenario["rounds"]) {
    const Json& figures = round["arms"][arm];
    if (figures.is_null() || !figures["void"].is_null()) continue;
    if (!figures.contains(key) || figures[key].is_null()) continue;
    const double value = LowerIsBetter(metric, figures[key].get<double>());
    if (std::isfinite(value)) values.push_back(value);
  }
  return values;
}

Json Context(const Json& result) {
  const Json& environment = result["environment"];
  return {{"date", result["time_utc"]},
          {"executable", "ringside"},
          {"library_build_type", "release"},
          {"machine_id", environment["machine_id"]},
          {"cpu", environment["machine"].value("cpu", "")},
          {"ringside_version", result["version"]},
          {"ringside_revision", result["revision"]}};
}

}  // namespace
}  // namespace gbench

absl::StatusOr<std::string> GbenchReport(std::span<const nlohmann::ordered_json> results,
                                         const RenderOptions& options) {
  using gbench::Json;
  Json rows = Json::array();
  std::vector<std::string> arms;
  for (const Json& result : results) {
    for (const Json& scenario : result["scenarios"]) {
      for (size_t arm = 0; arm < result["arms"].size(); ++arm) {
        const std::string name = ArmName(result, arm);
        arms.push_back(absl::StrCat("'", name, "'"));
        if (!options.arm.empty() && name != options.arm) continue;
        for (const auto& [key, metric] : result["metrics"].items()) {
          const auto values = gbench::ValuesOf(scenario, arm, key, metric);
          if (values.empty()) continue;
          const std::string shown = options.arm.empty() ? name : "";
          gbench::AddRows(gbench::RowName(scenario, metric, key, shown), metric, values, &rows);
        }
      }
    }
  }
  if (rows.empty()) {
    return absl::InvalidArgumentError(
        options.arm.empty()
            ? std::string("no round of it counts: there is nothing to write")
            : absl::StrCat("there is no round of an arm '", options.arm,
                           "' that counts; the first two arms are ", arms[0], " and ", arms[1]));
  }
  const Json json = {{"context", gbench::Context(results[0])}, {"benchmarks", rows}};
  return JsonText(json, 1) + "\n";
}

}  // namespace report
