#include "cli/run.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/groups.h"
#include "cli/help.h"
#include "cli/outputs.h"
#include "cli/settings.h"
#include "cli/subcommands.h"
#include "cli/suggest.h"

namespace cli {
namespace {

// "ringside load: <sentence>".
void Complain(const std::string& command, const std::string& sentence) {
  const std::string line =
      absl::StrCat(kProgram, command.empty() ? "" : " ", command, ": ", sentence, "\n");
  std::fputs(line.c_str(), stderr);
}

int UsageError(const std::string& command, const std::string& sentence) {
  Complain(command, sentence);
  return kExitUsage;
}

int Show(const std::string& text) {
  Print("", text);
  return kExitOk;
}

// A word that should be a command, of a group or ("") of the program.
int UnknownWord(const std::vector<Subcommand>& all, const std::string& group,
                const std::string& word) {
  const bool flag = word.starts_with("-");
  std::vector<std::string> known;
  for (const Subcommand& subcommand : Below(all, group)) {
    known.push_back(LastWord(subcommand.name));
  }
  if (flag) known = {"--help"};
  if (flag && group.empty()) known.emplace_back("--version");
  const std::string near = Closest(word, known);
  const std::string quote = flag ? "" : "'";
  const std::string help =
      absl::StrCat("; see ", kProgram, group.empty() ? "" : " ", group, " --help");
  return UsageError(
      group,
      absl::StrCat("unknown ", flag ? "flag " : "command ", quote, word, quote,
                   near.empty() ? help : absl::StrCat("; did you mean ", quote, near, quote, "?")));
}

const Subcommand* Find(const std::vector<Subcommand>& all, const std::string& name) {
  const auto named =
      std::find_if(all.begin(), all.end(), [&](const Subcommand& s) { return s.name == name; });
  return named == all.end() ? nullptr : &*named;
}

// Gives the flags that the command line left out what environment and file have for them, and
// takes our variables out of the environment.
std::optional<std::string> ApplySettings(const std::vector<Subcommand>& all,
                                         const std::string& command, const std::string& config,
                                         Flags* flags) {
  // For their names only: the subcommands that don't run keep their defaults.
  std::vector<CommandFlags> declared;
  std::string unused;
  for (const Subcommand& subcommand : all) {
    if (IsGroup(subcommand)) continue;
    declared.push_back({subcommand.name, subcommand.name == command ? *flags : Flags()});
    if (subcommand.name == command) continue;
    subcommand.declare(declared.back().flags);
    DeclareCommon(declared.back().flags, &unused);
  }
  std::vector<std::string> warnings;
  auto mistake = ApplyEnvironment(command, environ, flags, &warnings);
  for (const std::string& name : KnownVariables(declared, environ)) unsetenv(name.c_str());
  if (mistake) return mistake;
  for (const std::string& warning : warnings) Complain(command, warning);
  if (config.empty()) return std::nullopt;
  return ApplyConfig(config, command, declared, flags);
}

// A usage error that `run` found may be about a flag that nobody typed: says which weren't.
void NameOrigins(const std::string& command, const Flags& flags) {
  std::vector<std::string> origins;
  for (const Flag& flag : flags.declared()) {
    if (!flag.given || flag.origin.empty()) continue;
    origins.push_back(absl::StrCat(flag.long_name, " (", flag.origin, ")"));
  }
  if (!origins.empty()) {
    Complain(command, absl::StrCat("not from the command line: ", absl::StrJoin(origins, ", ")));
  }
}

int Run(const std::vector<Subcommand>& all, const Subcommand& subcommand,
        const std::vector<std::string>& args) {
  Flags flags;
  std::string config;
  subcommand.declare(flags);
  DeclareCommon(flags, &config);
  bool help_wanted = false;
  auto mistake = flags.Parse(subcommand.name, args, &help_wanted);
  if (!mistake && help_wanted) return Show(SubcommandHelp(subcommand, flags));
  if (!mistake) mistake = ApplySettings(all, subcommand.name, config, &flags);
  if (mistake) return UsageError(subcommand.name, *mistake);
  const int exit_code = subcommand.run();
  if (exit_code == kExitUsage) NameOrigins(subcommand.name, flags);
  return exit_code;
}

bool AsksHelp(const std::string& word) {
  return word == "help" || word == "--help" || word == "-h";
}

// What stands behind the name of a group.
int RunInGroup(const std::vector<Subcommand>& all, const Subcommand& group,
               std::vector<std::string> args) {
  if (args.empty()) {
    Show(GroupHelp(all, group));
    return kExitUsage;
  }
  const bool asks_help = AsksHelp(args[0]);
  if (asks_help && args.size() == 1) return Show(GroupHelp(all, group));
  if (asks_help) args = {args[1], "--help"};
  const Subcommand* named = Find(all, absl::StrCat(group.name, " ", args[0]));
  if (named == nullptr) return UnknownWord(all, group.name, args[0]);
  return Run(all, *named, {args.begin() + 1, args.end()});
}

// --version, with or without --json [FILE].
int ShowVersion(const VersionTexts& version, const std::vector<std::string>& args) {
  if (args.empty()) {
    return Show(absl::StrCat(kProgram, " ", version.text, "\n", version.details ? "\n" : "",
                             version.details ? version.details() : ""));
  }
  const bool joined = args[0].starts_with("--json=");
  if ((args[0] != "--json" && !joined) || args.size() > (joined ? 1 : 2) || !version.json) {
    return UsageError("",
                      absl::StrCat("--version takes --json [FILE], and not '",
                                   args[args[0] == "--json" || joined ? args.size() - 1 : 0], "'"));
  }
  const std::string path = joined             ? args[0].substr(args[0].find('=') + 1)
                           : args.size() == 2 ? args[1]
                                              : "-";
  report::OutputFile file;
  const absl::Status opened = OpenOutputs("--version", {{"--json", path, &file}});
  if (!opened.ok()) return OutputsFailed("--version", opened);
  const absl::Status written = file.Write(version.json());
  return written.ok() ? kExitOk : OutputsFailed("--version", written);
}

int Dispatch(const std::vector<Subcommand>& all, const std::string& description,
             const VersionTexts& version, std::vector<std::string> args) {
  if (args.empty()) {
    Show(ProgramHelp(all, description, version.text));
    return kExitUsage;
  }
  if (args[0] == "--version") return ShowVersion(version, {args.begin() + 1, args.end()});
  const bool asks_help = AsksHelp(args[0]);
  if (asks_help && args.size() == 1) return Show(ProgramHelp(all, description, version.text));
  if (asks_help) {  // "help stress churn": behind a group's name stands another
    args.erase(args.begin());
    const Subcommand* named = Find(all, args[0]);
    const bool group = named != nullptr && IsGroup(*named);
    args.resize(std::min<size_t>(args.size(), group ? 2 : 1));
    args.emplace_back("--help");
  }

  const Subcommand* named = Find(all, args[0]);
  if (named == nullptr) return UnknownWord(all, "", args[0]);
  if (IsGroup(*named)) return RunInGroup(all, *named, {args.begin() + 1, args.end()});
  return Run(all, *named, {args.begin() + 1, args.end()});
}

}  // namespace

void DeclareCommon(Flags& flags, std::string* config) {
  flags.Group("Other").Text("--config FILE", config,
                            "a TOML file with more flags (the command line and the environment "
                            "win): size = \"16KiB\", for load alone under [load]");
}

int RunSubcommands(const std::vector<Subcommand>& all, const std::string& description,
                   const VersionTexts& version, int argc, char** argv) {
  return AfterPrinting(Dispatch(all, description, version,
                                std::vector<std::string>(argv + std::min(argc, 1), argv + argc)));
}

}  // namespace cli
