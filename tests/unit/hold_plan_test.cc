#include "stress/hold_plan.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <string>

#include "stress/descriptors.h"
#include "stress/ramp_limits.h"
#include "stress/ramp_series.h"
#include "tests/unit/fake_root.h"

namespace stress {
namespace {

constexpr loadgen::LocalPorts kWide = {.first = 1024, .last = 65535};

HoldOptions Million() {
  HoldOptions options = {.client_backend = "io_uring", .connections = 1'000'000};
  options.target.backend = "io_uring";
  return options;
}

TEST(HoldPlan, GivesAMillionAsManyRingsAndAddressesAsTheyNeed) {
  const auto plan = PlanHold(Million(), 20'000, kWide, /*to_loopback=*/true);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_TRUE(plan->direct);
  EXPECT_EQ(plan->threads, 53u);
  ASSERT_EQ(plan->shares.size(), 1u);
  EXPECT_EQ(plan->shares[0].connections, 1'000'000u);
  EXPECT_EQ(plan->sources(), 17u);
}

TEST(HoldPlan, TakesFileDescriptorsWhereTheySuffice) {
  HoldOptions options = Million();
  options.connections = 10'000;
  const auto plan = PlanHold(options, 20'000, kWide, true);
  ASSERT_TRUE(plan.ok());
  EXPECT_FALSE(plan->direct);
  EXPECT_EQ(plan->threads, 1u);
  EXPECT_TRUE(plan->shares[0].sources.empty());
}

TEST(HoldPlan, TakesFileDescriptorsWhereEitherEndIsEpoll) {
  HoldOptions options = Million();
  options.client_backend = "epoll";
  const auto plan = PlanHold(options, 20'000, kWide, true);
  ASSERT_TRUE(plan.ok());
  EXPECT_FALSE(plan->direct);
  options.direct = HoldOptions::Direct::kYes;
  EXPECT_TRUE(absl::IsInvalidArgument(PlanHold(options, 20'000, kWide, true).status()));
}

TEST(HoldPlan, DividesAllAmongProcessesWithAddressesOfTheirOwn) {
  HoldOptions options = Million();
  options.connections = 100'003;
  options.processes = 6;
  const auto plan = PlanHold(options, 20'000, {}, true);
  ASSERT_TRUE(plan.ok());
  EXPECT_FALSE(plan->direct);
  uint64_t connections = 0;
  std::set<std::string> sources;
  for (const HoldShare& share : plan->shares) {
    connections += share.connections;
    for (const io::Endpoint& source : share.sources) sources.insert(source.ToString());
  }
  EXPECT_EQ(connections, 100'003u);
  EXPECT_EQ(sources.size(), 6u);
}

TEST(HoldPlan, NeverNamesAnAddressTwice) {
  HoldOptions options = Million();
  const loadgen::LocalPorts few = {.first = 40'000, .last = 40'999};
  const auto plan = PlanHold(options, 20'000, few, true);
  ASSERT_TRUE(plan.ok());
  std::set<std::string> sources;
  for (const io::Endpoint& source : plan->shares[0].sources) sources.insert(source.ToString());
  EXPECT_EQ(sources.size(), plan->sources());
  EXPECT_GE(sources.size(), 1'000u);
  EXPECT_EQ(sources.count("127.0.0.1:0"), 1u);
  EXPECT_EQ(sources.count("127.0.0.255:0"), 0u);
}

TEST(HoldPlan, LeavesTheChoiceToTheKernelElsewhere) {
  const auto plan = PlanHold(Million(), 20'000, kWide, /*to_loopback=*/false);
  ASSERT_TRUE(plan.ok());
  EXPECT_TRUE(plan->shares[0].sources.empty());
}

TEST(HoldPlan, RefusesTooFewThreads) {
  HoldOptions options = Million();
  options.threads = 10;
  const auto status = PlanHold(options, 20'000, kWide, true).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_NE(status.message().find("53 threads"), std::string::npos) << status;
}

TEST(HoldPlan, TellsTheServerOfAllItsTables) {
  const HoldOptions options = Million();
  const auto plan = PlanHold(options, 20'000, kWide, true);
  ASSERT_TRUE(plan.ok());
  const auto flags = ServeFlagsOf(options, *plan, plan->shares[0], 20'000);
  const auto after = [&](const std::string& flag) {
    const auto at = std::find(flags.begin(), flags.end(), flag);
    return at == flags.end() ? std::string() : *(at + 1);
  };
  EXPECT_EQ(after("--threads"), "53");
  EXPECT_EQ(after("--connections-max"), "1060000");
  EXPECT_EQ(std::count(flags.begin(), flags.end(), "--direct"), 1);
}

TEST(RampLimits, NamesWhatOurEndRanOutOf) {
  const auto name = [](bool ports, const char* problem, const Json& by_errno) {
    const auto limit = LimitOfOurEnd(50'000, ports, problem, by_errno, nullptr);
    return limit ? limit->name : "";
  };
  const Json none = Json::object();
  EXPECT_EQ(name(true, "", none), "net.ipv4.ip_local_port_range");
  EXPECT_EQ(name(false, "no file descriptor is left: EMFILE (Too many)", none), "RLIMIT_NOFILE");
  EXPECT_EQ(name(false, "no file descriptor is left: ENFILE (Too many)", none), "fs.file-max");
  EXPECT_EQ(name(false, "", {{"ENOBUFS", 3}}), "kernel memory");
  EXPECT_EQ(name(false, "socket: ENOMEM (Cannot allocate memory)", none), "kernel memory");
  EXPECT_EQ(name(false, "", {{"ECONNREFUSED", 3}}), "");
}

TEST(RampWatch, EndsTheRampWhenNobodyIsAnsweredForTooLong) {
  RampWatch watch(0, 2'000'000'000, {}, 50'000);
  EXPECT_FALSE(watch.Check(1, 0));
  EXPECT_FALSE(watch.Check(1'900'000'000, 0));
  EXPECT_FALSE(watch.Check(2'100'000'000, 7));  // somebody was
  EXPECT_FALSE(watch.Check(4'000'000'000, 7));
  const auto limit = watch.Check(4'100'000'000, 7);
  ASSERT_TRUE(limit);
  EXPECT_EQ(limit->name, "the server's answers");
  EXPECT_EQ(limit->value, "none for 2 s, after 7");
}

TEST(RampWatch, EndsTheRampWhereMemoryGetsLow) {
  const stats::FakeRoot root;
  const auto available = [&](const std::string& kibibytes) {
    root.Write("/proc/meminfo", "MemAvailable:   " + kibibytes + " kB\n");
  };
  RampWatch watch(2ull << 30, 1'000'000'000, {}, 50'000, root.path());
  available("3145728");
  EXPECT_FALSE(watch.Check(1, 100));
  available("2097151");
  const auto limit = watch.Check(2, 200);  // though somebody was answered
  ASSERT_TRUE(limit);
  EXPECT_EQ(limit->name, "memory floor");
  EXPECT_EQ(watch.lowest_memory_bytes(), 2097151ll * 1024);
}

TEST(RampWatch, NamesTheServerWhoseDescriptorsAreUsedUp) {
  RampWatch watch(0, 3'600'000'000'000, {getpid()}, 50'000);
  rlimit before = {};
  getrlimit(RLIMIT_NOFILE, &before);
  rlimit low = before;
  low.rlim_cur = 1;  // fewer than are open
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  const bool countable = OpenDescriptors(getpid()) > 0;
  EXPECT_FALSE(watch.Check(1, 100));
  const auto limit = watch.Check(2'000'000'000, 100);
  setrlimit(RLIMIT_NOFILE, &before);
  if (!countable) GTEST_SKIP() << "before Linux 6.2 counting them takes a descriptor";
  ASSERT_TRUE(limit);
  EXPECT_EQ(limit->name, "RLIMIT_NOFILE");
  EXPECT_EQ(limit->value, "1, of the server");
}

TEST(RampSeries, StaysBoundedAndKeepsTheLast) {
  RampSeries series;
  for (int i = 0; i < 100'000; ++i) series.Add(i, i, i);
  const Json json = series.ToJson();
  EXPECT_LE(json.size(), 601u);
  EXPECT_GE(json.size(), 300u);
  EXPECT_EQ(json.front()["answered"], 0);
  EXPECT_EQ(json.back()["answered"], 99'999);
}

}  // namespace
}  // namespace stress
