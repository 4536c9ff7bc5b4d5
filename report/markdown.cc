#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "report/compare_words.h"
#include "report/escape.h"
#include "report/format.h"
#include "report/formats.h"
#include "report/text.h"

namespace report {
namespace markdown {
namespace {

// A line of code, whatever it contains: between more backticks than it has in a row.
std::string Code(const std::string& any) {
  const std::string text = PlainLine(any);
  size_t longest = 0, run = 0;
  for (const char c : text) {
    run = c == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  const std::string ticks(longest + 1, '`');
  const char* pad = longest > 0 ? " " : "";
  return absl::StrCat(ticks, pad, text, pad, ticks);
}

const char* Symbol(const std::string& word) {
  if (word == "faster") return "✅";
  if (word == "slower") return "❌";
  if (word == "same") return "➖";
  if (word == "small difference") return "➖";
  return "❔";  // what isn't known isn't good
}

std::string Row(const std::vector<std::string>& cells) {
  return absl::StrCat("| ", absl::StrJoin(cells, " | "), " |\n");
}

std::string Rule(size_t columns, size_t left) {
  std::string rule = "|";
  for (size_t i = 0; i < columns; ++i) rule += i < left ? ":--|" : "--:|";
  return rule + "\n";
}

// The verdict on a line, before all else: the most serious one, and how many there are of each.
std::string Headline(const Json& result) {
  if (result["kind"] == "ablation") {
    return absl::StrCat("### 🔍 What each feature of ", EscapeMarkdown(ArmName(result, 0)),
                        " buys\n\n");
  }
  constexpr const char* kWords[] = {"slower",           "cannot tell", "not judged",
                                    "small difference", "same",        "faster"};
  std::vector<std::string> parts;
  std::string symbol;
  for (const char* word : kWords) {
    int count = 0;
    for (const Json& scenario : result["scenarios"]) {
      for (const Json& comparison : scenario["comparisons"]) {
        if (IsSelfCheck(result, comparison["arm"])) continue;
        count += VerdictWord(comparison) == word;
      }
    }
    if (count == 0) continue;
    if (symbol.empty()) symbol = Symbol(word);
    parts.push_back(absl::StrCat(word, count > 1 ? absl::StrCat(" (", count, " ×)") : ""));
  }
  std::vector<std::string> arms;
  for (size_t arm = 1; arm < result["arms"].size(); ++arm) {
    if (!IsSelfCheck(result, arm)) arms.push_back(EscapeMarkdown(ArmName(result, arm)));
  }
  return absl::StrCat("### ", symbol, symbol.empty() ? "" : " ", absl::StrJoin(arms, ", "),
                      " against ", EscapeMarkdown(ArmName(result, 0)), ": ",
                      absl::StrJoin(parts, ", "), "\n\n");
}

// What spoils the whole, in words.
std::string Warnings(const Json& result) {
  std::string text;
  const auto warn = [&](const std::string& sentence) {
    absl::StrAppend(&text, "> ⚠️ ", sentence, "\n>\n");
  };
  if (!result["problem"].is_null()) {
    warn(absl::StrCat("It ended early: ", EscapeMarkdown(result["problem"])));
  }
  if (result["interrupted"].get<bool>()) warn("It was interrupted by a signal.");
  if (!result["self_check"].is_null() && !result["self_check"]["passed"].get<bool>()) {
    warn(
        absl::StrCat("Self-check: ", EscapeMarkdown(ArmName(result, 0)),
                     " against itself was not the same everywhere: there nothing else is judged."));
  }
  if (text.empty()) return "";
  text.resize(text.size() - 2);  // the last line's ">\n"
  return text + "\n";
}

std::string VerdictTable(const Json& result) {
  std::string text = Row({"", "scenario", "arm", "metric", "difference"}) + Rule(5, 4);
  for (const Json& scenario : result["scenarios"]) {
    for (const Json& comparison : scenario["comparisons"]) {
      const std::string word = VerdictWord(comparison);
      text += Row({absl::StrCat(Symbol(word), " ", word), EscapeMarkdown(scenario["name"]),
                   EscapeMarkdown(ArmName(result, comparison["arm"])),
                   EscapeMarkdown(MetricLabel(result, scenario, scenario["metric"])),
                   EstimateText(comparison["verdict"])});
    }
  }
  return text + "\n";
}

std::string Details(const std::string& summary, const std::string& body) {
  return absl::StrCat("<details><summary>", summary, "</summary>\n\n", body, "\n</details>\n\n");
}

std::string Sentences(const Json& result) {
  std::string text;
  for (const Json& scenario : result["scenarios"]) {
    for (const Json& comparison : scenario["comparisons"]) {
      absl::StrAppend(&text, "- ", EscapeMarkdown(scenario["name"]), ": ",
                      EscapeMarkdown(VerdictSentence(result, scenario, comparison)), "\n");
    }
    const std::string voids = VoidText(result, scenario);
    if (!voids.empty()) {
      absl::StrAppend(&text, "- ", EscapeMarkdown(scenario["name"]), ": ", EscapeMarkdown(voids),
                      "\n");
    }
  }
  return text;
}

// Difference and word of a metric in a comparison; of the gating one, its verdict's.
std::string DifferenceCell(const Json& scenario, const Json& comparison, const std::string& key) {
  if (scenario["metric"] == key) {
    const std::string estimate = EstimateText(comparison["verdict"]);
    return absl::StrCat(estimate, estimate.empty() ? "" : " ", "**", VerdictWord(comparison), "**");
  }
  if (!comparison["metrics"].contains(key)) return "";
  const Json& metric = comparison["metrics"][key];
  return absl::StrCat(EstimateText(metric), " ",
                      EscapeMarkdown(metric["difference"].get<std::string>()));
}

std::string MetricsTable(const Json& result, const Json& scenario) {
  std::vector<std::string> head = {"metric (median)"};
  for (size_t arm = 0; arm < result["arms"].size(); ++arm) {
    head.push_back(EscapeMarkdown(ArmName(result, arm)));
    if (arm > 0) head.push_back(absl::StrCat("against ", EscapeMarkdown(ArmName(result, 0))));
  }
  std::string text = Row(head) + Rule(head.size(), 1);
  for (const auto& [key, metric] : result["metrics"].items()) {
    std::vector<std::string> cells = {EscapeMarkdown(MetricLabel(result, scenario, key))};
    bool known = false;
    for (size_t arm = 0; arm < result["arms"].size(); ++arm) {
      const Json& medians = scenario["arms"][arm]["medians"];
      known = known || (medians.contains(key) && !medians[key].is_null());
      cells.push_back(MetricText(result, key, medians.contains(key) ? medians[key] : Json()));
      if (arm == 0) continue;
      cells.push_back(DifferenceCell(scenario, scenario["comparisons"][arm - 1], key));
    }
    if (known) text += Row(cells);
  }
  return text;
}

std::string Commands(const Json& result) {
  std::string text;
  for (size_t arm = 0; arm < result["arms"].size(); ++arm) {
    const Json& one = result["arms"][arm];
    const std::string load = one["load"];
    absl::StrAppend(&text, "- ", EscapeMarkdown(one["name"]), ": ", Code(one["command"]),
                    load.empty() ? "" : absl::StrCat(", load ", Code(load)), "\n");
  }
  return text;
}

std::string EnvironmentLine(const Json& result) {
  const Json& environment = result["environment"];
  std::vector<std::string> parts;
  const auto add = [&](const char* group, const char* key, const char* words) {
    const std::string value = environment[group].value(key, "");
    if (!value.empty() && value != "unknown")
      parts.push_back(absl::StrCat(EscapeMarkdown(value), words));
  };
  add("machine", "cpu", "");
  add("machine", "cpus_online", " CPUs");
  add("system", "kernel_release", "");
  add("system", "os", "");
  add("build", "compiler", "");
  parts.push_back(absl::StrCat("ringside ", EscapeMarkdown(result["version"]), " (",
                               EscapeMarkdown(result["revision"]), ")"));
  parts.push_back(EscapeMarkdown(result["time_utc"]));
  return absl::StrCat("<sub>", TransportText(result), " · ", absl::StrJoin(parts, " · "),
                      "</sub>\n");
}

std::string Compare(const Json& result) {
  std::string text = absl::StrCat(Headline(result), Warnings(result), VerdictTable(result),
                                  Details("In words", Sentences(result)));
  for (const Json& scenario : result["scenarios"]) {
    text += Details(absl::StrCat("All metrics: ", EscapeMarkdownHtml(scenario["name"])),
                    MetricsTable(result, scenario));
  }
  return absl::StrCat(text, Details("The servers", Commands(result)), EnvironmentLine(result));
}

// "512 µs" of a time in ns; "–" where there is none.
std::string Time(const Json& value) {
  return value.is_null() ? "–" : FormatDuration(static_cast<int64_t>(value.get<double>()));
}

std::string LoadRow(const Json& load) {
  const Json& latency = load["latency_ns"];
  return Row({EscapeMarkdown(LoadName(load)), EscapeMarkdown(load["verdict"]["kind"]),
              FormatCount(static_cast<uint64_t>(load["throughput_rps"].get<double>())),
              Time(latency["p50"]), Time(latency["p99"]), Time(latency["p99_9"]),
              Time(latency["max"]), FormatCount(load["errors"]["total"].get<uint64_t>())});
}

std::string Load(const Json& result) {
  const bool valid = result["valid"].get<bool>();
  std::string text = absl::StrCat(
      "### ",
      !valid                                 ? "❌"
      : result["verdict"]["kind"] == "valid" ? "✅"
                                             : "⚠️",
      " ", EscapeMarkdown(result["verdict"]["kind"]), ": ",
      EscapeMarkdown(result["verdict"]["reason"]), "\n\n",
      Row({"run", "verdict", "requests/s", "p50", "p99", "p99.9", "max", "errors"}), Rule(8, 2));
  for (const Json* load : LoadsOf(result)) text += LoadRow(*load);
  std::string accusations;
  for (const Json* load : LoadsOf(result)) {
    for (const Json& one : (*load)["accusations"]) {
      absl::StrAppend(&accusations, "- ", EscapeMarkdown(one["text"]), "; ",
                      EscapeMarkdown(one["mend"]), "\n");
    }
  }
  if (!accusations.empty()) absl::StrAppend(&text, "\n", accusations);
  const std::string full = result.contains("classes") ? MixText(result) : LoadText(result);
  // Four spaces make code of it, whatever is in it.
  const std::string code =
      absl::StrCat("    ", absl::StrReplaceAll(full, {{"\n", "\n    "}}), "\n");
  return absl::StrCat(text, "\n", Details("All of it", code), "<sub>ringside ",
                      EscapeMarkdown(result["version"]), "</sub>\n");
}

}  // namespace
}  // namespace markdown

absl::StatusOr<std::string> MarkdownReport(std::span<const nlohmann::ordered_json> results,
                                           const RenderOptions&) {
  std::string text;
  for (const auto& result : results) {
    if (!text.empty()) text += "\n";
    text += result["schema"] == "ringside.compare/2" ? markdown::Compare(result)
                                                     : markdown::Load(result);
  }
  return text;
}

}  // namespace report
