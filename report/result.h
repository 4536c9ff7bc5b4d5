#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/statusor.h"

namespace report {

// Reads a result that `compare` or `load` wrote, and checks it (report/schema.h). An older
// "ringside.compare/1" comes as "ringside.compare/2", with null for what it doesn't know; the lines
// of `load --timeseries` as one object, {"schema": "ringside.interval/1", "intervals": [...]}.
//
// Errors are a sentence that begins with the path and says what is wrong, and what to do: NotFound
// (absent, can't be read), InvalidArgument (empty, not JSON, cut off, damaged), FailedPrecondition
// (of a newer ringside), Unimplemented (something else: no result of ours, or one without reports).
absl::StatusOr<nlohmann::ordered_json> ReadResult(const std::string& path);

// The same of a file's text; `path` is for the errors.
absl::StatusOr<nlohmann::ordered_json> ParseResult(const std::string& path,
                                                   const std::string& text);

// A "ringside.compare/1" as "ringside.compare/2". Throws nlohmann::json::exception where it isn't
// one.
nlohmann::ordered_json UpgradeCompare(const nlohmann::ordered_json& old);

}  // namespace report
