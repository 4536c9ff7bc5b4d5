#pragma once

#include <string>
#include <vector>

#include "report/fields.h"
#include "report/html/view.h"

// The pieces that report/html/view.h lists, and values as text.
namespace report::html {

using fields::At;
using fields::Number;
using fields::Text;

// A value in its unit (ns, us, bytes, per_s, count, s, share); "–" for null.
std::string ValueText(const std::string& unit, const Json& value);

// Anything, as a person reads it: a list with commas, a number without digits that say nothing.
std::string AnyText(const Json& value);

Json Section(const std::string& title, const std::string& note, std::vector<Json> blocks);

// A "views" block; the only block where there is one, null where there is none.
Json Views(const std::string& label, std::vector<Json> views);

Json Column(const std::string& name, const char* kind);
Json Axis(const std::string& label, const char* scale, const std::string& unit);
Json ChartBlock(const Json& x, const Json& y);                                // `series` is empty
Json Series(const std::string& name, size_t color);                           // `points` is empty
Json FactsBlock();                                                            // `rows` is empty
void AddFact(Json& facts, const std::string& name, const std::string& text);  // unless it is empty

// A table of counters: `counters` has of each of `names` the `kernel[]` or `counters[]` of a
// result. Null where there are none.
Json CountersTable(const std::vector<std::string>& names, const std::vector<Json>& counters);

}  // namespace report::html
