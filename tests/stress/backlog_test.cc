#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "io/sockets.h"
#include "stats/proc_file.h"
#include "stats/socket_diag.h"
#include "tests/cli/ringside.h"
#include "tests/serve/peers.h"
#include "tests/serve/plain_client.h"
#include "tests/tier.h"

// `ringside stress backlog` from outside: what it finds of queues whose length is known.
namespace stress_tests::backlog {
namespace {

using cli_tests::Ended;
using cli_tests::Json;
using cli_tests::Ringside;
using peers::Await;
using serve_tests::Serving;

using Args = std::vector<std::string>;

Args operator+(Args left, const Args& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

// Nothing here needs much memory.
const Args kBacklog = {"stress", "backlog", "--memory-floor", "1MiB", "--json", "-"};

Json RunBacklog(const Args& arguments, int exit_code = 0) {
  const Ended ended = Ringside(kBacklog + arguments);
  EXPECT_EQ(ended.exit_code, exit_code) << ended.err;
  Json json = Json::parse(ended.out, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) throw std::runtime_error("no result: " + ended.err);
  EXPECT_EQ(json["schema"], "ringside.stress/1");
  EXPECT_EQ(json["experiment"], "backlog");
  return json;
}

uint64_t Somaxconn() {
  const auto text = stats::ReadProcFile("/proc/sys/net/core/somaxconn");
  return stats::ParseNumber<uint64_t>(stats::Lines(text.value()).front()).value();
}

uint64_t HeldBy(uint64_t backlog) { return std::min(backlog, Somaxconn()) + 1; }

// The state of a process's main thread: "T" is stopped.
char StateOf(pid_t pid) {
  const auto stat = stats::ReadProcFile(absl::StrCat("/proc/", pid, "/stat"));
  if (!stat.ok()) return '-';
  return (*stat)[stat->rfind(')') + 2];
}

// A queue that was filled, with `beyond` connects more than it holds.
void ExpectFull(const Json& row, uint64_t held, uint64_t beyond) {
  EXPECT_EQ(row["accept_queue"]["held"], held) << row["accept_queue"];
  EXPECT_EQ(row["accept_queue"]["limit"], held);
  const Json& connections = row["connections"];
  EXPECT_EQ(connections["requested"], held + beyond);
  EXPECT_EQ(connections["opened"], held);
  EXPECT_EQ(connections["at_once"], held);
  EXPECT_EQ(connections["timed_out"], beyond);
  EXPECT_EQ(connections["answered"], 0);
  EXPECT_EQ(connections["ghosts"], 0);
  EXPECT_EQ(row["connect_ns"]["count"], held);
  ASSERT_FALSE(row["accept_queue"]["series"].empty());
  EXPECT_EQ(row["accept_queue"]["series"].back()["length"], held);
}

uint64_t Counter(const Json& kernel, const std::string& name) {
  for (const Json& counter : kernel["counters"]) {
    if (counter["name"] == name) return counter["delta"];
  }
  return 0;
}

// A socket of this process that listens and never accepts.
class Listener {
 public:
  Listener(const std::string& address, int backlog)
      : fd_(io::OpenListener(io::Resolve(address).value(),
                             {.backlog = backlog, .reuse_port = false}, true)
                .value()),
        at_(io::LocalEndpoint(fd_).value()) {}
  ~Listener() { close(fd_); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  std::string address() const { return at_.ToString(); }
  std::string port() const { return std::to_string(at_.port()); }

 private:
  const int fd_;
  const io::Endpoint at_;
};

constexpr uint64_t kBacklogs[] = {1, 8, 128, 4096};

// ---- how much a queue holds

TEST(StressBacklog, AListenerHoldsItsBacklogAndOneMore) {
  LEFT_TO_ALL();
  const Json json = RunBacklog({"--backlogs", "1,8,128,4096", "--beyond", "5", "--timeout", "2s"});
  const Json& rows = json["backlog"]["rows"];
  ASSERT_EQ(rows.size(), std::size(kBacklogs));
  uint64_t opened = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const uint64_t held = HeldBy(kBacklogs[i]);
    EXPECT_EQ(rows[i]["backlog"], kBacklogs[i]);
    ExpectFull(rows[i], held, 5);
    opened += held;
    // The kernel sent each lost SYN again after a second, as its own counters say, too.
    EXPECT_EQ(rows[i]["connections"]["retried"], 5);
    ASSERT_FALSE(rows[i]["syn_retries_s"].empty());
    EXPECT_GE(rows[i]["syn_retries_s"][0].get<double>(), 0.9);
    EXPECT_GE(Counter(rows[i]["kernel"], "TcpExtTCPSynRetrans"), 5u);
    EXPECT_GE(Counter(rows[i]["kernel"], "TcpExtListenOverflows"), 10u);
    ASSERT_EQ(rows[i]["retries"].size(), 2u) << rows[i]["retries"];
    EXPECT_EQ(rows[i]["retries"][0]["opened"], held);
    EXPECT_EQ(rows[i]["retries"][1]["syn_retransmits"], 1);
    EXPECT_EQ(rows[i]["retries"][1]["timed_out"], 5);
    const std::string says =
        absl::StrCat(" = min(", kBacklogs[i], ", ", Somaxconn(), ")+1; 5 connects were retried");
    EXPECT_TRUE(absl::StrContains(json["finding"].get<std::string>(), says)) << json["finding"];
  }
  EXPECT_EQ(json["connections"]["opened"], opened);
  EXPECT_EQ(json["limit"], nullptr);
}

class StressBacklogOn : public cli_tests::EachBackend {};
INSTANTIATE_TEST_SUITE_P(Backends, StressBacklogOn, testing::Values("epoll", "io_uring"),
                         [](const auto& test) { return test.param; });

TEST_P(StressBacklogOn, AStoppedServerHoldsTheSame) {
  LEFT_TO_ALL();
  const Json json = RunBacklog({"--stopped", "--backend", GetParam(), "--backlogs", "1,8,128,4096",
                                "--beyond", "3", "--timeout", "300ms"});
  const Json& rows = json["backlog"]["rows"];
  ASSERT_EQ(rows.size(), std::size(kBacklogs));
  for (size_t i = 0; i < rows.size(); ++i) ExpectFull(rows[i], HeldBy(kBacklogs[i]), 3);
  EXPECT_EQ(json["backlog"]["backend"], GetParam());
}

TEST_P(StressBacklogOn, QueuesOfAllThreadsAreAddedUp) {
  const Json json =
      RunBacklog({"--stopped", "--backend", GetParam(), "--serve-flags", "--threads 2",
                  "--backlogs", "7", "-c", "200", "--timeout", "300ms"});
  const Json& queue = json["backlog"]["rows"][0]["accept_queue"];
  EXPECT_EQ(queue["listeners"], 2);
  EXPECT_EQ(queue["limit"], 16);
  EXPECT_EQ(queue["held"], 16);  // of 200 connects, each has at least 8 to itself
}

TEST(StressBacklog, UnixSocketsHoldTheSameAndSaySoAtOnce) {
  const Json json =
      RunBacklog({"--unix", "--backlogs", "8,128", "--beyond", "4", "--timeout", "60s"});
  for (const Json& row : json["backlog"]["rows"]) {
    EXPECT_EQ(row["accept_queue"]["held"], HeldBy(row["backlog"]));
    EXPECT_EQ(row["connections"]["opened"], HeldBy(row["backlog"]));
    EXPECT_EQ(row["connections"]["no_room"], 4);
    EXPECT_EQ(row["connections"]["timed_out"], 0);
    EXPECT_EQ(row["errors"]["EAGAIN"], 4);
  }
}

TEST(StressBacklog, SomebodysIsReadFromTheKernel) {
  const std::string name = absl::StrCat("unix:@ringside-backlog-", getpid());
  for (const std::string& address :
       {std::string("127.0.0.1:0"), std::string("0.0.0.0:0"), std::string("*:0"), name}) {
    if (!serve_tests::CanListen(address)) {
      std::cout << address << ": can't be listened on here\n";
      continue;
    }
    const Listener listener(address, 5);
    const bool is_unix = address.starts_with("unix:");
    const Json json = RunBacklog({is_unix ? address : "127.0.0.1:" + listener.port(), "--beyond",
                                  "2", "--timeout", "200ms"});
    const Json& row = json["backlog"]["rows"][0];
    EXPECT_EQ(row["backlog"], nullptr);
    EXPECT_EQ(row["accept_queue"]["backlog"], 5) << address;
    EXPECT_EQ(row["accept_queue"]["held"], 6) << address;
    EXPECT_EQ(row["connections"][is_unix ? "no_room" : "timed_out"], 2) << address;
  }
}

TEST(StressBacklog, OnesThatWaitedBeforeAreCounted) {
  const Listener listener("127.0.0.1:0", 5);
  peers::Peer early(listener.address());
  ASSERT_EQ(early.Connect(), 0);
  const Json json = RunBacklog({listener.address(), "--beyond", "2", "--timeout", "200ms"});
  const Json& row = json["backlog"]["rows"][0];
  EXPECT_EQ(row["accept_queue"]["before"], 1);
  EXPECT_EQ(row["accept_queue"]["held"], 6);
  EXPECT_EQ(row["connections"]["opened"], 5);
}

TEST(StressBacklog, AServerThatIsNotOursIsStoppedAndContinued) {
  if (!cli_tests::Installed("socat")) GTEST_SKIP() << "socat is not installed";
  const std::string port = cli_tests::FreePort();
  bench::Process socat = cli_tests::Start(
      {"socat", "TCP4-LISTEN:" + port + ",bind=127.0.0.1,backlog=7,fork,reuseaddr", "PIPE"});
  Await("socat listens", [&] {
    const auto found = stats::Listeners({.protocols = {stats::SocketProtocol::kTcp},
                                         .ports = {static_cast<uint16_t>(std::stoi(port))}});
    return found.ok() && !found->sockets.empty();
  });
  const Json json = RunBacklog({port, "--stop-server", "--beyond", "3", "--timeout", "300ms"});
  ExpectFull(json["backlog"]["rows"][0], HeldBy(7), 3);
  EXPECT_EQ(json["backlog"]["server"], "stopped");
  Await("socat runs again", [&] { return StateOf(socat.pid()) != 'T'; });
  serve_tests::PlainClient client("127.0.0.1:" + port);
  EXPECT_EQ(client.Ask("still there\n"), "still there\n");
}

// ---- what limits it

TEST(StressBacklog, SomaxconnCapsIt) {
  const peers::OwnNetwork network;
  if (!network.missing().empty()) GTEST_SKIP() << network.missing();
  for (const uint64_t somaxconn : {16u, 40u}) {
    ASSERT_EQ(cli_tests::RunToEnd(
                  {"sh", "-c", absl::StrCat("echo ", somaxconn, " > /proc/sys/net/core/somaxconn")})
                  .exit_code,
              0);
    const Json json = RunBacklog({"--backlogs", "8,4096", "--beyond", "2", "--timeout", "200ms"});
    const Json& rows = json["backlog"]["rows"];
    ExpectFull(rows[0], 9, 2);
    ExpectFull(rows[1], somaxconn + 1, 2);
    EXPECT_EQ(rows[0]["capped_by"], nullptr);
    EXPECT_EQ(rows[1]["capped_by"]["name"], "net.core.somaxconn");
    EXPECT_EQ(rows[1]["capped_by"]["mend"], "sysctl -w net.core.somaxconn=4096");
    EXPECT_EQ(json["backlog"]["sysctls"]["net.core.somaxconn"], somaxconn);
  }
}

TEST(StressBacklog, DescriptorsEndItAndAreNamed) {
  const Ended ended =
      cli_tests::RunToEnd(Args{"sh", "-c", "ulimit -n 64 && exec \"$@\"", "sh", RINGSIDE_BINARY} +
                          kBacklog + Args{"--backlogs", "128", "--timeout", "60s"});
  EXPECT_EQ(ended.exit_code, 3) << ended.err;
  const Json json = Json::parse(ended.out);
  EXPECT_EQ(json["limit"]["name"], "RLIMIT_NOFILE");
  EXPECT_TRUE(absl::StrContains(ended.err, "ulimit")) << ended.err;
  const Json& row = json["backlog"]["rows"][0];
  EXPECT_GT(row["connections"]["opened"], 20);
  EXPECT_EQ(row["accept_queue"]["held"], row["connections"]["opened"]);
}

TEST(StressBacklog, PortsEndItAndAreNamed) {
  const peers::OwnNetwork network;
  if (!network.missing().empty()) GTEST_SKIP() << network.missing();
  ASSERT_EQ(
      cli_tests::RunToEnd({"sh", "-c", "echo 40000 40019 > /proc/sys/net/ipv4/ip_local_port_range"})
          .exit_code,
      0);
  const Listener listener("127.0.0.1:9000", 128);
  const Json json = RunBacklog({listener.address(), "--timeout", "60s"}, 3);
  EXPECT_EQ(json["limit"]["name"], "net.ipv4.ip_local_port_range");
  EXPECT_EQ(json["backlog"]["rows"][0]["connections"]["opened"], 20);
}

TEST(StressBacklog, MemoryFloorEndsItBeforeItBegins) {
  const Ended ended = Ringside({"stress", "backlog", "--memory-floor", "1000TiB", "--json", "-"});
  EXPECT_EQ(ended.exit_code, 3) << ended.err;
  const Json json = Json::parse(ended.out);
  EXPECT_EQ(json["limit"]["name"], "memory floor");
  EXPECT_EQ(json["connections"]["opened"], 0);
}

// ---- what becomes of the others

TEST(StressBacklog, ASlowServerIsReachedByRetries) {
  LEFT_TO_ALL();
  const Json json =
      RunBacklog({"--backlogs", "1", "--accepts-per-s", "50", "--beyond", "4", "--timeout", "60s"});
  const Json& row = json["backlog"]["rows"][0];
  EXPECT_EQ(row["connections"]["opened"], 6) << row["connections"];
  EXPECT_EQ(row["connections"]["timed_out"], 0);
  EXPECT_LE(row["accept_queue"]["held"], 2);
  // Each is accepted, waits, or is a ghost: SYNs that are sent again at once are all answered
  // before the first acknowledgment takes the room.
  const Json& queue = row["accept_queue"];
  EXPECT_GE(queue["accepted"].get<int>() + queue["series"].back()["length"].get<int>() +
                row["connections"]["ghosts"].get<int>(),
            6)
      << row["connections"];
  EXPECT_GE(row["connections"]["answered"], 1);
  EXPECT_LE(row["connections"]["answered"], queue["accepted"]);
  uint64_t late = 0;
  for (const Json& step : row["retries"]) {
    if (step["syn_retransmits"] == 0) continue;
    late += step["opened"].get<uint64_t>();
    EXPECT_GE(step["min_ns"], 900'000'000) << step;
  }
  EXPECT_EQ(late, row["connections"]["retried"]);
  EXPECT_EQ(late + row["connections"]["at_once"].get<uint64_t>(), 6u);
}

// Where packets take their time, more SYNs are answered than there is room for: lo gets a queue of
// its own, so that all SYNs are there before the first acknowledgment.
TEST(StressBacklog, GhostsAreToldFromConnections) {
  const peers::OwnNetwork network;
  if (!network.missing().empty()) GTEST_SKIP() << network.missing();
  const Listener listener("127.0.0.1:9000", 8);
  const Ended shaped = cli_tests::RunToEnd({"tc", "qdisc", "add", "dev", "lo", "root", "tbf",
                                            "rate", "80kbit", "burst", "200", "limit", "1000000"});
  if (shaped.exit_code != 0) GTEST_SKIP() << "no tbf: " << shaped.err;
  const Json json = RunBacklog({listener.address(), "-c", "20", "--timeout", "60s"});
  const Json& row = json["backlog"]["rows"][0];
  EXPECT_EQ(row["connections"]["opened"], 20) << row["connections"];
  EXPECT_EQ(row["accept_queue"]["held"], 9);
  EXPECT_EQ(row["connections"]["ghosts"], 11);
  EXPECT_TRUE(absl::StrContains(json["finding"].get<std::string>(), "11 were open for the client"))
      << json["finding"];
  EXPECT_GE(Counter(row["kernel"], "TcpExtListenOverflows"), 11u);
}

TEST(StressBacklog, ResetsOfAFullQueueAreTold) {
  const peers::OwnNetwork network;
  if (!network.missing().empty()) GTEST_SKIP() << network.missing();
  const Listener listener("127.0.0.1:9000", 8);
  std::vector<std::unique_ptr<peers::Peer>> early;
  for (int i = 0; i < 5; ++i) {
    early.push_back(std::make_unique<peers::Peer>(listener.address()));
    ASSERT_EQ(early.back()->Connect(), 0);
  }
  const Ended prepared =
      cli_tests::RunToEnd({"sh", "-c",
                           "echo 1 > /proc/sys/net/ipv4/tcp_abort_on_overflow && "
                           "tc qdisc add dev lo root tbf rate 80kbit burst 200 limit 1000000"});
  if (prepared.exit_code != 0) GTEST_SKIP() << "no tbf: " << prepared.err;
  const Json json = RunBacklog({listener.address(), "-c", "9", "--timeout", "60s"});
  const Json& row = json["backlog"]["rows"][0];
  EXPECT_EQ(row["accept_queue"]["before"], 5);
  EXPECT_EQ(row["accept_queue"]["held"], 9);
  EXPECT_EQ(row["connections"]["opened"], 9) << row["connections"];
  EXPECT_EQ(row["connections"]["reset"], 5) << row["connections"];
  EXPECT_EQ(row["connections"]["ghosts"], 0);
  EXPECT_TRUE(absl::StrContains(json["finding"].get<std::string>(),
                                "5 were reset (net.ipv4.tcp_abort_on_overflow is 1)"))
      << json["finding"];
}

TEST(StressBacklog, NobodyThereIsRefused) {
  const Json json = RunBacklog({cli_tests::FreePort(), "-c", "3", "--timeout", "60s"}, 1);
  const Json& row = json["backlog"]["rows"][0];
  EXPECT_EQ(row["connections"]["refused"], 3);
  EXPECT_EQ(row["errors"]["ECONNREFUSED"], 3);
  EXPECT_EQ(json["problem"], "no connect was opened (3 × ECONNREFUSED)");
  EXPECT_EQ(row["accept_queue"]["held"], nullptr);
}

// ---- bursts

TEST_P(StressBacklogOn, ABurstIsAbsorbedAndAnswered) {
  const Json json = RunBacklog({"--burst", "100", "--backlogs", "128", "--threads", "1,2",
                                "--backend", GetParam(), "--timeout", "60s"});
  const Json& servers = json["backlog"]["bursts"];
  ASSERT_EQ(servers.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(servers[i]["backend"], GetParam());
    EXPECT_EQ(servers[i]["threads"], i + 1);
    EXPECT_EQ(servers[i]["accept_queue"]["limit"], (i + 1) * HeldBy(128));
    EXPECT_EQ(servers[i]["absorbed"], 100);
    EXPECT_EQ(servers[i]["lost_from"], nullptr);
    ASSERT_EQ(servers[i]["bursts"].size(), 8u);  // 1, 2, 4, 8, 16, 32, 64, 100
    const Json& last = servers[i]["bursts"].back();
    EXPECT_EQ(last["connections"]["requested"], 100);
    EXPECT_EQ(last["connections"]["at_once"], 100);
    EXPECT_EQ(last["connections"]["answered"], 100);  // each with the bytes that were sent
    EXPECT_EQ(last["corrupt"], 0);
  }
  EXPECT_EQ(json["connections"]["answered"], json["connections"]["requested"]);
}

TEST(StressBacklog, ABurstThatLosesOneEndsTheSearch) {
  const Listener listener("127.0.0.1:0", 1);  // those of the first burst stay in its queue
  const Json json = RunBacklog({listener.address(), "--burst", "64", "--timeout", "200ms"});
  const Json& server = json["backlog"]["bursts"][0];
  EXPECT_EQ(server["absorbed"], 1);
  EXPECT_EQ(server["lost_from"], 2);
  EXPECT_EQ(server["bursts"].size(), 2u);
}

// ---- every way to end continues a stopped server

// How many sockets have sent a SYN there and not been answered.
size_t Connecting(const std::string& address) {
  const auto all = stats::Connections({.protocols = {stats::SocketProtocol::kTcp}});
  if (!all.ok()) return 0;
  return std::ranges::count_if(all->sockets, [&](const stats::SocketInfo& socket) {
    return socket.state == "SYN-SENT" && socket.remote == address;
  });
}

class StressBacklogEndedBy : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Signals, StressBacklogEndedBy, testing::Values(SIGINT, SIGTERM, SIGKILL),
                         [](const auto& test) { return sigabbrev_np(test.param); });

TEST_P(StressBacklogEndedBy, AStoppedServerIsContinued) {
  Serving server({"127.0.0.1:0", "--backlog", "4"});
  bench::Process stress =
      cli_tests::Start(Args{RINGSIDE_BINARY} + kBacklog +
                       Args{server.address(), "--stop-server", "--timeout", "1h"});
  // Its queue is full long before the last connect is begun.
  Await("all have begun to connect", [&] { return Connecting(server.address()) == 64; });
  EXPECT_EQ(StateOf(server.pid()), 'T');
  stress.Signal(GetParam());
  const Ended ended = cli_tests::WaitFor(stress);
  EXPECT_EQ(ended.exit_code, 128 + GetParam()) << ended.err;
  Await("it runs again", [&] { return StateOf(server.pid()) != 'T'; });
  serve_tests::PlainClient client(server.address());
  EXPECT_EQ(client.Ask("still there"), "still there");
  if (GetParam() != SIGINT && GetParam() != SIGTERM) return;  // no time for a result
  const Json json = Json::parse(ended.out);
  EXPECT_EQ(json["interrupted"], true);
  const Json& row = json["backlog"]["rows"][0];
  EXPECT_EQ(row["accept_queue"]["held"], 5);
  EXPECT_EQ(row["connections"]["opened"], 5);
  EXPECT_EQ(row["connections"]["pending"], 64);
}

TEST(StressBacklog, AServerThatWasStoppedBeforeStaysSo) {
  Serving server({"127.0.0.1:0", "--backlog", "4"});
  server.process().Signal(SIGSTOP);
  Await("it is stopped", [&] { return StateOf(server.pid()) == 'T'; });
  const Json json =
      RunBacklog({server.address(), "--stop-server", "--beyond", "1", "--timeout", "100ms"});
  ExpectFull(json["backlog"]["rows"][0], 5, 1);
  EXPECT_EQ(StateOf(server.pid()), 'T');
  server.process().Signal(SIGCONT);
}

// ---- what it refuses, and what it says

TEST(StressBacklog, WrongFlagsAreNamed) {
  const struct {
    Args arguments;
    std::string says;
  } cases[] = {
      {{"--stop-server"}, "--stop-server: needs the ADDRESS"},
      {{"--client-backend", "epoll"},
       "--client-backend: this experiment connects by connect(2) alone"},
      {{"--backlogs", "0"}, "--backlogs: 0 is out of range"},
      {{"--backlogs", "8,x"}, "--backlogs: "},
      {{"--stopped", "--accepts-per-s", "5"}, "--accepts-per-s: a stopped server accepts none"},
      {{"--backend", "epoll"}, "--backend: a socket that only listens has none"},
      {{"--threads", "2"}, "--threads: is of the server that a --burst is sent to"},
      {{"--burst", "8", "--stopped"}, "--stopped: is about a server that doesn't accept"},
      {{"9999", "--stopped"}, "--stopped: is about our own server"},
      {{"udp://9999"}, "ADDRESS is one of datagrams"},
      {{"8.8.8.8:53"}, "--i-own-this-target"},
      {{cli_tests::FreePort(), "--stop-server"}, "no process of this machine listens at"},
      {{cli_tests::FreePort()}, "say by -c how many"},
      {{"9999", "--stop-server", "--server-pid", "1"}, "process 1 is not one to stop"},
  };
  for (const auto& one : cases) {
    const Ended ended = Ringside(Args{"stress", "backlog"} + one.arguments);
    EXPECT_EQ(ended.exit_code, 2) << one.says;
    EXPECT_TRUE(absl::StrContains(ended.err, one.says)) << one.says << "\n" << ended.err;
  }
}

TEST(StressBacklog, TheTextSaysWhatWasFound) {
  const Ended ended = Ringside({"stress", "backlog", "--memory-floor", "1MiB", "--backlogs", "8",
                                "--beyond", "2", "--timeout", "2s"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  for (const std::string line :
       {"backlog: the accept queue held 9 = min(8, ", "2 connects were retried after 1.0",
        "accept queue 9 held, of 9", "connects     11: 9 opened, 2 timed out",
        "retries      0 SYNs again: 9 opened", "retries      1 SYN again: 2 timed out",
        "TcpExtListenOverflows"}) {
    EXPECT_TRUE(absl::StrContains(ended.out, line)) << line << "\nis not in:\n" << ended.out;
  }
}

}  // namespace
}  // namespace stress_tests::backlog
