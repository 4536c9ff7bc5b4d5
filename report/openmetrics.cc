#include <map>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "report/compare_words.h"
#include "report/escape.h"
#include "report/formats.h"
#include "report/json_text.h"

namespace report {
namespace openmetrics {
namespace {

using Json = nlohmann::ordered_json;
using Labels = std::vector<std::pair<std::string, std::string>>;

// Families in the order of their first sample, each with its samples together.
class Page {
 public:
  // `result` is a label only where there are several.
  void Begin(size_t result, bool several) { result_ = several ? absl::StrCat(result + 1) : ""; }
  void Add(const std::string& name, const std::string& help, Labels labels, const Json& value) {
    if (value.is_null()) return;  // what isn't known has no sample
    if (!families_.contains(name)) {
      order_.push_back(name);
      families_[name] = absl::StrCat("# TYPE ", name, " gauge\n# HELP ", name, " ",
                                     EscapeOpenMetrics(help), "\n");
    }
    if (!result_.empty()) labels.emplace_back("result", result_);
    std::string joined;
    for (const auto& [key, text] : labels) {
      absl::StrAppend(&joined, joined.empty() ? "" : ",", key, "=\"", EscapeOpenMetrics(text),
                      "\"");
    }
    absl::StrAppend(&families_[name], name, "{", joined, "} ", JsonText(value), "\n");
  }
  std::string Text() const {
    std::string text;
    for (const std::string& name : order_) text += families_.at(name);
    return text + "# EOF\n";
  }

 private:
  std::string result_;
  std::vector<std::string> order_;
  std::map<std::string, std::string> families_;
};

// Prometheus' base units: ns and µs become seconds, and units are written out.
struct Based {
  std::string name;
  double divisor;
};
Based InBaseUnits(const std::string& name) {
  struct Unit {
    const char *ending, *base;
    double divisor;
  };
  constexpr Unit kUnits[] = {{"_us_per_request", "_seconds_per_request", 1e6},
                             {"_per_s", "_per_second", 1},
                             {"_rps", "_requests_per_second", 1},
                             {"_ns", "_seconds", 1e9},
                             {"_us", "_seconds", 1e6},
                             {"_count", "_values", 1},
                             {"_s", "_seconds", 1}};
  for (const Unit& unit : kUnits) {
    const std::string ending = unit.ending;
    if (!name.ends_with(ending)) continue;
    return {absl::StrCat(name.substr(0, name.size() - ending.size()), unit.base), unit.divisor};
  }
  return {name, 1};
}

void AddBased(const std::string& stem, const std::string& name, const std::string& help,
              Labels labels, const Json& value, Page* page) {
  const Based based = InBaseUnits(name);
  const Json scaled =
      value.is_null() || based.divisor == 1 ? value : Json(value.get<double>() / based.divisor);
  page->Add(absl::StrCat(stem, based.name), help, std::move(labels), scaled);
}

void AddComparison(const Json& result, const Json& scenario, const Json& comparison, Page* page) {
  constexpr const char* kWords[] = {"faster",           "slower",      "same",
                                    "small difference", "cannot tell", "not judged"};
  const Labels labels = {{"scenario", scenario["name"]},
                         {"arm", ArmName(result, comparison["arm"])},
                         {"against", ArmName(result, comparison["against"])}};
  const auto estimate = [&](const std::string& key, const Json& of) {
    Labels with = labels;
    with.emplace_back("metric", key);
    page->Add("ringside_compare_ratio", "Arm over the arm it is against.", with, of["ratio"]);
    page->Add("ringside_compare_ratio_low", "Lower end of the ratio's interval.", with,
              of["ratio_low"]);
    page->Add("ringside_compare_ratio_high", "Upper end of the ratio's interval.", with,
              of["ratio_high"]);
  };
  for (const char* word : kWords) {
    Labels with = labels;
    with.emplace_back("verdict", word);
    page->Add("ringside_compare_verdict", "1 for the verdict that was reached, 0 for the others.",
              with, VerdictWord(comparison) == word ? 1 : 0);
  }
  if (!comparison["verdict"].is_null()) {
    page->Add("ringside_compare_pairs", "Pairs of rounds that count.", labels,
              comparison["verdict"]["pairs"]);
    estimate(scenario["metric"], comparison["verdict"]);
  }
  for (const auto& [key, metric] : comparison["metrics"].items()) estimate(key, metric);
}

void AddCompare(const Json& result, Page* page) {
  for (const Json& scenario : result["scenarios"]) {
    size_t voids = 0;
    for (const Json& round : scenario["rounds"]) voids += !round["void"].is_null();
    page->Add("ringside_compare_void_rounds", "Rounds that don't count for all arms.",
              {{"scenario", scenario["name"]}}, voids);
    for (const Json& comparison : scenario["comparisons"]) {
      AddComparison(result, scenario, comparison, page);
    }
    for (size_t arm = 0; arm < result["arms"].size(); ++arm) {
      for (const auto& [key, median] : scenario["arms"][arm]["medians"].items()) {
        const Json& metric = result["metrics"][key];
        AddBased("ringside_compare_", key,
                 absl::StrCat("Median of the rounds: ", metric["label"].get<std::string>(), " (",
                              metric["part"].get<std::string>(), ")."),
                 {{"scenario", scenario["name"]}, {"arm", ArmName(result, arm)}}, median, page);
      }
    }
  }
  page->Add("ringside_compare_problem", "Whether it ended early.", {{"kind", result["kind"]}},
            result["problem"].is_null() ? 0 : 1);
}

void AddLoad(const Json& load, Page* page) {
  const Labels labels = {{"run", LoadName(load)}, {"address", load["address"]}};
  page->Add("ringside_load_valid", "Whether the run is valid.", labels,
            load["valid"].get<bool>() ? 1 : 0);
  for (const LoadFigure& figure : LoadFigures(load)) {
    AddBased("ringside_load_", figure.name, "As ringside load measured it.", labels, figure.value,
             page);
  }
}

}  // namespace
}  // namespace openmetrics

absl::StatusOr<std::string> OpenMetricsReport(std::span<const nlohmann::ordered_json> results,
                                              const RenderOptions&) {
  openmetrics::Page page;
  for (size_t i = 0; i < results.size(); ++i) {
    page.Begin(i, results.size() > 1);
    if (results[i]["schema"] == "ringside.compare/2") {
      openmetrics::AddCompare(results[i], &page);
      continue;
    }
    for (const auto* load : LoadsOf(results[i])) openmetrics::AddLoad(*load, &page);
  }
  return page.Text();
}

}  // namespace report
