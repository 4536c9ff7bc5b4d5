#include <string>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "report/compare_words.h"
#include "report/escape.h"
#include "report/formats.h"

namespace report {
namespace junit {
namespace {

using Json = nlohmann::ordered_json;

enum class Outcome { kPassed, kFailed, kSkipped, kError };

struct Case {
  std::string name;
  Outcome outcome;
  std::string type;      // the verdict's word
  std::string sentence;  // on it
};

struct Counts {
  int tests = 0, failures = 0, errors = 0, skipped = 0;
  void Add(Outcome outcome) {
    ++tests;
    failures += outcome == Outcome::kFailed;
    errors += outcome == Outcome::kError;
    skipped += outcome == Outcome::kSkipped;
  }
};

std::string Attributes(const Counts& counts) {
  return absl::StrCat(" tests=\"", counts.tests, "\" failures=\"", counts.failures, "\" errors=\"",
                      counts.errors, "\" skipped=\"", counts.skipped, "\"");
}

// As `compare` ends by them: an ablation judges nobody; who is slower fails; who can't be told does
// as --inconclusive says. A self-check that isn't the same is an error of the measurement.
Outcome OutcomeOf(const Json& result, const Json& comparison) {
  const std::string word = VerdictWord(comparison);
  if (IsSelfCheck(result, comparison["arm"])) {
    return word == "same" ? Outcome::kPassed : Outcome::kError;
  }
  if (result["kind"] == "ablation") return Outcome::kPassed;
  if (word == "slower") return Outcome::kFailed;
  if (word != "cannot tell" && word != "not judged") return Outcome::kPassed;
  return result["plan"]["inconclusive"] == "pass" ? Outcome::kSkipped : Outcome::kFailed;
}

Case CaseOf(const Json& result, const Json& scenario, const Json& comparison) {
  return {absl::StrCat(ArmName(result, comparison["arm"]), " against ",
                       ArmName(result, comparison["against"]), ": ",
                       MetricLabel(result, scenario, scenario["metric"])),
          OutcomeOf(result, comparison), VerdictWord(comparison),
          VerdictSentence(result, scenario, comparison)};
}

std::string CaseXml(const std::string& suite, const Case& one) {
  const std::string head = absl::StrCat("    <testcase classname=\"", EscapeXml(suite),
                                        "\" name=\"", EscapeXml(one.name), "\">\n");
  const std::string sentence = EscapeXml(one.sentence), type = EscapeXml(one.type);
  const char* element = one.outcome == Outcome::kFailed    ? "failure"
                        : one.outcome == Outcome::kError   ? "error"
                        : one.outcome == Outcome::kSkipped ? "skipped"
                                                           : nullptr;
  std::string body;
  if (element == nullptr) {
    body = absl::StrCat("      <system-out>", sentence, "</system-out>\n");
  } else if (one.outcome == Outcome::kSkipped) {
    body = absl::StrCat("      <skipped message=\"", sentence, "\"/>\n");
  } else {
    body = absl::StrCat("      <", element, " type=\"", type, "\" message=\"", sentence, "\">",
                        sentence, "</", element, ">\n");
  }
  return absl::StrCat(head, body, "    </testcase>\n");
}

std::string SuiteXml(const std::string& name, const std::string& properties,
                     const std::string& time, const std::vector<Case>& cases, Counts* all) {
  Counts counts;
  std::string body;
  for (const Case& one : cases) {
    counts.Add(one.outcome);
    all->Add(one.outcome);
    body += CaseXml(name, one);
  }
  return absl::StrCat("  <testsuite name=\"", EscapeXml(name), "\"", Attributes(counts),
                      " timestamp=\"", EscapeXml(time), "\">\n", properties, body,
                      "  </testsuite>\n");
}

std::string Properties(const Json& result, const Json* scenario) {
  std::string text;
  const auto add = [&](const char* name, const std::string& value) {
    absl::StrAppend(&text, "      <property name=\"", name, "\" value=\"", EscapeXml(value),
                    "\"/>\n");
  };
  add("version", result["version"]);
  add("revision", result["revision"]);
  add("machine_id", result["environment"]["machine_id"]);
  add("seed", NumberText(result["plan"]["seed"]));
  if (scenario != nullptr && !VoidText(result, *scenario).empty()) {
    add("void", VoidText(result, *scenario));
  }
  return absl::StrCat("    <properties>\n", text, "    </properties>\n");
}

// xs:dateTime in the format's usual form has no zone.
std::string Time(const Json& result) {
  std::string time = result["time_utc"];
  if (time.ends_with("Z")) time.pop_back();
  return time;
}

std::string Suites(const Json& result, Counts* counts) {
  std::string text;
  for (const Json& scenario : result["scenarios"]) {
    std::vector<Case> cases;
    for (const Json& comparison : scenario["comparisons"]) {
      cases.push_back(CaseOf(result, scenario, comparison));
    }
    text += SuiteXml(scenario["name"], Properties(result, &scenario), Time(result), cases, counts);
  }
  if (result["problem"].is_null()) return text;
  const Case problem = {"played to its end", Outcome::kError, "problem",
                        Trimmed(result["problem"])};
  return text +
         SuiteXml("the comparison", Properties(result, nullptr), Time(result), {problem}, counts);
}

}  // namespace
}  // namespace junit

absl::StatusOr<std::string> JunitReport(std::span<const nlohmann::ordered_json> results,
                                        const RenderOptions&) {
  junit::Counts counts;
  std::string suites;
  for (const auto& result : results) suites += junit::Suites(result, &counts);
  return absl::StrCat("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"ringside\"",
                      junit::Attributes(counts), ">\n", suites, "</testsuites>\n");
}

}  // namespace report
