#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "services/splitmix.h"

namespace services {

// Proves that a set of numbers is gap-free and each in it came once, in constant memory: the sum of
// a 64-bit hash of each number is compared with the same sum over the whole range from lowest to
// highest. A lost or doubled number escapes only if sums of hashes collide (about 2^-64).
struct NumberTally {
  uint64_t count = 0;
  uint64_t lowest = ~0ull, highest = 0;
  uint64_t hash_sum = 0;
  uint64_t lost = 0;       // requests whose reply may have been lost, with its number
  uint64_t malformed = 0;  // replies that were no number, or not above the connection's last

  void Add(uint64_t n) {
    ++count;
    lowest = std::min(lowest, n);
    highest = std::max(highest, n);
    hash_sum += SplitMix64(n);
  }

  void Merge(const NumberTally& other) {
    count += other.count;
    lowest = std::min(lowest, other.lowest);
    highest = std::max(highest, other.highest);
    hash_sum += other.hash_sum;
    lost += other.lost;
    malformed += other.malformed;
  }

  // One sentence on what is wrong with the numbers; "" where nothing is.
  std::string Problem() const {
    if (malformed > 0) {
      return std::to_string(malformed) + " replies were no number above the connection's last one";
    }
    if (count == 0) return "";
    const std::string range = std::to_string(lowest) + ".." + std::to_string(highest);
    const uint64_t span = highest - lowest + 1;
    if (count < span && span - count <= lost) return "";
    if (count < span) {
      return std::to_string(span - count) + " numbers of " + range +
             " did not arrive: they were lost, or another client took them";
    }
    if (count > span) {
      return std::to_string(count - span) + " numbers of " + range + " arrived more than once";
    }
    uint64_t sum = 0;
    for (uint64_t n = lowest; n != highest + 1; ++n) sum += SplitMix64(n);
    if (sum != hash_sum) return "numbers of " + range + " were lost and others arrived twice";
    return "";
  }
};

}  // namespace services
