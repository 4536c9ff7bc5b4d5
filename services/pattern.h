#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "io/bytes.h"

namespace services {

// An endless stream of pseudo-random bytes with a prime period, of which each connection sends its
// own part: byte i of connection c is stream[(phase(c) + i) mod kPeriod]. So a byte that is lost,
// doubled, out of order or another connection's does not match what is expected at its place.
// Immutable after construction; shared by all threads.
class Pattern {
 public:
  static constexpr size_t kPeriod = 65521;      // the largest prime below 2^16
  static constexpr size_t kSliceMax = 1 << 20;  // the longest slice that Slice() gives

  Pattern() : bytes_(kPeriod + kSliceMax) {
    uint64_t state = 0x9e3779b97f4a7c15;
    for (size_t i = 0; i < kPeriod; ++i) {
      state ^= state << 13;  // xorshift64 (Marsaglia, 2003)
      state ^= state >> 7;
      state ^= state << 17;
      bytes_[i] = static_cast<std::byte>(state >> 32);
    }
    for (size_t i = kPeriod; i < bytes_.size(); ++i) bytes_[i] = bytes_[i - kPeriod];
  }

  static const Pattern& Get() {
    static const Pattern pattern;
    return pattern;
  }

  // Where connection number `connection` starts: all different below kPeriod connections.
  static uint32_t Phase(uint64_t connection) { return connection * 40503 % kPeriod; }
  static uint32_t Advance(uint32_t at, size_t bytes) { return (at + bytes) % kPeriod; }

  // The stream's bytes from `at` on. REQUIRES: at < kPeriod, bytes <= kSliceMax.
  io::Bytes Slice(uint32_t at, size_t bytes) const { return {bytes_.data() + at, bytes}; }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace services
