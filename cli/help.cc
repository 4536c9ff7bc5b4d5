#include "cli/help.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "cli/groups.h"

namespace cli {
namespace {

constexpr size_t kWidth = 96;
constexpr size_t kNamesMax = 32;  // longer names push their help to the next line

// Columns on the screen: UTF-8's continuation bytes take none.
size_t Columns(const std::string& text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

// `text` broken at spaces into lines of at most `width` columns.
std::vector<std::string> Wrapped(const std::string& text, size_t width) {
  std::vector<std::string> lines(1);
  for (const std::string& word :
       std::vector<std::string>(absl::StrSplit(text, ' ', absl::SkipEmpty()))) {
    if (!lines.back().empty() && Columns(lines.back()) + 1 + Columns(word) > width) {
      lines.emplace_back();
    }
    if (!lines.back().empty()) lines.back() += ' ';
    lines.back() += word;
  }
  return lines;
}

struct Row {
  std::string left;
  std::string right;
};

size_t LeftWidth(const std::vector<Row>& rows) {
  size_t width = 0;
  for (const Row& row : rows) {
    if (Columns(row.left) <= kNamesMax) width = std::max(width, Columns(row.left));
  }
  return width;
}

// Two aligned columns, indented by two.
void AppendRows(std::string* out, const std::vector<Row>& rows, size_t left_width) {
  const size_t indent = 2 + left_width + 2;
  for (const Row& row : rows) {
    absl::StrAppend(out, "  ", row.left);
    size_t column = 2 + Columns(row.left);
    for (const std::string& line : Wrapped(row.right, kWidth - indent)) {
      if (column + 2 > indent) {
        *out += '\n';
        column = 0;
      }
      absl::StrAppend(out, std::string(indent - column, ' '), line);
      column = kWidth;
    }
    *out += '\n';
  }
}

Row RowOf(const Flag& flag) {
  Row row;
  if (flag.positional) {
    row.left = flag.long_name;
  } else {
    // Without a short name, the long one still starts in its column.
    row.left = flag.short_name.empty() ? "    " : absl::StrCat(flag.short_name, ", ");
    absl::StrAppend(&row.left, flag.long_name, flag.IsSwitch() ? "" : " ", flag.placeholder);
  }
  row.right = flag.help;
  const bool choices_shown = flag.placeholder == absl::StrJoin(flag.choices, "|");
  if (!flag.choices.empty() && !choices_shown) {
    absl::StrAppend(&row.right, ": ", absl::StrJoin(flag.choices, ", "));
  }
  if (flag.repeated) absl::StrAppend(&row.right, " (repeatable)");
  if (!flag.default_text.empty()) absl::StrAppend(&row.right, " [", flag.default_text, "]");
  return row;
}

struct Section {
  std::string title;
  std::vector<Row> rows;
};

Section& SectionFor(std::vector<Section>* sections, const std::string& title) {
  for (Section& section : *sections) {
    if (section.title == title) return section;
  }
  return sections->emplace_back(Section{title, {}});
}

// What can be typed for the placeholders that these flags use.
std::vector<Row> ValueRows(const Flags& flags) {
  std::vector<Row> rows = {{"N", "64, 10k, 1M"},
                           {"SIZE", "64, 16KiB, 1MB"},
                           {"TIME", "250ms, 10s, 1m30s"},
                           {"RATE", "500, 100k/s, 2.5M"},
                           {"PERCENT", "5%, 0.5%"}};
  std::erase_if(rows, [&](const Row& row) {
    return std::none_of(flags.declared().begin(), flags.declared().end(),
                        [&](const Flag& flag) { return flag.placeholder == row.left; });
  });
  return rows;
}

}  // namespace

std::string ProgramHelp(const std::vector<Subcommand>& all, const std::string& description,
                        const std::string& version) {
  std::string out = absl::StrCat(kProgram, " ", version, "\n", description, "\n\nUsage: ", kProgram,
                                 " COMMAND [flags]\n\nCommands:\n");
  std::vector<Row> rows;
  for (const Subcommand& subcommand : Below(all, "")) {
    rows.push_back({subcommand.name, subcommand.summary});
  }
  rows.push_back({"help [COMMAND]", "show the flags of a command, with examples"});
  const std::vector<Row> general = {
      {"-h, --help", "show this help"},
      {"    --version", "show the version, and what runs here (--json [FILE]: as JSON)"}};
  const size_t width = std::max(LeftWidth(rows), LeftWidth(general));
  AppendRows(&out, rows, width);
  out += "\nFlags:\n";
  AppendRows(&out, general, width);
  absl::StrAppend(&out,
                  "\nFlags may also come from a file (--config FILE) and from variables such as ",
                  "RINGSIDE_LOAD_SIZE.\n");
  return out;
}

std::string GroupHelp(const std::vector<Subcommand>& all, const Subcommand& group) {
  std::string out = absl::StrCat(group.summary, "\n\nUsage: ", kProgram, " ", group.name,
                                 " COMMAND [flags]\n\nCommands:\n");
  std::vector<Row> rows;
  for (const Subcommand& subcommand : Below(all, group.name)) {
    rows.push_back({LastWord(subcommand.name), subcommand.summary});
  }
  const std::vector<Row> general = {{"-h, --help", "show this help"}};
  const size_t width = std::max(LeftWidth(rows), LeftWidth(general));
  AppendRows(&out, rows, width);
  out += "\nFlags:\n";
  AppendRows(&out, general, width);
  absl::StrAppend(&out, "\nEach has flags of its own: ", kProgram, " ", group.name,
                  " COMMAND --help\n");
  return out;
}

std::string SubcommandHelp(const Subcommand& subcommand, const Flags& flags) {
  std::string usage = absl::StrCat("Usage: ", kProgram, " ", subcommand.name);
  std::vector<Row> positionals;
  std::vector<Section> sections;
  std::vector<Row> all;  // for one width over every section
  for (const Flag& flag : flags.declared()) {
    const Row row = RowOf(flag);
    all.push_back(row);
    if (flag.positional) {
      absl::StrAppend(&usage, " [", flag.long_name, flag.repeated ? "...]" : "]");
      positionals.push_back(row);
    } else {
      SectionFor(&sections, flag.group).rows.push_back(row);
    }
  }
  const Row help_row = {"-h, --help", "show this help"};
  all.push_back(help_row);
  SectionFor(&sections, sections.size() == 1 ? sections[0].title : "Other")
      .rows.push_back(help_row);
  const size_t width = LeftWidth(all);

  std::string out = absl::StrCat(subcommand.summary, "\n\n", usage, " [flags]\n");
  if (!positionals.empty()) {
    out += '\n';
    AppendRows(&out, positionals, width);
  }
  for (const Section& section : sections) {
    absl::StrAppend(&out, "\n", section.title, ":\n");
    AppendRows(&out, section.rows, width);
  }
  const std::vector<Row> values = ValueRows(flags);
  if (!values.empty()) out += "\nValues:\n";
  AppendRows(&out, values, width);
  if (!flags.examples().empty()) out += "\nExamples:\n";
  for (const auto& [line, what] : flags.examples()) {
    absl::StrAppend(&out, "  ", line, "\n      ", what, "\n");
  }
  return out;
}

}  // namespace cli
