#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "probe/ports.h"

namespace probe::ports_tests {
namespace {

using Ports = std::vector<uint16_t>;

Ports Parsed(const std::string& text) {
  const auto ports = ParsePorts(text);
  EXPECT_TRUE(ports.ok()) << ports.status();
  return ports.ok() ? *ports : Ports();
}

TEST(Ports, AreNumbersAndRangesInAnyOrder) {
  EXPECT_EQ(Parsed("22"), Ports({22}));
  EXPECT_EQ(Parsed("9999,1-3"), Ports({1, 2, 3, 9999}));
  EXPECT_EQ(Parsed("65535,1"), Ports({1, 65535}));
  EXPECT_EQ(Parsed("5-5"), Ports({5}));
}

TEST(Ports, AreTakenOnceEach) { EXPECT_EQ(Parsed("3,1-4,2,4"), Ports({1, 2, 3, 4})); }

TEST(Ports, AreAllOfThem) {
  EXPECT_EQ(Parsed("1-65535").size(), 65535u);
  EXPECT_EQ(Parsed("1-65535"), PortRange(1, 65535));
}

TEST(Ports, HaveNamesWhereTheSystemKnowsThem) {
  if (ServiceName(22).empty()) GTEST_SKIP() << "/etc/services is not there";
  EXPECT_EQ(ServiceName(22), "ssh");
  EXPECT_EQ(Parsed("ssh,http"), Ports({22, 80}));
  EXPECT_EQ(Parsed("http-alt"), Ports({8080})) << "a dash is no range's";
}

TEST(Ports, WithoutANameHaveNone) { EXPECT_EQ(ServiceName(65535), ""); }

struct Bad {
  const char* text;
  const char* says;
};

TEST(Ports, ThatAreNoneAreRefused) {
  const Bad kBad[] = {{"", "'' is no port"},
                      {"22,", "'' is no port"},
                      {"22,,80", "'' is no port"},
                      {"0", "'0' is no port"},
                      {"70000", "'70000' is no port"},
                      {"99999999999999999999", "from 1 to 65535"},
                      {"0-5", "has port 0"},
                      {"1-65536", "has port 65536"},
                      {"9-1", "runs backwards; write 1-9"},
                      {"9-", "two ends"},
                      {"-9", "two ends"},
                      {"-", "two ends"},
                      {"1-2-3", "two ends"},
                      {"no-such-service", "is no TCP service"},
                      {" 22", "is no TCP service"},
                      {"+22", "is no TCP service"},
                      {"22 ", "is no TCP service"}};
  for (const Bad& bad : kBad) {
    const auto ports = ParsePorts(bad.text);
    ASSERT_FALSE(ports.ok()) << bad.text;
    EXPECT_EQ(ports.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(std::string(ports.status().message()).find(bad.says), std::string::npos)
        << ports.status();
  }
}

}  // namespace
}  // namespace probe::ports_tests
