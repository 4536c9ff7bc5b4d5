#include "report/html.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "report/escape.h"
#include "report/html/page.h"
#include "report/html/view.h"

namespace report {
namespace html {

std::string ScriptSafe(const Json& json) {
  const std::string text =
      json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
  return absl::StrReplaceAll(text, {{"<", "\\u003c"}, {">", "\\u003e"}, {"&", "\\u0026"}});
}

std::string MarkupSafe(std::string_view text) { return EscapeXml(std::string(text)); }

namespace {

using Parts = std::vector<std::pair<std::string_view, std::string>>;

// The page with each {{name}} in its place. One pass: what is put in is not looked at again.
std::string Filled(std::string_view page, const Parts& parts) {
  std::string text;
  while (true) {
    const size_t open = page.find("{{");
    text += page.substr(0, open);
    if (open == std::string_view::npos) return text;
    const size_t close = page.find("}}", open);
    const std::string_view name = page.substr(open + 2, close - open - 2);
    for (const auto& [key, value] : parts) {
      if (key == name) text += value;
    }
    page.remove_prefix(close + 2);
  }
}

}  // namespace
}  // namespace html

std::string HtmlReport(const std::vector<nlohmann::ordered_json>& results) {
  const html::Json view = html::View(results);
  return html::Filled(html::kPage, {{"title", html::MarkupSafe(view["title"].get<std::string>())},
                                    {"style_hash", html::kStyleHash},
                                    {"chart_hash", html::kChartHash},
                                    {"script_hash", html::kScriptHash},
                                    {"style", std::string(html::kStyle)},
                                    {"chart", std::string(html::kChart)},
                                    {"script", std::string(html::kScript)},
                                    {"view", html::ScriptSafe(view)}});
}

}  // namespace report
