#include "cli/compare_plan.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "cli/matrix.h"

namespace cli {
namespace {

// The plan of a command line, and what it keeps alive.
struct Planned {
  std::unique_ptr<CompareFlags> flags = std::make_unique<CompareFlags>();
  std::unique_ptr<Flags> declared = std::make_unique<Flags>();
  std::string mistake;  // of the command line itself
  absl::StatusOr<bench::CompareOptions> options = absl::UnknownError("not planned");
};

Planned Plan(const std::vector<std::string>& words) {
  Planned planned;
  DeclareCompare(*planned.declared, *planned.flags);
  bool help = false;
  if (const auto mistake = planned.declared->Parse("compare", words, &help)) {
    planned.mistake = *mistake;
  } else {
    planned.options = PlanComparison(planned.flags.get());
  }
  return planned;
}

std::string Error(const std::vector<std::string>& words) {
  const Planned planned = Plan(words);
  if (!planned.mistake.empty()) return planned.mistake;
  return planned.options.ok() ? "" : std::string(planned.options.status().message());
}

// A matrix in a file, for as long as it lives.
class MatrixFile {
 public:
  explicit MatrixFile(const std::string& text)
      : path_(testing::TempDir() + "matrix_" + std::to_string(getpid()) + ".toml") {
    std::ofstream(path_) << text;
  }
  ~MatrixFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }
  std::string Wrong() const {  // without the path
    const std::string error = Error({"--matrix", path_});
    const size_t at = error.find(path_);
    return at == std::string::npos ? error : error.substr(at + path_.size());
  }

 private:
  const std::string path_;
};

TEST(ComparePlan, WithoutFlagsPlaysBothBackendsInThreeScenarios) {
  const Planned planned = Plan({});
  ASSERT_TRUE(planned.options.ok()) << planned.options.status();
  ASSERT_EQ(planned.options->arms.size(), 2u);
  EXPECT_EQ(planned.options->arms[0].name, "epoll");
  EXPECT_EQ(planned.options->arms[0].role, bench::Role::kBaseline);
  EXPECT_EQ(planned.options->arms[1].name, "io_uring");
  ASSERT_EQ(planned.options->scenarios.size(), 3u);
  for (const bench::Scenario& scenario : planned.options->scenarios) {
    EXPECT_EQ(scenario.metric, "server_cpu_us");
    EXPECT_TRUE(scenario.full);
    EXPECT_GT(scenario.pace_rps, 0);
  }
}

TEST(ComparePlan, TakesMoreThanTwoArms) {
  const Planned planned = Plan({"--arm", "epoll", "--arm", "io_uring", "--arm", "nc=socat {port} -",
                                "--arm", "epoll", "--self-check"});
  ASSERT_TRUE(planned.options.ok()) << planned.options.status();
  ASSERT_EQ(planned.options->arms.size(), 5u);
  EXPECT_EQ(planned.options->arms[3].name, "epoll again");
  EXPECT_EQ(planned.options->arms[4].role, bench::Role::kSelfCheck);
  EXPECT_EQ(planned.options->arms[4].command, planned.options->arms[0].command);
}

TEST(ComparePlan, CrossesBackendsOfBothEnds) {
  const Planned planned = Plan({"--cross"});
  ASSERT_TRUE(planned.options.ok()) << planned.options.status();
  ASSERT_EQ(planned.options->arms.size(), 4u);
  EXPECT_EQ(planned.options->arms[1].name, "epoll/io_uring");
  EXPECT_EQ(planned.options->arms[1].load, (std::vector<std::string>{"--backend", "io_uring"}));
}

// Each feature once against what the backend does by itself; only what is judged is played.
TEST(ComparePlan, AblatesAFeatureAtATime) {
  const Planned planned = Plan({"--ablate", "epoll"});
  ASSERT_TRUE(planned.options.ok()) << planned.options.status();
  const std::vector<bench::Arm>& arms = planned.options->arms;
  ASSERT_GT(arms.size(), 3u);
  EXPECT_EQ(arms[0].name, "epoll");
  EXPECT_EQ(arms[0].change, "");
  EXPECT_EQ(arms[1].name, "no edge-triggered");
  EXPECT_EQ(arms[1].feature, "edge-triggered");
  EXPECT_EQ(arms[1].change, "off");
  EXPECT_EQ(arms[2].name, "drain");
  EXPECT_EQ(arms[2].change, "on");
  for (const bench::Scenario& scenario : planned.options->scenarios) {
    EXPECT_EQ(scenario.metric, "server_cpu_us");
    EXPECT_FALSE(scenario.full);
  }
  const Planned full = Plan({"--ablate", "epoll", "--metric", "requests_per_s"});
  ASSERT_TRUE(full.options.ok()) << full.options.status();
  for (const bench::Scenario& scenario : full.options->scenarios) EXPECT_TRUE(scenario.full);
}

TEST(ComparePlan, GivesAnArmFlagsOfLoadOfItsOwn) {
  const Planned planned = Plan({"--arm-load", "epoll=-t 2 --think 1ms"});
  ASSERT_TRUE(planned.options.ok()) << planned.options.status();
  EXPECT_EQ(planned.options->arms[0].load, (std::vector<std::string>{"-t", "2", "--think", "1ms"}));
}

TEST(ComparePlan, SweepsAScenarioAValue) {
  const Planned planned = Plan({"--sweep", "size=64,1KiB,64..16KiB"});
  EXPECT_FALSE(planned.options.ok()) << "a distribution is no value on an axis";
  const Planned sizes = Plan({"--sweep", "size=64,1KiB,16KiB", "-c", "8"});
  ASSERT_TRUE(sizes.options.ok()) << sizes.options.status();
  ASSERT_EQ(sizes.options->scenarios.size(), 3u);
  EXPECT_EQ(sizes.options->scenarios[1].x, 1024);
  EXPECT_EQ(sizes.options->scenarios[1].message_bytes, 1024u);
  EXPECT_EQ(sizes.options->scenarios[1].connections, 8u);
  const Planned rates = Plan({"--sweep", "rate=10k,100k"});
  ASSERT_TRUE(rates.options.ok()) << rates.options.status();
  EXPECT_FALSE(rates.options->scenarios[0].full);
  EXPECT_TRUE(rates.options->scenarios[0].pace_fixed);
  EXPECT_EQ(rates.options->scenarios[0].arrivals, "poisson");
}

TEST(ComparePlan, TurnsAnObjectiveIntoWhatBreaksIt) {
  const std::pair<const char*, const char*> pairs[] = {
      {"p99<1ms", "p99>=1ms"}, {"p99.9 <= 2ms", "p99.9 > 2ms"}, {"rps>=10k", "rps<10k"}};
  for (const auto& [objective, broken] : pairs) {
    const Planned planned = Plan({"--objective", objective, "-c", "8"});
    ASSERT_TRUE(planned.options.ok()) << planned.options.status();
    EXPECT_EQ(planned.options->scenarios[0].objective_broken, broken);
    EXPECT_EQ(planned.options->scenarios[0].metric, "rate_max");
  }
}

TEST(ComparePlan, WorkloadsWithoutAPaceAreJudgedAtFullSpeed) {
  const Planned planned = Plan({"-w", "download"});
  ASSERT_TRUE(planned.options.ok()) << planned.options.status();
  EXPECT_EQ(planned.options->scenarios[0].pace_rps, 0);
  EXPECT_EQ(planned.options->scenarios[0].metric, "full_server_cpu_us");
  EXPECT_EQ(planned.options->scenarios[0].service, "chargen");
}

TEST(ComparePlan, SaysWhatIsWrongBeforeAnythingStarts) {
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{"--arm", "epoll"}, "one arm alone ('epoll')"},
      {{"--arm", "epol", "--arm", "epoll"}, "'epol' is neither a backend"},
      {{"--arm", "x=serve --bakend epoll", "--arm", "epoll"}, "did you mean --backend?"},
      {{"--arm", "x=./server", "--arm", "epoll"}, "names no port"},
      {{"--load", "--thnk 1ms"}, "did you mean --think?"},
      {{"--load", "--json x"}, "--json is what compare itself says to load"},
      {{"--load", "9999"}, "an address is the arm's own"},
      {{"--arm-load", "epol=-t 2"}, "did you mean epoll?"},
      {{"--cross", "--arm", "epoll"}, "--cross has arms of its own"},
      {{"--sweep", "conections=1,2"}, "did you mean connections?"},
      {{"--sweep", "depth=1"}, "at least two values"},
      {{"--sweep", "connections=1,0"}, "0 is out of range"},
      {{"--sweep", "connections=1,2", "-c", "3"}, "--connections is what --sweep sets"},
      {{"--metric", "rate_max", "-c", "8"}, "there is no --objective"},
      {{"--metric", "p99_ns", "--rate", "10k"}, "no part at full speed"},
      {{"--objective", "p99", "-c", "8"}, "--objective: 'p99'"},
      {{"--rate", "10k", "--pace", "10k"}, "leave two out"},
      {{"-w", "upload", "--rate", "10k"}, "--workload upload has no pace"},
      {{"--matrix", "/no/such/file"}, "No such file"},
      {{"--threads", "2", "--arm", "one=serve -t1", "--arm", "epoll"},
       "arm 'one' has --threads of its own"},
      {{"--sweep", "threads=1,2", "--arm", "epoll", "--arm", "two=./old serve --threads 2"},
       "arm 'two' has --threads of its own"},
      {{"--server-cpus", "x"}, "--server-cpus"},
  };
  for (const auto& [words, expected] : cases) {
    const std::string error = Error(words);
    EXPECT_NE(error.find(expected), std::string::npos)
        << "expected \"" << expected << "\" in: " << error;
  }
}

TEST(Matrix, TheExampleIsOne) {
  const MatrixFile file(ExampleMatrix());
  const Planned planned = Plan({"--matrix", file.path()});
  ASSERT_TRUE(planned.options.ok()) << planned.options.status();
  EXPECT_EQ(planned.options->arms.size(), 2u);
  ASSERT_EQ(planned.options->scenarios.size(), 2u);
  EXPECT_EQ(planned.options->scenarios[0].margin, 0.05);
  EXPECT_EQ(planned.options->scenarios[1].margin, 0.10);
  EXPECT_EQ(planned.options->scenarios[1].message_bytes, 16384u);
}

// Each of its comments that is a line of the file, too.
TEST(Matrix, TheExamplesCommentsAreRight) {
  std::string text;
  const std::string example = ExampleMatrix();
  for (size_t at = 0; at < example.size();) {
    const size_t end = example.find('\n', at);
    std::string line = example.substr(at, end - at);
    const bool code = line.starts_with("# ") &&
                      (line.find(" = ") != std::string::npos || line.starts_with("# [["));
    text += (code ? line.substr(2) : line) + "\n";
    at = end + 1;
  }
  const MatrixFile file(text);
  const Planned planned = Plan({"--matrix", file.path()});
  ASSERT_TRUE(planned.options.ok()) << planned.options.status();
  EXPECT_EQ(planned.options->arms.size(), 4u);  // a third, and the self-check
  EXPECT_EQ(planned.options->scenarios.size(), 4u);
  EXPECT_EQ(planned.options->plan.transport, "unix");
}

TEST(Matrix, TheCommandLineWins) {
  const MatrixFile file(
      "margin = \"2%\"\npairs = 40\n[[arm]]\nbackend = \"epoll\"\n[[arm]]\nname = \"b\"\nserver = "
      "\"serve --threads 2\"\nload = \"-t 2\"\n[[scenario]]\nname = \"s\"\nconnections = 8\nmargin "
      "= 3\n");
  const Planned planned = Plan({"--matrix", file.path(), "--pairs", "20", "-c", "16"});
  ASSERT_TRUE(planned.options.ok()) << planned.options.status();
  EXPECT_EQ(planned.options->pairs_max, 20);
  EXPECT_EQ(planned.options->scenarios[0].connections, 16u);
  EXPECT_EQ(planned.options->scenarios[0].margin, 0.03);
  EXPECT_EQ(planned.options->scenarios[0].name, "s");
  EXPECT_EQ(planned.options->arms[1].load, (std::vector<std::string>{"-t", "2"}));
}

TEST(Matrix, NamesTheLineThatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"\nmargn = \"2%\"\n", ", line 2: unknown key 'margn'; did you mean margin?"},
      {"margin = \"x\"\n", ", line 1: --margin: "},
      {"pairs = true\n", ", line 1: --pairs: needs a value, not true"},
      {"self-check = 1\n", ", line 1: --self-check: is a switch"},
      {"config = \"x\"\n", ", line 1: config is for the command line only"},
      {"arm = \"epoll\"\n", ", line 1: arms are tables here; write [[arm]]"},
      {"[arm]\nbackend = \"epoll\"\n", ", line 1: [arm] stands once; write [[arm]]"},
      {"[[arms]]\nbackend = \"epoll\"\n", ", line 1: unknown table [[arms]]; did you mean arm?"},
      {"[[arm]]\nbackend = \"epoll\"\n[[arm]]\nbackend = \"epol\"\n",
       ", line 3: 'epol' is neither"},
      {"[[arm]]\nbakend = \"epoll\"\n", ", line 2: unknown key 'bakend'; did you mean backend?"},
      {"[[arm]]\nname = \"x\"\n", ", line 1: an arm has either a backend"},
      {"[[arm]]\nserver = \"serve\"\n", ", line 1: an arm with a command needs a name"},
      {"[[arm]]\nname = \"x\"\nserver = \"serve --bakend epoll\"\n[[arm]]\nbackend = \"epoll\"\n",
       ", line 1: arm 'x': unknown flag --bakend; did you mean --backend?"},
      {"[[arm]]\nbackend = \"epoll\"\nload = \"--thnk 1ms\"\n[[arm]]\nbackend = \"epoll\"\n",
       ", line 1: load of arm 'epoll': unknown flag --thnk; did you mean --think?"},
      {"[[scenario]]\nconections = 4\n",
       ", line 2: unknown key 'conections'; did you mean "
       "connections?"},
      {"[[scenario]]\nsize = \"big\"\n", ", line 1: --size: "},
      {"[[scenario]]\nconnections = 0\n", ", line 2: --connections: 0 is out of range"},
      {"margin = \n", ", line 1: "},
  };
  for (const auto& [text, expected] : cases) {
    const std::string error = MatrixFile(text).Wrong();
    EXPECT_TRUE(error.starts_with(expected)) << text << "\nexpected " << expected << "\n" << error;
  }
}

TEST(Matrix, ScenariosOfOneNameAreToldApart) {
  const MatrixFile file("[[scenario]]\nconnections = 4\n[[scenario]]\nconnections = 4\n");
  EXPECT_EQ(Error({"--matrix", file.path()}).find("there are two scenarios '4 × 64 B'"), 0u);
}

}  // namespace
}  // namespace cli
