#pragma once

#include <string>
#include <vector>

namespace cli {

// The candidate that `word` was probably meant to be, or "" when none is near.
//
// Near is: at most a third of the word's letters inserted, deleted, replaced or swapped with their
// neighbour (the optimal string alignment distance, case ignored), or else `word` is the beginning
// of that one candidate only. Of equally near ones, the first.
std::string Closest(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace cli
