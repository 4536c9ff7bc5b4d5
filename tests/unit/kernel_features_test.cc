#include "io/kernel_features.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include <cstdio>
#include <filesystem>
#include <set>

#include "io/backends.h"

namespace io {
namespace {

// "6.12" as 6012.
int Number(const char* version) {
  int major = 0, minor = 0;
  EXPECT_EQ(std::sscanf(version, "%d.%d", &major, &minor), 2) << version;
  return major * 1000 + minor;
}

int KernelNumber() {
  utsname name = {};
  uname(&name);
  return Number(name.release);
}

size_t OpenDescriptors() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

// No feature is seen in a kernel that is too old for it. (A distribution may have brought one back,
// but not those that are newer than any kernel of a distribution.)
TEST(KernelFeatures, AreNotSeenBeforeTheirTime) {
  for (const auto& features : {ListUringFeatures(), ListEpollFeatures()}) {
    for (const KernelFeature& feature : features) {
      if (Number(feature.since.c_str()) > KernelNumber()) {
        EXPECT_FALSE(feature.available) << feature.name;
      }
    }
  }
}

TEST(KernelFeatures, HaveNamesOfTheirOwn) {
  for (const auto& features : {ListUringFeatures(), ListEpollFeatures()}) {
    std::set<std::string> names;
    for (const KernelFeature& feature : features) names.insert(feature.name);
    EXPECT_EQ(names.size(), features.size());
  }
}

// What the loop can't do without is there where it runs.
TEST(KernelFeatures, AgreeWithTheLoops) {
  if (!ProbeBackend("io_uring").ok()) GTEST_SKIP() << "io_uring is not available here";
  const std::set<std::string> needed = {"multishot accept", "multishot receive",
                                        "provided buffer ring"};
  std::set<std::string> seen;
  for (const KernelFeature& feature : ListUringFeatures()) {
    if (needed.contains(feature.name) && feature.available && feature.used)
      seen.insert(feature.name);
  }
  EXPECT_EQ(seen, needed);
  for (const KernelFeature& feature : ListEpollFeatures()) {
    if (feature.used) {
      EXPECT_TRUE(feature.available) << feature.name;
    }
  }
}

TEST(KernelFeatures, LeaveNoDescriptorBehind) {
  ListUringFeatures();  // asks some things once a process
  const size_t before = OpenDescriptors();
  ListUringFeatures();
  ListEpollFeatures();
  EXPECT_EQ(OpenDescriptors(), before);
}

// Nothing is available where nothing could be tried.
TEST(KernelFeatures, AreNoneWithoutADescriptor) {
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 3;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto uring = ListUringFeatures();
  const auto epoll = ListEpollFeatures();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(uring.empty());
  for (const KernelFeature& feature : epoll) EXPECT_FALSE(feature.available) << feature.name;
}

}  // namespace
}  // namespace io
