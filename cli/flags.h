#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace cli {

// The exit code of every usage error.
inline constexpr int kExitUsage = 2;

// What a value may be, both ends included.
template <typename T>
struct RangeOf {
  T min = 0;
  T max = std::numeric_limits<T>::max();
};
using Range = RangeOf<uint64_t>;     // of a count, or of bytes
using TimeRange = RangeOf<int64_t>;  // nanoseconds
using RealRange = RangeOf<double>;   // per second, or a fraction

// One declared flag or positional, as the help shows it and the parser feeds it.
struct Flag {
  std::string short_name;   // "-c", or ""
  std::string long_name;    // "--connections"; a positional's "ADDRESS"
  std::string placeholder;  // "N", "SIZE"; "" for a switch
  std::string help;
  std::string group;
  std::string default_text;  // as one would type it; "" shows none
  std::vector<std::string> choices;
  bool positional = false;
  bool repeated = false;
  bool given = false;    // it has a value that isn't the default
  bool settled = false;  // where to look for a value is decided; a switch may be settled as off
  std::string origin;    // where a value came from that wasn't typed: a variable, a file's line
  std::vector<std::string> values;                      // what `set` was called with
  std::function<absl::Status(const std::string&)> set;  // called once for each value, in order

  bool IsSwitch() const { return placeholder.empty(); }
};

// The flags of one subcommand.
//
// `names` is "--long" or "-s,--long"; a word after a space is the value's placeholder in the help
// ("-o,--output FILE"). `value` holds the default when it is declared, and the value typed when
// `Subcommand::run` is called; it must outlive that call. A default of zero that lies outside of
// the range stands for "not given" and isn't shown. Declaring a name twice is a bug of ours and
// throws.
class Flags {
 public:
  // An optional positional argument; several are filled in the order of their declaration. Where
  // there are choices, it is one of them.
  Flags& Positional(std::string name, std::string* value, std::string help,
                    std::vector<std::string> choices = {});
  // All positional arguments that follow, any text, appended to `values`; none is fine.
  Flags& Positionals(std::string name, std::vector<std::string>* values, std::string help);
  // Any text.
  Flags& Text(const std::string& names, std::string* value, std::string help);
  // One of `choices`, spelt exactly.
  Flags& Choice(const std::string& names, std::string* value, std::vector<std::string> choices,
                std::string help);
  // Any text, appended to `values` as often as the flag is given.
  Flags& Repeated(const std::string& names, std::vector<std::string>* values, std::string help);
  // ParseCount within `range`.
  Flags& Count(const std::string& names, uint64_t* value, Range range, std::string help);
  // ParseBytes within `range`.
  Flags& Bytes(const std::string& names, uint64_t* value, Range range, std::string help);
  // ParseDuration within `range`.
  Flags& Duration(const std::string& names, int64_t* ns, TimeRange range, std::string help);
  // ParseRate within `range`.
  Flags& Rate(const std::string& names, double* per_second, RealRange range, std::string help);
  // ParsePercent within `range`, which is in fractions.
  Flags& Percent(const std::string& names, double* fraction, RealRange range, std::string help);
  // False until given; takes no value.
  Flags& Switch(const std::string& names, bool* value, std::string help);

  // The flags declared from here on stand under this title in the help.
  Flags& Group(std::string title);
  // A command line shown at the end of the help, and what it does.
  Flags& Example(std::string line, std::string what);

  // Whether the user gave it: on the command line, in the environment or in a configuration file,
  // for each is their wish. `name` is any of its names, with or without dashes.
  bool Given(const std::string& name) const;

  // Takes a command line apart and sets the flags on it. Returns one sentence where it is wrong.
  // Where --help is among it, only `help_wanted` is set.
  std::optional<std::string> Parse(const std::string& command, const std::vector<std::string>& args,
                                   bool* help_wanted);
  // Settles declared()[index], which was not on the command line: calls its `set` with each value.
  // No value settles a switch as off.
  absl::Status Set(size_t index, const std::vector<std::string>& values, const std::string& origin);
  // What was Set, as one would have typed it: {"--pace", "100k"}.
  std::vector<std::string> SetAsTyped() const;

  // What was declared so far, in order.
  const std::vector<Flag>& declared() const { return declared_; }
  // The examples: the command line, and what it does.
  const std::vector<std::pair<std::string, std::string>>& examples() const { return examples_; }

 private:
  friend class Parser;

  Flags& Add(const std::string& names, Flag flag);

  std::string group_ = "Flags";
  std::vector<Flag> declared_;
  std::vector<std::pair<std::string, std::string>> examples_;
};

// One `ringside NAME`: `declare` says what it takes, `run` does it and returns the exit code. The
// Flags given to `declare` live until `run` has returned, so `run` may ask them what was Given.
// A name of two words ("stress churn") is one of a group; the group itself ("stress") has only a
// name and a summary, and stands before them.
struct Subcommand {
  std::string name;
  std::string summary;  // one line
  std::function<void(Flags&)> declare;
  std::function<int()> run;
};

}  // namespace cli
