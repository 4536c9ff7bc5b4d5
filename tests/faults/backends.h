#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include "io/epoll_loop.h"
#include "io/uring_loop.h"
#include "tests/faults/faulty_kernel.h"
#include "tests/tier.h"

namespace faults {

// The loops under test, over a kernel that misbehaves.
struct Epoll {
  template <class H>
  using Loop = io::EpollLoop<H, FaultyKernel>;
};
struct Uring {
  template <class H>
  using Loop = io::UringLoop<H, FaultyKernel>;
};

struct Nobody;  // a handler, for what a loop tells without one

struct BackendNames {
  template <class Backend>
  static std::string GetName(int) {
    return std::string(Backend::template Loop<Nobody>::kName);
  }
};

// A test of each backend; skipped where the backend isn't available.
template <class Backend>
class BackendTest : public testing::Test {
 protected:
  void SetUp() override {
    const absl::Status available = Backend::template Loop<Nobody>::Probe();
    if (!available.ok()) GTEST_SKIP() << std::string(available.message());
  }
};

using Backends = testing::Types<Epoll, Uring>;

// 1 to `count`, or the one that RINGSIDE_FAULT_SEED names. At each change, the first tenth of them.
inline std::vector<uint64_t> Seeds(uint64_t count) {
  if (const char* given = std::getenv("RINGSIDE_FAULT_SEED")) {
    return {std::strtoull(given, nullptr, 10)};
  }
  std::vector<uint64_t> seeds;
  const auto last = static_cast<uint64_t>(tier::Tenth(static_cast<int>(count)));
  for (uint64_t seed = 1; seed <= last; ++seed) seeds.push_back(seed);
  return seeds;
}

// The descriptors that this process has open.
inline size_t OpenDescriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return std::distance(begin(all), end(all));
}

}  // namespace faults
