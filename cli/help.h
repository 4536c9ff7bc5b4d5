#pragma once

#include <string>
#include <vector>

#include "cli/flags.h"

namespace cli {

// The program's name, as help and errors spell it.
inline constexpr char kProgram[] = "ringside";

// `ringside --help`: what there is to run.
std::string ProgramHelp(const std::vector<Subcommand>& all, const std::string& description,
                        const std::string& version);

// `ringside GROUP --help`: what the group has to run.
std::string GroupHelp(const std::vector<Subcommand>& all, const Subcommand& group);

// `ringside NAME --help`: usage, the flags by group, the units their values take, examples. No
// line that we compose is wider than 96 columns.
std::string SubcommandHelp(const Subcommand& subcommand, const Flags& flags);

}  // namespace cli
