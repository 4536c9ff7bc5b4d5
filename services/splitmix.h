#pragma once

#include <cstdint>

namespace services {

// The random number that belongs to `n`: splitmix64's step and finaliser (Steele, Lea, Flood: Fast
// splittable pseudorandom number generators). A bijection; any sequence of numbers gives a good
// one.
inline uint64_t SplitMix64(uint64_t n) {
  n += 0x9e3779b97f4a7c15;
  n = (n ^ (n >> 30)) * 0xbf58476d1ce4e5b9;
  n = (n ^ (n >> 27)) * 0x94d049bb133111eb;
  return n ^ (n >> 31);
}

}  // namespace services
