#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "tests/cli/ringside.h"

// Flags from elsewhere than the command line, and what --version says.
namespace cli_tests {
namespace {

// A configuration file, for as long as it lives.
class ConfigFile {
 public:
  explicit ConfigFile(const std::string& text)
      : path_(testing::TempDir() + "ringside-cli-" + std::to_string(getpid()) + ".toml") {
    std::ofstream(path_) << text;
  }
  ~ConfigFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

Ended RingsideAmong(std::vector<std::string> variables, std::vector<std::string> arguments) {
  variables.insert(variables.begin(), "env");
  variables.emplace_back(RINGSIDE_BINARY);
  variables.insert(variables.end(), arguments.begin(), arguments.end());
  return RunToEnd(variables);
}

TEST(Configuration, ReachesServerAndLoad) {
  const ConfigFile file(
      "size = 32\n[serve]\nservice = 'counter'\n[load]\nservice = 'counter'\nconnections = 3\n"
      "requests = '300'\nquiet = true\n");
  Server server({"--config", file.path()});
  EXPECT_EQ(server.ready()["service"], "counter");
  const Json result = LoadJson({server.port(), "--config", file.path()});
  EXPECT_EQ(result["connections"]["requested"], 3);
  EXPECT_EQ(result["requests"], 300);
  EXPECT_EQ(result["message_bytes"], 32);
  EXPECT_EQ(result["service"], "counter");
  server.Stop();
}

TEST(Configuration, IsNamedWithItsLineWhereItIsWrong) {
  const ConfigFile file("[load]\nconnections = 'many'\n");
  const Ended ended = Ringside({"load", "--config", file.path()});
  EXPECT_EQ(ended.exit_code, 2);
  EXPECT_EQ(ended.err, "ringside load: config " + file.path() +
                           ", line 2: --connections: 'many' is not a number; give a number such "
                           "as 64, 10k or 1M\n");
}

TEST(Configuration, IsNamedWhereItContradictsTheCommandLine) {
  const Ended ended = RingsideAmong({"RINGSIDE_LOAD_WARMUP=1s"}, {"load", "-n", "5"});
  EXPECT_EQ(ended.exit_code, 2);
  EXPECT_EQ(ended.err,
            "ringside load: --warmup has no meaning with -n/--requests; leave one out\n"
            "ringside load: not from the command line: --warmup (RINGSIDE_LOAD_WARMUP)\n");
}

TEST(Configuration, ComesFromTheEnvironmentToo) {
  Server server = Server::By({"env", "RINGSIDE_SERVE_SERVICE=greet", "RINGSIDE_ADDRESS=0",
                              "RINGSIDE_JSON=1", RINGSIDE_BINARY, "serve"});
  EXPECT_EQ(server.ready()["service"], "greet");
  server.Stop();
}

TEST(Version, SaysWhatItIsMadeOfAndWhatRunsHere) {
  const Ended ended = Ringside({"--version"});
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_EQ(ended.out.rfind("ringside ", 0), 0u);
  for (const char* name : {"\ncompiler:  ", "\nliburing:  ", "\nio_uring:  "}) {
    EXPECT_NE(ended.out.find(name), std::string::npos) << ended.out;
  }
  EXPECT_NE(ended.out.find("\nepoll:     available\n"), std::string::npos) << ended.out;
  const bool here = ended.out.find("\nio_uring:  available: ") != std::string::npos;
  EXPECT_EQ(here, Available("io_uring")) << ended.out;
}

TEST(TargetGuard, HoldsLoadBackFromAPublicAddress) {
  const Ended ended = Ringside({"load", "203.0.113.2:9"});  // TEST-NET-3: nobody's (RFC 5737)
  EXPECT_EQ(ended.exit_code, 2);
  EXPECT_NE(ended.err.find("--i-own-this-target"), std::string::npos) << ended.err;
  const Ended many = Ringside({"load", "udp://224.0.0.1:9", "--i-own-this-target"});
  EXPECT_EQ(many.exit_code, 2);
  EXPECT_NE(many.err.find("multicast"), std::string::npos) << many.err;
}

}  // namespace
}  // namespace cli_tests
