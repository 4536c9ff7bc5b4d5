#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

// The two tiers of tests (docs/TESTING.md): what each change is tried with, and, with
// RINGSIDE_TESTS=all in the environment, everything.
namespace tier {

inline bool All() {
  const char* named = std::getenv("RINGSIDE_TESTS");
  return named != nullptr && std::string_view(named) == "all";
}

// How often something is done, of `count` times: a tenth of it at each change.
inline int Tenth(int count) { return All() ? count : std::max(1, count / 10); }

}  // namespace tier

// The rest of this test takes longer than each change can wait for. Its name stays in the log.
#define LEFT_TO_ALL() \
  if (!tier::All()) GTEST_SKIP() << "left to ./dev test all"
