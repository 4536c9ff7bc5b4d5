#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

// JSON of a file that anybody may have written.
namespace report {

struct Parsed {
  nlohmann::ordered_json json;
  std::string problem;   // what is wrong, "" where nothing is: then `json` is null
  size_t byte = 0;       // where that shows, from 1; after the end: it is cut off
  bool damaged = false;  // it isn't JSON, rather than more than a result has
};

// Parses one value, and never throws, whatever the text: no more than 64 levels deep (as all that
// walks a value does so by calling itself), 1,000 members in an object (as they are looked for one
// by one) and 8,000,000 values in all, which are taken off `values_left`. Numbers are finite, text
// is UTF-8.
Parsed ParseJson(std::string_view text, size_t* values_left);
constexpr size_t kParsedValuesMax = 8'000'000;

}  // namespace report
