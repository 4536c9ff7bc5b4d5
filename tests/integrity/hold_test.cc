#include <signal.h>

#include "tests/stress/drive.h"
#include "tests/tier.h"

namespace stress_tests {
namespace {

constexpr const char* kWidePorts = "echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range; ";

Args Both(const std::string& backend) {
  return {"hold", "--backend", backend, "--client-backend", backend};
}

// All were held, and answered, and nothing is left of them.
void ExpectAllHeld(const Json& json, uint64_t count) {
  const Json& hold = json["hold"];
  EXPECT_EQ(json["problem"], nullptr);
  EXPECT_EQ(json["limit"], nullptr) << json["limit"];
  EXPECT_EQ(json["connections"]["requested"], count);
  EXPECT_EQ(json["connections"]["opened"], count);
  EXPECT_EQ(json["connections"]["answered"], count);
  EXPECT_EQ(hold["held"], count);
  EXPECT_EQ(hold["errors"]["total"], 0) << hold["errors"];
  EXPECT_EQ(hold["bytes_corrupt"], 0);
  EXPECT_EQ(hold["ramp"]["connect_ns"]["count"], count);
  EXPECT_EQ(hold["ramp"]["first_byte_ns"]["count"], count);
  EXPECT_GT(hold["ramp"]["connections_per_s"].get<double>(), 0);
  EXPECT_GT(Number(hold["heartbeat"]["answered"]), 0u);
  EXPECT_EQ(hold["heartbeat"]["answered"], hold["heartbeat"]["offered"]);
  EXPECT_EQ(hold["close"]["server_descriptors_left"], 0);
  EXPECT_EQ(hold["close"]["client_descriptors_left"], 0);
}

// What only a network of its own can tell: others' sockets aren't in it.
void ExpectNoSocketLeft(const Json& json) {
  EXPECT_EQ(json["hold"]["close"]["sockets_left"], 0);
  EXPECT_GT(json["hold"]["close"]["duration_s"].get<double>(), 0);
}

// With so many file descriptors for each process.
Ended WithDescriptors(uint64_t limit, const Args& arguments) {
  return cli_tests::RunToEnd(Args{"sh", "-ec",
                                  "ulimit -n " + std::to_string(limit) + "; exec \"$@\"", "sh",
                                  RINGSIDE_BINARY, "stress"} +
                             arguments + Args{"--json", "-"});
}

// Whether this kernel has what direct descriptors need (Linux 6.7).
bool DirectRuns() {
  bench::Process probe = cli_tests::Start(
      {RINGSIDE_BINARY, "serve", "0", "--json", "--backend", "io_uring", "--direct"});
  while (probe.Output().empty()) {
    if (probe.Wait(1'000'000, -1) == bench::Process::Waited::kEnded) return false;
  }
  return true;
}

class Hold : public EachBackend {};

INSTANTIATE_TEST_SUITE_P(Backends, Hold, testing::Values("epoll", "io_uring"), BackendName);

TEST_P(Hold, HoldsThemWithFileDescriptors) {
  const Json json = StressJson(Both(GetParam()) + Args{"-c", "2000", "--hold", "200ms"});
  ExpectAllHeld(json, 2000);
  const Json& hold = json["hold"];
  EXPECT_EQ(hold["descriptors"], "file");
  EXPECT_EQ(hold["backend"], GetParam());
  const Json& server = hold["servers"][0];
  const auto open = [&](const char* when) { return Number(server[when]["descriptors"]); };
  EXPECT_EQ(open("held"), open("before") + 2000);
  EXPECT_EQ(open("after"), open("before"));
  uint64_t answered = 0;
  for (const Json& look : hold["ramp"]["series"]) {
    EXPECT_GE(Number(look["answered"]), answered);
    EXPECT_LE(Number(look["open"]), 2000u);
    answered = Number(look["answered"]);
  }
  EXPECT_EQ(answered, 2000u);
  if (!kSanitized) {
    EXPECT_GT(hold["memory"]["client_bytes_each"].get<double>(), 0);
  }
}

TEST_P(Hold, TakesTheirTimeToOpenThem) {
  const Json json =
      StressJson(Both(GetParam()) + Args{"-c", "50", "--connect-rate", "100", "--hold", "100ms"});
  ExpectAllHeld(json, 50);
  EXPECT_GE(json["hold"]["ramp"]["duration_s"].get<double>(), 0.49);
  EXPECT_EQ(json["hold"]["connect_rate"], 100);
}

TEST_P(Hold, HoldsMoreThanAProcessMayByMoreProcesses) {
  const Ended ended = WithDescriptors(
      300,
      Both(GetParam()) + Args{"-c", "1000", "--no-direct", "--processes", "5", "--hold", "100ms"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err << ended.out;
  const Json json = Json::parse(ended.out, nullptr, false);
  ExpectAllHeld(json, 1000);
  EXPECT_EQ(json["hold"]["processes"], 5);
  EXPECT_EQ(json["hold"]["servers"].size(), 5u);
  EXPECT_EQ(json["hold"]["sources"], 5);
}

TEST_P(Hold, KeepsWhatItHasWhereDescriptorsEnd) {
  LEFT_TO_ALL();
  const Ended ended =
      WithDescriptors(300, Both(GetParam()) + Args{"-c", "2000", "--no-direct", "--hold", "100ms"});
  EXPECT_EQ(ended.exit_code, 3) << ended.err << ended.out;
  const Json json = Json::parse(ended.out, nullptr, false);
  EXPECT_EQ(json["limit"]["name"], "RLIMIT_NOFILE") << json["limit"];
  EXPECT_NE(json["limit"]["value"].get<std::string>().find("300"), std::string::npos);
  EXPECT_NE(json["limit"]["mend"].get<std::string>().find("--direct"), std::string::npos);
  EXPECT_EQ(json["problem"], nullptr);
  EXPECT_EQ(json["connections"]["requested"], 2000);
  const uint64_t held = Number(json["hold"]["held"]);
  EXPECT_GT(held, 200u);
  EXPECT_LT(held, 300u);
  // Who waited in the backlog is answered at the end, when descriptors are closed.
  EXPECT_GE(Number(json["connections"]["answered"]), held);
  EXPECT_EQ(json["hold"]["ramp"]["first_byte_ns"]["count"], json["connections"]["answered"]);
  EXPECT_GT(Number(json["hold"]["heartbeat"]["answered"]), 0u);
}

TEST_P(Hold, StopsAtAServerThatTakesNobodyMore) {
  LEFT_TO_ALL();
  Server server({"--backend", GetParam(), "--connections-max", "100"});
  const Json json = StressJson(Args{"hold", server.port(), "--client-backend", GetParam(), "-c",
                                    "300", "--hold", "100ms", "--connect-timeout", "300ms"},
                               3);
  EXPECT_EQ(json["limit"]["name"], "the server's answers");
  EXPECT_EQ(json["hold"]["held"], 100);
  EXPECT_EQ(json["hold"]["backend"], nullptr);
  EXPECT_EQ(json["hold"]["servers"][0]["ours"], false);
  server.Stop();
}

TEST_P(Hold, EndsWhereThePortsDo) {
  if (!MayUnshare()) GTEST_SKIP() << "no network namespace of its own";
  const Json json = StressJsonAlone(
      "echo 40000 40099 > /proc/sys/net/ipv4/ip_local_port_range; ",
      Both(GetParam()) + Args{"-c", "1000", "--hold", "100ms", "--source", "127.0.0.1,127.0.0.2"},
      3);
  EXPECT_EQ(json["limit"]["name"], "net.ipv4.ip_local_port_range");
  EXPECT_EQ(json["problem"], nullptr);
  EXPECT_GE(Number(json["hold"]["held"]), 198u);  // one of the ports may be the server's
  EXPECT_LE(Number(json["hold"]["held"]), 200u);
  ExpectNoSocketLeft(json);
}

TEST_P(Hold, PlansTheAddressesThatItNeeds) {
  if (!MayUnshare()) GTEST_SKIP() << "no network namespace of its own";
  const Json json = StressJsonAlone("echo 40000 40099 > /proc/sys/net/ipv4/ip_local_port_range; ",
                                    Both(GetParam()) + Args{"-c", "1000", "--hold", "100ms"});
  ExpectAllHeld(json, 1000);
  ExpectNoSocketLeft(json);
  EXPECT_EQ(json["hold"]["sources"], 11);
}

TEST_P(Hold, ReportsWhatThereIsWhenASignalEndsIt) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const std::string file = testing::TempDir() + "ringside-hold-" + std::to_string(getpid());
    bench::Process run = cli_tests::Start(
        Args{RINGSIDE_BINARY, "stress"} + Both(GetParam()) +
        Args{"-c", "100000", "--connect-rate", "500", "--json", file, "--no-direct"});
    // It connects: its server, the child of its first child, has more descriptors than a server
    // without peers.
    const std::string count = "s=$(pgrep -P " + std::to_string(run.pid()) +
                              " | head -1); p=$(pgrep -P $s); ls /proc/$p/fd | wc -l";
    EXPECT_TRUE(cli_tests::Until([&] {
      return std::atoi(cli_tests::RunToEnd({"sh", "-c", count}).out.c_str()) > 60;
    }));
    run.Signal(signal);
    const Ended ended = cli_tests::WaitFor(run);
    EXPECT_EQ(ended.exit_code, 128 + signal) << ended.err;
    const Ended read = cli_tests::RunToEnd({"cat", file});
    unlink(file.c_str());
    const Json json = Json::parse(read.out, nullptr, false);
    ASSERT_TRUE(json.is_object());
    EXPECT_EQ(json["interrupted"], true);
    EXPECT_EQ(json["problem"], nullptr);
    EXPECT_GT(Number(json["connections"]["answered"]), 0u);
    EXPECT_LT(Number(json["connections"]["answered"]), 100'000u);
    EXPECT_EQ(json["hold"]["close"]["server_descriptors_left"], 0);
  }
}

TEST(HoldFlags, StopsAtTheMemoryFloorAtOnce) {
  const Json json = StressJson({"hold", "--memory-floor", "500TiB"}, 3);
  EXPECT_EQ(json["limit"]["name"], "memory floor");
  EXPECT_EQ(json["connections"]["opened"], 0);
}

TEST(HoldFlags, AreRefusedWhereTheyContradictEachOther) {
  for (const Args& wrong :
       {Args{"--direct", "--no-direct"}, Args{"--direct", "--backend", "epoll"},
        Args{"--processes", "3", "-c", "2"}, Args{"--processes", "2", "--source", "127.0.0.1"},
        Args{"unix:@nobody"}, Args{"udp://127.0.0.1:9"}, Args{"8.8.8.8:80"}}) {
    const Ended ended = Ringside(Args{"stress", "hold"} + wrong);
    EXPECT_EQ(ended.exit_code, 2) << wrong.back() << ended.err;
    EXPECT_EQ(ended.err.find('\n'), ended.err.size() - 1) << ended.err;
    EXPECT_EQ(ended.out, "");
  }
}

TEST(HoldText, SaysWhatItFound) {
  const Ended ended = Ringside({"stress", "hold", "-c", "100", "--hold", "100ms"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  for (const char* row : {"hold: held 100 connections", "ramp", "first byte", "memory", "heartbeat",
                          "nothing is left"}) {
    EXPECT_NE(ended.out.find(row), std::string::npos) << row << "\n" << ended.out;
  }
}

// More than RLIMIT_NOFILE allows a process, in one process at each end.
TEST(HoldDirect, HoldsSeventyFiveThousand) {
  LEFT_TO_ALL();
  constexpr uint64_t kCount = 75'000;
  if (kSanitized) GTEST_SKIP() << "a sanitizer's memory is not the program's";
  if (!MayUnshare()) GTEST_SKIP() << "no network namespace of its own";
  if (!DirectRuns()) GTEST_SKIP() << "no direct descriptors for accepted connections here";
  const Json json = StressJsonAlone(
      kWidePorts,
      Both("io_uring") + Args{"--direct", "-c", std::to_string(kCount), "--hold", "1s"});
  ExpectAllHeld(json, kCount);
  ExpectNoSocketLeft(json);
  const Json& hold = json["hold"];
  EXPECT_EQ(hold["descriptors"], "direct");
  EXPECT_EQ(hold["processes"], 1);
  EXPECT_GE(Number(hold["sources"]), 2u);
  // None of them is a file descriptor.
  EXPECT_LT(Number(hold["servers"][0]["held"]["descriptors"]), 1'000u);
  EXPECT_LE(hold["memory"]["server_bytes_each"].get<double>(), 512);
}

// Chosen by itself where file descriptors don't suffice.
TEST(HoldDirect, IsChosenWhereDescriptorsEnd) {
  if (!DirectRuns()) GTEST_SKIP() << "no direct descriptors for accepted connections here";
  const Ended ended =
      WithDescriptors(300, Both("io_uring") + Args{"-c", "1000", "--hold", "100ms"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err << ended.out;
  const Json json = Json::parse(ended.out, nullptr, false);
  ExpectAllHeld(json, 1000);
  EXPECT_EQ(json["hold"]["descriptors"], "direct");
  EXPECT_EQ(json["hold"]["threads"], 4);
}

}  // namespace
}  // namespace stress_tests
