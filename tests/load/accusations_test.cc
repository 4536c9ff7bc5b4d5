#include <sched.h>

#include <csignal>
#include <fstream>

#include "tests/load/drive.h"
#include "tests/load/tiny_server.h"
#include "tests/tier.h"

// What a run says against itself, and what its user may make a failure of.
namespace load_tests::accusations {
namespace {

using Peer = TinyServer::Peer;

// The JSON has the code, the text has its line, and --strict makes a failure of it.
void ExpectAccused(const Args& arguments, const std::vector<std::string>& codes) {
  const auto any = [&](const Json& json) {
    return std::any_of(codes.begin(), codes.end(),
                       [&](const std::string& code) { return Accuses(json, code); });
  };
  const std::string file = Scratch("accused.json");
  const Ended ended = Ringside(Args{"load"} + arguments + Args{"--json", file, "--strict"});
  const Json json = Json::parse(std::ifstream(file));
  std::remove(file.c_str());
  ASSERT_EQ(json["valid"], true) << json["errors"];
  EXPECT_TRUE(any(json)) << json["accusations"];
  EXPECT_EQ(ended.exit_code, 3);
  for (const Json& one : json["accusations"]) {
    const std::string text = one["text"], mend = one["mend"];
    EXPECT_NE(ended.out.find(text.substr(0, 20)), std::string::npos) << ended.out;
    EXPECT_NE(ended.err.find("--strict: " + text), std::string::npos) << ended.err;
    EXPECT_FALSE(mend.empty());
  }
}

TEST(Accusations, OfAServerThatStandsStill) {
  for (const std::string& backend : Backends()) {
    SCOPED_TRACE(backend);
    uint64_t served = 0;
    TinyServer server([&](Peer& peer, const std::string& bytes) {
      served += bytes.size() / 64;
      if (served > 300) std::this_thread::sleep_for(std::chrono::milliseconds(20));
      peer.Send(bytes);
    });
    ExpectAccused({server.address(), "--backend", backend, "-c", "4", "--rate", "1k", "-d", "600ms",
                   "--warmup", "0s"},
                  {"rate_not_reached"});
  }
}

// Two of 64 are served as fast as it goes, the others once.
TEST(Accusations, OfAServerThatStarvesMost) {
  LEFT_TO_ALL();
  for (const std::string& backend : Backends()) {
    SCOPED_TRACE(backend);
    TinyServer server([](Peer& peer, const std::string& bytes) {
      if (peer.number < 2 || peer.received <= 64) peer.Send(bytes);
    });
    const Json json = LoadJson({server.address(), "--backend", backend, "-c", "64", "-d", "300ms",
                                "--warmup", "0s", "--timestamps", "off"},
                               1);
    EXPECT_EQ(json["errors"]["unanswered"], 62);
    EXPECT_EQ(json["connections"]["requests_median"], 0);
    EXPECT_TRUE(Accuses(json, "unequal_shares")) << json["accusations"];
  }
}

TEST(Accusations, OfAServerThatNeverAnswersMost) {
  LEFT_TO_ALL();
  for (const std::string& backend : Backends()) {
    SCOPED_TRACE(backend);
    TinyServer server([](Peer& peer, const std::string& bytes) {
      if (peer.number < 2) peer.Send(bytes);
    });
    const Json json = LoadJson({server.address(), "--backend", backend, "-c", "64", "-d", "100ms",
                                "--warmup", "0s", "--connect-timeout", "200ms"},
                               1);
    EXPECT_EQ(json["connections"]["opened"], 64);
    EXPECT_EQ(json["connections"]["silent"], 62);
    EXPECT_EQ(json["verdict"]["kind"], "incomplete");
    EXPECT_TRUE(Accuses(json, "silent_connections")) << json["accusations"];
  }
}

// The first CPU that this process may use.
std::string FirstCpu() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  sched_getaffinity(0, sizeof(allowed), &allowed);
  int cpu = 0;
  while (!CPU_ISSET(cpu, &allowed)) ++cpu;
  return std::to_string(cpu);
}

TEST(Accusations, OfAMachineThatDoesSomethingElse) {
  LEFT_TO_ALL();
  if (!cli_tests::Installed("taskset")) GTEST_SKIP() << "taskset (util-linux) is not installed";
  const std::string cpu = FirstCpu();
  Serving server({"127.0.0.1:0"});
  for (const std::string& backend : Backends()) {
    SCOPED_TRACE(backend);
    bench::Process spinning =
        cli_tests::Start({"taskset", "-c", cpu, "sh", "-c", "echo on; while :; do :; done"});
    ASSERT_TRUE(serve_tests::Until([&] { return !spinning.Output().empty(); }));
    ExpectAccused({server.address(), "--backend", backend, "-c", "4", "-d", "500ms", "--warmup",
                   "0s", "--cpus", cpu},
                  {"cpu_taken", "others_cpu"});
    const Json json = LoadJson({server.address(), "--backend", backend, "-c", "4", "-d", "500ms",
                                "--warmup", "0s", "--cpus", cpu});
    EXPECT_EQ(json["verdict"]["kind"], "noisy") << json["verdict"] << json["accusations"];
    spinning.Signal(SIGKILL);
    cli_tests::WaitFor(spinning);
  }
}

TEST(Accusations, OfAClientThatWasStopped) {
  Serving server({"127.0.0.1:0"});
  bench::Process load = StartLoad({server.address(), "-c", "2", "-d", "500ms", "--warmup", "0s",
                                   "--interval", "20ms", "--live", "json", "--json", "-"});
  ASSERT_TRUE(serve_tests::Until([&] { return !load.Errors().empty(); }));  // an interval passed
  load.Signal(SIGSTOP);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  load.Signal(SIGCONT);
  const Json json = Json::parse(cli_tests::WaitFor(load).out);
  EXPECT_TRUE(Accuses(json, "client_stopped")) << json["accusations"];
  EXPECT_EQ(json["verdict"]["kind"], "noisy") << json["verdict"];
  EXPECT_GT(json["client"]["stopped_s"].get<double>(), 0.1);
}

// --- what the user may make a failure of
// ----------------------------------------------------------

class FailIf : public testing::Test {
 protected:
  Ended Run(const Args& conditions) {
    Args arguments = {"load", server_.address(), "-c", "2", "-n", "100"};
    for (const std::string& one : conditions) arguments = arguments + Args{"--fail-if", one};
    return Ringside(arguments);
  }
  Serving server_{{"127.0.0.1:0"}};
};

TEST_F(FailIf, IsBreachedWithALineEach) {
  const Ended ended = Run({"p99>1ns", "errors>0", "rps<100M", "requests>=100"});
  EXPECT_EQ(ended.exit_code, 3);
  for (const char* breached : {"p99>1ns", "rps<100M", "requests>=100"}) {
    EXPECT_NE(ended.err.find(std::string("--fail-if says ") + breached), std::string::npos)
        << ended.err;
  }
  EXPECT_EQ(ended.err.find("errors>0"), std::string::npos) << ended.err;
  EXPECT_EQ(std::count(ended.err.begin(), ended.err.end(), '\n'), 3) << ended.err;
}

TEST_F(FailIf, IsNotBreached) {
  const Ended ended = Run({"p99>100s", "errors>0", "silent>0", "requests<100", "connect.max>100s"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_EQ(ended.err, "");
}

TEST_F(FailIf, CanNotBeJudgedWithoutTheFigure) {
  for (const char* condition : {"lost>0", "response.p99>1ms"}) {
    const Ended ended = Run({condition});
    EXPECT_EQ(ended.exit_code, 1) << condition;
    EXPECT_FALSE(ended.err.empty());
  }
}

TEST_F(FailIf, IsRefusedWhereItIsNoCondition) {
  for (const char* condition : {"p99", "p99>", "p101>1ms", "speed>1", "p99>fast", "errors>1ms"}) {
    const Ended ended = Run({condition});
    EXPECT_EQ(ended.exit_code, 2) << condition;
    EXPECT_NE(ended.err.find("--fail-if"), std::string::npos) << ended.err;
    EXPECT_NE(ended.err.find(condition), std::string::npos) << ended.err;
  }
}

TEST_F(FailIf, JudgesEachClassOfAMix) {
  const Ended ended = Ringside({"load", server_.address(), "-n", "50", "--mix", "one: -c 2",
                                "--mix", "two: -c 2", "--fail-if", "p50>1ns"});
  EXPECT_EQ(ended.exit_code, 3);
  EXPECT_NE(ended.err.find("one: "), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("two: "), std::string::npos) << ended.err;
}

// A run that isn't valid is that first: 1, and not 3.
TEST(FailIfOfABrokenRun, IsLessThanItsErrors) {
  TinyServer server([](Peer& peer, const std::string&) { peer.Reset(); });
  const Ended ended = Ringside(
      {"load", server.address(), "-c", "2", "-d", "50ms", "--fail-if", "errors>0", "--strict"});
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_NE(ended.err.find("errors>0"), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("not valid"), std::string::npos) << ended.err;
}

}  // namespace
}  // namespace load_tests::accusations
