#pragma once

#include <string>
#include <vector>

#include "cli/flags.h"

namespace cli {

// One subcommand as a shell completes it.
struct Completed {
  std::string name;
  std::string summary;
  Flags flags;
};

// A script that completes subcommands, flags, the choices of a flag, and files where a value is a
// FILE or a PATH. It knows all of that when it is made: nothing is run while somebody types.
// For bash from 4.4 (source it, or put it into bash-completion's folder as "ringside"); zsh from 5
// (source it behind compinit, or put it into $fpath as "_ringside"); fish from 3.
std::string BashCompletion(const std::vector<Completed>& all);
std::string ZshCompletion(const std::vector<Completed>& all);
std::string FishCompletion(const std::vector<Completed>& all);

// `ringside completion SHELL`, which completes `others`, itself and help.
Subcommand CompletionCommand(std::vector<Subcommand> others);

}  // namespace cli
