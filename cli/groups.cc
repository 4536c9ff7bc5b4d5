#include "cli/groups.h"

#include <algorithm>
#include <iterator>

namespace cli {

bool IsGroup(const Subcommand& subcommand) { return !subcommand.declare; }

std::vector<Subcommand> Below(const std::vector<Subcommand>& all, const std::string& group) {
  std::vector<Subcommand> below;
  std::copy_if(all.begin(), all.end(), std::back_inserter(below),
               [&](const Subcommand& subcommand) { return GroupOf(subcommand.name) == group; });
  return below;
}

std::string GroupOf(const std::string& name) {
  const size_t space = name.find(' ');
  return space == std::string::npos ? "" : name.substr(0, space);
}

std::string LastWord(const std::string& name) { return name.substr(name.find(' ') + 1); }

}  // namespace cli
