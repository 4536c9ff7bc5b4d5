#include <cmath>
#include <map>

#include "tests/load/drive.h"
#include "tests/tier.h"

// Every workload over every kind of socket that it can use, by both of the client's backends.
namespace load_tests::workloads {
namespace {

struct Kind {
  std::string name, listen;  // "" with PATH for a path of its own
  bool datagrams = false, in_short = false;
};
void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

const std::vector<Kind> kKinds = {{"tcp", "127.0.0.1:0", false, true},
                                  {"tcp6", "[::1]:0"},
                                  {"mptcp", "mptcp://127.0.0.1:0"},
                                  {"unix", "unix:PATH"},
                                  {"seqpacket", "unix-seqpacket:PATH", false, true},
                                  {"dgram", "unix-dgram:PATH", true},
                                  {"udp", "udp://127.0.0.1:0", true, true}};

struct Work {
  std::string name, workload, service;
  Args flags;
  std::string count;  // of requests, where it ends by count
  double rate = 0;    // that is offered; 0: closed loop
  bool connects = false;
  bool source = false;
};
void PrintTo(const Work& work, std::ostream* out) { *out << work.name; }

const std::vector<Work> kWorks = {
    {"rr", "rr", "echo", {"-c", "8", "--depth", "2"}, "500"},
    {"constant", "rate", "echo", {"-c", "8", "--rate", "4k"}, "200", 4000},
    {"poisson", "rate", "echo", {"-c", "8", "--rate", "4k", "--arrivals", "poisson"}, "200", 4000},
    {"bursts", "rate", "echo", {"-c", "8", "--rate", "4k", "--arrivals", "bursts"}, "200", 4000},
    {"crr", "crr", "echo", {"-w", "crr", "-c", "1"}, "100", 0, true},  // ports are few
    {"crr_open", "crr", "echo", {"-w", "crr", "-c", "8", "--rate", "300"}, "30", 300, true},
    {"upload", "upload", "discard", {"-w", "upload", "-c", "2"}, "40"},
    {"download", "download", "chargen", {"-w", "download", "-c", "2"}, "40", 0, false, true},
    {"duplex", "duplex", "echo", {"-w", "duplex", "-c", "2"}, "100"},
    {"hold", "hold", "echo", {"-w", "hold", "--heartbeat", "20ms", "-c", "8"}, "40", 400},
};

// MPTCP is TCP to the client, so one workload is enough.
bool Together(const Kind& kind, const Work& work) {
  if (kind.name == "mptcp" && work.name != "rr") return false;
  if (kSanitized && !kind.in_short) return false;
  return !kind.datagrams || (!work.connects && !work.source);
}

// `thrifty`: what goes as fast as it can, only over some kinds: it takes both CPUs.
std::vector<std::tuple<Kind, Work>> Combinations(bool thrifty) {
  std::vector<std::tuple<Kind, Work>> all;
  for (const Kind& kind : kKinds) {
    for (const Work& work : kWorks) {
      const bool spared = thrifty && work.rate == 0 && !kind.in_short;
      if (Together(kind, work) && !spared) all.emplace_back(kind, work);
    }
  }
  return all;
}

std::string At(const std::string& listen) {
  const size_t path = listen.find("PATH");
  return path == std::string::npos ? listen : listen.substr(0, path) + Scratch("s");
}

class Workloads : public testing::TestWithParam<std::tuple<Kind, Work>> {
 protected:
  const Kind& kind() const { return std::get<0>(GetParam()); }
  const Work& work() const { return std::get<1>(GetParam()); }
  void SetUp() override {
    const bool rare = kind().name == "tcp6" || kind().name == "mptcp";
    if (rare && !serve_tests::CanListen(kind().listen))
      GTEST_SKIP() << "no " << kind().name << " here";
  }
};
using WorkloadsForATime = Workloads;
using WorkloadsByCount = Workloads;

std::string NameOf(const testing::TestParamInfo<std::tuple<Kind, Work>>& test) {
  return std::get<0>(test.param).name + "_" + std::get<1>(test.param).name;
}
INSTANTIATE_TEST_SUITE_P(All, WorkloadsForATime, testing::ValuesIn(Combinations(true)), NameOf);
INSTANTIATE_TEST_SUITE_P(All, WorkloadsByCount, testing::ValuesIn(Combinations(false)), NameOf);

// All that was due was sent and answered, and has a response time.
void ExpectOnSchedule(const Json& json) {
  const uint64_t offered = Number(json["pace"]["offered"]);
  EXPECT_EQ(json["pace"]["unsent"], 0);
  EXPECT_EQ(json["pace"]["shed"], 0);
  EXPECT_EQ(json["latency_ns"]["kind"], "response");
  EXPECT_EQ(json["latency_ns"]["count"], offered);
  EXPECT_EQ(json["latency_ns"]["censored"], 0);
  EXPECT_EQ(json["service_ns"]["count"], offered);
  EXPECT_EQ(json["lag_ns"]["count"], offered);
  EXPECT_LE(json["service_ns"]["max"].get<double>(), json["latency_ns"]["max"].get<double>());
}

TEST_P(WorkloadsForATime, AreVerified) {
  Serving server({At(kind().listen), "--service", work().service});
  std::vector<uint64_t> offered;
  for (const std::string& backend : Backends()) {
    SCOPED_TRACE(backend);
    const Json json = LoadJson(Args{server.address(), "--backend", backend, "-d", "100ms",
                                    "--warmup", "20ms", "--timestamps", "off"} +
                               work().flags);
    ExpectVerified(json);
    EXPECT_EQ(json["workload"], work().workload);
    EXPECT_EQ(json["backend"], backend);
    EXPECT_GT(Number(json["requests"]), 0u);
    EXPECT_EQ(json["connections"]["answered"], json["connections"]["opened"]);
    if (work().rate == 0) continue;
    ExpectOnSchedule(json);
    offered.push_back(Number(json["pace"]["offered"]));
    if (work().name != "poisson") {
      EXPECT_NEAR(offered.back(), work().rate * 0.1, 1);
    }
  }
  for (const uint64_t one : offered) EXPECT_EQ(one, offered.front());  // by the seed
}

TEST_P(WorkloadsByCount, AreVerified) {
  Serving server({At(kind().listen), "--service", work().service});
  const uint64_t count = std::stoull(work().count);
  for (const std::string& backend : Backends()) {
    SCOPED_TRACE(backend);
    const Json json =
        LoadJson(Args{server.address(), "--backend", backend, "-n", work().count} + work().flags);
    ExpectVerified(json);
    EXPECT_EQ(json["workload"], work().workload);
    EXPECT_EQ(json["requests"], count);
    EXPECT_EQ(json["requests_total"], count);
    const uint64_t bytes = Number(json["message_bytes"]) * count;
    if (!work().source) {
      EXPECT_EQ(json["bytes"]["sent"], bytes);
    }
    if (work().service == "echo") {
      EXPECT_EQ(json["bytes"]["received"], bytes);
    }
    if (work().connects) {
      EXPECT_EQ(json["connections"]["opened"], count);
    }
    if (work().rate == 0) continue;
    ExpectOnSchedule(json);
    EXPECT_EQ(json["pace"]["offered"], count);
  }
}

struct Sizes {
  std::string text, of_messages;
  double min, mean, max;  // the max of an exponential one is what its table ends with: 0 here
};

TEST(Workloads, VerifyRequestsOfManySizes) {
  LEFT_TO_ALL();
  const std::vector<Sizes> all = {{"1..4KiB", "1..4KiB", 1, 2048.5, 4096},
                                  {"64:90,4KiB:10", "64:90,4KiB:10", 64, 467.2, 4096},
                                  {"exp:256", "exp:64", 1, 0, 0}};
  for (const std::string service : {"echo", "counter", "delay"}) {
    for (const std::string listen : {"127.0.0.1:0", "unix-seqpacket:PATH", "udp://127.0.0.1:0"}) {
      Serving server({At(listen), "--service", service});
      for (const Sizes& sizes : all) {
        for (const std::string& backend : Backends()) {
          SCOPED_TRACE(service + " " + listen + " " + sizes.text + " " + backend);
          const std::string& text = listen == "127.0.0.1:0" ? sizes.text : sizes.of_messages;
          const Json json = LoadJson({server.address(), "--backend", backend, "--service", service,
                                      "-c", "4", "-n", "200", "-s", text, "--seed", "7"});
          ExpectVerified(json);
          EXPECT_EQ(json["requests"], 200);
          EXPECT_EQ(json["sizes"]["min"], sizes.min);
          if (sizes.max > 0) {
            EXPECT_EQ(json["sizes"]["max"], sizes.max);
          }
          if (sizes.max > 0) {
            EXPECT_NEAR(json["sizes"]["mean"].get<double>(), sizes.mean, 0.01);
          }
          const double sent = Number(json["bytes"]["sent"]);
          const double mean = json["sizes"]["mean"].get<double>();
          EXPECT_NEAR(sent / 200, mean, mean / 2);
        }
      }
      const Json summary = server.Stop();
      EXPECT_EQ(summary["errors"]["total"], 0);
    }
  }
}

// What is as large as a datagram can be is answered; what is larger is refused before it is sent.
TEST(Workloads, TakeDatagramsAsLargeAsTheirAddressesAllow) {
  for (const auto& [listen, most] :
       {std::pair("udp://127.0.0.1:0", 65'507), std::pair("udp://[::1]:0", 65'527)}) {
    if (!serve_tests::CanListen(listen)) continue;
    for (const std::string& backend : Backends()) {
      SCOPED_TRACE(listen + backend);
      Serving server({listen, "--backend", backend});
      const Args flags = {"--backend", backend, "-c", "1", "-n", "3", "-s"};
      ExpectVerified(LoadJson(Args{server.address()} + flags + Args{std::to_string(most)}));
      const Ended ended =
          Ringside(Args{"load", server.address()} + flags + Args{std::to_string(most + 1)});
      EXPECT_EQ(ended.exit_code, 2) << ended.err;
    }
  }
}

TEST(Workloads, ThinkFromAReplyToTheNextRequest) {
  Serving server({"127.0.0.1:0"});
  for (const std::string& backend : Backends()) {
    const Json json = LoadJson(
        {server.address(), "--backend", backend, "-c", "2", "-n", "10", "--think", "10ms"});
    ExpectVerified(json);
    EXPECT_EQ(json["requests"], 10);
    EXPECT_GE(json["duration_s"].get<double>(), 0.04);  // five on each, four thoughts between
  }
}

TEST(Workloads, GiveEachClassOfAMixARow) {
  Serving server({"127.0.0.1:0"});
  for (const std::string& backend : Backends()) {
    const Json json =
        LoadJson({server.address(), "--backend", backend, "-d", "100ms", "--warmup", "20ms",
                  "--mix", "small: -c 4 -s 64", "--mix", "paced: -c 2 -s 16KiB --rate 500"});
    EXPECT_EQ(json["schema"], "ringside.load_mix/1");
    EXPECT_EQ(json["valid"], true);
    ASSERT_EQ(json["classes"].size(), 2u);
    for (const Json& row : json["classes"]) {
      ExpectVerified(row);
      EXPECT_GT(Number(row["requests"]), 0u);
    }
    EXPECT_EQ(json["classes"][0]["name"], "small");
    EXPECT_EQ(json["classes"][0]["workload"], "rr");
    EXPECT_EQ(json["classes"][0]["connections"]["opened"], 4);
    EXPECT_EQ(json["classes"][1]["name"], "paced");
    EXPECT_EQ(json["classes"][1]["message_bytes"], 16384);
    ExpectOnSchedule(json["classes"][1]);
    EXPECT_NEAR(Number(json["classes"][1]["pace"]["offered"]), 50, 1);
  }
}

TEST(Workloads, GreetIsCountedByConnections) {
  Serving server({"127.0.0.1:0", "--service", "greet"});
  for (const std::string& backend : Backends()) {
    const Json json = LoadJson(
        {server.address(), "--backend", backend, "--service", "greet", "-c", "4", "-n", "50"});
    ExpectVerified(json);
    EXPECT_EQ(json["workload"], "crr");
    EXPECT_EQ(json["connections"]["opened"], 50);
  }
}

}  // namespace
}  // namespace load_tests::workloads
