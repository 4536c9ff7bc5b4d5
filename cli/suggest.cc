#include "cli/suggest.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/ascii.h"

namespace cli {
namespace {

constexpr size_t kPrefixMin = 3;  // fewer letters begin too many words to be a hint

// The edit distance in which swapping two neighbours counts once. Words are short: a whole table.
size_t Distance(const std::string& a, const std::string& b) {
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) cost[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) cost[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
      }
    }
  }
  return cost[a.size()][b.size()];
}

}  // namespace

std::string Closest(const std::string& word, const std::vector<std::string>& candidates) {
  const std::string typed = absl::AsciiStrToLower(word);
  const size_t near = std::max<size_t>(1, typed.size() / 3);
  std::string best;
  size_t best_distance = near + 1;
  std::string begun;
  size_t begun_count = 0;
  for (const std::string& candidate : candidates) {
    const std::string lower = absl::AsciiStrToLower(candidate);
    const size_t distance = Distance(typed, lower);
    // A word of which nothing would be left is not near: "x" is not a misspelt "y".
    if (distance < best_distance && distance < std::max<size_t>(1, typed.size())) {
      best = candidate;
      best_distance = distance;
    }
    if (typed.size() >= kPrefixMin && lower.starts_with(typed)) {
      begun = candidate;
      ++begun_count;
    }
  }
  if (best.empty() && begun_count == 1) return begun;
  return best;
}

}  // namespace cli
