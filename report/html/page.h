#pragma once

#include <string_view>

// The files of the page, as cmake/embed.cmake puts them into the binary.
namespace report::html {

extern const std::string_view kPage;    // page.html
extern const std::string_view kStyle;   // page.css
extern const std::string_view kScript;  // page.js
extern const std::string_view kChart;   // Chart.js, as the distribution has it

// What a Content-Security-Policy allows them by: "sha256-" and their hash in base64.
extern const char* const kStyleHash;
extern const char* const kScriptHash;
extern const char* const kChartHash;

}  // namespace report::html
