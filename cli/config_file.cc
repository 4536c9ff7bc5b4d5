#include "cli/config_file.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string_view>

namespace cli {
namespace {

// toml++ asserts what some files break, and with NDEBUG goes on from there, which may do anything.
// Here its assertions are always on, and one that fails is an error of the file.
[[noreturn]] void FailedAssertion() { throw std::runtime_error("this is no TOML"); }

}  // namespace
}  // namespace cli

#pragma push_macro("NDEBUG")
#undef NDEBUG
#define TOML_ASSERT(expression) ((expression) ? void() : ::cli::FailedAssertion())
// A mistake is thrown where it is found; nothing is written back.
#define TOML_EXCEPTIONS 1
#define TOML_ENABLE_FORMATTERS 0
// It recurses for each level: with its own bound, a file could use up a thread's stack.
#define TOML_MAX_NESTED_VALUES 16
#include <toml++/toml.h>
#pragma pop_macro("NDEBUG")

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "report/json_text.h"

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
    if (text->get().find('\0') != std::string::npos) return false;  // no flag takes it
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
  return Wrong(entry.line,
               node.is_table()    ? absl::StrCat(key, ": a table within [",
                                                 absl::StrReplaceAll(table, {{" ", "."}}),
                                                 "]; tables are one a command, such as [load]")
               : node.is_string() ? absl::StrCat(key, ": a text with a NUL in it")
                                  : absl::StrCat(key, ": a date or time; put the value in quotes"));
}

bool HasOnlyTables(const toml::table& table) {
  return !table.empty() && std::all_of(table.begin(), table.end(),
                                       [](const auto& entry) { return entry.second.is_table(); });
}

absl::Status AppendTable(const std::string& name, const toml::table& table, Config* config) {
  if (!name.empty() && !HasOnlyTables(table)) config->tables.push_back({name, LineOf(table)});
  for (const auto& [key, node] : table) {
    const std::string word(key.str());
    if (node.is_table() && name.find(' ') == std::string::npos) {
      const std::string full = name.empty() ? word : absl::StrCat(name, " ", word);
      const absl::Status status = AppendTable(full, *node.as_table(), config);
      if (!status.ok()) return status;
      continue;
    }
    auto entry = EntryOf(name, word, node);
    if (!entry.ok()) return entry.status();
    config->entries.push_back(*std::move(entry));
  }
  return absl::OkStatus();
}

constexpr size_t kBytesMax = 1 << 20;  // of a file; flags and a matrix take some KiB
constexpr int kDotsMax = 200;          // of one key: a table each

// What may not come before the library, which aborts the process on some of it: bytes that TOML
// doesn't allow anywhere (what is no UTF-8, control characters), and keys of so many parts that
// taking their tables apart would use up the stack.
absl::Status CheckBytes(const std::string& text) {
  if (text.size() > kBytesMax) {
    return Wrong(1, absl::StrCat("the file has more than ", kBytesMax, " bytes; is it TOML?"));
  }
  int line = 1, dots = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t size = report::Utf8CharacterBytes(std::string_view(text).substr(i));
    const char c = text[i];
    if (size == 0) {
      return Wrong(line, absl::StrFormat("the byte 0x%02x is no UTF-8; is the file TOML?",
                                         static_cast<uint8_t>(c)));
    }
    const bool end = c == '\n' || (c == '\r' && text.substr(i, 2) == "\r\n");
    if (size == 1 && c != '\t' && !end && (static_cast<uint8_t>(c) < 0x20 || c == 0x7f)) {
      return Wrong(line, absl::StrFormat("the control character 0x%02x; is the file TOML?", c));
    }
    if (c == '\n') ++line;
    // Between these a dot can only part a key, or be in a number or a text, which have few.
    if (std::string_view("\n=,[]{}").find(c) != std::string_view::npos) dots = 0;
    if (c == '.' && ++dots > kDotsMax) {
      return Wrong(line, absl::StrCat("more than ", kDotsMax, " dots in a key or a value"));
    }
    i += size;
  }
  return absl::OkStatus();
}

absl::StatusOr<toml::table> Parse(const std::string& text) {
  const absl::Status checked = CheckBytes(text);
  if (!checked.ok()) return checked;
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    // Its sentences may run over lines, and may quote what was found.
    return Wrong(static_cast<int>(error.source().begin.line),
                 absl::StrReplaceAll(std::string(error.description()), {{"\n", " "}}));
  } catch (const std::runtime_error& error) {
    return Wrong(1, error.what());
  }
}

absl::StatusOr<std::string> ReadText(const std::string& name, const std::string& path) {
  std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "re"), &std::fclose);
  if (file == nullptr) return absl::ErrnoToStatus(errno, name);
  std::string text;
  char piece[4096];
  while (const size_t count = std::fread(piece, 1, sizeof piece, file.get())) {
    text.append(piece, count);
    if (text.size() > kBytesMax) break;  // /dev/zero has no end; what is too long is told later
  }
  if (std::ferror(file.get()) != 0) return absl::ErrnoToStatus(errno, name);
  return text;
}

absl::Status InFile(const std::string& name, const absl::Status& status) {
  return absl::InvalidArgumentError(absl::StrCat(name, ", ", std::string(status.message())));
}

// In the order of their lines, which the parser's tables don't keep.
template <class T>
void SortByLine(std::vector<T>* items) {
  std::stable_sort(items->begin(), items->end(),
                   [](const T& a, const T& b) { return a.line < b.line; });
}

absl::Status AppendListed(const std::string& name, const toml::array& array, Lists* lists) {
  for (const toml::node& element : array) {
    const toml::table& table = *element.as_table();
    ListedTable& listed = lists->tables.emplace_back();
    listed.name = name;
    listed.line = LineOf(table);
    for (const auto& [key, node] : table) {
      auto entry = EntryOf(name, std::string(key.str()), node);
      if (!entry.ok()) return entry.status();
      listed.entries.push_back(*std::move(entry));
    }
    SortByLine(&listed.entries);
  }
  return absl::OkStatus();
}

absl::StatusOr<Lists> ParseLists(const std::string& text) {
  const auto parsed = Parse(text);
  if (!parsed.ok()) return parsed.status();
  Lists lists;
  for (const auto& [key, node] : *parsed) {
    const std::string name(key.str());
    if (node.is_table()) {
      return Wrong(LineOf(node), absl::StrCat("[", name, "] stands once; write [[", name, "]]"));
    }
    if (node.is_array_of_tables()) {
      const absl::Status status = AppendListed(name, *node.as_array(), &lists);
      if (!status.ok()) return status;
      continue;
    }
    auto entry = EntryOf("", name, node);
    if (!entry.ok()) return entry.status();
    lists.top.push_back(*std::move(entry));
  }
  SortByLine(&lists.top);
  SortByLine(&lists.tables);
  return lists;
}

}  // namespace

absl::StatusOr<Config> ParseConfig(const std::string& text) {
  const auto parsed = Parse(text);
  if (!parsed.ok()) return parsed.status();
  Config config;
  const absl::Status status = AppendTable("", *parsed, &config);
  if (!status.ok()) return status;
  SortByLine(&config.tables);
  SortByLine(&config.entries);
  return config;
}

absl::StatusOr<Config> ReadConfig(const std::string& path) {
  const std::string name = absl::StrCat("config ", path);
  const auto text = ReadText(name, path);
  if (!text.ok()) return text.status();
  auto config = ParseConfig(*text);
  return config.ok() ? config : InFile(name, config.status());
}

absl::StatusOr<Lists> ReadLists(const std::string& kind, const std::string& path) {
  const std::string name = absl::StrCat(kind, " ", path);
  const auto text = ReadText(name, path);
  if (!text.ok()) return text.status();
  auto lists = ParseLists(*text);
  return lists.ok() ? lists : InFile(name, lists.status());
}

}  // namespace cli
