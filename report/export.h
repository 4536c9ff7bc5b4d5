#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Results of `compare` and `load` in formats that other tools, and people, read.
namespace report {

struct RenderOptions {
  std::string arm;  // gbench, hgrm: only this one, and without its name; "": all
};

// A format: how it is asked for, and what it is made of.
struct Format {
  const char* name;     // "junit"
  const char* ending;   // ".xml"; of a file's name
  const char* schemas;  // what it takes, by spaces: "compare load load_mix interval"
  const char* summary;  // one line
  std::function<absl::StatusOr<std::string>(std::span<const nlohmann::ordered_json> results,
                                            const RenderOptions& options)>
      render;
};

// All of them, in the order in which help lists them.
const std::vector<Format>& Formats();

// The results, as ReadResult() gives them, in the format of this name. Several are put one after
// the other where a format can hold several. Errors: InvalidArgument (no such format; a format that
// can't hold these results, with those that can), FailedPrecondition (a program that it needs isn't
// installed), Internal (that program failed).
absl::StatusOr<std::string> Render(const std::string& format,
                                   std::span<const nlohmann::ordered_json> results,
                                   const RenderOptions& options = {});

// Where a report goes, and in which format.
struct Destination {
  std::string format;
  std::string path;
};

// Of "junit=FILE", or "FILE" by its ending. An InvalidArgument names the formats there are.
absl::StatusOr<Destination> FormatOf(const std::string& text);

}  // namespace report
