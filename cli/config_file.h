#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace cli {

// One `key = value` of a configuration file, its value as text that a flag takes.
struct ConfigEntry {
  std::string table;  // "load" under [load], "stress churn" under [stress.churn]; "" at the top
  std::string key;
  int line = 0;
  std::vector<std::string> values;  // one, or those of an array
  bool is_array = false;
  bool is_boolean = false;  // then `on` says which
  bool on = false;
};

// A table that a file has, empty or not; not one that has only tables.
struct ConfigTable {
  std::string name;
  int line = 0;
};

struct Config {
  std::vector<ConfigTable> tables;   // in the order of their lines
  std::vector<ConfigEntry> entries;  // in the order of their lines
};

// Reads TOML (1.0): keys at the top and in tables of one level or two, with strings, numbers,
// booleans, and arrays of strings and numbers. Numbers come back in decimal, as short as they are
// exact. Errors (InvalidArgument) are one sentence that begins with the line: "line 7: ...".
absl::StatusOr<Config> ParseConfig(const std::string& text);

// The same of a file, its sentence with the file's name before: "config x.toml, line 7: ...". Also
// fails as open(2) and read(2) do: "config x.toml: No such file or directory" (NotFound).
absl::StatusOr<Config> ReadConfig(const std::string& path);

// A `[[name]]` of a file of lists.
struct ListedTable {
  std::string name;
  int line = 0;
  std::vector<ConfigEntry> entries;  // in the order of their lines
};

// A file of keys at the top and of tables that may come again.
struct Lists {
  std::vector<ConfigEntry> top;
  std::vector<ListedTable> tables;  // in the order of their lines
};

// Reads such a file; values and errors as above, with "matrix x.toml, line 7: " where `kind` is
// "matrix".
absl::StatusOr<Lists> ReadLists(const std::string& kind, const std::string& path);

}  // namespace cli
