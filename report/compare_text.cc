#include <algorithm>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "report/compare_words.h"
#include "report/escape.h"
#include "report/fields.h"
#include "report/format.h"
#include "report/text.h"

namespace report {
namespace {

// Characters, not bytes: how wide UTF-8 text is in a terminal.
size_t Width(const std::string& text) {
  size_t width = 0;
  for (const char c : text) width += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return width;
}

std::string Left(const std::string& text, size_t width) {
  return text + std::string(width > Width(text) ? width - Width(text) : 0, ' ');
}

std::string Right(const std::string& text, size_t width) {
  return std::string(width > Width(text) ? width - Width(text) : 0, ' ') + text;
}

// Cells in columns as wide as their widest; the first column, and those of `left`, begin flush.
class Columns {
 public:
  explicit Columns(std::vector<size_t> left) : left_(std::move(left)) {}
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string Text() const {
    std::vector<size_t> widths;
    for (const auto& row : rows_) {
      widths.resize(std::max(widths.size(), row.size()));
      for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Width(row[i]));
    }
    std::string text;
    for (const auto& row : rows_) {
      std::string line;
      for (size_t i = 0; i < row.size(); ++i) {
        const bool flush = i == 0 || std::find(left_.begin(), left_.end(), i) != left_.end();
        absl::StrAppend(&line, i == 0 ? "" : "   ",
                        flush ? Left(row[i], widths[i]) : Right(row[i], widths[i]));
      }
      while (!line.empty() && line.back() == ' ') line.pop_back();
      text += line + "\n";
    }
    return text;
  }

 private:
  const std::vector<size_t> left_;
  std::vector<std::vector<std::string>> rows_;
};

// Interval and verdict of a metric in a comparison.
const Json& Estimate(const Json& scenario, const Json& comparison, const std::string& key) {
  static const Json none;
  if (scenario["metric"] == key) return comparison["verdict"];
  return comparison["metrics"].contains(key) ? comparison["metrics"][key] : none;
}

std::string Word(const Json& scenario, const Json& comparison, const std::string& key) {
  if (scenario["metric"] == key) return VerdictWord(comparison);
  const Json& estimate = Estimate(scenario, comparison, key);
  return estimate.is_null() ? "" : estimate["difference"].get<std::string>();
}

// Two arms: a row a metric.
std::string PairTable(const Json& result, const Json& scenario) {
  const Json& comparison = scenario["comparisons"][0];
  Columns columns({3, 4});
  columns.Add({scenario["name"], ArmName(result, 0), ArmName(result, 1),
               absl::StrCat(ArmName(result, 1), " against ", ArmName(result, 0)), ""});
  for (const std::string& key : ShownMetrics(scenario)) {
    const auto median = [&](size_t arm) {
      const Json& medians = scenario["arms"][arm]["medians"];
      return MetricText(result, key, fields::At(medians, key.c_str()));
    };
    columns.Add({absl::StrCat("  ", MetricLabel(result, scenario, key)), median(0), median(1),
                 EstimateText(Estimate(scenario, comparison, key)),
                 Word(scenario, comparison, key)});
  }
  return columns.Text();
}

// More arms: a row an arm, for the gating metric with its interval, the others as differences.
std::string ArmsTable(const Json& result, const Json& scenario) {
  const std::string gate = scenario["metric"];
  std::vector<std::string> others = ShownMetrics(scenario);
  others.erase(others.begin());
  std::vector<std::string> head = {scenario["name"], MetricLabel(result, scenario, gate),
                                   absl::StrCat("against ", ArmName(result, 0)), ""};
  for (const std::string& key : others) head.push_back(result["metrics"][key]["label"]);
  Columns columns({2, 3});
  columns.Add(head);
  const auto row = [&](size_t arm, const Json* comparison) {
    const Json& medians = scenario["arms"][arm]["medians"];
    std::vector<std::string> cells = {
        absl::StrCat("  ", ArmName(result, arm)),
        MetricText(result, gate, fields::At(medians, gate.c_str())),
        comparison == nullptr ? "" : EstimateText((*comparison)["verdict"]),
        comparison == nullptr ? "" : VerdictWord(*comparison)};
    for (const std::string& key : others) {
      static const Json kNone;
      const Json& estimate = comparison == nullptr ? kNone : Estimate(scenario, *comparison, key);
      // What isn't proven to differ is not a number to look at.
      const Json& ratio = fields::At(estimate, "ratio");
      cells.push_back(comparison == nullptr
                          ? MetricText(result, key, fields::At(medians, key.c_str()))
                      : ratio.is_null() ? ""
                      : fields::At(estimate, "difference") == "none found"
                          ? "·"
                          : absl::StrCat(DifferenceText(fields::Number(ratio)), " %"));
    }
    columns.Add(cells);
  };
  row(0, nullptr);
  for (const Json& comparison : scenario["comparisons"]) {
    row(comparison["arm"].get<size_t>(), &comparison);
  }
  return columns.Text();
}

std::string Notes(const Json& result, const Json& scenario) {
  std::string text;
  const std::string voids = VoidText(result, scenario);
  if (!voids.empty()) absl::StrAppend(&text, "  ", voids, "\n");
  for (size_t arm = 0; arm < scenario["arms"].size(); ++arm) {
    const auto bound = scenario["arms"][arm]["generator_bound"].get<uint64_t>();
    if (bound == 0) continue;
    absl::StrAppend(&text, "  the load generator was the limit at full speed in ", bound,
                    bound == 1 ? " round of " : " rounds of ", ArmName(result, arm),
                    ": its requests/s are the client's\n");
  }
  return text;
}

// A sweep: a row a value, the gating metric of each arm.
std::string SweepTable(const Json& result) {
  Columns columns({});
  std::vector<std::string> head = {result["sweep"]["parameter"]};
  for (size_t arm = 0; arm < result["arms"].size(); ++arm) {
    head.push_back(ArmName(result, arm));
    if (arm > 0) head.push_back(absl::StrCat("against ", ArmName(result, 0)));
  }
  columns.Add(head);
  for (const Json& scenario : result["scenarios"]) {
    const std::string gate = scenario["metric"];
    std::vector<std::string> cells = {absl::StrCat("  ", scenario["name"].get<std::string>())};
    for (size_t arm = 0; arm < result["arms"].size(); ++arm) {
      cells.push_back(
          MetricText(result, gate, fields::At(scenario["arms"][arm]["medians"], gate.c_str())));
      if (arm == 0) continue;
      const Json& comparison = scenario["comparisons"][arm - 1];
      cells.push_back(absl::StrCat(EstimateText(comparison["verdict"]), "  ",
                                   Left(VerdictWord(comparison), 16)));
    }
    columns.Add(cells);
  }
  const Json& first = result["scenarios"][0];
  return absl::StrCat(MetricLabel(result, first, first["metric"]), ":\n", columns.Text());
}

std::string Title(const Json& result) {
  std::string title = ArmName(result, 0);
  if (result["kind"] == "ablation") {
    title =
        absl::StrCat("what each feature of ", title, " buys: switched, against all as they are");
  } else {
    for (size_t arm = 1; arm < result["arms"].size(); ++arm) {
      absl::StrAppend(&title, arm == 1 ? " against " : ", ", ArmName(result, arm));
    }
  }
  const std::string service = result["scenarios"][0]["service"];
  return absl::StrCat(title, "; ", service.empty() ? "" : service + " ", "over ",
                      TransportText(result),
                      result["interrupted"].get<bool>() ? "; interrupted" : "");
}

std::string SelfCheckText(const Json& result) {
  if (result["self_check"].is_null()) return "";
  const std::string name = ArmName(result, 0);
  return result["self_check"]["passed"].get<bool>()
             ? absl::StrCat("Self-check: ", name, " against itself was the same.\n")
             : absl::StrCat("Self-check: ", name,
                            " against itself was not the same everywhere: "
                            "there nothing else is judged.\n");
}

}  // namespace

std::string CompareText(const Json& given) {
  const Json result = PlainTexts(given);
  std::string text = absl::StrCat("\n", Title(result), "\n\n");
  const Json& scenarios = result["scenarios"];
  if (scenarios.empty()) return text;
  if (!result["sweep"].is_null()) {
    absl::StrAppend(&text, SweepTable(result), "\n");
  } else {
    for (const Json& scenario : scenarios) {
      absl::StrAppend(
          &text,
          scenario["arms"].size() == 2 ? PairTable(result, scenario) : ArmsTable(result, scenario),
          Notes(result, scenario), "\n");
    }
  }
  if (result["kind"] == "ablation") return text;
  size_t width = 0;
  for (const Json& scenario : scenarios) {
    width = std::max(width, Width(scenario["name"].get_ref<const std::string&>()));
  }
  for (const Json& scenario : scenarios) {
    for (const Json& comparison : scenario["comparisons"]) {
      if (IsSelfCheck(result, comparison["arm"])) continue;
      absl::StrAppend(&text, Left(scenario["name"], width + 3),
                      VerdictSentence(result, scenario, comparison), "\n");
    }
  }
  return absl::StrCat(text, SelfCheckText(result));
}

}  // namespace report
