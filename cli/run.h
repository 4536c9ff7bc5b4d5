#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "cli/flags.h"

namespace cli {

// What --version says.
struct VersionTexts {
  VersionTexts(const char* one_line) : text(one_line) {}  // NOLINT: nothing else
  VersionTexts(std::string one_line, std::function<std::string()> more_lines,
               std::function<std::string()> as_json)
      : text(std::move(one_line)), details(std::move(more_lines)), json(std::move(as_json)) {}

  std::string text;                      // "0.1.0 (1a2b3c4d5e6f)"
  std::function<std::string()> details;  // what stands below it, in whole lines
  std::function<std::string()> json;     // of --version --json
};

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
// Where standard output could not be written to, that is told, and what went well is kExitFailed.
int RunSubcommands(const std::vector<Subcommand>& all, const std::string& description,
                   const VersionTexts& version, int argc, char** argv);

}  // namespace cli
