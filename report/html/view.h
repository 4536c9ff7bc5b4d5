#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

// What the page shows, worked out: page.js draws it and knows nothing of results.
//
// A view has `title` and `reports`; a report `heading`, `lead` (what was run, in a line) and
// `sections`; a section `title`, `note` (how to read it), `closed` (collapsed at first) and
// `blocks`. Of these there are:
//
// - verdicts: `items`: `tone`, `symbol`, `word`, `where`, `text`, `mend`.
// - figures: `items`: `label`, `value`, `note`.
// - facts: `caption`; `rows`: name and text.
// - table: `caption`; `stack` (the parts of a row may be stacked where it is narrow); `columns`:
//   `name`, `kind` (text, number, plot), and of plots `scale`: `span`, `margin` (logarithms),
//   `better` (lower, higher); `rows` of cells: a text; or `text`, `tone`, `symbol`; or `plot`:
//   `at`, `low`, `high` (logarithms of ratios), `tone`, and what is beneath: `text`, `symbol`,
//   `word`.
// - chart: `x`, `y`: `label`, `scale` (linear, log, nines), `unit`; `series`: `name`, `color` (an
//   index), `points` (x, y, and where known low and high), `thin_from` (from which x on there are
//   too few values).
// - heat: `x` as above; `edges_ns`, one more than rows; `maps`: `name`, `columns`: `x`, `first`
//   (row of the first count), `counts`, `total`.
// - views: `label`; `views`: `name`, `block`: one of them at a time.
//
// A tone is good, bad, same, unknown, problem or none. What isn't known is null.
namespace report::html {

using Json = nlohmann::ordered_json;

// The view of the results that report/html.h describes.
Json View(const std::vector<Json>& results);

Json CompareReport(const Json& compare);                                // "ringside.compare/2"
Json LoadReport(const Json& load, const std::vector<Json>& intervals);  // "ringside.load/1"
Json MixReport(const Json& mix, const std::vector<Json>& intervals);    // "ringside.load_mix/1"

// JSON as it may stand in a <script>: nothing in it ends that, or begins a comment.
std::string ScriptSafe(const Json& json);

// Text as it may stand in markup, and in an attribute.
std::string MarkupSafe(std::string_view text);

}  // namespace report::html
