#include "report/export.h"

#include <algorithm>
#include <string_view>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "report/escape.h"
#include "report/formats.h"
#include "report/html.h"
#include "report/json_text.h"
#include "report/text.h"

namespace report {
namespace exporting {
namespace {

using Results = std::span<const nlohmann::ordered_json>;
using Text = absl::StatusOr<std::string>;

constexpr const char* kCompare = "compare";
constexpr const char* kLoads = "compare load load_mix interval";

// "load_mix" of "ringside.load_mix/1".
std::string KindOf(const Json& result) {
  const std::string schema = result["schema"];
  const size_t dot = schema.find('.') + 1;
  return schema.substr(dot, schema.find('/') - dot);
}

Text AllText(Results results, const RenderOptions&) {
  std::string text;
  for (const Json& result : results) {
    const std::string kind = KindOf(result);
    if (kind == "compare") text += CompareText(result);
    if (kind == "load") text += LoadText(result);
    if (kind == "load_mix") text += MixText(result);
    if (kind == "compare" && !result["problem"].is_null()) {
      absl::StrAppend(&text, "Ended early: ", PlainLine(result["problem"].get<std::string>()),
                      "\n");
    }
  }
  return text;
}

// Results read from a file of intervals have them in a list; the page takes them one by one.
Text OnePage(Results results, const RenderOptions&) {
  std::vector<Json> all;
  for (const Json& result : results) {
    if (KindOf(result) != "interval") {
      all.push_back(result);
      continue;
    }
    for (const Json& interval : result["intervals"]) all.push_back(interval);
  }
  return HtmlReport(all);
}

// One result is itself, several are an array.
Text AllJson(Results results, const RenderOptions&) {
  if (results.size() == 1) return JsonText(results[0], 1) + "\n";
  Json all = Json::array();
  for (const Json& result : results) all.push_back(result);
  return JsonText(all, 1) + "\n";
}

std::vector<std::string> NamesFor(const std::string& kind) {
  std::vector<std::string> names;
  for (const Format& format : Formats()) {
    const std::vector<std::string> kinds = absl::StrSplit(format.schemas, ' ');
    if (std::find(kinds.begin(), kinds.end(), kind) != kinds.end()) names.emplace_back(format.name);
  }
  return names;
}

const Format* Find(const std::string& name) {
  const auto& all = Formats();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Format& one) { return name == one.name; });
  return found == all.end() ? nullptr : &*found;
}

std::string NameList() {
  return absl::StrJoin(Formats(), ", ", [](std::string* out, const Format& format) {
    absl::StrAppend(out, format.name);
  });
}

}  // namespace
}  // namespace exporting

const std::vector<Format>& Formats() {
  using namespace exporting;  // NOLINT(google-build-using-namespace): its own, of this file
  static const std::vector<Format> formats = {
      {"text", ".txt", "compare load load_mix", "what the terminal shows", AllText},
      {"html", ".html", kLoads, "one page with plots that opens without a network", OnePage},
      {"markdown", ".md", "compare load load_mix", "for a pull request or a job's summary",
       MarkdownReport},
      {"csv", ".csv", kLoads, "every figure in a row of its own, for spreadsheets and R",
       CsvReport},
      {"junit", ".xml", kCompare, "verdicts as test cases, for pipelines", JunitReport},
      {"gbench", ".gbench.json", kCompare, "Google Benchmark's JSON, for its compare.py",
       GbenchReport},
      {"openmetrics", ".prom", "compare load load_mix", "for Prometheus", OpenMetricsReport},
      {"hgrm", ".hgrm", "compare load load_mix",
       "a percentile distribution, for HdrHistogram's plotters", HgrmReport},
      {"hlog", ".hlog", kLoads, "all histograms, for HdrHistogram's log tools", HlogReport},
      {"svg", ".svg", "compare load load_mix", "a picture for a README, drawn by gnuplot",
       SvgReport},
      {"json", ".json", kLoads, "the results, older ones brought up to date", AllJson}};
  return formats;
}

absl::StatusOr<std::string> Render(const std::string& name,
                                   std::span<const nlohmann::ordered_json> results,
                                   const RenderOptions& options) {
  const Format* format = exporting::Find(name);
  if (format == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no format '", name, "'; there are ", exporting::NameList()));
  }
  for (const Json& result : results) {
    const std::string kind = exporting::KindOf(result);
    const std::vector<std::string> names = exporting::NamesFor(kind);
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    return absl::InvalidArgumentError(absl::StrCat(name, " can't show a ",
                                                   result["schema"].get<std::string>(),
                                                   "; these can: ", absl::StrJoin(names, ", ")));
  }
  return format->render(results, options);
}

absl::StatusOr<Destination> FormatOf(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals != std::string::npos && exporting::Find(text.substr(0, equals)) != nullptr) {
    Destination destination = {text.substr(0, equals), text.substr(equals + 1)};
    if (!destination.path.empty()) return destination;
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' names no file"));
  }
  const Format* best = nullptr;  // ".gbench.json" rather than ".json"
  for (const Format& format : Formats()) {
    if (!text.ends_with(format.ending)) continue;
    if (best == nullptr ||
        std::string_view(format.ending).size() > std::string_view(best->ending).size()) {
      best = &format;
    }
  }
  if (best != nullptr) return Destination{best->name, text};
  return absl::InvalidArgumentError(
      absl::StrCat("'", text, "' doesn't say its format: write FORMAT=FILE, with one of ",
                   exporting::NameList(), ", or an ending of ",
                   absl::StrJoin(Formats(), ", ", [](std::string* out, const Format& format) {
                     absl::StrAppend(out, format.ending);
                   })));
}

}  // namespace report
