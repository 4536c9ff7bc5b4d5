#include "loadgen/source_ports.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace loadgen {
namespace {

io::Endpoint At(const std::string& text) { return *io::Resolve(text); }

LocalPorts Ports(uint16_t first, uint16_t last) {
  return {.first = first, .last = last, .reserved = {}};
}

// All that the plan gives out, as text, in order.
std::vector<std::string> Drain(SourcePlan& plan) {
  std::vector<std::string> given;
  for (auto next = plan.Next(); next.ok(); next = plan.Next()) given.push_back(next->ToString());
  return given;
}

TEST(LocalPorts, AreReadAsTheKernelWritesThem) {
  const auto ports = ParseLocalPorts("32768\t60999\n", "32768,40000-40002,60999\n");
  ASSERT_TRUE(ports.ok()) << ports.status();
  EXPECT_EQ(ports->first, 32768);
  EXPECT_EQ(ports->last, 60999);
  const std::vector<uint16_t> usable = ports->Usable();
  EXPECT_EQ(usable.size(), 60999u - 32768 + 1 - 5);
  EXPECT_EQ(usable.front(), 32769);
  EXPECT_EQ(usable.back(), 60998);
  EXPECT_FALSE(std::binary_search(usable.begin(), usable.end(), 40001));
}

TEST(LocalPorts, ReachTheEndOfAllPorts) {
  const auto ports = ParseLocalPorts("65534 65535", "\n");
  ASSERT_TRUE(ports.ok()) << ports.status();
  EXPECT_EQ(ports->Usable(), (std::vector<uint16_t>{65534, 65535}));
}

TEST(LocalPorts, ThatCannotBeReadAreNamed) {
  for (const char* range : {"", "1", "1 2 3", "2 1", "0 5", "a b", "1 65536", "-1 5"}) {
    const auto ports = ParseLocalPorts(range, "");
    EXPECT_EQ(ports.status().code(), absl::StatusCode::kInvalidArgument) << range;
    EXPECT_NE(ports.status().message().find("ip_local_port_range"), std::string::npos);
  }
  for (const char* reserved : {"a", "1-", "-1", "5-4", "1-2-3", "0", "65536", "1 2"}) {
    const auto ports = ParseLocalPorts("1 2", reserved);
    EXPECT_EQ(ports.status().code(), absl::StatusCode::kInvalidArgument) << reserved;
    EXPECT_NE(ports.status().message().find("ip_local_reserved_ports"), std::string::npos);
  }
}

TEST(LocalPorts, OfThisMachineAreReadable) {
  const auto ports = ReadLocalPorts();
  ASSERT_TRUE(ports.ok()) << ports.status();
  EXPECT_LE(ports->first, ports->last);
}

TEST(SourcePlan, GivesEachPairOfEachThreadOnce) {
  std::set<std::string> given;
  uint64_t pairs = 0;
  for (uint32_t thread = 0; thread < 3; ++thread) {
    auto plan =
        SourcePlan::Make({.sources = {At("127.0.0.2:0"), At("127.0.0.3:5")},
                          .to = At("127.0.0.1:4005"),
                          .ports = {.first = 4000, .last = 4010, .reserved = {{4001, 4002}}},
                          .thread = thread,
                          .threads = 3,
                          .seed = 1'000'003 * thread});
    ASSERT_TRUE(plan.ok()) << plan.status();
    pairs += plan->pairs();
    for (const std::string& pair : Drain(*plan)) {
      EXPECT_TRUE(given.insert(pair).second) << pair << " a second time";
    }
    EXPECT_EQ(plan->free(), 0u);
  }
  EXPECT_EQ(pairs, 16u);  // 11 ports, less two reserved and the destination's; two addresses
  EXPECT_EQ(given.size(), pairs);
  EXPECT_TRUE(given.contains("127.0.0.3:4010"));
  for (const char* port : {":4001", ":4002", ":4005"}) {
    EXPECT_FALSE(given.contains(std::string("127.0.0.2") + port)) << port;
  }
}

TEST(SourcePlan, StartsWhereTheSeedSays) {
  std::set<std::string> firsts;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    auto plan =
        SourcePlan::Make({.to = At("127.0.0.1:1"), .ports = Ports(4000, 4009), .seed = seed});
    ASSERT_TRUE(plan.ok());
    firsts.insert(plan->Next()->ToString());
  }
  EXPECT_EQ(firsts.size(), 10u);
}

TEST(SourcePlan, WithoutSourcesBindsToTheWildcardOfTheFamily) {
  for (const auto& [to, from] : std::vector<std::pair<std::string, std::string>>{
           {"127.0.0.1:1", "0.0.0.0:4000"},
           {"[::1]:1", "[::]:4000"},
           {"udp://127.0.0.1:1", "udp://0.0.0.0:4000"}}) {
    auto plan = SourcePlan::Make({.to = At(to), .ports = Ports(4000, 4000)});
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ(plan->Next()->ToString(), from);
  }
}

TEST(SourcePlan, TriesWhatWasGivenBackLast) {
  auto plan = SourcePlan::Make({.to = At("127.0.0.1:1"), .ports = Ports(4000, 4003), .seed = 2});
  ASSERT_TRUE(plan.ok());
  const io::Endpoint first = *plan->Next();
  plan->Return(first);
  EXPECT_EQ(plan->free(), 4u);
  const std::vector<std::string> all = Drain(*plan);
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all.back(), first.ToString());
}

TEST(SourcePlan, SkipsWhatIsTakenUntilToldToForget) {
  auto plan = SourcePlan::Make({.to = At("127.0.0.1:1"), .ports = Ports(4000, 4003)});
  ASSERT_TRUE(plan.ok());
  const io::Endpoint taken = *plan->Next(), closed = *plan->Next();
  plan->Taken(taken);
  EXPECT_EQ(Drain(*plan).size(), 2u);
  plan->Return(closed);
  EXPECT_EQ(plan->Next()->ToString(), closed.ToString());
  EXPECT_FALSE(plan->Next().ok());
  plan->ForgetTaken();
  EXPECT_EQ(plan->free(), 1u);
  EXPECT_EQ(plan->Next()->ToString(), taken.ToString());
  plan->ForgetTaken();  // it is in use now
  EXPECT_FALSE(plan->Next().ok());
}

TEST(SourcePlan, SaysHowManyConnectionsArePossibleAndTheMend) {
  auto plan = SourcePlan::Make({.sources = {At("127.0.0.2:0"), At("127.0.0.3:0")},
                                .to = At("127.0.0.1:1"),
                                .ports = Ports(4000, 4004),
                                .thread = 1,
                                .threads = 2});
  ASSERT_TRUE(plan.ok());
  plan->Taken(*plan->Next());
  EXPECT_EQ(Drain(*plan).size(), 3u);
  const absl::Status exhausted = plan->Next().status();
  EXPECT_EQ(exhausted.code(), absl::StatusCode::kResourceExhausted);
  for (const char* part : {"2 source addresses", "allow 10 connections", "others have 1",
                           "--source", "net.ipv4.ip_local_port_range"}) {
    EXPECT_NE(exhausted.message().find(part), std::string::npos) << exhausted;
  }
}

TEST(SourcePlan, WithFewerPortsThanThreadsIsExhaustedAtOnce) {
  auto plan = SourcePlan::Make(
      {.to = At("127.0.0.1:1"), .ports = Ports(4000, 4001), .thread = 2, .threads = 3, .seed = 7});
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->pairs(), 0u);
  EXPECT_EQ(plan->Next().status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(SourcePlan, RefusesSourcesOfAnotherKind) {
  for (const char* source : {"[::1]:0", "udp://127.0.0.1:0", "unix:@x"}) {
    const auto plan = SourcePlan::Make({.sources = {At(source)}, .to = At("127.0.0.1:1")});
    EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument) << source;
    EXPECT_NE(plan.status().message().find(source), std::string::npos) << plan.status();
  }
}

TEST(SourcePlan, CountsAnAddressThatIsGivenTwiceOnce) {
  const auto plan = SourcePlan::Make({.sources = {At("127.0.0.2:0"), At("127.0.0.2:9")},
                                      .to = At("127.0.0.1:1"),
                                      .ports = Ports(4000, 4003)});
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->pairs(), 4u);
}

TEST(SourcePlan, PaysFromAQuarterOfThePortsOn) {
  const LocalPorts ports = Ports(4001, 4400);
  EXPECT_FALSE(SourcePlan::Pays(1, 0, ports));
  EXPECT_FALSE(SourcePlan::Pays(100, 0, ports));
  EXPECT_TRUE(SourcePlan::Pays(101, 0, ports));
  EXPECT_TRUE(SourcePlan::Pays(101, 1, ports));
  EXPECT_FALSE(SourcePlan::Pays(200, 2, ports));
  EXPECT_TRUE(SourcePlan::Pays(201, 2, ports));
}

// What a run that had none left says: which ports, what holds them, and what to do.
TEST(OutOfPorts, NamesThePortsAndTheMends) {
  const LocalPorts ports = {.first = 40000, .last = 40099, .reserved = {{40000, 40009}}};
  const std::string each = OutOfPorts(ports, 0, /*each_once=*/true);
  for (const char* part : {"40000 40099", "90 ports of one address", "TIME_WAIT", "--source",
                           "tcp_tw_reuse", "ip_local_port_range='1024 65535'"}) {
    EXPECT_NE(each.find(part), std::string::npos) << part << " is missing in: " << each;
  }
  const std::string kept = OutOfPorts(ports, 2, /*each_once=*/false);
  EXPECT_NE(kept.find("180 ports of 2 addresses"), std::string::npos) << kept;
  EXPECT_EQ(kept.find("TIME_WAIT"), std::string::npos) << kept;
}

}  // namespace
}  // namespace loadgen
