#include "report/html/compare_words.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "report/compare_words.h"
#include "report/html/blocks.h"

namespace report::html {
namespace {

struct Counted {
  std::string word;
  int count;
};

// Verdicts by their word, those that tell most first, without the self-check's.
std::vector<Counted> CountedVerdicts(const Json& compare) {
  std::vector<Counted> counts = {
      {"faster", 0}, {"slower", 0}, {"same", 0}, {"small difference", 0}, {"cannot tell", 0}};
  for (const Json& scenario : At(compare, "scenarios")) {
    for (const Json& comparison : At(scenario, "comparisons")) {
      if (IsSelfCheck(compare, At(comparison, "arm"))) continue;
      const std::string word = VerdictClaim(At(comparison, "verdict")).word;
      bool found = false;
      for (Counted& known : counts) {
        if (known.word == word) ++known.count, found = true;
      }
      if (!found) counts.push_back({word, 1});
    }
  }
  std::erase_if(counts, [](const Counted& counted) { return counted.count == 0; });
  return counts;
}

// "epoll and io_uring", "io_uring and 3 others".
std::string Subjects(const Json& compare) {
  std::vector<std::string> names;
  for (const Json& arm : At(compare, "arms")) {
    const std::string role = Text(At(arm, "role"));
    if (role != "baseline" && role != "self-check") names.push_back(Text(At(arm, "name")));
  }
  if (names.size() <= 2) return absl::StrJoin(names, " and ");
  return absl::StrCat(names.size(), " arms");
}

// The finding of a comparison of two in one scenario: its sentence without the evidence.
std::string TitleOfOne(const Json& compare, const Json& scenario, const Json& comparison) {
  const std::string sentence = VerdictSentence(compare, scenario, comparison);
  const bool untold = VerdictClaim(At(comparison, "verdict")).tone == "unknown";
  return sentence.substr(0, sentence.find(untold ? ": " : " ("));
}

std::string Finding(const Json& compare) {
  const std::vector<Counted> counts = CountedVerdicts(compare);
  int total = 0;
  for (const Counted& counted : counts) total += counted.count;
  const std::string baseline = ArmName(compare, 0);
  if (total == 0) return absl::StrCat("Nothing was compared with ", baseline);
  if (total == 1) {
    for (const Json& scenario : At(compare, "scenarios")) {
      for (const Json& comparison : At(scenario, "comparisons")) {
        if (!IsSelfCheck(compare, At(comparison, "arm"))) {
          return TitleOfOne(compare, scenario, comparison);
        }
      }
    }
  }
  std::vector<std::string> parts;
  for (const Counted& counted : counts) {
    parts.push_back(absl::StrCat(counted.word, " in ", counted.count));
  }
  const bool ablation = Text(At(compare, "kind")) == "ablation";
  return absl::StrCat(
      ablation ? "Ablation of " + baseline : Subjects(compare) + " against " + baseline, ": ",
      absl::StrJoin(parts, ", "), " of ", total, " comparisons");
}

}  // namespace

Claim VerdictClaim(const Json& verdict) {
  const std::string word = Text(At(verdict, "verdict"));
  if (!At(verdict, "ratio").is_number()) return {"unknown", "?", "no pairs"};
  if (word == "faster") return {"good", "▲", word};
  if (word == "slower") return {"bad", "▼", word};
  if (word == "same") return {"same", "=", word};
  if (word == "small difference") return {"same", "≈", word};
  return {"unknown", "?", word.empty() ? "cannot tell" : word};
}

Claim DifferenceClaim(const Json& estimate, const std::string& better) {
  const std::string word = Text(At(estimate, "difference"));
  if (word != "higher" && word != "lower") return {"none", "", word};
  const std::string symbol = word == "higher" ? "↑" : "↓";
  if (better.empty()) return {"none", symbol, word};
  return word == better ? Claim{"good", symbol, word + ", better"}
                        : Claim{"bad", symbol, word + ", worse"};
}

std::string CompareTitle(const Json& compare) {
  const bool failed = At(At(compare, "self_check"), "passed") == Json(false);
  const bool interrupted = At(compare, "interrupted") == Json(true);
  return absl::StrCat(failed ? "No verdict, the self-check failed: " : "", Finding(compare),
                      interrupted ? " (interrupted)" : "");
}

}  // namespace report::html
