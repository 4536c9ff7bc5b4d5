#include "report/history.h"

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "report/compare_words.h"
#include "report/escape.h"
#include "report/formats.h"
#include "stats/change_points.h"
#include "stats/signed_rank.h"

namespace report {
namespace history {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kPointsMax = 500;  // of a series, the newest: the search takes its square

using Key = std::array<std::string, 4>;  // machine_id, scenario, arm, metric

Json Point(const Json& result, const Json& value) {
  return {{"time_utc", result["time_utc"]}, {"revision", result["revision"]}, {"value", value}};
}

void AddPoints(const Json& result, std::map<Key, Json>* all, std::vector<Key>* order) {
  for (const Json& scenario : result["scenarios"]) {
    for (size_t arm = 0; arm < result["arms"].size(); ++arm) {
      if (IsSelfCheck(result, arm)) continue;
      for (const auto& [metric, value] : scenario["arms"][arm]["medians"].items()) {
        if (value.is_null()) continue;
        const Key key = {result["environment"]["machine_id"], scenario["name"],
                         ArmName(result, arm), metric};
        if (!all->contains(key)) {
          order->push_back(key);
          (*all)[key] = {{"machine_id", key[0]},
                         {"scenario", key[1]},
                         {"arm", key[2]},
                         {"metric", key[3]},
                         {"about", result["metrics"][metric]},
                         {"points", Json::array()}};
        }
        (*all)[key]["points"].push_back(Point(result, value));
      }
    }
  }
}

double MedianOf(const std::vector<double>& values, size_t from, size_t to) {
  return stats::Median(
      {values.begin() + static_cast<ptrdiff_t>(from), values.begin() + static_cast<ptrdiff_t>(to)});
}

Json ChangesOf(const Json& points) {
  std::vector<double> values;
  for (const Json& point : points) values.push_back(point["value"].get<double>());
  const std::vector<stats::ChangePoint> found = stats::FindChangePoints(values);
  Json changes = Json::array();
  for (size_t i = 0; i < found.size(); ++i) {
    const size_t from = i == 0 ? 0 : found[i - 1].at;
    const size_t to = i + 1 == found.size() ? values.size() : found[i + 1].at;
    changes.push_back({{"index", found[i].at},
                       {"time_utc", points[found[i].at]["time_utc"]},
                       {"revision", points[found[i].at]["revision"]},
                       {"before", MedianOf(values, from, found[i].at)},
                       {"after", MedianOf(values, found[i].at, to)},
                       {"p_value", found[i].p_value}});
  }
  return changes;
}

// The newest points as bars between the least and the greatest of them.
std::string Sparkline(const Json& points) {
  constexpr const char* kBars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  constexpr size_t kShown = 40;
  const size_t first = points.size() > kShown ? points.size() - kShown : 0;
  double low = points[first]["value"], high = low;
  for (size_t i = first; i < points.size(); ++i) {
    low = std::min(low, points[i]["value"].get<double>());
    high = std::max(high, points[i]["value"].get<double>());
  }
  std::string text;
  for (size_t i = first; i < points.size(); ++i) {
    const double share = high > low ? (points[i]["value"].get<double>() - low) / (high - low) : 0;
    text += kBars[static_cast<size_t>(share * 7 + 0.5)];
  }
  return text;
}

std::string SeriesText(const Json& series) {
  const std::string key = series["metric"];
  const Json result = {{"metrics", {{key, series["about"]}}}};
  const Json& points = series["points"];
  std::string text =
      absl::StrCat("  ", series["about"]["label"].get<std::string>(), " (",
                   series["about"]["part"].get<std::string>(), ")  ", Sparkline(points), "  ",
                   MetricText(result, key, points.back()["value"]), "\n");
  for (const Json& change : series["changes"]) {
    const double before = change["before"], after = change["after"];
    absl::StrAppend(
        &text, "    changed at ", change["time_utc"].get<std::string>(), " (",
        change["revision"].get<std::string>(), "): ", MetricText(result, key, change["before"]),
        " before, ", MetricText(result, key, change["after"]), " after",
        before > 0 ? absl::StrCat(", ", DifferenceText(after / before), " %") : "", "\n");
  }
  return text;
}

}  // namespace
}  // namespace history

nlohmann::ordered_json HistoryJson(std::span<const nlohmann::ordered_json> results) {
  using history::Json;
  std::vector<const Json*> compared;
  for (const Json& result : results) {
    if (result["schema"] == "ringside.compare/2") compared.push_back(&result);
  }
  std::stable_sort(compared.begin(), compared.end(), [](const Json* a, const Json* b) {
    return (*a)["time_utc"] < (*b)["time_utc"];  // ISO 8601, all of UTC
  });
  std::map<history::Key, Json> all;
  std::vector<history::Key> order;
  for (const Json* result : compared) history::AddPoints(*result, &all, &order);
  std::stable_sort(order.begin(), order.end(), [](const history::Key& a, const history::Key& b) {
    return std::tie(a[0], a[1], a[2]) < std::tie(b[0], b[1], b[2]);
  });
  Json json = {{"schema", "ringside.history/1"},
               {"results", compared.size()},
               {"points_min", 2 * stats::kSegmentMin},
               {"series", Json::array()}};
  for (const history::Key& key : order) {
    Json& series = all[key];
    Json& points = series["points"];
    if (points.size() > history::kPointsMax) {
      points.erase(points.begin(), points.end() - history::kPointsMax);
    }
    series["changes"] = history::ChangesOf(points);
    json["series"].push_back(series);
  }
  return json;
}

std::string HistoryText(const nlohmann::ordered_json& given) {
  const history::Json json = PlainTexts(given);
  std::string text = absl::StrCat("\nhistory of ", json["results"].get<size_t>(), " results\n");
  std::string head;
  for (const auto& series : json["series"]) {
    const std::string of =
        absl::StrCat(series["scenario"].get<std::string>(), ", ", series["arm"].get<std::string>(),
                     ", on machine ", series["machine_id"].get<std::string>(), ": ",
                     series["points"].size(), " points\n");
    if (of != head) absl::StrAppend(&text, "\n", of);
    head = of;
    text += history::SeriesText(series);
  }
  return absl::StrCat(
      text,
      "\nA history, not a gate: its results were measured at different times, and the machine "
      "may have changed between them; `ringside compare` plays two builds side by side. "
      "Changes are looked for in series of ",
      json["points_min"].get<size_t>(), " points or more.\n");
}

std::string HistoryCsv(const nlohmann::ordered_json& json) {
  std::string text = "machine_id,scenario,arm,metric,unit,time_utc,revision,value,change\r\n";
  for (const auto& series : json["series"]) {
    for (size_t i = 0; i < series["points"].size(); ++i) {
      const auto& point = series["points"][i];
      const bool change = std::any_of(series["changes"].begin(), series["changes"].end(),
                                      [&](const auto& one) { return one["index"] == i; });
      for (const std::string& field :
           {series["machine_id"].get<std::string>(), series["scenario"].get<std::string>(),
            series["arm"].get<std::string>(), series["metric"].get<std::string>(),
            series["about"]["unit"].get<std::string>(), point["time_utc"].get<std::string>(),
            point["revision"].get<std::string>(), NumberText(point["value"])}) {
        absl::StrAppend(&text, EscapeCsv(field), ",");
      }
      absl::StrAppend(&text, change ? "1" : "0", "\r\n");
    }
  }
  return text;
}

}  // namespace report
