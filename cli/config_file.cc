#include "cli/config_file.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <memory>

// Without exceptions a mistake is a value, as everywhere here; nothing is written back.
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

// The only file that includes toml++: it costs seconds to compile.
namespace cli {
namespace {

int LineOf(const toml::node& node) { return static_cast<int>(node.source().begin.line); }

absl::Status Wrong(int line, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("line ", line, ": ", what));
}

// In decimal and without an exponent, which no flag would take.
std::string Decimal(double value) {
  char text[400];  // the longest double has 309 digits before the point
  const auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::fixed);
  return {text, end.ptr};
}

// A string or a number as a flag takes it; false for anything else.
bool AppendScalar(const toml::node& node, std::vector<std::string>* values) {
  if (const auto* text = node.as_string()) {
    values->push_back(text->get());
  } else if (const auto* integer = node.as_integer()) {
    values->push_back(absl::StrCat(integer->get()));
  } else if (const auto* real = node.as_floating_point()) {
    values->push_back(Decimal(real->get()));
  } else {
    return false;
  }
  return true;
}

absl::StatusOr<ConfigEntry> EntryOf(const std::string& table, const std::string& key,
                                    const toml::node& node) {
  ConfigEntry entry = {.table = table, .key = key, .line = LineOf(node)};
  if (const auto* boolean = node.as_boolean()) {
    entry.is_boolean = true;
    entry.on = boolean->get();
    return entry;
  }
  if (const auto* array = node.as_array()) {
    entry.is_array = true;
    for (const toml::node& element : *array) {
      if (AppendScalar(element, &entry.values)) continue;
      return Wrong(LineOf(element), absl::StrCat(key, ": an array holds strings and numbers only"));
    }
    return entry;
  }
  if (AppendScalar(node, &entry.values)) return entry;
  return Wrong(entry.line, node.is_table()
                               ? absl::StrCat(key, ": a table within [", table,
                                              "]; tables are one a command, such as [load]")
                               : absl::StrCat(key, ": a date or time; put the value in quotes"));
}

absl::Status AppendTable(const std::string& name, const toml::table& table, Config* config) {
  if (!name.empty()) config->tables.push_back({name, LineOf(table)});
  for (const auto& [key, node] : table) {
    const std::string word(key.str());
    if (name.empty() && node.is_table()) {
      const absl::Status status = AppendTable(word, *node.as_table(), config);
      if (!status.ok()) return status;
      continue;
    }
    auto entry = EntryOf(name, word, node);
    if (!entry.ok()) return entry.status();
    config->entries.push_back(*std::move(entry));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Config> ParseConfig(const std::string& text) {
  const toml::parse_result parsed = toml::parse(text);
  if (!parsed) {
    // Its sentences may run over lines, and may quote what was found.
    return Wrong(static_cast<int>(parsed.error().source().begin.line),
                 absl::StrReplaceAll(std::string(parsed.error().description()), {{"\n", " "}}));
  }
  Config config;
  const absl::Status status = AppendTable("", parsed.table(), &config);
  if (!status.ok()) return status;
  const auto by_line = [](const auto& a, const auto& b) { return a.line < b.line; };
  std::stable_sort(config.tables.begin(), config.tables.end(), by_line);
  std::stable_sort(config.entries.begin(), config.entries.end(), by_line);
  return config;
}

absl::StatusOr<Config> ReadConfig(const std::string& path) {
  const std::string name = absl::StrCat("config ", path);
  std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "re"), &std::fclose);
  if (file == nullptr) return absl::ErrnoToStatus(errno, name);
  std::string text;
  char piece[4096];
  while (const size_t count = std::fread(piece, 1, sizeof piece, file.get())) {
    text.append(piece, count);
  }
  if (std::ferror(file.get()) != 0) return absl::ErrnoToStatus(errno, name);
  auto config = ParseConfig(text);
  if (config.ok()) return config;
  return absl::InvalidArgumentError(
      absl::StrCat(name, ", ", std::string(config.status().message())));
}

}  // namespace cli
