#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "report/format.h"
#include "report/html/blocks.h"
#include "report/html/curves.h"
#include "report/html/view.h"
#include "report/json_text.h"

namespace report::html {
namespace {

std::string Count(const Json& value) { return ValueText("count", value); }

bool Recorded(const Json& times) { return Number(At(times, "count")) > 0; }

// ---- the verdict ----

Json LoadItem(const char* tone, const char* symbol, const std::string& word,
              const std::string& text) {
  return {{"tone", tone}, {"symbol", symbol}, {"word", word},
          {"where", ""},  {"text", text},     {"mend", nullptr}};
}

// A verdict of a load says what its figures are of; nothing is better or worse.
Json VerdictItem(const Json& load) {
  const Json& verdict = At(load, "verdict");
  const std::string kind = Text(At(verdict, "kind"), "no verdict");
  const std::string reason = Text(At(verdict, "reason"));
  if (kind == "valid") return LoadItem("good", "✓", kind, reason);
  if (kind == "server-bound") return LoadItem("same", "=", kind, reason);
  if (kind == "incomplete") return LoadItem("problem", "!", kind, reason);
  return LoadItem("unknown", "?", kind, reason);
}

Json VerdictItems(const Json& load) {
  Json items = Json::array();
  if (At(load, "interrupted") == Json(true)) {
    items.push_back(LoadItem("problem", "!", "interrupted",
                             "A signal ended it; the figures are of the time that passed."));
  }
  if (At(load, "valid") == Json(false)) {
    items.push_back(LoadItem("problem", "!", "not valid",
                             "Errors, connections without an answer, or losses: see below."));
  }
  const size_t at = items.size();
  items.push_back(VerdictItem(load));
  for (const Json& accusation : At(load, "accusations")) {
    const std::string text = Text(At(accusation, "text"));
    // The verdict may be one of them: then it says what to do.
    const bool verdict = text == Text(At(At(load, "verdict"), "reason"));
    if (!verdict) items.push_back(LoadItem("unknown", "!", "but", text));
    (verdict ? items[at] : items.back())["mend"] = At(accusation, "mend");
  }
  return {{"type", "verdicts"}, {"items", std::move(items)}};
}

Json Figure(const std::string& label, const std::string& value, const std::string& note) {
  return {{"label", label}, {"value", value}, {"note", note}};
}

Json Figures(const Json& load) {
  Json items = Json::array();
  items.push_back(Figure("requests/s", Count(Json(std::round(Number(At(load, "throughput_rps"))))),
                         Count(At(load, "requests")) + " answered"));
  const Json& latency = At(load, "latency_ns");
  if (Recorded(latency)) {
    const std::string kind = Text(At(latency, "kind"), "latency") + " time";
    items.push_back(Figure("p50", ValueText("ns", At(latency, "p50")), kind));
    items.push_back(Figure("p99", ValueText("ns", At(latency, "p99")), kind));
    items.push_back(Figure("p99.9", ValueText("ns", At(latency, "p99_9")), kind));
    items.push_back(Figure("max", ValueText("ns", At(latency, "max")), kind));
  }
  items.push_back(Figure("errors", Count(At(At(load, "errors"), "total")), "in the whole run"));
  return {{"type", "figures"}, {"items", std::move(items)}};
}

// ---- latency ----

std::string IntervalText(const Json& row) {
  if (At(row, "enough") == Json(false) || At(row, "high").is_null()) {
    return absl::StrCat("no upper bound: ", Count(At(row, "count")), " values are too few");
  }
  return absl::StrCat(ValueText("ns", At(row, "low")), " to ", ValueText("ns", At(row, "high")));
}

Json PercentilesTable(const Json& times) {
  Json table = {{"type", "table"},
                {"columns",
                 {Column("Percentile", "text"), Column("Value", "number"),
                  Column("95 % interval", "number")}},
                {"rows", Json::array()}};
  for (const Json& row : At(times, "intervals_95")) {
    table["rows"].push_back(Json::array({absl::StrFormat("p%g", Number(At(row, "percentile"))),
                                         ValueText("ns", At(row, "value")), IntervalText(row)}));
  }
  table["rows"].push_back(Json::array({"max", ValueText("ns", At(times, "max")), ""}));
  table["rows"].push_back(Json::array({"mean", ValueText("ns", At(times, "mean")), ""}));
  return table;
}

struct TimesWords {
  const char* key;
  const char* words;
};
constexpr TimesWords kTimes[] = {{"service_ns", "service time"},
                                 {"connect_ns", "connecting"},
                                 {"first_byte_ns", "first byte"},
                                 {"lag_ns", "lag of the schedule"},
                                 {"loop_lag_ns", "lag of the event loop"}};

void AddCurve(const Json& times, const std::string& name, Json& chart) {
  const auto histogram = Decoded(At(times, "hdr"));
  if (!histogram) return;
  Json series = Series(name, chart["series"].size());
  series["points"] = PercentileCurve(*histogram);
  series["thin_from"] = ThinFrom(histogram->count());
  chart["series"].push_back(std::move(series));
}

Json PercentilesChart(const Json& load) {
  Json chart = ChartBlock(Axis("percentile", "nines", "percentile"), Axis("latency", "log", "ns"));
  AddCurve(At(load, "latency_ns"), Text(At(At(load, "latency_ns"), "kind"), "latency") + " time",
           chart);
  AddCurve(At(load, "service_ns"), "service time", chart);
  return chart["series"].empty() ? Json() : chart;
}

Json OtherTimes(const Json& load) {
  Json table = {{"type", "table"}, {"caption", "Other times"}, {"rows", Json::array()}};
  table["columns"] = {Column("", "text"),      Column("count", "number"), Column("p50", "number"),
                      Column("p90", "number"), Column("p99", "number"),   Column("p99.9", "number"),
                      Column("max", "number")};
  for (const auto& [key, words] : kTimes) {
    const Json& times = At(load, key);
    if (!Recorded(times)) continue;
    Json row = Json::array({words, Count(At(times, "count"))});
    for (const char* figure : {"p50", "p90", "p99", "p99_9", "max"}) {
      row.push_back(ValueText("ns", At(times, figure)));
    }
    table["rows"].push_back(std::move(row));
  }
  return table["rows"].empty() ? Json() : table;
}

Json LatencySection(const Json& load) {
  const Json& latency = At(load, "latency_ns");
  const bool open_loop = Text(At(latency, "kind")) == "response";
  const std::string note = open_loop ? "From when a request was due to its reply."
                                     : "From a request's send to its reply.";
  return Section("Latency",
                 note +
                     " Each further nine has the same width; dashed: too few values for an upper "
                     "bound at 95 % confidence.",
                 {PercentilesChart(load), Recorded(latency) ? PercentilesTable(latency) : Json(),
                  OtherTimes(load)});
}

// ---- over time ----

// How many intervals of `series` are drawn as one.
size_t IntervalsTogether(const Json& load) {
  return GroupOf(At(At(load, "series"), "rows").size(), kPointsMax);
}

// A line of `series` by the name of its column; of rates by its length. Empty intervals have no
// latency.
Json SeriesLine(const Json& load, const std::string& column, const std::string& name,
                size_t color) {
  const Json& series = At(load, "series");
  const bool latency = column.ends_with("_ns");
  Json line = Series(name, color);
  int begin = -1, length = -1, value = -1, requests = -1, i = 0;
  for (const Json& key : At(series, "columns")) {
    if (key == "begin_s") begin = i;
    if (key == "length_s") length = i;
    if (key == "requests") requests = i;
    if (key == column) value = i;
    ++i;
  }
  if (begin < 0 || length < 0 || value < 0) return line;
  const size_t together = IntervalsTogether(load);
  const auto add = [&](const std::vector<Json>& group) {
    latency ? AddHighest(group, line["points"]) : AddLowAndHigh(group, line["points"]);
  };
  std::vector<Json> group;
  size_t index = 0;
  for (const Json& row : At(series, "rows")) {
    if (index++ % together == 0) {
      add(group);
      group.clear();
    }
    if (!row.is_array() || row.size() < static_cast<size_t>(i)) continue;
    const double seconds = Number(row[length]);
    if (seconds <= 0 || !row[value].is_number()) continue;
    const double figure = latency ? Number(row[value]) : std::round(Number(row[value]) / seconds);
    if (latency && requests >= 0 && figure == 0) continue;
    group.push_back(Json::array({std::round(Number(row[begin]) * 1e6) / 1e6, figure}));
  }
  add(group);
  return line;
}

struct Line {
  const char* column;
  const char* name;
};

Json TimeChart(const Json& load, const Json& y, std::vector<Line> lines) {
  Json chart = ChartBlock(Axis("time since the window's begin", "linear", "s"), y);
  for (const Line& line : lines) {
    Json series = SeriesLine(load, line.column, line.name, chart["series"].size());
    if (!series["points"].empty()) chart["series"].push_back(std::move(series));
  }
  return chart["series"].empty() ? Json() : chart;
}

Json RateSection(const Json& load) {
  std::vector<Line> lines = {{"requests", "answered"}};
  if (load.contains("pace")) lines.push_back({"offered", "offered"});
  if (Number(At(At(load, "errors"), "total")) > 0) lines.push_back({"errors", "errors"});
  const size_t together = IntervalsTogether(load);
  const std::string note =
      together == 1 ? ""
                    : absl::StrCat("Of each ", together, " intervals the lowest and the highest.");
  return Section("Throughput over time", note,
                 {TimeChart(load, Axis("requests/s", "linear", "per_s"), std::move(lines))});
}

Json LatencyOverTimeSection(const Json& load, const std::vector<Json>& intervals) {
  const size_t group = GroupOf(intervals.size(), kColumnsMax), together = IntervalsTogether(load);
  HeatColumns columns({"all requests"}, group);
  for (const Json& interval : intervals) {
    const auto histogram = Decoded(At(interval, "hdr"));
    if (histogram) columns.Add(0, Number(At(interval, "begin_s")), *histogram);
  }
  Json heat = columns.Block(Axis("time since the window's begin", "linear", "s"));
  std::string note = together == 1 ? "Percentiles of each interval."
                                   : absl::StrCat(
                                         "Percentiles of the intervals: each point is the "
                                         "highest of ",
                                         together, " intervals.");
  if (!heat.is_null()) {
    absl::StrAppend(&note, " In the map a column is ",
                    group == 1 ? "an interval" : absl::StrCat(group, " intervals"),
                    ": the stronger, the more requests took that long.");
  }
  return Section("Latency over time", note,
                 {TimeChart(load, Axis("latency", "log", "ns"),
                            {{"p50_ns", "p50"},
                             {"p90_ns", "p90"},
                             {"p99_ns", "p99"},
                             {"p99_9_ns", "p99.9"},
                             {"max_ns", "max"}}),
                  std::move(heat)});
}

// ---- connections, errors, costs ----

void AddErrors(const Json& errors, Json& facts) {
  for (const auto& item : errors.items()) {
    const Json& value = item.value();
    if (item.key() == "failures" || item.key() == "corruptions") continue;
    if (value.empty() || value == Json(0)) continue;
    AddFact(facts, absl::StrReplaceAll(item.key(), {{"_", " "}}), AnyText(value));
  }
}

Json FailuresTable(const Json& failures) {
  Json table = {{"type", "table"}, {"caption", "The first failures"}, {"rows", Json::array()}};
  table["columns"] = {Column("Kind", "text"),         Column("Errno", "text"),
                      Column("Connection", "number"), Column("At", "number"),
                      Column("Requests", "number"),   Column("In flight", "number")};
  for (const Json& failure : failures) {
    table["rows"].push_back(Json::array(
        {absl::StrReplaceAll(Text(At(failure, "kind")), {{"_", " "}}), Text(At(failure, "errno")),
         Count(At(failure, "connection")), absl::StrFormat("%.3f s", Number(At(failure, "at_s"))),
         Count(At(failure, "requests")), Count(At(failure, "in_flight"))}));
  }
  return table["rows"].empty() ? Json() : table;
}

Json ConnectionsSection(const Json& load) {
  const Json& connections = At(load, "connections");
  const auto count = [&](const char* key) { return Count(At(connections, key)); };
  Json facts = FactsBlock();
  AddFact(facts, "connections",
          absl::StrCat(count("opened"), " opened of ", count("requested"), ", ", count("answered"),
                       " answered, ", count("silent"), " silent"));
  AddFact(facts, "requests on each",
          absl::StrCat(count("requests_min"), " to ", count("requests_max"), ", median ",
                       count("requests_median")));
  AddFact(facts, "opening them all", ValueText("s", At(connections, "opening_s")));
  const Json& bytes = At(load, "bytes");
  AddFact(
      facts, "bytes",
      absl::StrCat(ValueText("bytes", At(bytes, "sent")), " sent, ",
                   ValueText("bytes", At(bytes, "received")), " received, ",
                   At(bytes, "verified") == Json(true) ? Count(At(bytes, "corrupt")) + " corrupt"
                                                       : "not verified"));
  if (load.contains("datagrams")) AddFact(facts, "datagrams", AnyText(At(load, "datagrams")));
  const size_t before = facts["rows"].size();
  AddErrors(At(load, "errors"), facts);
  if (facts["rows"].size() == before) AddFact(facts, "errors", "none");
  return Section("Connections and errors", "Over the whole run.",
                 {facts, FailuresTable(At(At(load, "errors"), "failures"))});
}

std::string CostText(const Json& side) {
  std::vector<std::string> parts;
  const auto add = [&](const char* key, const char* unit, const char* words) {
    const Json& value = At(side, key);
    if (value.is_number()) parts.push_back(absl::StrCat(ValueText(unit, value), " ", words));
  };
  add("cpu_us_per_request", "us", "CPU a request");
  add("syscalls_per_request", "count", "system calls a request");
  add("cpu_share", "share", "of a CPU");
  add("context_switches_per_request", "count", "context switches a request");
  add("starved_receives", "count", "starved receives");
  add("share_of_latency", "share", "of the latency is the client's");
  return absl::StrJoin(parts, ", ");
}

Json CostSection(const Json& load) {
  Json facts = FactsBlock();
  AddFact(facts, "client", CostText(At(load, "client")));
  AddFact(facts, "server", CostText(At(load, "server")));
  const Json& machine = At(load, "machine");
  if (machine.is_object()) {
    AddFact(facts, "machine",
            absl::StrCat(ValueText("count", At(machine, "client_cpus")), " CPUs by the client, ",
                         ValueText("count", At(machine, "others_cpus")), " by others; steal ",
                         ValueText("share", At(machine, "steal_share"))));
  }
  for (const auto& item : At(load, "tcp").items()) {
    AddFact(facts, "TCP " + absl::StrReplaceAll(item.key(), {{"_", " "}}), AnyText(item.value()));
  }
  return Section("Costs", "", {facts});
}

Json CountersSection(const Json& load) {
  return Section("Kernel counters", "Of the whole network namespace, over the whole run.",
                 {CountersTable({"delta"}, {At(At(load, "kernel"), "counters")})});
}

Json RunSection(const Json& load) {
  Json facts = FactsBlock();
  for (const char* key : {"address", "backend", "service", "workload", "threads", "depth"}) {
    if (load.contains(key)) AddFact(facts, key, AnyText(At(load, key)));
  }
  if (load.contains("message_bytes")) {
    AddFact(facts, "message", ValueText("bytes", At(load, "message_bytes")));
  }
  if (load.contains("sizes")) AddFact(facts, "sizes", AnyText(At(load, "sizes")));
  AddFact(facts, "warm-up", ValueText("s", At(load, "warmup_s")));
  AddFact(facts, "measured", ValueText("s", At(load, "duration_s")));
  for (const auto& item : At(load, "pace").items()) {
    const std::string name = absl::StrReplaceAll(item.key(), {{"_", " "}});
    AddFact(facts, name,
            item.key() == "seed"    ? JsonText(item.value())
            : name.ends_with(" ns") ? ValueText("ns", item.value())
                                    : AnyText(item.value()));
  }
  AddFact(facts, "version", Text(At(load, "version")));
  return Section("The run", "", {facts});
}

void Append(Json& sections, Json section, const std::string& prefix) {
  if (section["blocks"].empty()) return;
  if (!prefix.empty()) {
    section["title"] = absl::StrCat(prefix, ": ", section["title"].get<std::string>());
  }
  sections.push_back(std::move(section));
}

// All that is of one class; `prefix` is its name.
void AppendSections(const Json& load, const std::vector<Json>& intervals, const std::string& prefix,
                    Json& sections) {
  Append(sections, Section("Verdict", "", {VerdictItems(load), Figures(load)}), prefix);
  Append(sections, LatencySection(load), prefix);
  Append(sections, RateSection(load), prefix);
  Append(sections, LatencyOverTimeSection(load, intervals), prefix);
  Append(sections, ConnectionsSection(load), prefix);
  Append(sections, CostSection(load), prefix);
  Append(sections, CountersSection(load), prefix);
  Append(sections, RunSection(load), prefix);
}

std::string RunTitle(const Json& load) {
  std::string kind = Text(At(At(load, "verdict"), "kind"), "no verdict");
  kind[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(kind[0])));
  std::string title = absl::StrCat(
      kind, ": ", Count(Json(std::round(Number(At(load, "throughput_rps"))))), " requests/s");
  const Json& latency = At(load, "latency_ns");
  if (Recorded(latency)) absl::StrAppend(&title, ", p99 ", ValueText("ns", At(latency, "p99")));
  return title;
}

std::string RunLine(const Json& load) {
  return absl::StrCat(Text(At(load, "service")), " on ", Text(At(load, "address")),
                      " (client: ", Text(At(load, "backend")), "), ",
                      Count(At(At(load, "connections"), "requested")), " connections × ",
                      ValueText("bytes", At(load, "message_bytes")), ", ",
                      load.contains("pace") ? "open loop" : "closed loop", ", ",
                      ValueText("s", At(load, "duration_s")));
}

}  // namespace

Json LoadReport(const Json& load, const std::vector<Json>& intervals) {
  Json report = {{"heading", RunTitle(load)}, {"lead", RunLine(load)}, {"sections", Json::array()}};
  AppendSections(load, intervals, "", report["sections"]);
  return report;
}

Json MixReport(const Json& mix, const std::vector<Json>& intervals) {
  const Json& classes = At(mix, "classes");
  const std::string kind = Text(At(At(mix, "verdict"), "kind"), "no verdict");
  Json report = {{"heading", absl::StrCat("A mix of ", classes.size(), " loads: ", kind)},
                 {"lead", ""},
                 {"sections", Json::array()}};
  std::vector<std::string> leads;
  for (const Json& load : classes) {
    leads.push_back(absl::StrCat(Text(At(load, "name")), ": ", RunLine(load)));
  }
  report["lead"] = absl::StrJoin(leads, " · ");
  Append(report["sections"], Section("Verdict", "", {VerdictItems(mix)}), "");
  for (const Json& load : classes) {
    std::vector<Json> own;
    for (const Json& interval : intervals) {
      if (At(interval, "class") == At(load, "name")) own.push_back(interval);
    }
    AppendSections(load, own, Text(At(load, "name")), report["sections"]);
  }
  Append(report["sections"], CostSection(mix), "All");
  Append(report["sections"], CountersSection(mix), "All");
  return report;
}

}  // namespace report::html
