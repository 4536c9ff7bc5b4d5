#include <sys/mount.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/cli/ringside.h"
#include "tests/tier.h"

namespace cli_tests {
namespace {

// A comparison that is as short as one can be: what is tested is that it works, not what it finds.
// So it minds nobody else on this machine.
const std::vector<std::string> kShort = {"--window",    "50ms", "--warmup",     "10ms",
                                         "--steal-max", "100%", "--others-max", "100%"};
const std::vector<std::string> kQuick = {"-c", "4", "--pace", "1k"};

const std::string kBare = std::string(RINGSIDE_REFERENCES) + "/bare_epoll {port}";

// A folder of this process' own, empty.
std::filesystem::path Folder() {
  const auto folder =
      std::filesystem::path(testing::TempDir()) / ("ringside_compare_" + std::to_string(getpid()));
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

std::vector<std::string> Command(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {RINGSIDE_BINARY, "compare"});
  arguments.insert(arguments.end(), kShort.begin(), kShort.end());
  return arguments;
}

Json Read(const std::filesystem::path& file) {
  std::ifstream stream(file);
  return Json::parse(stream, nullptr, false);
}

// Of these arguments and no others but kShort.
Json JsonOf(std::vector<std::string> arguments, Ended* ended) {
  const auto file = Folder() / "result.json";
  arguments.insert(arguments.end(), {"--output", file.string()});
  *ended = RunToEnd(Command(std::move(arguments)));
  return Read(file);
}

Json CompareJson(std::vector<std::string> arguments, Ended* ended) {
  arguments.insert(arguments.end(), kQuick.begin(), kQuick.end());
  return JsonOf(std::move(arguments), ended);
}

const Json& Verdict(const Json& json, size_t scenario = 0, size_t comparison = 0) {
  return json["scenarios"][scenario]["comparisons"][comparison]["verdict"];
}

TEST(Compare, WritesAResultWithItsEnvironment) {
  Ended ended;
  const Json json = CompareJson({"--arm", "epoll", "--arm", "epoll", "--pairs", "2"}, &ended);
  EXPECT_EQ(ended.exit_code, 5) << "two pairs can tell nothing; " << ended.err;
  EXPECT_EQ(json["schema"], "ringside.compare/2");
  ASSERT_EQ(json["scenarios"].size(), 1u);
  const Json& scenario = json["scenarios"][0];
  EXPECT_EQ(Verdict(json)["verdict"], "cannot tell");
  EXPECT_EQ(Verdict(json)["pairs"], 2);
  ASSERT_GE(scenario["rounds"].size(), 2u);
  for (const Json& round : scenario["rounds"]) {
    if (!round["void"].is_null()) continue;  // on a busy machine
    for (const Json& arm : round["arms"]) {
      for (const char* metric : {"requests_per_s", "p50_ns", "server_cpu_us", "server_syscalls",
                                 "full_server_cpu_us", "paced_p50_ns", "server_memory_bytes"}) {
        EXPECT_GT(arm[metric].get<double>(), 0) << metric;
        EXPECT_TRUE(json["metrics"].contains(metric)) << metric;
      }
      for (const char* part : {"full", "paced"}) {
        EXPECT_EQ(arm["hdr"][part].get<std::string>().find("HISTFAAA"), 0u);
      }
    }
  }
  for (const Json& arm : scenario["arms"]) {
    EXPECT_GT(arm["latency"]["full"]["count"].get<uint64_t>(), 0u);
    EXPECT_GT(arm["medians"]["requests_per_s"].get<double>(), 0);
  }
  EXPECT_EQ(json["environment"]["machine_id"].get<std::string>().size(), 16u);
  EXPECT_FALSE(json["revision"].get<std::string>().empty());
  EXPECT_GT(json["time"]["measured_s"].get<double>(), 2 * 2 * 2 * 0.05);
  EXPECT_NE(ended.out.find("Can't tell"), std::string::npos) << ended.out;
}

// Latencies of all rounds together are those of each.
TEST(Compare, MergesTheLatenciesOfItsRounds) {
  LEFT_TO_ALL();
  Ended ended;
  const Json json = CompareJson({"--arm", "epoll", "--arm", "epoll", "--pairs", "3"}, &ended);
  const Json& scenario = json["scenarios"][0];
  double low = 1e18, high = 0;
  for (const Json& round : scenario["rounds"]) {
    if (!round["void"].is_null()) continue;
    low = std::min(low, round["arms"][0]["p50_ns"].get<double>());
    high = std::max(high, round["arms"][0]["p50_ns"].get<double>());
  }
  const double merged = scenario["arms"][0]["latency"]["full"]["p50"].get<double>();
  EXPECT_GE(merged, low);
  EXPECT_LE(merged, high);
}

TEST(Compare, FindsAServerThatIsSlowed) {
  LEFT_TO_ALL();
  Ended ended;
  const Json json = CompareJson({"--arm", "bare=" + kBare, "--arm", "slowed=" + kBare + " 50000",
                                 "--pairs", "10"},  // 50 µs of work more for each message
                                &ended);
  ASSERT_FALSE(json.is_discarded()) << ended.err;
  EXPECT_EQ(Verdict(json)["verdict"], "slower") << ended.out << ended.err;
  EXPECT_EQ(ended.exit_code, 4) << ended.err;
}

// Of several arms each has a verdict, and an arm whose verdict is there isn't played any more.
TEST(Compare, JudgesEachOfSeveralArms) {
  LEFT_TO_ALL();
  Ended ended;
  const Json json = CompareJson(
      {"--arm", "bare=" + kBare, "--arm", "slowed=" + kBare + " 50000", "--arm",
       "slower=" + kBare + " 100000", "--arm", "again=" + kBare, "--pairs", "11", "--margin", "2%"},
      &ended);
  ASSERT_EQ(json["scenarios"][0]["comparisons"].size(), 3u) << ended.err;
  EXPECT_EQ(Verdict(json, 0, 0)["verdict"], "slower") << ended.out;
  EXPECT_EQ(Verdict(json, 0, 1)["verdict"], "slower") << ended.out;
  // Three are judged at once: each interval is wider, so that all of them hold.
  EXPECT_NEAR(Verdict(json, 0, 0)["confidence"].get<double>(), 1 - 0.0182 / 3, 1e-6);
  const Json& rounds = json["scenarios"][0]["rounds"];
  const Json& last = rounds.back();
  if (rounds.size() == 11) {
    EXPECT_TRUE(last["arms"][1].is_null()) << "it was judged after 10";
  }
  EXPECT_EQ(ended.exit_code, 4) << ended.err;
}

TEST(Compare, WithoutASelfCheckThatPassesNothingIsJudged) {
  // A server that is slower at every other start is not the same as itself.
  const auto folder = Folder();
  const auto script = folder / "moody";
  std::ofstream(script) << "#!/bin/sh\nif [ -e " << folder.string() << "/odd ]; then rm "
                        << folder.string() << "/odd; exec " << RINGSIDE_REFERENCES
                        << "/bare_epoll $1; fi\ntouch " << folder.string() << "/odd; exec "
                        << RINGSIDE_REFERENCES << "/bare_epoll $1 100000\n";
  std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  const auto file = folder / "result.json";
  std::vector<std::string> arguments =
      Command({"--arm", "moody=" + script.string() + " {port}", "--arm",
               "slow=" + kBare + " 300000", "--rate", "1k", "-c", "1", "--pairs", "10",
               "--self-check", "--metric", "paced_p50_ns", "-o", file.string()});
  const Ended ended = RunToEnd(arguments);
  const Json json = Read(file);
  ASSERT_FALSE(json.is_discarded()) << ended.err;
  EXPECT_EQ(json["self_check"]["passed"], false) << ended.out;
  EXPECT_EQ(Verdict(json)["verdict"], "cannot tell");
  EXPECT_NE(Verdict(json)["why"].get<std::string>().find("self-check"), std::string::npos);
  EXPECT_EQ(ended.exit_code, 5) << ended.out << ended.err;
  std::filesystem::remove_all(folder);
}

TEST(Compare, PlaysOverEachTransport) {
  LEFT_TO_ALL();
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
    EXPECT_EQ(json["plan"]["transport"], transport);
    EXPECT_EQ(Verdict(json)["pairs"], 1) << ended.err;
  }
}

TEST(Compare, PlaysOurServerOverEachTransport) {
  LEFT_TO_ALL();
  for (const std::string transport : {"unix", "seqpacket", "udp", "unix-dgram"}) {
    SCOPED_TRACE(transport);
    Ended ended;
    const Json json = CompareJson(
        {"--transport", transport, "--arm", "epoll", "--arm", "epoll", "--pairs", "1"}, &ended);
    ASSERT_FALSE(json.is_discarded()) << ended.err;
    EXPECT_EQ(ended.exit_code, 5) << ended.err;
    EXPECT_EQ(Verdict(json)["pairs"], 1) << ended.err;
    const Json& medians = json["scenarios"][0]["arms"][0]["medians"];
    EXPECT_GT(medians["server_syscalls"].get<double>(), 0);
  }
}

TEST(Compare, PlaysEachWorkload) {
  LEFT_TO_ALL();
  for (const std::string workload : {"crr", "upload", "download", "duplex"}) {
    SCOPED_TRACE(workload);
    Ended ended;
    const Json json = JsonOf({"-w", workload, "-c", "4", "--arm", "epoll", "--arm", "epoll",
                              "--pairs", "1", "-s", workload == "crr" ? "64B" : "4KiB"},
                             &ended);
    ASSERT_FALSE(json.is_discarded()) << ended.err;
    EXPECT_EQ(ended.exit_code, 5) << ended.err;
    const Json& medians = json["scenarios"][0]["arms"][0]["medians"];
    EXPECT_GT(medians["requests_per_s"].get<double>(), 0) << ended.err;
    EXPECT_GT(medians["full_server_cpu_us"].get<double>(), 0);
  }
}

// A load generator that never sleeps has a full CPU, which doesn't make it the limit.
TEST(Compare, TakesNoSpinningGeneratorForTheLimit) {
  Ended ended;
  const Json json =
      CompareJson({"--arm", "epoll=serve --backend epoll --delay 5ms", "--arm",
                   "again=serve --backend epoll --delay 5ms", "--service", "delay", "--load",
                   "--busy-poll", "--metric", "requests_per_s", "--pairs", "1"},
                  &ended);
  ASSERT_FALSE(json.is_discarded()) << ended.err;
  EXPECT_EQ(ended.exit_code, 5) << ended.err;
  EXPECT_EQ(Verdict(json)["pairs"], 1) << ended.out;
  EXPECT_EQ(json["scenarios"][0]["arms"][0]["generator_bound"], 0);
}

TEST(Compare, SweepsAndNamesEachPoint) {
  Ended ended;
  const Json json = JsonOf({"--sweep", "connections=1,4", "--arm", "epoll", "--arm", "epoll",
                            "--pace", "500", "--pairs", "1"},
                           &ended);
  EXPECT_EQ(ended.exit_code, 5) << ended.err;
  EXPECT_EQ(json["sweep"]["parameter"], "connections");
  ASSERT_EQ(json["scenarios"].size(), 2u);
  EXPECT_EQ(json["scenarios"][0]["x"], 1);
  EXPECT_EQ(json["scenarios"][1]["connections"], 4);
}

// A server that takes a millisecond at least can't answer more than 1,000 requests/s on a
// connection, and one that takes 10 ms no more than 100.
TEST(Compare, SearchesTheHighestRateThatKeepsAnObjective) {
  LEFT_TO_ALL();
  Ended ended;
  const Json json = JsonOf({"--arm", "quick=serve --backend epoll --delay 1ms", "--arm",
                            "late=serve --backend epoll --delay 10ms", "--service", "delay", "-c",
                            "4", "--objective", "p50<100ms", "--pairs", "1"},
                           &ended);
  ASSERT_FALSE(json.is_discarded()) << ended.err;
  const Json& arms = json["scenarios"][0]["arms"];
  const double late = arms[1]["medians"]["rate_max"].get<double>();
  EXPECT_GT(late, 0);
  EXPECT_LE(late, 4 * 100 * 1.1);
  EXPECT_LE(arms[0]["medians"]["rate_max"].get<double>(), 4 * 1000 * 1.1);
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

// An arm that dies later ends it; what was measured until then is kept.
TEST(Compare, KeepsWhatWasMeasuredBeforeAnArmDied) {
  const auto folder = Folder();
  const auto script = folder / "mortal", count = folder / "count", file = folder / "result.json";
  std::ofstream(script) << "#!/bin/sh\necho >> " << count.string() << "\nif [ $(wc -l < "
                        << count.string()
                        << ") -gt 5 ]; then echo I am tired >&2; exit 7; fi\nexec "
                        << RINGSIDE_REFERENCES << "/bare_epoll $1\n";
  std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  const Ended ended =
      RunToEnd(Command({"--arm", "epoll", "--arm", "mortal=" + script.string() + " {port}", "-c",
                        "4", "--pace", "1k", "-o", file.string()}));
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_NE(ended.err.find("I am tired"), std::string::npos) << ended.err;
  const Json json = Read(file);
  EXPECT_EQ(json["scenarios"][0]["rounds"].size(), 2u);  // after a start to find the pace
  EXPECT_NE(json["problem"].get<std::string>().find("I am tired"), std::string::npos);
  std::filesystem::remove_all(folder);
}

// A server that answers with other bytes is no arm to be compared.
TEST(Compare, EndsWhereAnArmAnswersWrongly) {
  LEFT_TO_ALL();
  Ended ended;
  CompareJson({"--arm", "epoll", "--arm", "liar=" RINGSIDE_BINARY " serve --service counter"},
              &ended);
  EXPECT_EQ(ended.exit_code, 2) << "its --service is what compare sets: " << ended.err;
  CompareJson({"--arm", "epoll", "--arm",
               "liar=socat TCP-LISTEN:{port},fork,reuseaddr 'SYSTEM:tr a-z A-Z'"},
              &ended);
  EXPECT_EQ(ended.exit_code, 1) << ended.err;
  EXPECT_NE(ended.err.find("'liar'"), std::string::npos) << ended.err;
}

TEST(Compare, SaysWhatItHasWhenInterrupted) {
  const auto file = Folder() / "result.json";
  for (const int signal : {SIGINT, SIGTERM}) {
    bench::Process compare =
        Start({RINGSIDE_BINARY, "compare", "--arm", "epoll", "--arm", "epoll", "-o", file.string(),
               "--window", "20ms", "--warmup", "0s", "-c", "4", "--margin", "0.1%"});
    while (RunToEnd({"pgrep", "-P", std::to_string(compare.pid())}).out.empty()) {
    }
    compare.Signal(signal);
    const Ended ended = WaitFor(compare);
    EXPECT_EQ(ended.exit_code, 128 + signal) << ended.err;
    EXPECT_EQ(Read(file)["interrupted"], true);
    EXPECT_EQ(RunToEnd({"pgrep", "-P", std::to_string(compare.pid())}).out, "")
        << "children are left";
  }
}

TEST(Compare, EndsWhenItsBudgetIsSpent) {
  Ended ended;
  const Json json = CompareJson(
      {"--arm", "epoll", "--arm", "epoll", "--budget", "1s", "--margin", "0.1%"}, &ended);
  EXPECT_LT(json["scenarios"][0]["rounds"].size(), 80u);
  EXPECT_TRUE(ended.exit_code == 5 || ended.exit_code == 0 || ended.exit_code == 4) << ended.err;
}

TEST(Compare, MayPassWhenItCannotTell) {
  Ended ended;
  CompareJson({"--arm", "epoll", "--arm", "epoll", "--pairs", "1", "--inconclusive", "pass"},
              &ended);
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
}

// A machine that is busy with others says nothing about an arm.
TEST(Compare, CannotTellOnABusyMachine) {
  std::vector<bench::Process> busy;
  for (int cpu = 0; cpu < 2; ++cpu) busy.push_back(Start({"sh", "-c", "while :; do :; done"}));
  const auto file = Folder() / "result.json";
  const Ended ended = RunToEnd({RINGSIDE_BINARY, "compare", "--arm", "epoll", "--arm", "epoll",
                                "-c", "4", "--rate", "1k", "--window", "50ms", "--warmup", "10ms",
                                "-o", file.string(), "--steal-max", "100%"});
  EXPECT_EQ(ended.exit_code, 5) << ended.err;
  const Json json = Read(file);
  EXPECT_NE(Verdict(json)["why"].get<std::string>().find("other processes had"), std::string::npos)
      << ended.out;
  EXPECT_TRUE(json["problem"].is_null());
}

TEST(Compare, SkipsABackendThatIsNotHere) {
  if (RunToEnd({"strace", "-qq", "-o", "/dev/null", "true"}).exit_code != 0) {
    GTEST_SKIP() << "strace isn't installed, or may not trace";
  }
  const Ended ended =
      RunToEnd({"strace", "-f", "-D", "-qq", "-o", "/dev/null", "-e", "trace=io_uring_setup", "-e",
                "inject=io_uring_setup:error=EPERM", RINGSIDE_BINARY, "compare"});
  EXPECT_EQ(ended.exit_code, 77) << ended.err;
  EXPECT_NE(ended.err.find("skipped: arm 'io_uring' needs io_uring"), std::string::npos)
      << ended.err;
}

TEST(Compare, WritesAMatrixToBeginWith) {
  LEFT_TO_ALL();
  const auto folder = Folder();
  const std::string matrix = (folder / "bench.toml").string();
  EXPECT_EQ(Ringside({"compare", "--init", matrix}).exit_code, 0);
  const Ended again = Ringside({"compare", "--init", matrix});
  EXPECT_EQ(again.exit_code, 2) << "it is there already";
  const auto file = folder / "result.json";
  const Ended ended = RunToEnd(Command({"--matrix", matrix, "--pairs", "1", "-o", file.string()}));
  EXPECT_EQ(ended.exit_code, 5) << ended.err;
  EXPECT_EQ(Read(file)["scenarios"].size(), 2u);
  std::filesystem::remove_all(folder);
}

// A disk without room leaves nothing half-written, and the text is still shown.
TEST(Compare, AFullDiskLeavesNothing) {
  LEFT_TO_ALL();
  if (getuid() != 0) GTEST_SKIP() << "only root mounts a disk of its own";
  const auto folder = Folder();
  const std::string disk = (folder / "disk").string();
  std::filesystem::create_directories(disk);
  if (mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=8k") != 0) GTEST_SKIP() << "can't mount here";
  const Ended ended = RunToEnd(Command({"--arm", "epoll", "--arm", "epoll", "-c", "4", "--pace",
                                        "1k", "--pairs", "1", "-o", disk + "/result.json"}));
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_NE(ended.err.find("ENOSPC"), std::string::npos) << ended.err;
  EXPECT_NE(ended.out.find("Can't tell"), std::string::npos) << ended.out;
  EXPECT_TRUE(std::filesystem::is_empty(disk));
  umount(disk.c_str());
  std::filesystem::remove_all(folder);
}

// Two that run in the same folder at the same time write a result each.
TEST(Compare, TwoInOneFolderWriteTwoResults) {
  const auto folder = Folder();
  const std::string command =
      "cd " + folder.string() +
      " && exec " RINGSIDE_BINARY
      " compare --arm epoll --arm epoll -c 2 --rate 100 --pairs 1 --window 20ms --warmup 0s -q "
      "--steal-max 100% --others-max 100%";
  bench::Process one = Start({"sh", "-c", command}), two = Start({"sh", "-c", command});
  for (bench::Process* process : {&one, &two}) {
    const Ended ended = WaitFor(*process);
    EXPECT_EQ(ended.exit_code, 5) << ended.err;
  }
  int results = 0, others = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "results")) {
    const auto ending = entry.path().extension();
    if (ending == ".json") {
      ++results;
      EXPECT_EQ(Read(entry.path())["schema"], "ringside.compare/2");
    } else if (ending != ".html") {
      ++others;
    }
  }
  EXPECT_EQ(results, 2);
  EXPECT_EQ(others, 0) << "temporary files are left";
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace cli_tests
