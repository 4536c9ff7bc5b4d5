#include "cli/settings.h"

#include <algorithm>
#include <array>
#include <map>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "cli/config_file.h"
#include "cli/groups.h"
#include "cli/help.h"
#include "cli/suggest.h"

namespace cli {
namespace {

constexpr char kConfigKey[] = "config";

using Variables = std::map<std::string, std::string>;

std::string Variable(const std::string& name) {
  return absl::AsciiStrToUpper(absl::StrReplaceAll(name, {{"-", "_"}, {" ", "_"}}));
}

// "RINGSIDE_", or "RINGSIDE_LOAD_".
std::string Prefix(const std::string& command) {
  return Variable(absl::StrCat(kProgram, "_", command, command.empty() ? "" : "_"));
}

// The environment's variables that begin as ours do; empty ones are left out.
Variables OurVariables(const char* const* environment) {
  Variables found;
  for (; *environment != nullptr; ++environment) {
    const std::string entry = *environment;
    const size_t equals = entry.find('=');
    if (equals == std::string::npos || equals + 1 == entry.size()) continue;
    if (entry.starts_with(Prefix(""))) found[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  return found;
}

bool IsOneOf(const std::string& word, const std::array<const char*, 4>& words) {
  return std::find(words.begin(), words.end(), absl::AsciiStrToLower(word)) != words.end();
}

// What a flag's `set` is to be called with: nothing for a switch that is off.
absl::StatusOr<std::vector<std::string>> ValuesOf(const Flag& flag, const std::string& text) {
  if (flag.IsSwitch()) {
    if (IsOneOf(text, {"1", "true", "yes", "on"})) return std::vector<std::string>{""};
    if (IsOneOf(text, {"0", "false", "no", "off"})) return std::vector<std::string>{};
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is neither on nor off; write 1 or 0"));
  }
  if (!flag.repeated) return std::vector<std::string>{text};
  return std::vector<std::string>(absl::StrSplit(text, '\n', absl::SkipEmpty()));
}

absl::StatusOr<std::vector<std::string>> ValuesOf(const Flag& flag, const ConfigEntry& entry) {
  if (flag.IsSwitch()) {
    if (!entry.is_boolean) return absl::InvalidArgumentError("is a switch; write true or false");
    return std::vector<std::string>(entry.on ? 1 : 0);
  }
  if (entry.is_boolean) {
    return absl::InvalidArgumentError(absl::StrCat("needs a value, not ",
                                                   entry.on ? "true" : "false", "; write ",
                                                   entry.key, " = \"", flag.placeholder, "\""));
  }
  if (entry.is_array && !flag.repeated) {
    return absl::InvalidArgumentError("takes one value; write it without brackets");
  }
  return entry.values;
}

std::string Described(const Flag& flag) { return flag.positional ? KeyOf(flag) : flag.long_name; }

const CommandFlags* CommandOf(const std::vector<CommandFlags>& all, const std::string& name) {
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const CommandFlags& c) { return c.name == name; });
  return found == all.end() ? nullptr : &*found;
}

// The keys that may stand in `table`; at the top, those of every subcommand.
std::vector<std::string> KeysOf(const std::vector<CommandFlags>& all, const std::string& table) {
  std::vector<std::string> keys;
  for (const CommandFlags& command : all) {
    if (!table.empty() && command.name != table) continue;
    for (const Flag& flag : command.flags.declared()) {
      if (KeyOf(flag) != kConfigKey) keys.push_back(KeyOf(flag));
    }
  }
  return keys;
}

// What is wrong with the names in a file: "line 7: ...".
std::optional<std::string> CheckNames(const Config& config, const std::vector<CommandFlags>& all) {
  std::vector<std::string> commands;
  for (const CommandFlags& command : all) commands.push_back(command.name);
  for (const ConfigTable& table : config.tables) {
    if (CommandOf(all, table.name) != nullptr) continue;
    const auto in_group = std::find_if(all.begin(), all.end(), [&](const CommandFlags& command) {
      return GroupOf(command.name) == table.name;
    });
    if (in_group != all.end()) {
      return absl::StrCat("line ", table.line, ": ", table.name, " has several commands; write [",
                          table.name, ".", LastWord(in_group->name), "]");
    }
    return absl::StrCat("line ", table.line, ": there is no command '", table.name, "'",
                        Hint(table.name, commands, absl::StrCat("see ", kProgram, " --help")));
  }
  for (const ConfigEntry& entry : config.entries) {
    const std::vector<std::string> keys = KeysOf(all, entry.table);
    if (std::find(keys.begin(), keys.end(), entry.key) != keys.end()) continue;
    if (entry.key == kConfigKey) {
      return absl::StrCat("line ", entry.line, ": config: a file can't name another");
    }
    const std::string help = absl::StrCat("see ", kProgram, " ",
                                          entry.table.empty() ? "COMMAND" : entry.table, " --help");
    return absl::StrCat("line ", entry.line, ": unknown key '", entry.key, "'",
                        Hint(entry.key, keys, help));
  }
  return std::nullopt;
}

// The entry for a flag: that in the subcommand's table, else that at the top.
const ConfigEntry* EntryFor(const Config& config, const std::string& command, const Flag& flag) {
  const ConfigEntry* at_top = nullptr;
  for (const ConfigEntry& entry : config.entries) {
    if (entry.key != KeyOf(flag)) continue;
    if (entry.table == command) return &entry;
    if (entry.table.empty()) at_top = &entry;
  }
  return at_top;
}

}  // namespace

std::string Hint(const std::string& word, const std::vector<std::string>& known,
                 const std::string& otherwise) {
  const std::string near = Closest(word, known);
  return near.empty() ? absl::StrCat("; ", otherwise) : absl::StrCat("; did you mean ", near, "?");
}

std::optional<std::string> ApplyEntry(const ConfigEntry& entry, const std::string& file,
                                      Flags* flags) {
  const std::string origin = absl::StrCat(file, ", line ", entry.line);
  std::vector<std::string> keys;
  for (size_t i = 0; i < flags->declared().size(); ++i) {
    const Flag& flag = flags->declared()[i];
    keys.push_back(KeyOf(flag));
    if (KeyOf(flag) != entry.key) continue;
    if (flag.settled) return std::nullopt;
    const auto values = ValuesOf(flag, entry);
    absl::Status status = values.status();
    if (status.ok()) status = flags->Set(i, *values, origin);
    if (status.ok()) return std::nullopt;
    return absl::StrCat(origin, ": ", Described(flag), ": ", status.message());
  }
  return absl::StrCat(
      origin, ": unknown key '", entry.key, "'",
      Hint(entry.key, keys, absl::StrCat("it is one of ", absl::StrJoin(keys, ", "))));
}

std::string VariableOf(const std::string& command, const Flag& flag) {
  return absl::StrCat(Prefix(command), Variable(KeyOf(flag)));
}

std::string KeyOf(const Flag& flag) {
  if (flag.positional) return absl::AsciiStrToLower(flag.long_name);
  return flag.long_name.substr(2);
}

std::optional<std::string> ApplyEnvironment(const std::string& command,
                                            const char* const* environment, Flags* flags,
                                            std::vector<std::string>* warnings) {
  const Variables variables = OurVariables(environment);
  std::vector<std::string> known;
  for (size_t i = 0; i < flags->declared().size(); ++i) {
    const Flag& flag = flags->declared()[i];
    const std::string own = VariableOf(command, flag), shared = VariableOf("", flag);
    known.push_back(own);
    auto found = variables.find(own);
    if (found == variables.end()) found = variables.find(shared);
    if (found == variables.end() || flag.settled) continue;
    const auto values = ValuesOf(flag, found->second);
    absl::Status status = values.status();
    if (status.ok()) status = flags->Set(i, *values, found->first);
    if (!status.ok()) return absl::StrCat(found->first, ": ", status.message());
  }
  for (const auto& variable : variables) {
    const std::string& name = variable.first;
    const bool names_flag =
        std::any_of(flags->declared().begin(), flags->declared().end(), [&](const Flag& flag) {
          return name == VariableOf(command, flag) || name == VariableOf("", flag);
        });
    if (names_flag || !name.starts_with(Prefix(command))) continue;
    warnings->push_back(
        absl::StrCat(name, " names no flag and is ignored",
                     Hint(name, known, absl::StrCat("see ", kProgram, " ", command, " --help"))));
  }
  return std::nullopt;
}

std::optional<std::string> ApplyConfig(const std::string& path, const std::string& command,
                                       const std::vector<CommandFlags>& all, Flags* flags) {
  const auto config = ReadConfig(path);
  if (!config.ok()) return std::string(config.status().message());
  if (const auto mistake = CheckNames(*config, all)) {
    return absl::StrCat("config ", path, ", ", *mistake);
  }
  for (size_t i = 0; i < flags->declared().size(); ++i) {
    const Flag& flag = flags->declared()[i];
    const ConfigEntry* entry = EntryFor(*config, command, flag);
    if (entry == nullptr || flag.settled) continue;
    const std::string origin = absl::StrCat("config ", path, ", line ", entry->line);
    const auto values = ValuesOf(flag, *entry);
    absl::Status status = values.status();
    if (status.ok()) status = flags->Set(i, *values, origin);
    if (!status.ok()) return absl::StrCat(origin, ": ", Described(flag), ": ", status.message());
  }
  return std::nullopt;
}

std::vector<std::string> KnownVariables(const std::vector<CommandFlags>& all,
                                        const char* const* environment) {
  const Variables variables = OurVariables(environment);
  std::vector<std::string> known;
  for (const CommandFlags& command : all) {
    for (const Flag& flag : command.flags.declared()) {
      for (const std::string& name : {VariableOf(command.name, flag), VariableOf("", flag)}) {
        if (variables.contains(name)) known.push_back(name);
      }
    }
  }
  return known;
}

}  // namespace cli
