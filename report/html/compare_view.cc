#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "report/compare_words.h"
#include "report/format.h"
#include "report/html/blocks.h"
#include "report/html/compare_words.h"
#include "report/html/curves.h"
#include "report/html/view.h"
#include "report/json_text.h"

namespace report::html {
namespace {

constexpr size_t kTableRowsMax = 2000;  // of a table of rounds: what a browser lays out at once
constexpr double kSpanMax = 1.5;        // of a plot of ratios, in the logarithm: −78 % to +348 %

// The two histograms of a round, or of an arm.
struct Part {
  const char* key;
  const char* words;
};
constexpr Part kParts[] = {{"paced", "at a fixed rate"}, {"full", "at full speed"}};

std::string Name(const Json& json) { return Text(At(json, "name")); }

std::vector<std::string> ArmNames(const Json& compare) {
  std::vector<std::string> names;
  for (const Json& arm : At(compare, "arms")) names.push_back(Name(arm));
  return names;
}

// How many rounds of a scenario are drawn as one.
size_t RoundsTogether(const Json& scenario, size_t most) {
  return GroupOf(At(scenario, "rounds").size(), most);
}

bool Counts(const Json& round) { return At(round, "void").is_null(); }

// The same of one arm: a round may be void for another one alone.
bool Counts(const Json& round, size_t arm) {
  const Json& arms = At(round, "arms");
  return arms.is_array() && arm < arms.size() && At(arms[arm], "void").is_null();
}

// An estimate with its interval; "–" where there is none.
std::string EstimateOrDash(const Json& estimate) {
  const std::string text = EstimateText(estimate);
  return text.empty() ? "–" : text;
}

// What an arm did in a round; null: it wasn't played.
const Json& PlayedArm(const Json& round, size_t arm) {
  static const Json kNone;
  const Json& arms = At(round, "arms");
  return arms.is_array() && arm < arms.size() ? arms[arm] : kNone;
}

std::string RowsLeftOut(size_t rounds) {
  return absl::StrCat("The first ", kTableRowsMax, " rows, of ", rounds,
                      " rounds; --format csv has them all");
}

std::string BeginText(const Json& round) {
  return absl::StrFormat("%.1f s", Number(At(round, "begin_s")));
}

// ---- the verdict ----

Json Item(const Claim& claim, const std::string& where, const std::string& text) {
  return {{"tone", claim.tone}, {"symbol", claim.symbol}, {"word", claim.word},
          {"where", where},     {"text", text},           {"mend", nullptr}};
}

Json Problem(const std::string& word, const std::string& text) {
  return Item({"problem", "!", word}, "", text);
}

// "2 rounds were void and count for nothing, the last because …".
std::string VoidText(const Json& compare) {
  int voids = 0, rounds = 0;
  std::string why;
  for (const Json& scenario : At(compare, "scenarios")) {
    for (const Json& round : At(scenario, "rounds")) {
      ++rounds;
      if (Counts(round)) continue;
      ++voids;
      why = Text(At(At(round, "void"), "why"));
    }
  }
  if (voids == 0) return absl::StrCat("None of ", rounds, " rounds was void.");
  return absl::StrCat(voids, " of ", rounds, voids == 1 ? " rounds was" : " rounds were",
                      " void and counted for nothing; the last: ", why, ".");
}

std::string SelfCheckText(const Json& compare) {
  return absl::StrCat(ArmName(compare, 0), " against itself was ",
                      At(At(compare, "self_check"), "passed") == Json(true)
                          ? "the same in each scenario."
                          : "not the same in each scenario, so nothing below is a verdict.");
}

std::string BoundText(const Json& compare) {
  std::vector<std::string> parts;
  for (const Json& scenario : At(compare, "scenarios")) {
    size_t arm = 0;
    for (const Json& result : At(scenario, "arms")) {
      const auto rounds = fields::Count(At(result, "generator_bound"));
      const std::string name = ArmName(compare, arm++);
      if (rounds == 0) continue;
      parts.push_back(absl::StrCat(name, " in ", rounds, rounds == 1 ? " round" : " rounds", " of ",
                                   Name(scenario)));
    }
  }
  return absl::StrJoin(parts, "; ");
}

Json VerdictSection(const Json& compare) {
  Json items = Json::array();
  const Json& check = At(compare, "self_check");
  if (!At(compare, "problem").is_null()) {
    items.push_back(Problem("ended early", AnyText(At(compare, "problem"))));
  }
  if (At(compare, "interrupted") == Json(true)) {
    items.push_back(
        Problem("interrupted", "A signal ended it; this is what was measured by then."));
  }
  if (At(check, "passed") == Json(false)) {
    items.push_back(Problem("self-check failed", SelfCheckText(compare)));
  }
  std::vector<Json> last;
  for (const Json& scenario : At(compare, "scenarios")) {
    for (const Json& comparison : At(scenario, "comparisons")) {
      const bool self = IsSelfCheck(compare, At(comparison, "arm"));
      Json item = Item(VerdictClaim(At(comparison, "verdict")),
                       Name(scenario) + (self ? ", self-check" : ""),
                       VerdictSentence(compare, scenario, comparison));
      if (self) {
        last.push_back(std::move(item));
      } else {
        items.push_back(std::move(item));
      }
    }
  }
  for (Json& item : last) items.push_back(std::move(item));
  Json facts = FactsBlock();
  AddFact(facts, "Rounds", VoidText(compare));
  if (At(check, "passed") == Json(true)) AddFact(facts, "Self-check", SelfCheckText(compare));
  AddFact(facts, "Generator was the limit", BoundText(compare));
  return Section("Verdict", "", {{{"type", "verdicts"}, {"items", items}}, facts});
}

// ---- effects ----

// An estimate of a metric in a scenario for a comparison, and what is claimed of it.
struct Effect {
  const Json* estimate;
  Claim claim;
};

Effect EffectOf(const Json& compare, const Json& scenario, const Json& comparison,
                const std::string& metric) {
  if (metric == Text(At(scenario, "metric"))) {
    const Json& verdict = At(comparison, "verdict");
    return {&verdict, VerdictClaim(verdict)};
  }
  const Json& estimate = At(At(comparison, "metrics"), metric.c_str());
  const Json& known = At(At(compare, "metrics"), metric.c_str());
  return {&estimate, DifferenceClaim(estimate, Text(At(known, "better")))};
}

Json LogOf(const Json& ratio) {
  if (!ratio.is_number() || ratio.get<double>() <= 0) return nullptr;
  return std::log(ratio.get<double>());
}

Json PlotCell(const Effect& effect) {
  return {{"plot",
           {{"at", LogOf(At(*effect.estimate, "ratio"))},
            {"low", LogOf(At(*effect.estimate, "ratio_low"))},
            {"high", LogOf(At(*effect.estimate, "ratio_high"))}}},
          {"tone", effect.claim.tone}};
}

Json WordCell(const Claim& claim) {
  return {{"text", claim.word}, {"tone", claim.tone}, {"symbol", claim.symbol}};
}

// Gives a column of plots the scale that holds them all.
void SetScale(Json& table, size_t column, double margin, const std::string& better) {
  double span = std::log1p(margin) * 1.6;
  for (const Json& row : table["rows"]) {
    const Json& plot = At(row[column], "plot");
    for (const char* end : {"at", "low", "high"}) {
      span = std::max(span, std::abs(Number(At(plot, end))) * 1.08);
    }
  }
  table["columns"][column]["scale"] = {{"span", span > 0 ? std::min(span, kSpanMax) : kSpanMax},
                                       {"margin", std::log1p(margin)},
                                       {"better", better}};
}

std::string Better(const Json& compare, const std::string& metric) {
  return Text(At(At(At(compare, "metrics"), metric.c_str()), "better"));
}

// The metrics that scenarios are judged by, then the others.
std::vector<std::string> MetricsInOrder(const Json& compare) {
  std::vector<std::string> keys;
  const auto add = [&](const std::string& key) {
    if (!key.empty() && std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
  };
  for (const Json& scenario : At(compare, "scenarios")) add(Text(At(scenario, "metric")));
  for (const auto& item : At(compare, "metrics").items()) add(item.key());
  return keys;
}

// A metric as it is called over all scenarios.
std::string MetricName(const Json& compare, const std::string& metric) {
  const Json& known = At(At(compare, "metrics"), metric.c_str());
  const std::string part = Text(At(known, "part"));
  return absl::StrCat(Text(At(known, "label"), metric), part == "full"    ? ", at full speed"
                                                        : part == "paced" ? ", at a fixed rate"
                                                                          : "");
}

Json ForestTable(const Json& compare, const std::string& metric) {
  Json table = {{"type", "table"}, {"stack", true}, {"rows", Json::array()}};
  table["columns"] = {Column("Scenario", "text"), Column("Arm", "text"), Column("Effect", "plot"),
                      Column("Difference", "number"), Column("", "text")};
  double margin = 0;
  for (const Json& scenario : At(compare, "scenarios")) {
    const bool gating = metric == Text(At(scenario, "metric"));
    if (gating) margin = std::max(margin, Number(At(scenario, "margin")));
    for (const Json& comparison : At(scenario, "comparisons")) {
      const Effect effect = EffectOf(compare, scenario, comparison, metric);
      if (!At(*effect.estimate, "ratio").is_number()) continue;
      table["rows"].push_back(
          Json::array({Name(scenario), ArmName(compare, At(comparison, "arm")), PlotCell(effect),
                       EstimateOrDash(*effect.estimate), WordCell(effect.claim)}));
    }
  }
  if (table["rows"].empty()) return nullptr;
  SetScale(table, 2, margin, Better(compare, metric));
  return table;
}

Json EffectsSection(const Json& compare) {
  std::vector<Json> views;
  for (const std::string& metric : MetricsInOrder(compare)) {
    Json table = ForestTable(compare, metric);
    if (table.is_null()) continue;
    views.push_back({{"name", MetricName(compare, metric)}, {"block", std::move(table)}});
  }
  return Section(
      "Effects",
      absl::StrCat("Each arm against ", ArmName(compare, 0),
                   ": the estimate and its interval. Shaded is the margin, within which "
                   "a difference doesn't matter; only the metric of the verdict has one."),
      {Views("Metric", std::move(views))});
}

// ---- curves ----

Json PercentileView(const Json& compare, const Json& scenario, const Part& part) {
  Json chart = ChartBlock(Axis("percentile", "nines", "percentile"), Axis("latency", "log", "ns"));
  size_t arm = 0;
  for (const Json& result : At(scenario, "arms")) {
    const size_t index = arm++;
    const auto histogram = Decoded(At(At(At(result, "latency"), part.key), "hdr"));
    if (!histogram) continue;
    Json series = Series(ArmName(compare, index), index);
    series["points"] = PercentileCurve(*histogram);
    series["thin_from"] = ThinFrom(histogram->count());
    chart["series"].push_back(std::move(series));
  }
  if (chart["series"].empty()) return nullptr;
  return {{"name", absl::StrCat(Name(scenario), ", ", part.words)}, {"block", std::move(chart)}};
}

Json PercentilesSection(const Json& compare) {
  std::vector<Json> views;
  for (const Json& scenario : At(compare, "scenarios")) {
    for (const Part& part : kParts) {
      Json view = PercentileView(compare, scenario, part);
      if (!view.is_null()) views.push_back(std::move(view));
    }
  }
  return Section("Latency by percentile",
                 "All rounds that count, merged. Each further nine has the same width. Dashed: too "
                 "few values for an upper bound at 95 % confidence.",
                 {Views("Scenario", std::move(views))});
}

Json ThroughputSection(const Json& compare) {
  const std::string metric = "requests_per_s";
  std::vector<Json> views;
  for (const Json& scenario : At(compare, "scenarios")) {
    Json chart = ChartBlock(Axis("time since the first round", "linear", "s"),
                            Axis("requests/s, full speed", "linear", "per_s"));
    for (size_t arm = 0; arm < At(scenario, "arms").size(); ++arm) {
      Json series = Series(ArmName(compare, arm), arm);
      size_t index = 0;
      std::vector<Json> group;
      for (const Json& round : At(scenario, "rounds")) {
        if (index++ % RoundsTogether(scenario, kPointsMax) == 0) {
          AddLowAndHigh(group, series["points"]);
          group.clear();
        }
        const Json& value = At(PlayedArm(round, arm), metric.c_str());
        if (!Counts(round, arm) || !value.is_number()) continue;
        group.push_back(Json::array({At(round, "begin_s"), value}));
      }
      AddLowAndHigh(group, series["points"]);
      if (!series["points"].empty()) chart["series"].push_back(std::move(series));
    }
    if (chart["series"].empty()) continue;
    views.push_back({{"name", Name(scenario)}, {"block", std::move(chart)}});
  }
  size_t together = 1;
  for (const Json& scenario : At(compare, "scenarios")) {
    together = std::max(together, RoundsTogether(scenario, kPointsMax));
  }
  return Section("Throughput over time",
                 together == 1 ? "A point a round; void ones are left out."
                               : absl::StrCat("Of up to ", together,
                                              " rounds the lowest and the highest; void ones are "
                                              "left out."),
                 {Views("Scenario", std::move(views))});
}

// ---- sweeps ----

// The middle half of an arm's rounds in a metric; null where they are too few.
Json Quartiles(const Json& scenario, size_t arm, const std::string& metric) {
  std::vector<double> values;
  for (const Json& round : At(scenario, "rounds")) {
    const Json& value = At(PlayedArm(round, arm), metric.c_str());
    if (Counts(round, arm) && value.is_number()) values.push_back(value.get<double>());
  }
  if (values.size() < 4) return nullptr;
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) {
    return values[static_cast<size_t>(std::lround(share * static_cast<double>(values.size() - 1)))];
  };
  return Json::array({at(0.25), at(0.75)});
}

Json SweepSeries(const Json& compare, size_t arm, const std::string& metric) {
  Json series = Series(ArmName(compare, arm), arm);
  for (const Json& scenario : At(compare, "scenarios")) {
    const Json& arms = At(scenario, "arms");
    if (arm >= arms.size() || !At(scenario, "x").is_number()) continue;
    const Json& median = At(At(arms[arm], "medians"), metric.c_str());
    if (!median.is_number()) continue;
    Json point = Json::array({At(scenario, "x"), median});
    for (const Json& end : Quartiles(scenario, arm, metric)) point.push_back(end);
    series["points"].push_back(std::move(point));
  }
  std::sort(series["points"].begin(), series["points"].end(),
            [](const Json& a, const Json& b) { return a[0] < b[0]; });
  return series;
}

// Steps that multiply are drawn as such.
bool SpreadWide(const Json& values) {
  double low = INFINITY, high = 0;
  for (const Json& value : values) {
    if (Number(value) <= 0) return false;
    low = std::min(low, Number(value));
    high = std::max(high, Number(value));
  }
  return high >= 8 * low;
}

Json SweepSection(const Json& compare) {
  const Json& sweep = At(compare, "sweep");
  if (sweep.is_null()) return nullptr;
  const std::string parameter = Text(At(sweep, "parameter"));
  const std::string unit = parameter == "size" ? "bytes" : parameter == "rate" ? "per_s" : "count";
  const Json x = Axis(parameter, SpreadWide(At(sweep, "values")) ? "log" : "linear", unit);
  std::vector<Json> views;
  for (const std::string& metric : MetricsInOrder(compare)) {
    const Json& known = At(At(compare, "metrics"), metric.c_str());
    const std::string of = Text(At(known, "unit"), "count");
    const std::string name = MetricName(compare, metric);
    Json chart = ChartBlock(x, Axis(name, of == "ns" ? "log" : "linear", of));
    for (size_t arm = 0; arm < At(compare, "arms").size(); ++arm) {
      Json series = SweepSeries(compare, arm, metric);
      if (!series["points"].empty()) chart["series"].push_back(std::move(series));
    }
    if (!chart["series"].empty()) views.push_back({{"name", name}, {"block", std::move(chart)}});
  }
  return Section("Curve over " + parameter,
                 "Medians of the rounds that count; bars hold the middle half of them.",
                 {Views("Metric", std::move(views))});
}

// ---- ablations ----

std::string ChangeText(const Json& change) {
  if (change == "off") return "taken out";
  if (change == "on") return "put in";
  return AnyText(change);
}

Json AblationTable(const Json& compare, const Json& scenario) {
  Json table = {{"type", "table"},
                {"caption", Name(scenario)},
                {"columns", Json::array({Column("Feature", "text"), Column("Change", "text")})},
                {"rows", Json::array()}};
  const std::vector<std::string> metrics = ShownMetrics(scenario);
  for (const std::string& metric : metrics) {
    table["columns"].push_back(Column(MetricLabel(compare, scenario, metric), "plot"));
  }
  for (const Json& comparison : At(scenario, "comparisons")) {
    const Json& feature = At(ArmOf(compare, At(comparison, "arm")), "feature");
    if (!feature.is_object()) continue;
    Json row = Json::array({Name(feature), ChangeText(At(feature, "change"))});
    for (const std::string& metric : metrics) {
      const Effect effect = EffectOf(compare, scenario, comparison, metric);
      Json cell = PlotCell(effect);
      cell["text"] = EstimateOrDash(*effect.estimate);
      cell["symbol"] = effect.claim.symbol;
      cell["word"] = effect.claim.word;
      row.push_back(std::move(cell));
    }
    table["rows"].push_back(std::move(row));
  }
  if (table["rows"].empty()) return nullptr;
  for (size_t i = 0; i < metrics.size(); ++i) {
    const bool gating = metrics[i] == Text(At(scenario, "metric"));
    SetScale(table, 2 + i, gating ? Number(At(scenario, "margin")) : 0,
             Better(compare, metrics[i]));
  }
  return table;
}

Json AblationSection(const Json& compare) {
  if (Text(At(compare, "kind")) != "ablation") return nullptr;
  std::vector<Json> tables;
  for (const Json& scenario : At(compare, "scenarios")) {
    tables.push_back(AblationTable(compare, scenario));
  }
  return Section("What each feature does",
                 absl::StrCat("One feature changed at a time, against ", ArmName(compare, 0),
                              ". Each metric has its own scale; an arrow at its edge: it goes on."),
                 std::move(tables));
}

// ---- heat maps ----

Json HeatView(const Json& compare, const Json& scenario, const Part& part) {
  HeatColumns columns(ArmNames(compare), RoundsTogether(scenario, kColumnsMax));
  for (const Json& round : At(scenario, "rounds")) {
    for (size_t arm = 0; arm < At(compare, "arms").size(); ++arm) {
      if (!Counts(round, arm)) continue;
      const auto histogram = Decoded(At(At(PlayedArm(round, arm), "hdr"), part.key));
      if (histogram) columns.Add(arm, Number(At(round, "begin_s")), *histogram);
    }
  }
  Json block = columns.Block(Axis("rounds in time order", "linear", "s"));
  if (block.is_null()) return nullptr;
  return {{"name", absl::StrCat(Name(scenario), ", ", part.words)}, {"block", std::move(block)}};
}

Json HeatSection(const Json& compare) {
  std::vector<Json> views;
  for (const Json& scenario : At(compare, "scenarios")) {
    for (const Part& part : kParts) {
      Json view = HeatView(compare, scenario, part);
      if (!view.is_null()) views.push_back(std::move(view));
    }
  }
  size_t together = 1;
  for (const Json& scenario : At(compare, "scenarios")) {
    together = std::max(together, RoundsTogether(scenario, kColumnsMax));
  }
  return Section("Latency over time",
                 absl::StrCat(together == 1 ? "A column a round"
                                            : absl::StrCat("A column up to ", together, " rounds"),
                              ", in the order played; the darker, the more of its requests took "
                              "that long (in the dark: the brighter)."),
                 {Views("Scenario", std::move(views))});
}

// ---- tables ----

Json VoidsSection(const Json& compare) {
  Json table = {{"type", "table"}, {"rows", Json::array()}};
  table["columns"] = {Column("Scenario", "text"), Column("Round", "number"),
                      Column("Begin", "number"), Column("Arm", "text"), Column("Why", "text")};
  for (const Json& scenario : At(compare, "scenarios")) {
    int number = 0;
    for (const Json& round : At(scenario, "rounds")) {
      ++number;
      if (Counts(round)) continue;
      if (table["rows"].size() >= kTableRowsMax) {
        table["caption"] = RowsLeftOut(At(scenario, "rounds").size());
        break;
      }
      const Json& why = At(round, "void");
      table["rows"].push_back(
          Json::array({Name(scenario), absl::StrCat(number), BeginText(round),
                       ArmName(compare, At(why, "arm")), Text(At(why, "why"))}));
    }
  }
  return Section("Void rounds", "They count for nothing above.",
                 {table["rows"].empty() ? Json() : table});
}

Json KernelSection(const Json& compare) {
  std::vector<Json> views;
  for (const Json& scenario : At(compare, "scenarios")) {
    std::vector<Json> counters;
    for (const Json& arm : At(scenario, "arms")) counters.push_back(At(arm, "kernel"));
    Json table = CountersTable(ArmNames(compare), counters);
    if (table.is_null() || counters.size() != ArmNames(compare).size()) continue;
    views.push_back({{"name", Name(scenario)}, {"block", std::move(table)}});
  }
  return Section("Kernel counters", "Of the whole network namespace, added up over the rounds.",
                 {Views("Scenario", std::move(views))});
}

Json MetricsTable(const Json& compare, const Json& scenario) {
  Json table = {{"type", "table"},
                {"caption", Name(scenario)},
                {"columns", Json::array({Column("Median", "text")})},
                {"rows", Json::array()}};
  for (const std::string& name : ArmNames(compare)) {
    table["columns"].push_back(Column(name, "number"));
  }
  for (const Json& comparison : At(scenario, "comparisons")) {
    table["columns"].push_back(
        Column(absl::StrCat(ArmName(compare, At(comparison, "arm")), " against ",
                            ArmName(compare, At(comparison, "against"))),
               "number"));
    table["columns"].push_back(Column("", "text"));
  }
  for (const std::string& metric : MetricsInOrder(compare)) {
    const std::string unit = Text(At(At(At(compare, "metrics"), metric.c_str()), "unit"));
    Json row = Json::array({MetricLabel(compare, scenario, metric)});
    bool known = false;
    for (const Json& arm : At(scenario, "arms")) {
      const Json& median = At(At(arm, "medians"), metric.c_str());
      known = known || median.is_number();
      row.push_back(ValueText(unit, median));
    }
    for (const Json& comparison : At(scenario, "comparisons")) {
      const Effect effect = EffectOf(compare, scenario, comparison, metric);
      row.push_back(EstimateOrDash(*effect.estimate));
      row.push_back(effect.estimate->is_null() ? Json("") : WordCell(effect.claim));
    }
    if (known) table["rows"].push_back(std::move(row));
  }
  return table["rows"].empty() ? Json() : table;
}

Json MetricsSection(const Json& compare) {
  std::vector<Json> tables;
  for (const Json& scenario : At(compare, "scenarios")) {
    tables.push_back(MetricsTable(compare, scenario));
  }
  return Section(
      "Every metric",
      "Medians of the rounds that count, and effects with their intervals. The first row "
      "has the verdict; the others inform, with Holm's correction.",
      std::move(tables));
}

std::string Arguments(const Json& compare) {
  std::string line = "ringside";
  for (const Json& argument : At(compare, "arguments")) {
    const std::string text = AnyText(argument);
    const bool plain = !text.empty() && text.find_first_of(" \t\n'\"\\$&|;<>()*?{}") == text.npos;
    absl::StrAppend(&line, " ", plain ? text : "'" + text + "'");
  }
  return line;
}

void AddAll(Json& facts, const Json& group) {
  for (const auto& item : group.items()) AddFact(facts, item.key(), AnyText(item.value()));
}

Json PlaySection(const Json& compare) {
  Json arms = {{"type", "table"}, {"caption", "Arms"}, {"rows", Json::array()}};
  arms["columns"] = {Column("Arm", "text"), Column("Role", "text"), Column("Command", "text"),
                     Column("Load", "text")};
  for (const Json& arm : At(compare, "arms")) {
    arms["rows"].push_back(Json::array(
        {Name(arm), Text(At(arm, "role")), Text(At(arm, "command")), Text(At(arm, "load"))}));
  }
  Json facts = FactsBlock();
  AddFact(facts, "typed", Arguments(compare));
  AddFact(facts, "when", Text(At(compare, "time_utc")));
  AddFact(facts, "version",
          absl::StrCat(Text(At(compare, "version")), ", revision ", Text(At(compare, "revision"))));
  for (const auto& item : At(compare, "plan").items()) {
    const bool seconds = item.key().ends_with("_s");
    AddFact(facts, item.key(),
            seconds                ? ValueText("s", item.value())
            : item.key() == "seed" ? JsonText(item.value())
                                   : AnyText(item.value()));
  }
  const Json& time = At(compare, "time");
  if (time.is_object()) {
    AddFact(facts, "time",
            absl::StrCat(ValueText("s", At(time, "wall_s")), ", of it ",
                         ValueText("s", At(time, "measured_s")), " measured, ",
                         ValueText("s", At(time, "warmup_s")),
                         " warming up; neither: ", ValueText("share", At(time, "overhead_share"))));
  }
  return Section("How it was played", "", {arms, facts});
}

Json EnvironmentSection(const Json& compare) {
  std::vector<Json> blocks;
  for (const auto& item : At(compare, "environment").items()) {
    Json facts = FactsBlock();
    if (item.value().is_object()) {
      AddAll(facts, item.value());
      facts["caption"] = item.key();
    } else {
      AddFact(facts, item.key(), AnyText(item.value()));
    }
    blocks.push_back(std::move(facts));
  }
  Json section = Section("Environment", "", std::move(blocks));
  section["closed"] = true;
  return section;
}

Json RawTable(const Json& compare, const Json& scenario) {
  const std::vector<std::string> metrics = MetricsInOrder(compare);
  Json table = {
      {"type", "table"},
      {"columns", {Column("Round", "number"), Column("Begin", "number"), Column("Arm", "text")}},
      {"rows", Json::array()}};
  for (const std::string& metric : metrics) {
    table["columns"].push_back(Column(MetricLabel(compare, scenario, metric), "number"));
  }
  table["columns"].push_back(Column("steal", "number"));
  table["columns"].push_back(Column("Void", "text"));
  int number = 0;
  for (const Json& round : At(scenario, "rounds")) {
    ++number;
    if (table["rows"].size() >= kTableRowsMax) {
      table["caption"] = RowsLeftOut(At(scenario, "rounds").size());
      break;
    }
    for (const Json& index : At(round, "order")) {
      const Json& played = PlayedArm(round, static_cast<size_t>(Number(index)));
      Json row = Json::array({absl::StrCat(number), BeginText(round), ArmName(compare, index)});
      for (const std::string& metric : metrics) {
        const std::string unit = Text(At(At(At(compare, "metrics"), metric.c_str()), "unit"));
        row.push_back(ValueText(unit, At(played, metric.c_str())));
      }
      row.push_back(ValueText("share", At(played, "steal")));
      row.push_back(Text(At(played, "void")));
      table["rows"].push_back(std::move(row));
    }
  }
  return table["rows"].empty() ? Json() : table;
}

Json RawSection(const Json& compare) {
  std::vector<Json> views;
  for (const Json& scenario : At(compare, "scenarios")) {
    Json table = RawTable(compare, scenario);
    if (!table.is_null()) views.push_back({{"name", Name(scenario)}, {"block", std::move(table)}});
  }
  Json section = Section("Raw figures", "Each round's, in the order in which its arms were played.",
                         {Views("Scenario", std::move(views))});
  section["closed"] = true;
  return section;
}

std::string Lead(const Json& compare) {
  std::vector<std::string> parts = {absl::StrJoin(ArmNames(compare), ", ")};
  const Json& scenarios = At(compare, "scenarios");
  if (!scenarios.empty()) {
    parts.push_back(absl::StrCat(Text(At(scenarios[0], "service")), " over ",
                                 Text(At(At(compare, "plan"), "transport"), "?")));
    parts.push_back(
        absl::StrCat(scenarios.size(), scenarios.size() == 1 ? " scenario" : " scenarios"));
  }
  parts.push_back(Text(At(compare, "time_utc")));
  return absl::StrJoin(parts, " · ");
}

}  // namespace

Json CompareReport(const Json& compare) {
  Json report = {
      {"heading", CompareTitle(compare)}, {"lead", Lead(compare)}, {"sections", Json::array()}};
  for (Json& section :
       std::vector<Json>{VerdictSection(compare), EffectsSection(compare),
                         PercentilesSection(compare), ThroughputSection(compare),
                         SweepSection(compare), AblationSection(compare), HeatSection(compare),
                         VoidsSection(compare), KernelSection(compare), MetricsSection(compare),
                         PlaySection(compare), EnvironmentSection(compare), RawSection(compare)}) {
    if (!At(section, "blocks").empty()) report["sections"].push_back(std::move(section));
  }
  return report;
}

}  // namespace report::html
