#include <csignal>
#include <fstream>

#include "tests/cli/ringside.h"

namespace cli_tests {
namespace {

// A comparison that is as short as one can be: what is tested is that it works, not what it finds.
const std::vector<std::string> kQuick = {"-c",       "4",    "--window", "50ms",
                                         "--warmup", "10ms", "--pace",   "1k"};

Json CompareJson(std::vector<std::string> arguments, Ended* ended) {
  const std::string file =
      testing::TempDir() + "ringside_compare_" + std::to_string(getpid()) + ".json";
  arguments.insert(arguments.begin(), {RINGSIDE_BINARY, "compare", "--output", file});
  arguments.insert(arguments.end(), kQuick.begin(), kQuick.end());
  *ended = RunToEnd(std::move(arguments));
  std::ifstream stream(file);
  Json json = Json::parse(stream, nullptr, false);
  std::remove(file.c_str());
  return json;
}

TEST(Compare, WritesAResultWithItsEnvironment) {
  Ended ended;
  const Json json = CompareJson({"--arm", "epoll", "--arm", "epoll", "--pairs", "2"}, &ended);
  EXPECT_EQ(ended.exit_code, 5) << "two pairs can tell nothing; " << ended.err;
  EXPECT_EQ(json["schema"], "ringside.compare/1");
  ASSERT_EQ(json["scenarios"].size(), 1u);
  const Json& scenario = json["scenarios"][0];
  EXPECT_EQ(scenario["verdict"]["verdict"], "cannot tell");
  EXPECT_EQ(scenario["pairs"].size(), 2u);
  for (const Json& pair : scenario["pairs"]) {
    for (const char* arm : {"a", "b"}) {
      EXPECT_GT(pair[arm]["requests_per_s"].get<double>(), 0);
      EXPECT_GT(pair[arm]["server_cpu_us"].get<double>(), 0);
      EXPECT_GT(pair[arm]["server_syscalls"].get<double>(), 0);
    }
  }
  EXPECT_EQ(json["environment"]["machine_id"].get<std::string>().size(), 16u);
  EXPECT_FALSE(json["revision"].get<std::string>().empty());
  EXPECT_NE(ended.out.find("Can't tell"), std::string::npos) << ended.out;
}

TEST(Compare, FindsAServerThatIsSlowed) {
  Ended ended;
  const std::string bare = std::string(RINGSIDE_REFERENCES) + "/bare_epoll {port}";
  const Json json = CompareJson({"--arm", "bare=" + bare, "--arm", "slowed=" + bare + " 50000",
                                 "--pairs", "10"},  // 50 µs of work more for each message
                                &ended);
  ASSERT_FALSE(json.is_discarded()) << ended.err;
  EXPECT_EQ(json["scenarios"][0]["verdict"]["verdict"], "slower") << ended.out << ended.err;
  EXPECT_EQ(ended.exit_code, 4) << ended.err;
}

TEST(Compare, PlaysOverEachTransport) {
  const std::string folder = std::string(RINGSIDE_REFERENCES) + "/";
  for (const std::string transport : {"tcp", "unix", "seqpacket", "udp", "unix-dgram"}) {
    SCOPED_TRACE(transport);
    const bool datagrams = transport == "udp" || transport == "unix-dgram";
    const std::string bare =
        folder + (datagrams ? "bare_epoll_datagrams" : "bare_epoll") + " {address}";
    Ended ended;
    const Json json = CompareJson({"--transport", transport, "--arm", "bare=" + bare, "--arm",
                                   "again=" + bare, "--pairs", "1"},
                                  &ended);
    ASSERT_FALSE(json.is_discarded()) << ended.err;
    EXPECT_EQ(ended.exit_code, 5) << ended.err;
    EXPECT_EQ(json["transport"], transport);
    EXPECT_EQ(json["scenarios"][0]["pairs"].size(), 1u) << ended.err;
  }
}

TEST(Compare, PlaysOurServerOverEachTransport) {
  for (const std::string transport : {"unix", "seqpacket", "udp", "unix-dgram"}) {
    SCOPED_TRACE(transport);
    Ended ended;
    const Json json = CompareJson(
        {"--transport", transport, "--arm", "epoll", "--arm", "epoll", "--pairs", "1"}, &ended);
    ASSERT_FALSE(json.is_discarded()) << ended.err;
    EXPECT_EQ(ended.exit_code, 5) << ended.err;
    ASSERT_EQ(json["scenarios"][0]["pairs"].size(), 1u) << ended.err;
    EXPECT_GT(json["scenarios"][0]["pairs"][0]["a"]["server_syscalls"].get<double>(), 0);
  }
}

TEST(Compare, ShowsWhatAnArmSaidThatDoesNotStart) {
  Ended ended;
  CompareJson({"--arm", "epoll", "--arm", "broken=sh -c 'echo no can do >&2; exit 9' {port}"},
              &ended);
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_NE(ended.err.find("no can do"), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("exit code 9"), std::string::npos) << ended.err;
}

TEST(Compare, NamesAnArmThatIsNotThere) {
  Ended ended;
  CompareJson({"--arm", "epoll", "--arm", "none=/no/such/program {port}"}, &ended);
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_NE(ended.err.find("/no/such/program"), std::string::npos) << ended.err;
}

TEST(Compare, SaysWhatItHasWhenInterrupted) {
  const std::string file = testing::TempDir() + "ringside_interrupted.json";
  bench::Process compare =
      Start({RINGSIDE_BINARY, "compare", "--arm", "epoll", "--arm", "epoll", "-o", file, "--window",
             "20ms", "--warmup", "0s", "-c", "4", "--margin", "0.1%"});
  while (RunToEnd({"pgrep", "-P", std::to_string(compare.pid())}).out.empty()) {
  }
  compare.Signal(SIGINT);
  const Ended ended = WaitFor(compare);
  EXPECT_EQ(ended.exit_code, 130) << ended.err;
  EXPECT_EQ(Json::parse(std::ifstream(file))["interrupted"], true);
  EXPECT_EQ(RunToEnd({"pgrep", "-P", std::to_string(compare.pid())}).out, "")
      << "children are left";
  std::remove(file.c_str());
}

TEST(Compare, EndsWhenItsBudgetIsSpent) {
  Ended ended;
  const Json json = CompareJson(
      {"--arm", "epoll", "--arm", "epoll", "--budget", "1s", "--margin", "0.1%"}, &ended);
  EXPECT_LT(json["scenarios"][0]["pairs"].size(), 80u);
  EXPECT_TRUE(ended.exit_code == 5 || ended.exit_code == 0 || ended.exit_code == 4) << ended.err;
}

}  // namespace
}  // namespace cli_tests
