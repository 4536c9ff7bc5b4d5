#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <thread>

#include "tests/cli/ringside.h"
#include "tests/tier.h"

namespace cli_tests {
namespace {

using LoadOn = EachBackend;
INSTANTIATE_TEST_SUITE_P(Backends, LoadOn, testing::Values("epoll", "io_uring"),
                         [](const auto& test) { return test.param; });

TEST_P(LoadOn, HasTheNamesThatScriptsRelyOn) {
  Server server({"--backend", GetParam()});
  const Json json =
      LoadJson({server.port(), "--backend", GetParam(), "-d", "100ms", "--warmup", "20ms"});
  EXPECT_EQ(json["schema"], "ringside.load/1");
  EXPECT_EQ(json["valid"], true);
  EXPECT_NEAR(json["duration_s"].get<double>(), 0.1, 10);  // there, and in seconds
  EXPECT_GT(json["requests"].get<uint64_t>(), 0u);
  EXPECT_GT(json["throughput_rps"].get<double>(), 0);
  EXPECT_EQ(json["errors"]["total"], 0);
  for (const char* name : {"requested", "opened", "answered"})
    EXPECT_EQ(json["connections"][name], 64);
  EXPECT_EQ(json["connections"]["silent"], 0);
  EXPECT_EQ(json["bytes"]["sent"], json["bytes"]["received"]);
  EXPECT_EQ(json["bytes"]["corrupt"], 0);
  double last = 0;
  for (const char* name : {"p50", "p90", "p99", "p99_9", "max"}) {
    EXPECT_GE(json["latency_ns"][name].get<double>(), last) << name;
    last = json["latency_ns"][name].get<double>();
  }
  EXPECT_GT(json["client"]["cpu_us_per_request"].get<double>(), 0);
  EXPECT_GT(json["client"]["syscalls_per_request"].get<double>(), 0);
}

struct Shape {
  const char* name;
  std::vector<std::string> flags;
  uint64_t requests, message_bytes;
};

void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.name; }

class LoadShapes : public testing::TestWithParam<std::tuple<std::string, Shape>> {};

TEST_P(LoadShapes, LosesNothing) {
  LEFT_TO_ALL();
  const auto& [backend, shape] = GetParam();
  if (!Available(backend)) GTEST_SKIP() << backend << " is not available here";
  Server server({"--backend", backend, "--size", std::to_string(shape.message_bytes)});
  std::vector<std::string> flags = {server.port(),
                                    "--backend",
                                    backend,
                                    "-n",
                                    std::to_string(shape.requests),
                                    "-s",
                                    std::to_string(shape.message_bytes)};
  flags.insert(flags.end(), shape.flags.begin(), shape.flags.end());
  const Json json = LoadJson(flags);
  EXPECT_EQ(json["requests"], shape.requests);
  EXPECT_EQ(json["bytes"]["sent"], shape.requests * shape.message_bytes);
  EXPECT_EQ(json["bytes"]["received"], shape.requests * shape.message_bytes);
  EXPECT_EQ(json["bytes"]["corrupt"], 0);
  const Json summary = server.Stop();
  EXPECT_EQ(summary["requests"], shape.requests);
  EXPECT_EQ(summary["bytes"]["received"], shape.requests * shape.message_bytes);
  EXPECT_EQ(summary["loop"]["stale_completions"], 0);
}

INSTANTIATE_TEST_SUITE_P(
    All, LoadShapes,
    testing::Combine(testing::Values("epoll", "io_uring"),
                     testing::Values(Shape{"OneByte", {"-c", "16"}, 20'000, 1},
                                     Shape{"Deep", {"-c", "8", "--depth", "16"}, 50'000, 64},
                                     Shape{"OddSize", {"-c", "32", "--depth", "3"}, 20'000, 777},
                                     Shape{"SixteenKiB", {"-c", "64"}, 10'000, 16'384},
                                     Shape{"OneMiB", {"-c", "8"}, 200, 1 << 20},
                                     Shape{
                                         "EightMiBDeep", {"-c", "3", "--depth", "2"}, 20, 8 << 20},
                                     Shape{"TwoThreads", {"-c", "64", "-t", "2"}, 20'000, 64},
                                     Shape{"TenThousandConnections", {"-c", "10000"}, 20'000, 64},
                                     Shape{"Paced", {"-c", "16", "--rate", "20k"}, 4'000, 64})),
    [](const auto& test) { return std::get<0>(test.param) + std::get<1>(test.param).name; });

TEST_P(LoadOn, ProvesTheCounter) {
  Server server({"--backend", GetParam(), "--service", "counter", "--threads", "2"});
  const Json json = LoadJson({server.port(), "--backend", GetParam(), "--service", "counter", "-n",
                              "20k", "--depth", "4", "-t", "2"});
  EXPECT_EQ(json["valid"], true);
  EXPECT_EQ(server.Stop()["requests"], 20'000);
}

TEST_P(LoadOn, FindsAGapInTheCounter) {
  LEFT_TO_ALL();
  if (!Installed("nc")) GTEST_SKIP() << "netcat is not installed";
  Server server({"--backend", GetParam(), "--service", "counter"});
  bench::Process load = Start({RINGSIDE_BINARY, "load", server.port(), "--service", "counter", "-c",
                               "4", "-d", "1h", "--json", "-", "--warmup", "0s"});
  // Somebody else takes a number in the middle of the run.
  while (RunToEnd({"sh", "-c", "echo | nc -q1 127.0.0.1 " + server.port()}).out.size() < 4) {
  }
  load.Signal(SIGINT);
  const Ended ended = WaitFor(load);
  EXPECT_EQ(ended.exit_code, 130);
  const Json json = Json::parse(ended.out);
  EXPECT_GT(json["errors"]["total"].get<int>(), 0);
  EXPECT_NE(json["errors"]["problem"].get<std::string>().find("did not arrive"), std::string::npos);
}

TEST_P(LoadOn, IsGreeted) {
  Server server({"--backend", GetParam(), "--service", "greet"});
  const Json json = LoadJson({server.port(), "--backend", GetParam(), "--service", "greet", "-c",
                              "8", "-d", "200ms", "--warmup", "0s"});
  EXPECT_EQ(json["valid"], true);
  EXPECT_GE(json["requests"].get<uint64_t>(), 8u);
  const Json counted = LoadJson(
      {server.port(), "--backend", GetParam(), "--service", "greet", "-c", "8", "-n", "100"});
  EXPECT_EQ(counted["requests"], 100);
}

class LoadServices : public LoadShapes {};

// With a size on both ends, requests and bytes have to agree to the last one.
TEST_P(LoadServices, LosesNothing) {
  const auto& [backend, shape] = GetParam();
  if (!Available(backend)) GTEST_SKIP() << backend << " is not available here";
  const std::string size = std::to_string(shape.message_bytes);
  for (const std::string service : {"discard", "reply"}) {
    SCOPED_TRACE(service);
    Server server({"--backend", backend, "--service", service, "--size", size});
    std::vector<std::string> flags = {server.port(),
                                      "--backend",
                                      backend,
                                      "--service",
                                      service,
                                      "-n",
                                      std::to_string(shape.requests),
                                      "-s",
                                      size};
    flags.insert(flags.end(), shape.flags.begin(), shape.flags.end());
    const Json json = LoadJson(flags);
    EXPECT_EQ(json["valid"], true);
    EXPECT_EQ(json["requests"], shape.requests);
    EXPECT_EQ(json["bytes"]["sent"], shape.requests * shape.message_bytes);
    EXPECT_EQ(json["bytes"]["received"], service == "reply" ? shape.requests * 18 : 0);
    EXPECT_EQ(json["latency_ns"]["count"], service == "reply" ? shape.requests : 0);
    EXPECT_EQ(json["latency_ns"]["p50"].is_null(), service == "discard");
    const Json summary = server.Stop();
    EXPECT_EQ(summary["requests"], shape.requests);
    EXPECT_EQ(summary["request_unit"], size + " bytes");
    EXPECT_EQ(summary["bytes"]["received"], shape.requests * shape.message_bytes);
    EXPECT_EQ(summary["errors"]["total"], 0);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, LoadServices,
    testing::Combine(testing::Values("epoll", "io_uring"),
                     testing::Values(Shape{"OneByte", {"-c", "16"}, 20'000, 1},
                                     Shape{"Deep", {"-c", "8", "--depth", "16"}, 50'000, 64},
                                     Shape{"OddSize", {"-c", "32", "--depth", "3"}, 20'000, 777},
                                     Shape{
                                         "EightMiBDeep", {"-c", "3", "--depth", "2"}, 20, 8 << 20},
                                     Shape{"TwoThreads", {"-c", "64", "-t", "2"}, 20'000, 64},
                                     Shape{"ThousandConnections", {"-c", "1000"}, 2'000, 64},
                                     Shape{"Paced", {"-c", "16", "--rate", "20k"}, 4'000, 64})),
    [](const auto& test) { return std::get<0>(test.param) + std::get<1>(test.param).name; });

TEST_P(LoadOn, IsRepliedToWhereTheServerCountsReceives) {
  Server server({"--backend", GetParam(), "--service", "reply", "--reply-text", "yes?"});
  const Json json = LoadJson({server.port(), "--backend", GetParam(), "--service", "reply",
                              "--reply-text", "yes?", "-c", "8", "-n", "2k"});
  EXPECT_EQ(json["valid"], true);
  EXPECT_EQ(json["bytes"]["received"], 8'000);
  EXPECT_EQ(server.Stop()["requests"], 2'000);
}

TEST_P(LoadOn, FindsAnotherReply) {
  Server server({"--backend", GetParam(), "--service", "reply", "--reply-text", "yes!"});
  const Json json = LoadJson({server.port(), "--backend", GetParam(), "--service", "reply",
                              "--reply-text", "yes?", "-c", "1", "-n", "3"},
                             1);
  EXPECT_EQ(json["bytes"]["corrupt"], 3);
  EXPECT_EQ(json["errors"]["corruptions"][0]["offset"], 3);
}

TEST_P(LoadOn, SendsToDiscardForATime) {
  Server server({"--backend", GetParam(), "--service", "discard", "--size", "1000"});
  const Json json = LoadJson({server.port(), "--backend", GetParam(), "--service", "discard", "-s",
                              "1000", "-d", "100ms", "--warmup", "20ms", "--depth", "4"});
  EXPECT_EQ(json["valid"], true);
  EXPECT_GT(json["requests"], 0);
  EXPECT_EQ(json["connections"]["answered"], 64);
  EXPECT_EQ(json["bytes"]["sent"], json["requests_total"].get<uint64_t>() * 1000);
  EXPECT_EQ(json["latency_ns"]["kind"], nullptr);
  EXPECT_EQ(server.Stop()["requests"], json["requests_total"]);
}

TEST_P(LoadOn, FindsASurplusFromAServerThatDoesNotDiscard) {
  Server server({"--backend", GetParam()});
  const Json json = LoadJson(
      {server.port(), "--backend", GetParam(), "--service", "discard", "-c", "4", "-n", "1000000"},
      1);
  EXPECT_EQ(json["valid"], false);
  EXPECT_EQ(json["errors"]["surplus"], 4);
}

TEST_P(LoadOn, FindsADiscardThatTakesNothing) {
  LEFT_TO_ALL();
  Server server({"--service", "discard"});
  server.process().Signal(SIGSTOP);  // its kernel still accepts and buffers
  const Json json = LoadJson(
      {server.port(), "--backend", GetParam(), "--service", "discard", "-c", "4", "-n", "4"}, 1);
  EXPECT_EQ(json["requests"], 4);
  EXPECT_EQ(json["valid"], false);
  EXPECT_EQ(json["errors"]["unanswered"], 4);
  server.process().Signal(SIGCONT);
}

TEST_P(LoadOn, ReceivesFromChargenForATime) {
  Server server({"--backend", GetParam(), "--service", "chargen", "--size", "1000"});
  const Json json = LoadJson({server.port(), "--backend", GetParam(), "--service", "chargen", "-s",
                              "1000", "-d", "200ms", "--warmup", "20ms", "-c", "16", "-t", "2"});
  EXPECT_EQ(json["valid"], true);
  EXPECT_EQ(json["workload"], "download");
  EXPECT_EQ(json["connections"]["answered"], 16);
  EXPECT_GT(json["connections"]["requests_min"], 0);
  EXPECT_EQ(json["bytes"]["sent"], 0);
  EXPECT_EQ(json["bytes"]["corrupt"], 0);
  EXPECT_GE(json["bytes"]["received"], json["requests_total"].get<uint64_t>() * 1000);
  EXPECT_EQ(json["latency_ns"]["count"], 0);
  EXPECT_TRUE(json["latency_ns"]["p99"].is_null());
  const Json summary = server.Stop();
  EXPECT_EQ(summary["request_unit"], "1000 bytes");
  EXPECT_EQ(summary["connections"]["closed"], summary["connections"]["accepted"]);
  EXPECT_EQ(summary["connections"]["reset_at_deadline"], 0);
}

TEST_P(LoadOn, ReceivesSoMuchFromChargen) {
  Server server({"--backend", GetParam(), "--service", "chargen"});
  for (const char* connections : {"1", "100"}) {
    const Json json = LoadJson({server.port(), "--backend", GetParam(), "--service", "chargen",
                                "-s", "10000", "-n", "1000", "-c", connections});
    EXPECT_EQ(json["valid"], true);
    EXPECT_EQ(json["requests"], 1'000);
    EXPECT_GE(json["bytes"]["received"], 10'000'000);
    EXPECT_GT(json["connections"]["requests_min"], 0);
  }
}

TEST_P(LoadOn, FindsAReplyThatIsNotDelayed) {
  Server server({"--backend", GetParam()});
  const auto load = [&](const char* delay, int exit_code) {
    return LoadJson({server.port(), "--backend", GetParam(), "--service", "delay", "--delay", delay,
                     "-c", "2", "-n", "10"},
                    exit_code);
  };
  EXPECT_EQ(load("1m", 1)["errors"]["problem"].get<std::string>().find(
                "10 replies came before the delay of 60000000000 ns had passed"),
            0u);
  EXPECT_EQ(load("0s", 0)["valid"], true);
  EXPECT_EQ(load("exp:1m", 0)["valid"], true);
}

TEST_P(LoadOn, ClaimsNoLatencyWhereThereIsNone) {
  for (const std::string service : {"discard", "chargen", "echo"}) {
    Server server({"--backend", GetParam(), "--service", service});
    const Ended ended = Ringside({"load", server.port(), "--backend", GetParam(), "--service",
                                  service, "-n", "1000", "-c", "4"});
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    EXPECT_EQ(ended.out.find("latency") == std::string::npos, service != "echo") << ended.out;
    EXPECT_EQ(ended.out.find("every byte verified") == std::string::npos, service == "discard")
        << ended.out;
    EXPECT_EQ(ended.out.find("closed loop") == std::string::npos, service != "echo") << ended.out;
  }
}

TEST_P(LoadOn, DrivesAServerThatIsNotOurs) {
  if (!Installed("socat")) GTEST_SKIP() << "socat is not installed";
  const std::string port = FreePort();
  bench::Process socat = Start(
      {"socat", "TCP-LISTEN:" + port + ",bind=127.0.0.1,fork,reuseaddr,backlog=128", "EXEC:cat"});
  while (RunToEnd({"sh", "-c", "echo x | socat -t 5 - TCP:127.0.0.1:" + port}).out != "x\n") {
  }
  const Json json = LoadJson({port, "--backend", GetParam(), "-c", "8", "-n", "800", "-s", "3000"});
  EXPECT_EQ(json["valid"], true);
  EXPECT_EQ(json["bytes"]["received"], 2'400'000);
  socat.Signal(SIGTERM);
  WaitFor(socat);
}

// An echo server for one connection that changes one byte of its stream; or a source that does.
class Corruptor {
 public:
  explicit Corruptor(size_t offset, bool source = false)
      : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in at = {};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(at);
    (void)bind(listener_, reinterpret_cast<sockaddr*>(&at), size);
    listen(listener_, 1);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &size);
    port_ = std::to_string(ntohs(at.sin_port));
    thread_ = std::thread([this, offset, source] { source ? Generate(offset) : Serve(offset); });
  }
  ~Corruptor() {
    thread_.join();
    close(listener_);
  }
  const std::string& port() const { return port_; }

 private:
  void Serve(size_t offset) {
    const int fd = accept(listener_, nullptr, nullptr);
    char part[4096];
    size_t at = 0;
    for (ssize_t n; (n = read(fd, part, sizeof(part))) > 0; at += n) {
      if (offset >= at && offset < at + n) part[offset - at] ^= 0x40;
      if (write(fd, part, n) != n) break;
    }
    close(fd);
  }

  void Generate(size_t offset) {
    const int fd = accept(listener_, nullptr, nullptr);
    std::string text = ChargenText(0, 74 * 95 * 30);
    text[offset] ^= 0x20;
    for (size_t at = 0; at < text.size();) {
      const ssize_t n = send(fd, text.data() + at, text.size() - at, MSG_NOSIGNAL);
      if (n <= 0) break;
      at += static_cast<size_t>(n);
    }
    char rest;
    while (read(fd, &rest, 1) > 0) {
    }
    close(fd);
  }

  int listener_;
  std::string port_;
  std::thread thread_;
};

TEST_P(LoadOn, LocatesACorruptByteOfChargen) {
  Corruptor server(100'003, /*source=*/true);
  const Json json = LoadJson({server.port(), "--backend", GetParam(), "--service", "chargen", "-c",
                              "1", "-n", "2", "-s", "100000"},
                             1);
  EXPECT_EQ(json["valid"], false);
  EXPECT_EQ(json["bytes"]["corrupt"], 1);
  const Json& corruption = json["errors"]["corruptions"][0];
  EXPECT_EQ(corruption["offset"], 100'003);
  EXPECT_EQ(corruption["expected"].get<int>() ^ 0x20, corruption["got"].get<int>());
}

TEST_P(LoadOn, LocatesACorruptByte) {
  Corruptor server(10'000);
  const Json json =
      LoadJson({server.port(), "--backend", GetParam(), "-c", "1", "-n", "4", "-s", "4096"}, 1);
  EXPECT_EQ(json["valid"], false);
  EXPECT_EQ(json["bytes"]["corrupt"], 1);
  EXPECT_EQ(json["bytes"]["received"], 4 * 4096);
  const Json& corruption = json["errors"]["corruptions"][0];
  EXPECT_EQ(corruption["connection"], 0);
  EXPECT_EQ(corruption["offset"], 10'000);
  EXPECT_EQ(corruption["expected"].get<int>() ^ 0x40, corruption["got"].get<int>());
}

TEST_P(LoadOn, EndsByItselfWhenTheServerDies) {
  Server server({});
  bench::Process load = Start({RINGSIDE_BINARY, "load", server.port(), "-d", "1h", "--backend",
                               GetParam(), "--warmup", "0s", "--json", "-"});
  while (RunToEnd({"ss", "-Htn", "state", "established", "dport = :" + server.port()}).out.size() <
         64 * 40) {
  }
  server.process().Signal(SIGKILL);
  const Ended ended = WaitFor(load);
  EXPECT_EQ(ended.exit_code, 1);
  const Json json = Json::parse(ended.out);
  EXPECT_EQ(json["valid"], false);
  const Json& errors = json["errors"];
  uint64_t broken = errors["closed_by_server"].get<uint64_t>();
  for (const auto& count : errors["by_errno"]) broken += count.get<uint64_t>();
  EXPECT_EQ(broken, 64u) << errors;
  EXPECT_NE(ended.err.find("not valid"), std::string::npos) << ended.err;
}

TEST_P(LoadOn, KeepsThePartialResultOnCtrlC) {
  Server server({});
  for (const auto& [signal, code] : {std::pair(SIGINT, 130), std::pair(SIGTERM, 143)}) {
    const std::string file = testing::TempDir() + "ringside_load_" + std::to_string(getpid());
    bench::Process load =
        Start({RINGSIDE_BINARY, "load", server.port(), "-d", "1h", "--warmup", "0s", "--backend",
               GetParam(), "--interval", "50ms", "--live", "json", "--json", file});
    // A line is written when all are open and an interval passed.
    ASSERT_TRUE(Until([&] { return !load.Errors().empty(); }));
    load.Signal(signal);
    EXPECT_EQ(WaitFor(load).exit_code, code);
    const Json json = Json::parse(std::ifstream(file));
    EXPECT_EQ(json["interrupted"], true);
    EXPECT_EQ(json["connections"]["opened"], 64);
    EXPECT_EQ(json["errors"]["total"], 0) << json["errors"];
    std::remove(file.c_str());
  }
}

TEST(Load, SaysThatNobodyListens) {
  const std::string port = FreePort();
  const Ended ended = Ringside({"load", port, "-d", "1s"});
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_NE(ended.err.find("ECONNREFUSED"), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("ringside serve 127.0.0.1:" + port), std::string::npos) << ended.err;
}

TEST(Load, SaysThatTheDescriptorLimitIsTooSmall) {
  const Ended ended =
      RunToEnd({"prlimit", "--nofile=100:100", RINGSIDE_BINARY, "load", "1", "-c", "1000"});
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_NE(ended.err.find("RLIMIT_NOFILE"), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("-c 1000"), std::string::npos) << ended.err;
}

}  // namespace
}  // namespace cli_tests
