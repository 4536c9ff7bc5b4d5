#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/config_file.h"
#include "cli/flags.h"

// Flags that the command line leaves out may come from the environment, and from a configuration
// file where that has nothing to say either.
namespace cli {

// A subcommand's name and its flags.
struct CommandFlags {
  std::string name;
  Flags flags;
};

// Where else a flag's value is looked for: "RINGSIDE_LOAD_CONNECTIONS" for --connections of load,
// "RINGSIDE_STRESS_CHURN_CONNECTIONS" for that of stress churn;
// of any subcommand, with "" for `command`, "RINGSIDE_CONNECTIONS".
std::string VariableOf(const std::string& command, const Flag& flag);

// The key of a flag in a configuration file: "connections"; a positional's is in lower case.
std::string KeyOf(const Flag& flag);

// Gives each flag of `command` that the command line left out the value that the environment has
// for it: from the subcommand's own variable, else from that of any subcommand. An empty variable
// is none. A switch takes 1, true, yes or on, and 0, false, no or off, which ends the search; a
// repeated flag takes a value a line. Returns a sentence about the first value that is wrong.
// `warnings` gets one for each variable that begins as this subcommand's do and names no flag.
// `environment` is a list as environ(7) has it.
std::optional<std::string> ApplyEnvironment(const std::string& command,
                                            const char* const* environment, Flags* flags,
                                            std::vector<std::string>* warnings);

// The same from the configuration file at `path`, for what is still without a value: the key in
// the table [command] ([stress.churn] for "stress churn"), else the one at the top. `all` is every
// subcommand with its flags: each name in the file must be a flag of the subcommand whose table it
// is in, and at the top, of any.
std::optional<std::string> ApplyConfig(const std::string& path, const std::string& command,
                                       const std::vector<CommandFlags>& all, Flags* flags);

// Sets the flag that the entry's key names, as ApplyConfig() does; one that is settled already
// stays as it is. Returns a sentence where the value is wrong, or there is no such key: "line 7:
// ...".
std::optional<std::string> ApplyEntry(const ConfigEntry& entry, const std::string& file,
                                      Flags* flags);

// "; did you mean X?" where `word` is near one of `known`, else "; " and what to do instead.
std::string Hint(const std::string& word, const std::vector<std::string>& known,
                 const std::string& otherwise);

// The variables of `environment` that name a flag of any subcommand.
std::vector<std::string> KnownVariables(const std::vector<CommandFlags>& all,
                                        const char* const* environment);

}  // namespace cli
