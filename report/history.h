#pragma once

#include <span>
#include <string>

#include <nlohmann/json_fwd.hpp>

namespace report {

// What became of each metric over results of `compare` made one after the other:
// "ringside.history/1" (results/SCHEMA.md). Others among them are left out. Results of several
// machines have series each.
nlohmann::ordered_json HistoryJson(std::span<const nlohmann::ordered_json> results);

// As a person reads it: a line for each series, and one for each change.
std::string HistoryText(const nlohmann::ordered_json& history);

// A row for each point (RFC 4180).
std::string HistoryCsv(const nlohmann::ordered_json& history);

}  // namespace report
