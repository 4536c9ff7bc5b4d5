#pragma once

#include <span>
#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "report/export.h"

// What report/export.cc puts into its table: a format a function, a file each. All take results
// that passed CheckSchema(), of the schemas that the table says.
namespace report {

// Rows of result, scenario, arm, round, metric and value (RFC 4180).
absl::StatusOr<std::string> CsvReport(std::span<const nlohmann::ordered_json> results,
                                      const RenderOptions& options);

// A test case for each comparison of each scenario: one that is slower fails.
absl::StatusOr<std::string> JunitReport(std::span<const nlohmann::ordered_json> results,
                                        const RenderOptions& options);

// GitHub's Markdown: verdicts, a table of figures folded in, and where they were measured.
absl::StatusOr<std::string> MarkdownReport(std::span<const nlohmann::ordered_json> results,
                                           const RenderOptions& options);

// Google Benchmark's JSON; in every row lower is better.
absl::StatusOr<std::string> GbenchReport(std::span<const nlohmann::ordered_json> results,
                                         const RenderOptions& options);

// For Prometheus, in base units: medians, ratios and verdicts, or the figures of a run.
absl::StatusOr<std::string> OpenMetricsReport(std::span<const nlohmann::ordered_json> results,
                                              const RenderOptions& options);

// A percentile distribution: of one run, or of one arm in one scenario.
absl::StatusOr<std::string> HgrmReport(std::span<const nlohmann::ordered_json> results,
                                       const RenderOptions& options);

// HdrHistogram's log: a line for each round, arm and part, for each run, or each interval.
absl::StatusOr<std::string> HlogReport(std::span<const nlohmann::ordered_json> results,
                                       const RenderOptions& options);

// A picture, drawn by gnuplot: effects with their intervals, a sweep's lines, or the percentiles of
// a run. FailedPrecondition where gnuplot isn't installed.
absl::StatusOr<std::string> SvgReport(std::span<const nlohmann::ordered_json> results,
                                      const RenderOptions& options);

// What several formats need of a comparison.

// "ok" without what JSON's writers put behind: a problem may be a program's last words.
inline std::string Trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

// A number as it can be read back, without its type's noise: 0.1, 65536, 1e+30; "" for null.
std::string NumberText(const nlohmann::ordered_json& value);

// A figure of a run of `load`.
struct LoadFigure {
  std::string name;  // "latency_p99_ns": with its unit, as in the JSON
  nlohmann::ordered_json value;
};

// What is worth a row, or a series, of a "ringside.load/1".
std::vector<LoadFigure> LoadFigures(const nlohmann::ordered_json& load);

// "echo rr, 64 × 64 B", or its name in a mix.
std::string LoadName(const nlohmann::ordered_json& load);

// The runs of a "ringside.load/1" (itself) or "ringside.load_mix/1" (its classes).
std::vector<const nlohmann::ordered_json*> LoadsOf(const nlohmann::ordered_json& result);

}  // namespace report
