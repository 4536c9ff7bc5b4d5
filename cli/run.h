#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/flags.h"

namespace cli {

// Adds what every subcommand takes (--config) behind its own flags. `config` is as a value of
// Flags.
void DeclareCommon(Flags& flags, std::string* config);

// Does what the command line asks: runs one subcommand, or prints help or the version to stdout
// (exit code 0), or one sentence about a usage error to stderr (kExitUsage).
//
// A flag's value is the command line's, else the environment's, else the configuration file's
// (cli/settings.h), else its default. A repeated flag takes all its values from one of them. While
// a subcommand runs, the variables that name flags are no longer in the environment: what it starts
// does what it is told, and is not told twice.
//
// Below the version stands what `version_details` returns, in whole lines.
int RunSubcommands(const std::vector<Subcommand>& all, const std::string& description,
                   const std::string& version, int argc, char** argv,
                   const std::function<std::string()>& version_details = nullptr);

}  // namespace cli
