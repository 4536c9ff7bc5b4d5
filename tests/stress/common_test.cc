#include <fstream>

#include "tests/stress/drive.h"

// What all experiments share.
namespace stress_tests {
namespace {

constexpr const char* kExperiments[] = {"churn", "slow", "fds"};

TEST(Stress, ListsItsExperiments) {
  for (const Args& asked : {Args{"stress", "--help"}, Args{"help", "stress"}}) {
    const Ended help = Ringside(asked);
    EXPECT_EQ(help.exit_code, 0);
    for (const char* name : kExperiments) {
      EXPECT_NE(help.out.find(std::string("\n  ") + name + " "), std::string::npos) << name;
    }
  }
  const Ended alone = Ringside({"stress"});
  EXPECT_EQ(alone.exit_code, 2);
  EXPECT_EQ(alone.out, Ringside({"stress", "--help"}).out);
}

TEST(Stress, SuggestsAnExperiment) {
  const Ended near = Ringside({"stress", "chrun"});
  EXPECT_EQ(near.exit_code, 2);
  EXPECT_EQ(near.err, "ringside stress: unknown command 'chrun'; did you mean 'churn'?\n");
  const Ended far = Ringside({"stress", "xyzzy"});
  EXPECT_EQ(far.err, "ringside stress: unknown command 'xyzzy'; see ringside stress --help\n");
}

TEST(Stress, RefusesAPublicAddress) {
  for (const char* name : kExperiments) {
    const Ended ended = Ringside({"stress", name, "8.8.8.8:80"});
    EXPECT_EQ(ended.exit_code, 2);
    EXPECT_NE(ended.err.find("--i-own-this-target"), std::string::npos) << ended.err;
  }
}

TEST(Stress, RefusesWhatIsAboutAnotherServer) {
  for (const char* name : kExperiments) {
    for (const Args& wrong : {Args{"9999", "--self"}, Args{"9999", "--backend", "epoll"},
                              Args{"9999", "--serve-flags", "-t 2"}, Args{"9999", "--backends"},
                              Args{"--server-pid", "1"}, Args{"--backends", "-b", "epoll"}}) {
      const Ended ended = Ringside(Args{"stress", name} + wrong);
      EXPECT_EQ(ended.exit_code, 2) << ended.err;
      EXPECT_EQ(ended.err.find('\n'), ended.err.size() - 1) << ended.err;
      EXPECT_EQ(ended.out, "");
    }
  }
}

TEST(Stress, RefusesAResetByTheServer) {
  const Ended ended = Ringside({"stress", "churn", "--reset", "--closes", "server"});
  EXPECT_EQ(ended.exit_code, 2);
  EXPECT_EQ(ended.err.find("ringside stress churn: --reset: "), 0u) << ended.err;
}

TEST(Stress, SaysWhatItsServerSaid) {
  const Ended ended = Ringside({"stress", "churn", "--serve-flags", "--baklog 5"});
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_NE(ended.err.find("did you mean --backlog"), std::string::npos) << ended.err;
}

TEST(Stress, StopsAtTheMemoryFloorAtOnce) {
  for (const char* name : kExperiments) {
    const Json json = StressJson({name, "--memory-floor", "500TiB", "-d", "1h"}, 3);
    EXPECT_EQ(json["limit"]["name"], "memory floor");
    EXPECT_NE(json["limit"]["mend"].get<std::string>().find("--memory-floor"), std::string::npos);
    EXPECT_EQ(json["connections"]["opened"], 0);
  }
}

TEST(Stress, TakesItsFlagsFromTablesAndVariables) {
  const std::string path = testing::TempDir() + "ringside-stress-" + std::to_string(getpid());
  std::ofstream(path) << "[stress.churn]\nrate = 50\nconnections = 3\n[stress.slow]\n";
  const Json json = BriefJson({"churn", "--config", path});
  unlink(path.c_str());
  EXPECT_EQ(json["churn"]["connections"], 3);
  const Ended typed = cli_tests::RunToEnd(
      {"env", "RINGSIDE_STRESS_CHURN_DURATION=soon", RINGSIDE_BINARY, "stress", "churn"});
  EXPECT_EQ(typed.exit_code, 2);
  EXPECT_EQ(typed.err.find("ringside stress churn: RINGSIDE_STRESS_CHURN_DURATION: "), 0u)
      << typed.err;
}

TEST(Stress, WritesTextAndAFile) {
  const std::string path = testing::TempDir() + "ringside-stress-json-" + std::to_string(getpid());
  const Ended ended = Briefly([&](const Args& duration) {
    return Ringside(Args{"stress", "churn", "-c", "2", "--json", path} + duration);
  });
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  for (const char* row : {"churn: ", "connections", "TIME_WAIT", "ports", "cost"}) {
    EXPECT_NE(ended.out.find(row), std::string::npos) << row << "\n" << ended.out;
  }
  std::ifstream file(path);
  ExpectWhole(Json::parse(file, nullptr, false), "churn");
  unlink(path.c_str());
}

}  // namespace
}  // namespace stress_tests
