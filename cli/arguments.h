#pragma once

#include <string>
#include <vector>

#include "cli/flags.h"

// What a result says of the run that made it.
namespace cli {

// What was typed behind the program's name, and what came from elsewhere as if it had been.
std::vector<std::string> Arguments(const Flags& flags);

// The time now, in UTC, as strftime(3) formats it: at most 31 characters.
std::string UtcTime(const char* format);

}  // namespace cli
