#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "services/splitmix.h"

namespace services {

// How long a reply waits: a time, or a distribution of times, never negative. REQUIRES: a and b
// are 0 to kMax, and a <= b for kUniform.
struct Delay {
  enum Kind {
    kFixed,        // a
    kUniform,      // from a to b, both included
    kExponential,  // mean a
    kNormal,       // mean a and standard deviation b, of which only what isn't negative occurs
  };
  static constexpr std::chrono::nanoseconds kMax = std::chrono::hours(1);

  Kind kind = kFixed;
  std::chrono::nanoseconds a = std::chrono::milliseconds(1), b{0};

  bool operator==(const Delay&) const = default;

  // The delay that belongs to a random number of 64 bits. Any thread.
  std::chrono::nanoseconds Sample(uint64_t random) const {
    switch (kind) {
      case kFixed:
        return a;
      case kUniform: {
        const auto times = static_cast<uint64_t>((b - a).count()) + 1;
        const auto scaled = static_cast<unsigned __int128>(random) * times;
        return a + std::chrono::nanoseconds(static_cast<int64_t>(scaled >> 64));
      }
      case kExponential:
        return Nanos(-std::log(Fraction(random)) * static_cast<double>(a.count()));
      case kNormal:
        while (true) {  // at least every other normal number is above a mean that isn't negative
          const double time = static_cast<double>(a.count()) +
                              Normal(random, SplitMix64(random)) * static_cast<double>(b.count());
          if (time >= 0) return Nanos(time);
          random = SplitMix64(random + 1);
        }
    }
    return a;
  }

  // No sample is below this.
  std::chrono::nanoseconds Least() const {
    return kind == kFixed || kind == kUniform ? a : std::chrono::nanoseconds::zero();
  }

 private:
  static std::chrono::nanoseconds Nanos(double ns) {
    return std::chrono::nanoseconds(static_cast<int64_t>(ns));
  }
  // Above 0, so that it has a logarithm, to 1.
  static double Fraction(uint64_t random) {
    return static_cast<double>((random >> 11) + 1) * 0x1p-53;
  }
  // Box and Muller: A note on the generation of random normal deviates, 1958.
  static double Normal(uint64_t random, uint64_t another) {
    return std::sqrt(-2 * std::log(Fraction(random))) *
           std::cos(2 * std::numbers::pi * Fraction(another));
  }
};

}  // namespace services
