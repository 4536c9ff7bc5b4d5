#include "cli/completion.h"

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "cli/common.h"
#include "cli/groups.h"
#include "cli/help.h"
#include "cli/outputs.h"
#include "cli/run.h"
#include "cli/subcommands.h"

namespace cli {
namespace {

constexpr char kCompletion[] = "completion";
constexpr char kSummary[] = "a script that completes our flags: bash, zsh, fish";

bool IsFile(const Flag& flag) { return flag.placeholder == "FILE" || flag.placeholder == "PATH"; }

std::vector<std::string> Names(const std::vector<Completed>& all) {
  std::vector<std::string> names;
  for (const Completed& command : all) {
    if (GroupOf(command.name).empty()) names.push_back(command.name);
  }
  return names;
}

// The names of what is in a group, as typed behind it; none for what is no group.
std::vector<std::string> NamesIn(const std::vector<Completed>& all, const std::string& group) {
  std::vector<std::string> names;
  for (const Completed& command : all) {
    if (GroupOf(command.name) == group) names.push_back(LastWord(command.name));
  }
  return names;
}

std::vector<std::string> Groups(const std::vector<Completed>& all) {
  std::vector<std::string> groups;
  for (const std::string& name : Names(all)) {
    if (!NamesIn(all, name).empty()) groups.push_back(name);
  }
  return groups;
}

// "-c" and "--connections", or only the latter.
std::vector<std::string> NamesOf(const Flag& flag) {
  std::vector<std::string> names;
  if (!flag.short_name.empty()) names.push_back(flag.short_name);
  names.push_back(flag.long_name);
  return names;
}

// In single quotes, as each of these shells reads it.
std::string Quoted(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

// The choices of a command's positionals.
std::vector<std::string> PositionalChoices(const Completed& command) {
  std::vector<std::string> choices;
  for (const Flag& flag : command.flags.declared()) {
    if (flag.positional) choices.insert(choices.end(), flag.choices.begin(), flag.choices.end());
  }
  return choices;
}

bool TakesFiles(const Completed& command) {
  const auto& flags = command.flags.declared();
  return std::any_of(flags.begin(), flags.end(),
                     [](const Flag& flag) { return flag.positional && IsFile(flag); });
}

// ---- bash ---------------------------------------------------------------------------------------

// The branches of a `case "$command $previous"` that know what follows a flag.
std::string BashValues(const Completed& command) {
  std::string out;
  for (const Flag& flag : command.flags.declared()) {
    if (flag.positional || flag.IsSwitch()) continue;
    std::vector<std::string> patterns;
    for (const std::string& name : NamesOf(flag)) {
      patterns.push_back(absl::StrCat("'", command.name, " ", name, "'"));
    }
    const std::string what = !flag.choices.empty()
                                 ? absl::StrCat("words=", Quoted(absl::StrJoin(flag.choices, " ")))
                             : IsFile(flag) ? "files=1"
                                            : ":";
    absl::StrAppend(&out, "    ", absl::StrJoin(patterns, " | "), ") ", what, " ;;\n");
  }
  return out;
}

// The branch of a `case "$command"` for what stands by itself.
std::string BashWords(const Completed& command) {
  std::vector<std::string> flags, positionals = PositionalChoices(command);
  for (const Flag& flag : command.flags.declared()) {
    if (!flag.positional) flags.push_back(flag.long_name);
  }
  flags.emplace_back("--help");
  return absl::StrCat("        ", Quoted(command.name),
                      ") flags=", Quoted(absl::StrJoin(flags, " ")),
                      " positionals=", Quoted(absl::StrJoin(positionals, " ")),
                      TakesFiles(command) ? " paths=1" : "", " ;;\n");
}

// ---- zsh ----------------------------------------------------------------------------------------

// What _arguments does for a value: ":N:", with what completes it.
std::string ZshValue(const Flag& flag) {
  std::string action = " ";
  if (IsFile(flag)) action = "_files";
  if (!flag.choices.empty()) action = absl::StrCat("(", absl::StrJoin(flag.choices, " "), ")");
  return absl::StrCat(":", absl::StrReplaceAll(flag.placeholder, {{":", "\\:"}}), ":", action);
}

std::string ZshHelp(const Flag& flag) {
  return absl::StrReplaceAll(flag.help, {{"\\", "\\\\"}, {"[", "\\["}, {"]", "\\]"}});
}

// One flag, as an argument of _arguments: '(-c --connections)'{-c+,--connections=}'[help]:N: '.
std::string ZshSpec(const Flag& flag) {
  if (flag.positional) return Quoted(absl::StrCat(flag.repeated ? "*" : "", ZshValue(flag)));
  const std::string value = flag.IsSwitch() ? "" : ZshValue(flag);
  const std::string text = Quoted(absl::StrCat("[", ZshHelp(flag), "]", value));
  const std::string long_name = flag.long_name + (flag.IsSwitch() ? "" : "=");
  const std::string before =
      flag.repeated ? "*" : absl::StrCat("(", absl::StrJoin(NamesOf(flag), " "), ")");
  if (flag.short_name.empty()) return absl::StrCat(Quoted(before), long_name, text);
  return absl::StrCat(Quoted(before), "{", flag.short_name, flag.IsSwitch() ? "" : "+", ",",
                      long_name, "}", text);
}

// ---- fish ---------------------------------------------------------------------------------------

// Whether this command is typed, and of a group nothing that is in it.
std::string FishTyped(const std::vector<Completed>& all, const std::string& command) {
  const std::string seen = "__fish_seen_subcommand_from ";
  const std::string group = GroupOf(command);
  if (!group.empty()) return absl::StrCat(seen, group, "; and ", seen, LastWord(command));
  const std::vector<std::string> in_it = NamesIn(all, command);
  if (in_it.empty()) return absl::StrCat(seen, command);
  return absl::StrCat(seen, command, "; and not ", seen, absl::StrJoin(in_it, " "));
}

std::string FishFlag(const std::string& typed, const Flag& flag) {
  std::string out = absl::StrCat("complete -c ", kProgram, " -n '", typed, "'");
  if (!flag.positional) {
    if (!flag.short_name.empty()) absl::StrAppend(&out, " -s ", flag.short_name.substr(1));
    absl::StrAppend(&out, " -l ", flag.long_name.substr(2));
    if (!flag.IsSwitch()) out += IsFile(flag) ? " -r -F" : " -x";
  }
  if (flag.positional && IsFile(flag)) out += " -F";
  if (!flag.choices.empty()) {
    absl::StrAppend(&out, " -a ", Quoted(absl::StrJoin(flag.choices, " ")));
  }
  return absl::StrCat(out, " -d ", Quoted(flag.help), "\n");
}

// What is in a group is its first word.
void DeclareGroup(const std::vector<Subcommand>& commands, Completed* group, std::string* unused) {
  std::vector<std::string> names;
  for (const Subcommand& command : Below(commands, group->name)) {
    names.push_back(LastWord(command.name));
  }
  group->flags.Positional("COMMAND", unused, "the command", names);
}

int Run(const std::vector<Subcommand>& commands, const std::string& shell) {
  if (shell.empty()) {
    return Fail(kCompletion, "which shell? write bash, zsh or fish", kExitUsage);
  }
  std::vector<Completed> all;
  std::string unused;
  for (const Subcommand& command : commands) {
    all.push_back({command.name, command.summary, {}});
    if (IsGroup(command)) {
      DeclareGroup(commands, &all.back(), &unused);
      continue;
    }
    command.declare(all.back().flags);
    DeclareCommon(all.back().flags, &unused);
  }
  all.push_back({"help", "show the flags of a command", {}});
  std::string command_name;
  std::vector<std::string> names;
  for (const Subcommand& command : Below(commands, "")) names.push_back(command.name);
  all.back().flags.Positional("COMMAND", &command_name, "the command", names);
  Print(kCompletion, shell == "bash"  ? BashCompletion(all)
                     : shell == "zsh" ? ZshCompletion(all)
                                      : FishCompletion(all));
  return kExitOk;
}

}  // namespace

std::string BashCompletion(const std::vector<Completed>& all) {
  std::string values, words;
  for (const Completed& command : all) {
    values += BashValues(command);
    words += BashWords(command);
  }
  // Bash takes "--size=16" apart at "=" (COMP_WORDBREAKS): the flag is then two words back.
  return absl::StrReplaceAll(R"(# bash completion for @program@
_@program@() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local command=${COMP_WORDS[1]} words='' files='' flags='' positionals='' paths=''
  [[ $COMP_CWORD -gt 2 && ' @groups@ ' == *" $command "* ]] && command+=" ${COMP_WORDS[2]}"
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    mapfile -t COMPREPLY < <(compgen -W '@commands@ --help --version' -- "$current")
    return
  fi
  if [[ $current == '=' ]]; then
    current=''
  elif [[ $previous == '=' ]]; then
    previous=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  case "$command $previous" in
@values@    *)
      case "$command" in
@words@      esac
      words=$positionals files=$paths
      [[ $current == -* ]] && words=$flags files=''
      ;;
  esac
  if [[ -n $files ]]; then
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
  elif [[ -n $words ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  fi
}
complete -F _@program@ @program@
)",
                             {{"@program@", kProgram},
                              {"@commands@", absl::StrJoin(Names(all), " ")},
                              {"@groups@", absl::StrJoin(Groups(all), " ")},
                              {"@values@", values},
                              {"@words@", words}});
}

std::string ZshCompletion(const std::vector<Completed>& all) {
  std::string commands, branches;
  for (const Completed& command : all) {
    const std::string summary = absl::StrReplaceAll(command.summary, {{":", "\\:"}});
    if (GroupOf(command.name).empty()) {
      absl::StrAppend(&commands, "    ", Quoted(absl::StrCat(command.name, ":", summary)), "\n");
    }
    absl::StrAppend(&branches, "    ", Quoted(command.name), ")\n      _arguments -s");
    for (const Flag& flag : command.flags.declared()) {
      absl::StrAppend(&branches, " \\\n        ", ZshSpec(flag));
    }
    branches += " \\\n        '(-h --help)'{-h,--help}'[show this help]'\n      ;;\n";
  }
  return absl::StrReplaceAll(
      R"(#compdef @program@
_@program@() {
  local -a commands=(
@commands@  )
  if ((CURRENT == 2)); then
    _describe -t commands command commands
    compadd -- --help --version
    return
  fi
  # What follows is about the subcommand and its own words.
  shift words
  ((CURRENT--))
  if [[ ' @groups@ ' == *" $words[1] "* ]] && ((CURRENT > 2)); then
    words[1,2]=("$words[1] $words[2]")
    ((CURRENT--))
  fi
  case $words[1] in
@branches@  esac
}
if [[ $funcstack[1] == _@program@ ]]; then
  _@program@ "$@"
else
  compdef _@program@ @program@
fi
)",
      {{"@program@", kProgram},
       {"@commands@", commands},
       {"@groups@", absl::StrJoin(Groups(all), " ")},
       {"@branches@", branches}});
}

std::string FishCompletion(const std::vector<Completed>& all) {
  std::string out =
      absl::StrCat("# fish completion for ", kProgram, "\ncomplete -c ", kProgram,
                   " -f\ncomplete -c ", kProgram, " -s h -l help -d 'show this help'\n");
  const std::string first = absl::StrCat("complete -c ", kProgram, " -n __fish_use_subcommand ");
  absl::StrAppend(&out, first, "-l version -d 'show the version'\n");
  for (const Completed& command : all) {
    if (!GroupOf(command.name).empty()) continue;
    absl::StrAppend(&out, first, "-a ", command.name, " -d ", Quoted(command.summary), "\n");
  }
  for (const Completed& command : all) {
    for (const Flag& flag : command.flags.declared()) {
      const bool any_text = flag.positional && flag.choices.empty() && !IsFile(flag);
      if (!any_text) out += FishFlag(FishTyped(all, command.name), flag);
    }
  }
  return out;
}

Subcommand CompletionCommand(std::vector<Subcommand> others) {
  auto shell = std::make_shared<std::string>();
  Subcommand command = {
      .name = kCompletion, .summary = kSummary, .declare = [shell](Flags& flags) {
        flags.Positional("SHELL", shell.get(), "the shell that it is for", {"bash", "zsh", "fish"})
            .Example("source <(ringside completion bash)", "in this shell")
            .Example("ringside completion zsh >~/.zfunc/_ringside", "in a folder of $fpath")
            .Example("ringside completion fish >~/.config/fish/completions/ringside.fish", "");
      }};
  others.push_back(command);
  // `declare` is run a second time below, beside the flags of the others.
  command.run = [others = std::move(others), shell] {
    const std::string chosen = *shell;
    return Run(others, chosen);
  };
  return command;
}

}  // namespace cli
