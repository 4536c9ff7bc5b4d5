// Which ports `ringside probe` finds open, closed and filtered, by each way to ask.

#include <random>
#include <sstream>

#include "tests/probe/network.h"
#include "tests/tier.h"

namespace probe_tests {
namespace {

class Scan : public OwnNetwork {};

INSTANTIATE_TEST_SUITE_P(Method, Scan, testing::Values("epoll", "io_uring", "syn"), MethodName);

TEST_P(Scan, FindsListenersOfEveryFamily) {
  const Fd v4 = Bound("127.0.0.1", 1001, 5), any4 = Bound("0.0.0.0", 1002, 5);
  const Fd v6 = Bound("::1", 1003, 5), only6 = Bound("::", 1004, 5, /*v6_only=*/true);
  const Fd both = Bound("::", 1005, 5), other4 = Bound("127.0.0.2", 1006, 5);
  EXPECT_EQ(OpenPorts(Probe({"127.0.0.1", "--ports", "1000-1010"})), Ports({1001, 1002, 1005}));
  EXPECT_EQ(OpenPorts(Probe({"::1", "--ports", "1000-1010"})), Ports({1003, 1004, 1005}));
  EXPECT_EQ(OpenPorts(Probe({"[::1]", "--ports", "1000-1010"})), Ports({1003, 1004, 1005}));
  EXPECT_EQ(OpenPorts(Probe({"127.0.0.2", "--ports", "1000-1010"})), Ports({1002, 1005, 1006}));
  EXPECT_EQ(OpenPorts(Probe({"0.0.0.0", "--ports", "1000-1010"})), Ports({1001, 1002, 1005}));
}

TEST_P(Scan, TellsWhoHoldsAnOpenPort) {
  const Fd listener = Bound("127.0.0.1", 1001, 7);
  const Json result = Probe({"127.0.0.1:1001"});
  ASSERT_EQ(result["open"].size(), 1u);
  const Json& open = result["open"][0];
  EXPECT_GT(open["connect_ns"].get<int64_t>(), 0);
  ASSERT_EQ(open["listeners"].size(), 1u);
  const Json& found = open["listeners"][0];
  EXPECT_EQ(found["local"], "127.0.0.1:1001");
  EXPECT_EQ(found["backlog"], 7);
  EXPECT_EQ(found["queue"], 0);
  EXPECT_EQ(found["uid"], 0);
  ASSERT_EQ(found["holders"].size(), 1u);
  EXPECT_EQ(found["holders"][0]["pid"], getpid());
  EXPECT_EQ(found["holders"][0]["fd"], listener.get());
  EXPECT_EQ(result["ports"]["asked"], 1);
  EXPECT_EQ(result["here"], true);
  EXPECT_EQ(result["address"], "127.0.0.1");
}

TEST_P(Scan, AClosedPortIsClosed) {
  const Fd bound = Bound("127.0.0.1", 1001, 0);  // bound is not listening
  const Json result = Probe({"127.0.0.1", "--ports", "1001,1002"});
  EXPECT_EQ(result["ports"]["closed"], 2);
  EXPECT_EQ(result["refused_ns"]["count"], 2);
  EXPECT_TRUE(result["open"].empty());
  EXPECT_TRUE(result["silent"].empty());
}

// All that ss(8) shows as listening.
Ports PortsOfSs() {
  Ports ports;
  std::istringstream lines(Shell("ss -Hltn | awk '{print $4}'"));
  for (std::string local; lines >> local;)
    ports.insert(std::stoi(local.substr(local.rfind(':') + 1)));
  return ports;
}

TEST_P(Scan, AgreesWithSsOnAllPorts) {
  LEFT_TO_ALL();
  constexpr int kListeners = 200;
  std::mt19937 random(1);
  std::vector<Fd> listeners;
  Ports ports = {1, 32768, 60999, 65535};  // the ends, and those of the kernel's own choice
  while (ports.size() < kListeners) ports.insert(std::uniform_int_distribution(1, 65535)(random));
  for (const int port : ports)
    listeners.push_back(Bound(port % 2 == 0 ? "0.0.0.0" : "::", port, 5));
  std::vector<Fd> bound;  // and these listen to nobody
  for (int port = 2000; port < 2100; ++port) {
    if (!ports.contains(port)) bound.push_back(Bound("0.0.0.0", port, 0));
  }
  ASSERT_EQ(PortsOfSs(), ports);
  const Json result = Probe({});
  EXPECT_EQ(OpenPorts(result), ports);
  EXPECT_EQ(result["ports"]["asked"], 65535);
  EXPECT_EQ(result["ports"]["open"], kListeners);
  EXPECT_EQ(result["ports"]["closed"], 65535 - kListeners);
  for (const Json& open : result["open"]) {
    ASSERT_EQ(open["listeners"].size(), 1u) << open;
    EXPECT_EQ(open["listeners"][0]["holders"][0]["pid"], getpid());
  }
  RecordProperty("duration_s", std::to_string(result["duration_s"].get<double>()));
  std::printf("65,535 ports by %s: %.2f s\n", GetParam().c_str(),
              result["duration_s"].get<double>());
  EXPECT_EQ(Shell("ss -Htan state time-wait | wc -l"), "0\n") << "the probes are reset";
}

TEST_P(Scan, MeetsItselfAndKnows) {
  // The kernel has one port to connect from: who asks for that one connects to itself.
  ASSERT_TRUE(WriteText("/proc/sys/net/ipv4/ip_local_port_range", "40000 40000"));
  for (const std::string host : {"127.0.0.1", "::1"}) {
    const Json result = Probe({host, "--ports", "39990-40010"});
    EXPECT_TRUE(result["open"].empty()) << result["open"];
    EXPECT_EQ(result["ports"]["closed"], 21) << result["ports"] << result["silent"];
    const bool connects = GetParam() != "syn";
    EXPECT_EQ(result["met_ourselves"] > 0, connects);
  }
}

TEST_P(Scan, NeverMistakesItselfInTheKernelsRange) {
  LEFT_TO_ALL();
  ASSERT_TRUE(WriteText("/proc/sys/net/ipv4/ip_local_port_range", "40000 40063"));
  const Fd listener = Bound("127.0.0.1", 40017, 100);  // it accepts nobody
  for (int i = 0; i < 30; ++i) {
    const Json result = Probe({"--ports", "40000-40063"});
    ASSERT_EQ(OpenPorts(result), Ports({40017}));
    ASSERT_EQ(result["ports"]["closed"], 63);
  }
}

TEST_P(Scan, SilenceIsFiltered) {
  AddSilentNetwork();
  const Json result = Probe({"10.99.0.2", "--ports", "1-20,30", "--timeout", "50ms"});
  EXPECT_EQ(result["ports"]["filtered"], 21);
  ASSERT_EQ(result["silent"].size(), 2u);
  EXPECT_EQ(result["silent"][0],
            Json({{"first", 1}, {"last", 20}, {"state", "filtered"}, {"reason", "no-answer"}}));
  EXPECT_EQ(result["silent"][1]["first"], 30);
  EXPECT_EQ(result["here"], false);
  EXPECT_EQ(PacketsSent(), 21) << "one SYN a port";
}

TEST_P(Scan, OneAtATimeAsksThemAll) {
  AddSilentNetwork();
  const Fd listener = Bound("127.0.0.1", 17, 5);
  EXPECT_EQ(OpenPorts(Probe({"--ports", "1-200", "--in-flight", "1"})), Ports({17}));
  EXPECT_EQ(Probe({"10.99.0.2", "--ports", "1-8", "--in-flight", "1", "--timeout",
                   "5ms"})["ports"]["filtered"],
            8);
}

TEST_P(Scan, ARateIsKept) {
  const Json result = Probe({"--ports", "1-100", "--rate", "1k"});
  EXPECT_EQ(result["ports"]["closed"], 100);
  EXPECT_GE(result["duration_s"].get<double>(), 0.098) << "99 intervals of 1 ms, but for a burst";
}

TEST_P(Scan, ReasonsAreNamed) {
  if (GetParam() == "syn") GTEST_SKIP() << "without a way there, half-open probes say so at once";
  Shell(
      "ip route add unreachable 10.97.1.0/24 && ip route add prohibit 10.97.2.0/24 && "
      "ip route add blackhole 10.97.3.0/24");
  const std::pair<const char*, const char*> kReasons[] = {{"10.97.1.1", "EHOSTUNREACH"},
                                                          {"10.97.2.1", "EACCES"},
                                                          {"10.97.3.1", "EINVAL"},
                                                          {"10.97.4.1", "ENETUNREACH"}};
  for (const auto& [host, reason] : kReasons) {
    const Json result = Probe({host, "--ports", "80"});
    ASSERT_EQ(result["silent"].size(), 1u) << host;
    EXPECT_EQ(result["silent"][0]["state"], "filtered");
    EXPECT_EQ(result["silent"][0]["reason"], reason);
  }
}

// Behind a router that says that there is no way on.
TEST_P(Scan, IcmpIsHeard) {
  bench::Process router = cli_tests::Start({"unshare", "-n", "sleep", "infinity"});
  const std::string pid = std::to_string(router.pid());
  ASSERT_TRUE(cli_tests::Until([&] {
    return cli_tests::RunToEnd(
               {"sh", "-c",
                "test $(readlink /proc/" + pid + "/ns/net) != $(readlink /proc/self/ns/net)"})
               .exit_code == 0;
  }));
  Shell("ip link add near0 type veth peer name far0 netns " + pid +
        " && ip addr add 10.96.0.1/24 dev near0 && ip link set near0 up && "
        "ip route add 10.97.0.0/16 via 10.96.0.2");
  Shell("nsenter -t " + pid +
        " -n sh -c 'ip addr add 10.96.0.2/24 dev far0 && ip link set far0 up && "
        "echo 1 > /proc/sys/net/ipv4/ip_forward && ip route add prohibit 10.97.0.0/16'");
  const Json result = Probe({"10.97.0.1", "--ports", "80", "--timeout", "60s"});
  router.Signal(SIGKILL);
  cli_tests::WaitFor(router);
  ASSERT_EQ(result["silent"].size(), 1u) << result;
  const std::string reason = result["silent"][0]["reason"];
  // io_uring may say that it connected, and lose the reason (probe/connect_scan.h).
  const bool lost = GetParam() == "io_uring" && reason == "ENOTCONN";
  EXPECT_TRUE(reason == "EHOSTUNREACH" || lost) << reason;
  EXPECT_EQ(result["ports"]["filtered"], 1);
}

TEST_P(Scan, AServerThatIsAskedHalfOpenSeesNobody) {
  const Fd listener = Bound("127.0.0.1", 1001, 5);
  EXPECT_EQ(OpenPorts(Probe({"127.0.0.1:1001"})), Ports({1001}));
  const Fd accepted(accept(listener.get(), nullptr, nullptr));
  if (GetParam() == "syn") {
    EXPECT_EQ(accepted.get(), -1);
    EXPECT_EQ(Shell("ss -Htan state syn-recv | wc -l"), "0\n") << "the kernel reset it";
    return;
  }
  ASSERT_GE(accepted.get(), 0);
  char byte;
  EXPECT_EQ(recv(accepted.get(), &byte, 1, 0), -1);
  EXPECT_EQ(errno, ECONNRESET);
}

TEST_P(Scan, InterruptedTellsWhatItHas) {
  AddSilentNetwork();
  std::vector<std::string> command = {RINGSIDE_BINARY, "probe", "10.99.0.2", "--ports", "1-100",
                                      "--timeout",     "600s",  "--json",    "-"};
  for (const std::string& argument : MethodArguments(GetParam())) command.push_back(argument);
  bench::Process probe = cli_tests::Start(command);
  ASSERT_TRUE(cli_tests::Until([] { return PacketsSent() >= 100; }));
  probe.Signal(SIGINT);
  const Ended ended = cli_tests::WaitFor(probe);
  EXPECT_EQ(ended.exit_code, 130) << ended.err;
  const Json result = Json::parse(ended.out, nullptr, false);
  EXPECT_EQ(result["interrupted"], true);
  EXPECT_EQ(result["ports"]["unasked"], 100) << "none of them has had its time";
}

class HalfOpen : public OwnNetwork {};

TEST_F(HalfOpen, AsksTheSilentAsOftenAsTold) {
  AddSilentNetwork();
  const Json result =
      ProbeJson({"10.99.0.2", "--ports", "1-20", "--timeout", "20ms", "--syn", "--retries", "2"});
  EXPECT_EQ(result["ports"]["filtered"], 20);
  EXPECT_EQ(PacketsSent(), 60);
}

TEST_F(HalfOpen, NeedsARawSocketAndSaysSo) {
  if (!cli_tests::Installed("setpriv")) GTEST_SKIP() << "util-linux's setpriv is not installed";
  const Ended ended = cli_tests::RunToEnd({"setpriv", "--bounding-set", "-net_raw", "--inh-caps",
                                           "-net_raw", RINGSIDE_BINARY, "probe", "--syn"});
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_NE(ended.err.find("CAP_NET_RAW"), std::string::npos) << ended.err;
}

TEST_F(HalfOpen, WithoutAWayThereSaysSo) {
  const Ended ended = cli_tests::Ringside({"probe", "10.1.2.3", "--syn"});
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_NE(ended.err.find("no way from this machine"), std::string::npos) << ended.err;
}

}  // namespace
}  // namespace probe_tests
