#pragma once

#include <string>
#include <vector>

#include "cli/flags.h"

// Subcommands that belong together: "stress", and in it "stress churn".
namespace cli {

// Whether it has only a name, and others are in it.
bool IsGroup(const Subcommand& subcommand);

// What is in a group, in order; with "" for `group`, what stands at the top, groups too.
std::vector<Subcommand> Below(const std::vector<Subcommand>& all, const std::string& group);

// The group of a name: "stress" of "stress churn"; "" where it stands at the top.
std::string GroupOf(const std::string& name);

// What is typed last of a name: "churn" of "stress churn".
std::string LastWord(const std::string& name);

}  // namespace cli
