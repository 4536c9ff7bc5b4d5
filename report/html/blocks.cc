#include "report/html/blocks.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "report/format.h"

namespace report::html {
namespace {

std::string CountText(double value) {
  if (std::abs(value) >= 1000) {
    return absl::StrCat(value < 0 ? "−" : "", FormatCount(std::llround(std::abs(value))));
  }
  if (value == std::floor(value)) return absl::StrFormat("%.0f", value);
  return std::abs(value) < 1 ? absl::StrFormat("%.3f", value) : absl::StrFormat("%.2f", value);
}

}  // namespace

std::string ValueText(const std::string& unit, const Json& value) {
  if (!value.is_number()) return "–";
  const double number = value.get<double>();
  if (!std::isfinite(number)) return "–";
  if (unit == "ns") return FormatDuration(std::llround(number));
  if (unit == "s") return FormatDuration(std::llround(number * 1e9));
  if (unit == "us") return absl::StrFormat("%.2f µs", number);
  if (unit == "bytes") return FormatBytes(std::llround(std::max(0.0, number)));
  if (unit == "share") return absl::StrFormat("%.3g %%", number * 100);
  if (unit == "per_s") {
    return number < 100 ? absl::StrFormat("%.3g/s", number) : CountText(std::round(number)) + "/s";
  }
  return CountText(number);
}

std::string AnyText(const Json& value) {
  if (value.is_null()) return "–";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_number()) return CountText(value.get<double>());
  std::string text;
  for (const auto& item : value.items()) {
    if (!text.empty()) text += ", ";
    if (value.is_object()) absl::StrAppend(&text, item.key(), " ");
    text += AnyText(item.value());
  }
  return text.empty() ? "–" : text;
}

Json Section(const std::string& title, const std::string& note, std::vector<Json> blocks) {
  Json section = {{"title", title}, {"note", note}, {"closed", false}, {"blocks", Json::array()}};
  for (Json& block : blocks) {
    if (!block.is_null()) section["blocks"].push_back(std::move(block));
  }
  return section;
}

Json Views(const std::string& label, std::vector<Json> views) {
  if (views.empty()) return nullptr;
  if (views.size() == 1) return views[0]["block"];
  return {{"type", "views"}, {"label", label}, {"views", std::move(views)}};
}

Json Column(const std::string& name, const char* kind) { return {{"name", name}, {"kind", kind}}; }

Json Axis(const std::string& label, const char* scale, const std::string& unit) {
  return {{"label", label}, {"scale", scale}, {"unit", unit}};
}

Json ChartBlock(const Json& x, const Json& y) {
  return {{"type", "chart"}, {"x", x}, {"y", y}, {"series", Json::array()}};
}

Json Series(const std::string& name, size_t color) {
  return {{"name", name}, {"color", color}, {"points", Json::array()}, {"thin_from", nullptr}};
}

Json FactsBlock() { return {{"type", "facts"}, {"rows", Json::array()}}; }

void AddFact(Json& facts, const std::string& name, const std::string& text) {
  if (!text.empty()) facts["rows"].push_back(Json::array({name, text}));
}

Json CountersTable(const std::vector<std::string>& names, const std::vector<Json>& counters) {
  Json table = {{"type", "table"}, {"columns", Json::array()}, {"rows", Json::array()}};
  table["columns"].push_back(Column("Counter", "text"));
  for (const std::string& name : names) table["columns"].push_back(Column(name, "number"));
  table["columns"].push_back(Column("Meaning", "text"));
  std::map<std::string, size_t> rows;  // of each counter
  for (size_t holder = 0; holder < counters.size(); ++holder) {
    for (const Json& counter : counters[holder]) {
      const std::string name = Text(At(counter, "name"));
      const auto [row, added] = rows.emplace(name, table["rows"].size());
      if (added) {
        Json cells = Json::array({name});
        for (size_t i = 0; i < names.size(); ++i) cells.push_back("0");
        cells.push_back(Text(At(counter, "meaning")));
        table["rows"].push_back(cells);
      }
      table["rows"][row->second][holder + 1] = ValueText("count", At(counter, "delta"));
    }
  }
  return table["rows"].empty() ? Json() : table;
}

}  // namespace report::html
