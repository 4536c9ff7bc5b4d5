#include "cli/flags.h"

#include <algorithm>
#include <cassert>
#include <map>
#include <optional>
#include <utility>

#include <CLI/CLI.hpp>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "cli/help.h"
#include "cli/suggest.h"
#include "cli/values.h"
#include "report/format.h"

// CLI11 takes the command line apart; what a value means, and every sentence a person reads, is
// ours. This is the only file that includes it: it costs seconds to compile.
namespace cli {
namespace {

constexpr size_t kChoicesShownMax = 28;  // longer lists move from the placeholder into the help

// ---- values as one types them -------------------------------------------------------------------

// The short form of `value` where it is exact, else `exact`.
template <typename T>
std::string ShortIfExact(std::string text, T value, absl::StatusOr<T> (*parse)(const std::string&),
                         std::string exact) {
  text.erase(std::remove(text.begin(), text.end(), ' '), text.end());
  if (const size_t micro = text.find("µ"); micro != std::string::npos) text.replace(micro, 2, "u");
  const absl::StatusOr<T> parsed = parse(text);
  return parsed.ok() && *parsed == value ? text : exact;
}

std::string TypedBytes(uint64_t bytes) {
  return ShortIfExact(report::FormatBytes(bytes), bytes, &ParseBytes, absl::StrCat(bytes, "B"));
}

std::string TypedDuration(int64_t ns) {
  return ShortIfExact(report::FormatDuration(ns), ns, &ParseDuration, absl::StrCat(ns, "ns"));
}

std::string TypedRate(double rate) {
  return ShortIfExact(report::FormatRate(rate), rate, &ParseRate, absl::StrCat(rate, "/s"));
}

std::string TypedPercent(double fraction) { return absl::StrCat(fraction * 100, "%"); }

// "from 1 to 1,000,000", "of at least 1", "of at most 10".
template <typename T>
std::string Described(const RangeOf<T>& range, std::string (*typed)(T)) {
  if (range.max == std::numeric_limits<T>::max()) {
    return absl::StrCat("of at least ", typed(range.min));
  }
  return absl::StrCat("from ", typed(range.min), " to ", typed(range.max));
}

// A flag whose value is parsed by `parse` and must lie within `range`.
template <typename T>
Flag Ranged(const char* placeholder, const char* noun, T* value, RangeOf<T> range,
            absl::StatusOr<T> (*parse)(const std::string&), std::string (*typed)(T),
            std::string help) {
  Flag flag;
  flag.placeholder = placeholder;
  flag.help = std::move(help);
  const bool means_not_given = *value == T{0} && (range.min > T{0} || range.max < T{0});
  if (!means_not_given) flag.default_text = typed(*value);
  flag.set = [=](const std::string& text) -> absl::Status {
    const absl::StatusOr<T> parsed = parse(text);
    if (!parsed.ok()) return parsed.status();
    if (*parsed < range.min || *parsed > range.max) {
      return absl::InvalidArgumentError(
          absl::StrCat(text, " is out of range; give a ", noun, " ", Described(range, typed)));
    }
    *value = *parsed;
    return absl::OkStatus();
  };
  return flag;
}

// Sets `value` to one of `choices`, or to any text where there are none.
std::function<absl::Status(const std::string&)> SetOneOf(std::string* value,
                                                         std::vector<std::string> choices) {
  return [value, choices = std::move(choices)](const std::string& text) -> absl::Status {
    if (!choices.empty() && std::find(choices.begin(), choices.end(), text) == choices.end()) {
      const std::string near = Closest(text, choices);
      return absl::InvalidArgumentError(absl::StrCat(
          "'", text, "' is not one of ", absl::StrJoin(choices, ", "),
          near.empty() ? "; give one of these" : absl::StrCat("; did you mean ", near, "?")));
    }
    *value = text;
    return absl::OkStatus();
  };
}

// ---- sentences ----------------------------------------------------------------------------------

std::string WithoutDashes(const std::string& name) {
  return name.substr(std::min(name.find_first_not_of('-'), name.size()));
}

std::string BeforeEquals(const std::string& word) { return word.substr(0, word.find('=')); }

}  // namespace

// ---- declaring ----------------------------------------------------------------------------------

Flags& Flags::Add(const std::string& names, Flag flag) {
  const std::vector<std::string> words =
      absl::StrSplit(names, absl::ByAnyChar(", "), absl::SkipEmpty());
  for (const std::string& word : words) {
    if (word.starts_with("--")) {
      flag.long_name = word;
    } else if (word.starts_with("-")) {
      flag.short_name = word;
    } else {
      flag.placeholder = word;
    }
  }
  assert(!flag.long_name.empty());
  flag.group = group_;
  declared_.push_back(std::move(flag));
  return *this;
}

Flags& Flags::Positional(std::string name, std::string* value, std::string help,
                         std::vector<std::string> choices) {
  Flag flag;
  flag.positional = true;
  flag.long_name = std::move(name);
  flag.placeholder = flag.long_name;
  flag.default_text = *value;
  flag.help = std::move(help);
  flag.set = SetOneOf(value, choices);
  flag.choices = std::move(choices);
  declared_.push_back(std::move(flag));
  return *this;
}

Flags& Flags::Positionals(std::string name, std::vector<std::string>* values, std::string help) {
  Flag flag;
  flag.positional = true;
  flag.repeated = true;
  flag.long_name = std::move(name);
  flag.placeholder = flag.long_name;
  flag.help = std::move(help);
  flag.set = [values](const std::string& text) {
    values->push_back(text);
    return absl::OkStatus();
  };
  declared_.push_back(std::move(flag));
  return *this;
}

Flags& Flags::Text(const std::string& names, std::string* value, std::string help) {
  Flag flag;
  flag.placeholder = "TEXT";
  flag.default_text = *value;
  flag.help = std::move(help);
  flag.set = [value](const std::string& text) {
    *value = text;
    return absl::OkStatus();
  };
  return Add(names, std::move(flag));
}

Flags& Flags::Choice(const std::string& names, std::string* value, std::vector<std::string> choices,
                     std::string help) {
  Flag flag;
  const std::string joined = absl::StrJoin(choices, "|");
  flag.placeholder = joined.size() <= kChoicesShownMax ? joined : "NAME";
  flag.default_text = *value;
  flag.help = std::move(help);
  flag.set = SetOneOf(value, choices);
  flag.choices = std::move(choices);
  return Add(names, std::move(flag));
}

Flags& Flags::Repeated(const std::string& names, std::vector<std::string>* values,
                       std::string help) {
  Flag flag;
  flag.placeholder = "TEXT";
  flag.repeated = true;
  flag.default_text = absl::StrJoin(*values, ", ");
  flag.help = std::move(help);
  flag.set = [values](const std::string& text) {
    values->push_back(text);
    return absl::OkStatus();
  };
  return Add(names, std::move(flag));
}

Flags& Flags::Count(const std::string& names, uint64_t* value, Range range, std::string help) {
  return Add(names, Ranged("N", "number", value, range, &ParseCount, &report::FormatCount,
                           std::move(help)));
}

Flags& Flags::Bytes(const std::string& names, uint64_t* value, Range range, std::string help) {
  return Add(names,
             Ranged("SIZE", "size", value, range, &ParseBytes, &TypedBytes, std::move(help)));
}

Flags& Flags::Duration(const std::string& names, int64_t* ns, TimeRange range, std::string help) {
  return Add(names, Ranged("TIME", "duration", ns, range, &ParseDuration, &TypedDuration,
                           std::move(help)));
}

Flags& Flags::Rate(const std::string& names, double* per_second, RealRange range,
                   std::string help) {
  return Add(names,
             Ranged("RATE", "rate", per_second, range, &ParseRate, &TypedRate, std::move(help)));
}

Flags& Flags::Percent(const std::string& names, double* fraction, RealRange range,
                      std::string help) {
  return Add(names, Ranged("PERCENT", "percentage", fraction, range, &ParsePercent, &TypedPercent,
                           std::move(help)));
}

Flags& Flags::Switch(const std::string& names, bool* value, std::string help) {
  Flag flag;
  flag.help = std::move(help);
  flag.set = [value](const std::string&) {
    *value = true;
    return absl::OkStatus();
  };
  return Add(names, std::move(flag));
}

Flags& Flags::Group(std::string title) {
  group_ = std::move(title);
  return *this;
}

Flags& Flags::Example(std::string line, std::string what) {
  examples_.emplace_back(std::move(line), std::move(what));
  return *this;
}

bool Flags::Given(const std::string& name) const {
  const std::string bare = WithoutDashes(name);
  return std::any_of(declared_.begin(), declared_.end(), [&](const Flag& flag) {
    return flag.given &&
           (WithoutDashes(flag.long_name) == bare || WithoutDashes(flag.short_name) == bare);
  });
}

// ---- parsing ------------------------------------------------------------------------------------

// One subcommand's command line. Each step returns a sentence when something is wrong.
class Parser {
 public:
  explicit Parser(Flags* flags, std::string command)
      : flags_(*flags), command_(std::move(command)) {}

  std::optional<std::string> Parse(const std::vector<std::string>& args) {
    if (auto mistake = CheckShape(args)) return mistake;
    CLI::App app;
    app.set_help_flag();  // ours is --help below, and comes with our text
    app.allow_extras();
    std::vector<CLI::Option*> options;
    for (const Flag& flag : flags_.declared_) options.push_back(Declare(&app, flag));
    CLI::Option* help = app.add_flag("-h,--help");
    try {
      app.parse(std::vector<std::string>(args.rbegin(), args.rend()));
    } catch (const CLI::ParseError& error) {
      return std::string(error.what());
    }
    help_wanted_ = help->count() > 0;
    if (help_wanted_) return std::nullopt;
    if (auto mistake = CheckLeftOver(app.remaining())) return mistake;
    for (size_t i = 0; i < options.size(); ++i) {
      if (auto mistake = Store(&flags_.declared_[i], options[i]->results())) return mistake;
    }
    return std::nullopt;
  }

  bool help_wanted() const { return help_wanted_; }

 private:
  static CLI::Option* Declare(CLI::App* app, const Flag& flag) {
    const std::string names = flag.short_name.empty()
                                  ? flag.long_name
                                  : absl::StrCat(flag.short_name, ",", flag.long_name);
    if (flag.IsSwitch()) return app->add_flag(names);
    // TakeAll, so that a flag given twice reaches us; one value an occurrence, so that a positional
    // after it, or an address in brackets, stays what it is.
    const bool many = flag.positional && flag.repeated;
    return app->add_option(names, [](const CLI::results_t&) { return true; })
        ->expected(1, many ? CLI::detail::expected_max_vector_size : 1)
        ->allow_extra_args(many)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  }

  const Flag* Find(const std::string& name) const {
    if (name.empty()) return nullptr;
    for (const Flag& flag : flags_.declared_) {
      if (!flag.positional && (name == flag.long_name || name == flag.short_name)) return &flag;
    }
    return nullptr;
  }

  // What CLI11 would misread rather than refuse: it takes a flag that follows a flag for its value
  // (also after `--flag=`), and "-connections" for -c with the value "onnections".
  // Notes, too, which of its names each flag was given by.
  std::optional<std::string> CheckShape(const std::vector<std::string>& args) {
    for (size_t i = 0; i < args.size() && args[i] != "--"; ++i) {
      const std::string name = BeforeEquals(args[i]);
      const bool one_dash = name.size() > 2 && name[0] == '-' && name[1] != '-';
      if (one_dash && Find("-" + name) != nullptr) return UnknownFlag(name);
      const Flag* flag = Find(name);
      if (flag == nullptr) continue;
      as_typed_[flag->long_name] = name;
      const bool has_equals = name.size() < args[i].size();
      if (flag->IsSwitch()) {
        if (has_equals) return absl::StrCat(name, ": takes no value; write ", name, " alone");
        continue;
      }
      const std::string usage = absl::StrCat(name, " ", flag->placeholder);
      if (has_equals && name == flag->short_name) {
        return absl::StrCat(name, ": takes its value after a space; write ", usage);
      }
      const bool empty = has_equals ? name.size() + 1 == args[i].size() : i + 1 == args.size();
      if (empty) return absl::StrCat(name, ": needs a value; write ", usage);
      if (has_equals) continue;
      const std::string& next = args[++i];
      if (next == "--" || Find(BeforeEquals(next)) != nullptr) {
        return absl::StrCat(name, ": needs a value before ", next, "; write ", usage);
      }
    }
    return std::nullopt;
  }

  std::string UnknownFlag(const std::string& name) const {
    std::vector<std::string> known = {"help"};
    for (const Flag& flag : flags_.declared_) {
      if (!flag.positional) known.push_back(WithoutDashes(flag.long_name));
    }
    const std::string near = Closest(WithoutDashes(name), known);
    return absl::StrCat("unknown flag ", name,
                        near.empty() ? absl::StrCat("; see ", kProgram, " ", command_, " --help")
                                     : absl::StrCat("; did you mean --", near, "?"));
  }

  std::optional<std::string> CheckLeftOver(const std::vector<std::string>& words) const {
    // An unknown flag first: what follows it looks like a positional only because of it.
    for (size_t i = 0; i < words.size() && words[i] != "--"; ++i) {
      const bool flag = words[i].size() > 1 && words[i][0] == '-' &&
                        !absl::ascii_isdigit(static_cast<unsigned char>(words[i][1]));
      if (flag) return UnknownFlag(BeforeEquals(words[i]));
    }
    for (const std::string& word : words) {
      if (word == "--") continue;
      std::vector<std::string> taken;
      for (const Flag& flag : flags_.declared_) {
        if (flag.positional) taken.push_back(flag.long_name);
      }
      return absl::StrCat("unexpected argument '", word, "'; ",
                          taken.empty()
                              ? std::string("it takes flags only")
                              : absl::StrCat("it takes only ", absl::StrJoin(taken, " ")));
    }
    return std::nullopt;
  }

  std::optional<std::string> Store(Flag* flag, const std::vector<std::string>& values) const {
    const auto typed = as_typed_.find(flag->long_name);
    const std::string& name = typed == as_typed_.end() ? flag->long_name : typed->second;
    if (values.size() > 1 && !flag->repeated && !flag->IsSwitch()) {
      return absl::StrCat(name, ": given ", values.size(), " times; give it once");
    }
    flag->given = flag->settled = !values.empty();
    flag->values = values;
    for (const std::string& value : values) {
      const absl::Status status = flag->set(value);
      if (!status.ok()) return absl::StrCat(name, ": ", status.message());
    }
    return std::nullopt;
  }

  Flags& flags_;
  std::string command_;
  std::map<std::string, std::string> as_typed_;
  bool help_wanted_ = false;
};

std::optional<std::string> Flags::Parse(const std::string& command,
                                        const std::vector<std::string>& args, bool* help_wanted) {
  Parser parser(this, command);
  auto mistake = parser.Parse(args);
  *help_wanted = parser.help_wanted();
  return mistake;
}

absl::Status Flags::Set(size_t index, const std::vector<std::string>& values,
                        const std::string& origin) {
  Flag& flag = declared_[index];
  flag.settled = true;
  flag.given = !values.empty();
  flag.origin = origin;
  flag.values = values;
  for (const std::string& value : values) {
    const absl::Status status = flag.set(value);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

std::vector<std::string> Flags::SetAsTyped() const {
  std::vector<std::string> words;
  for (const Flag& flag : declared_) {
    if (flag.origin.empty()) continue;
    for (const std::string& value : flag.values) {
      if (!flag.positional) words.push_back(flag.long_name);
      if (!flag.IsSwitch()) words.push_back(value);
    }
  }
  return words;
}

}  // namespace cli
