#include "cli/target_guard.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

namespace cli {
namespace {

std::vector<uint8_t> Bytes(const std::string& text) {
  std::vector<uint8_t> bytes(text.find(':') == std::string::npos ? 4 : 16);
  EXPECT_EQ(inet_pton(bytes.size() == 4 ? AF_INET : AF_INET6, text.c_str(), bytes.data()), 1)
      << text;
  return bytes;
}

io::Endpoint At(const std::string& text) {
  const auto at = io::Resolve(text);
  EXPECT_TRUE(at.ok()) << at.status();
  return *at;
}

// Each range with the addresses just inside and just outside of it.
struct Range {
  const char *before, *first, *last, *after;
};

constexpr Range kNearRanges[] = {
    {"9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"},
    {"100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"},
    {"126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"},
    {"169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"},
    {"172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"},
    {"192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"},
    {"198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"},
};

constexpr Range kNearRangesV6[] = {
    {"fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     "fe00::"},
    {"fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     "fec0::"},
    {"2001:1:ffff:ffff:ffff:ffff:ffff:ffff", "2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff",
     "2001:2:1::"},
};

void ExpectEdges(const Range& range, const std::string& prefix) {
  EXPECT_EQ(KindOfTarget(Bytes(prefix + range.before)), TargetKind::kPublic) << range.before;
  EXPECT_EQ(KindOfTarget(Bytes(prefix + range.first)), TargetKind::kNear) << range.first;
  EXPECT_EQ(KindOfTarget(Bytes(prefix + range.last)), TargetKind::kNear) << range.last;
  EXPECT_EQ(KindOfTarget(Bytes(prefix + range.after)), TargetKind::kPublic) << range.after;
}

TEST(TargetGuard, KnowsTheEdgesOfEachNearRange) {
  for (const Range& range : kNearRanges) ExpectEdges(range, "");
  for (const Range& range : kNearRangesV6) ExpectEdges(range, "");
}

TEST(TargetGuard, TakesAMappedAddressForTheOneInIt) {
  for (const Range& range : kNearRanges) ExpectEdges(range, "::ffff:");
  EXPECT_EQ(KindOfTarget(Bytes("::ffff:224.0.0.1")), TargetKind::kMulticast);
  EXPECT_EQ(KindOfTarget(Bytes("::ffff:255.255.255.255")), TargetKind::kBroadcast);
  // A neighbour of the mapped range is none.
  EXPECT_EQ(KindOfTarget(Bytes("::fffe:10.0.0.1")), TargetKind::kPublic);
  EXPECT_EQ(KindOfTarget(Bytes("::1:ffff:10.0.0.1")), TargetKind::kPublic);
}

TEST(TargetGuard, KnowsSingleAddresses) {
  const std::pair<const char*, TargetKind> kTable[] = {
      {"0.0.0.0", TargetKind::kNear},
      {"0.0.0.1", TargetKind::kPublic},
      {"8.8.8.8", TargetKind::kPublic},
      {"223.255.255.255", TargetKind::kPublic},
      {"224.0.0.0", TargetKind::kMulticast},
      {"239.255.255.255", TargetKind::kMulticast},
      {"240.0.0.0", TargetKind::kPublic},
      {"255.255.255.254", TargetKind::kPublic},
      {"255.255.255.255", TargetKind::kBroadcast},
      {"::", TargetKind::kNear},
      {"::1", TargetKind::kNear},
      {"::2", TargetKind::kPublic},
      {"2606:4700::1111", TargetKind::kPublic},
      {"feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", TargetKind::kPublic},
      {"ff00::", TargetKind::kMulticast},
      {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", TargetKind::kMulticast},
  };
  for (const auto& [address, kind] : kTable) {
    EXPECT_EQ(KindOfTarget(Bytes(address)), kind) << address;
  }
}

TEST(TargetGuard, AsksForConsentToAPublicAddress) {
  const MachineAddresses machine = {.own = {Bytes("203.0.113.1"), Bytes("2a00::1")}};
  EXPECT_EQ(CheckTargetFrom(machine, At("203.0.113.2:80"), false).message(),
            "203.0.113.2:80 is a public address of another machine, for which a load or a scan "
            "is an attack unless its owner agreed; if it is yours, add --i-own-this-target");
  EXPECT_FALSE(CheckTargetFrom(machine, At("udp://[2a00::2]:80"), false).ok());
  EXPECT_TRUE(CheckTargetFrom(machine, At("203.0.113.2:80"), true).ok());
  EXPECT_TRUE(CheckTargetFrom(machine, At("udp://[2a00::2]:80"), true).ok());
}

TEST(TargetGuard, LetsTheMachineLoadItself) {
  const MachineAddresses machine = {.own = {Bytes("203.0.113.1"), Bytes("2a00::1")}};
  for (const char* at : {"203.0.113.1:80", "[::ffff:203.0.113.1]:80", "[2a00::1]:80"}) {
    EXPECT_TRUE(CheckTargetFrom(machine, At(at), false).ok()) << at;
  }
}

TEST(TargetGuard, RefusesMulticastAndBroadcastWhoeverOwnsThem) {
  const MachineAddresses machine = {.own = {Bytes("192.168.1.7")},
                                    .broadcast = {Bytes("192.168.1.255")}};
  for (const char* at : {"udp://224.0.0.1:7", "udp://[ff02::1]:7"}) {
    const absl::Status status = CheckTargetFrom(machine, At(at), true);
    EXPECT_NE(status.message().find("is a multicast address"), std::string::npos) << status;
  }
  for (const char* at : {"udp://255.255.255.255:7", "udp://192.168.1.255:7"}) {
    const absl::Status status = CheckTargetFrom(machine, At(at), true);
    EXPECT_NE(status.message().find("is a broadcast address"), std::string::npos) << status;
  }
  EXPECT_TRUE(CheckTargetFrom(machine, At("udp://192.168.2.255:7"), false).ok());
}

TEST(TargetGuard, SaysWhyTheMachineCouldNotBeAsked) {
  const MachineAddresses unknown = {.error = "Too many open files"};
  const absl::Status status = CheckTargetFrom(unknown, At("203.0.113.1:80"), false);
  EXPECT_NE(status.message().find("Too many open files"), std::string::npos) << status;
  EXPECT_TRUE(CheckTargetFrom(unknown, At("127.0.0.1:80"), false).ok());
}

TEST(TargetGuard, AsksTheMachine) {
  const MachineAddresses machine = ReadMachineAddresses();
  EXPECT_EQ(machine.error, "");
  for (const auto& own : machine.own) {
    EXPECT_TRUE(own.size() == 4 || own.size() == 16) << own.size();
  }
  EXPECT_TRUE(CheckTarget(At("127.0.0.1:9999"), false).ok());
  EXPECT_TRUE(CheckTarget(At("unix:@x"), false).ok());
  EXPECT_TRUE(CheckTarget(At("unix-dgram:/run/x.sock"), false).ok());
  EXPECT_FALSE(CheckTarget(At("203.0.113.2:80"), false).ok());  // TEST-NET-3: nobody's
}

}  // namespace
}  // namespace cli
