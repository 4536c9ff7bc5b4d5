#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace report {

// Results as one HTML page that needs nothing else: styles, scripts and figures are in it, and its
// Content-Security-Policy lets nothing be loaded or sent. It says what was found before it shows
// how it came about, and is titled with it.
//
// Each of `results` is an object of results/SCHEMA.md: "ringside.compare/2", "ringside.load/1",
// "ringside.load_mix/1"; and "ringside.interval/1", a line of --timeseries, which belongs to the
// load before it (by its "class" to that one of a mix) and becomes a column of its heat map. They
// are shown in the order given. What a result lacks is left out of the page, and one of another
// schema is named in it. Any text may be in them: names stay text, and bytes that are no UTF-8
// become U+FFFD.
std::string HtmlReport(const std::vector<nlohmann::ordered_json>& results);

}  // namespace report
