#include <algorithm>
#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "report/compare_words.h"
#include "report/escape.h"
#include "report/formats.h"

namespace report {
namespace csv {
namespace {

using Json = nlohmann::ordered_json;

std::string Line(std::initializer_list<std::string> fields) {
  std::string line;
  for (const std::string& field : fields) {
    absl::StrAppend(&line, line.empty() ? "" : ",", EscapeCsv(field));
  }
  return line + "\r\n";
}

// "1", "2", ...: as people count; the first field is never empty.
std::string Number(size_t index) { return absl::StrCat(index + 1); }

std::string Sweep(const Json& scenario) { return NumberText(scenario["x"]); }

std::string RoundLines(size_t result_index, const Json& result, const Json& scenario,
                       size_t round_index) {
  const Json& round = scenario["rounds"][round_index];
  std::string lines;
  for (size_t arm = 0; arm < round["arms"].size(); ++arm) {
    const Json& figures = round["arms"][arm];
    if (figures.is_null()) continue;
    for (const auto& [key, metric] : result["metrics"].items()) {
      if (!figures.contains(key)) continue;
      const std::string why = figures["void"].is_null() ? "" : Trimmed(figures["void"]);
      lines +=
          Line({Number(result_index), scenario["name"], Sweep(scenario), ArmName(result, arm),
                result["arms"][arm]["role"], Number(round_index), NumberText(round["begin_s"]), key,
                metric["part"], metric["unit"], metric["better"], NumberText(figures[key]), why});
    }
  }
  return lines;
}

std::string Compare(std::span<const Json> results) {
  std::string text = Line({"result", "scenario", "x", "arm", "role", "round", "begin_s", "metric",
                           "part", "unit", "better", "value", "void"});
  for (size_t index = 0; index < results.size(); ++index) {
    for (const Json& scenario : results[index]["scenarios"]) {
      for (size_t round = 0; round < scenario["rounds"].size(); ++round) {
        text += RoundLines(index, results[index], scenario, round);
      }
    }
  }
  return text;
}

std::string Loads(std::span<const Json> results) {
  std::string text = Line({"result", "run", "address", "backend", "valid", "metric", "value"});
  for (size_t index = 0; index < results.size(); ++index) {
    for (const Json* load : LoadsOf(results[index])) {
      for (const LoadFigure& figure : LoadFigures(*load)) {
        text += Line({Number(index), LoadName(*load), (*load)["address"], (*load)["backend"],
                      (*load)["valid"].get<bool>() ? "true" : "false", figure.name,
                      NumberText(figure.value)});
      }
    }
  }
  return text;
}

std::string Intervals(std::span<const Json> results) {
  constexpr const char* kFigures[] = {"offered_rps", "achieved_rps", "requests",      "errors",
                                      "connections", "bytes_sent",   "bytes_received"};
  std::string text = Line({"result", "class", "number", "begin_s", "length_s", "metric", "value"});
  for (size_t index = 0; index < results.size(); ++index) {
    for (const Json& interval : results[index]["intervals"]) {
      const auto add = [&](const std::string& metric, const Json& value) {
        text += Line({Number(index), interval.value("class", ""), NumberText(interval["number"]),
                      NumberText(interval["begin_s"]), NumberText(interval["length_s"]), metric,
                      NumberText(value)});
      };
      for (const char* figure : kFigures) add(figure, interval[figure]);
      for (const auto& [key, value] : interval["latency_ns"].items()) {
        add(key == "count" ? "latency_count" : absl::StrCat("latency_", key, "_ns"), value);
      }
    }
  }
  return text;
}

}  // namespace
}  // namespace csv

absl::StatusOr<std::string> CsvReport(std::span<const nlohmann::ordered_json> results,
                                      const RenderOptions&) {
  const auto is = [](const char* stem) {
    return [stem](const nlohmann::ordered_json& result) {
      return result["schema"].get<std::string>().starts_with(stem);
    };
  };
  const auto all = [&](const char* stem) {
    return std::all_of(results.begin(), results.end(), is(stem));
  };
  if (all("ringside.compare/")) return csv::Compare(results);
  if (all("ringside.load")) return csv::Loads(results);
  if (all("ringside.interval/")) return csv::Intervals(results);
  return absl::InvalidArgumentError(
      "csv has other columns for comparisons, runs of load and intervals: name files of one kind");
}

}  // namespace report
