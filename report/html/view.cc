#include "report/html/view.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "report/html/blocks.h"

namespace report::html {
namespace {

// A result that the page can't show, in its place.
Json UnknownReport(const Json& result) {
  const std::string schema = Text(At(result, "schema"), "no schema");
  return {{"heading", absl::StrCat("Not shown: a result of ", schema)},
          {"lead", "This page shows ringside.compare/2, ringside.load/1 and ringside.load_mix/1."},
          {"sections", Json::array()}};
}

}  // namespace

Json View(const std::vector<Json>& results) {
  Json reports = Json::array();
  for (size_t i = 0; i < results.size();) {
    const Json& result = results[i++];
    const std::string schema = Text(At(result, "schema"));
    std::vector<Json> intervals;
    while (i < results.size() && Text(At(results[i], "schema")) == "ringside.interval/1") {
      intervals.push_back(results[i++]);
    }
    if (schema == "ringside.compare/2") {
      reports.push_back(CompareReport(result));
    } else if (schema == "ringside.load/1") {
      reports.push_back(LoadReport(result, intervals));
    } else if (schema == "ringside.load_mix/1") {
      reports.push_back(MixReport(result, intervals));
    } else {
      reports.push_back(UnknownReport(result));
    }
  }
  std::string title = reports.empty() ? "No results" : Text(reports[0]["heading"]);
  if (reports.size() > 1) title = absl::StrCat(title, " (and ", reports.size() - 1, " more)");
  return {{"title", title + " – ringside"}, {"reports", std::move(reports)}};
}

}  // namespace report::html
