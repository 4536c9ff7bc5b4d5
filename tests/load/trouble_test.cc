#include <csignal>
#include <fstream>
#include <functional>

#include "tests/load/drive.h"
#include "tests/load/tiny_server.h"
#include "tests/tier.h"

// Servers that do what they should not: each trouble is counted by its kind, located, and fails the
// run, which goes on to its end.
namespace load_tests::trouble {
namespace {

using Peer = TinyServer::Peer;

// Ten connections, of which one is the trouble's; each request is 64 bytes, one in flight.
constexpr uint64_t kConnections = 10;
const Args kTen = {"-c", "10", "--warmup", "0s", "--timestamps", "off"};

class TroubleOn : public cli_tests::EachBackend {
 protected:
  Json Run(const TinyServer& server, const Args& flags, const std::string& duration = "200ms") {
    return LoadJson(Args{server.address(), "--backend", GetParam(), "-d", duration} + kTen + flags,
                    1);
  }
};
// Times in milliseconds: of a run, and that a reply is awaited. On a machine too busy for the least
// of them others of the connections are late, too: it is run again with longer ones, by a server of
// its own, until `told` says that this didn't happen.
struct Pace {
  int run, timeout;
};
constexpr Pace kPaces[] = {{200, 50}, {1'000, 300}, {10'000, 3'000}};

Json Patiently(const std::function<Json(const Pace&)>& run,
               const std::function<bool(const Json&)>& told) {
  Json json;
  for (const Pace& pace : kPaces) {
    json = run(pace);
    if (told(json)) break;
  }
  return json;
}

bool OnlyOneTimedOut(const Json& json) { return json["errors"]["timeouts"] == 1; }

std::string Ms(int ms) { return std::to_string(ms) + "ms"; }

INSTANTIATE_TEST_SUITE_P(Backends, TroubleOn, testing::Values("epoll", "io_uring"),
                         [](const auto& test) { return test.param; });

// The failure of that kind; `server_number` is the order of the server's accepts, which needn't be
// the client's, so the connection's number is only bounded.
void ExpectOneFailure(const Json& json, const std::string& kind, const Json& error = nullptr) {
  const Json& failures = json["errors"]["failures"];
  ASSERT_EQ(failures.size(), 1u) << failures;
  EXPECT_EQ(failures[0]["kind"], kind);
  EXPECT_EQ(failures[0]["errno"], error);
  EXPECT_LT(Number(failures[0]["connection"]), kConnections);
  EXPECT_GT(Number(failures[0]["requests"]), 0u);
}

// The other connections went on to the end.
void ExpectOthersServed(const Json& json) {
  EXPECT_EQ(json["valid"], false);
  EXPECT_EQ(json["interrupted"], false);
  EXPECT_EQ(json["verdict"]["kind"], "incomplete");
  EXPECT_GE(json["duration_s"].get<double>(), 0.1);  // it begins late on a busy machine
  EXPECT_GT(Number(json["requests"]), kConnections);
}

TEST_P(TroubleOn, LocatesAByteThatWasChanged) {
  TinyServer server([](Peer& peer, const std::string& bytes) {
    std::string reply = bytes;
    const uint64_t begin = peer.received - bytes.size();
    if (peer.number == 3 && begin <= 200 && peer.received > 200) reply[200 - begin] ^= 0x40;
    peer.Send(reply);
  });
  const Json json = Run(server, {});
  ExpectOthersServed(json);
  EXPECT_EQ(json["bytes"]["corrupt"], 1);
  EXPECT_EQ(json["errors"]["corrupt_connections"], 1);
  EXPECT_EQ(json["errors"]["total"], 1);
  ExpectOneFailure(json, "corrupt");
  ASSERT_EQ(json["errors"]["corruptions"].size(), 1u);
  const Json& corruption = json["errors"]["corruptions"][0];
  EXPECT_EQ(corruption["connection"], json["errors"]["failures"][0]["connection"]);
  EXPECT_EQ(corruption["offset"], 200);
  EXPECT_EQ(Number(corruption["expected"]) ^ 0x40, Number(corruption["got"]));
}

TEST_P(TroubleOn, FindsAReplyThatNobodyAskedFor) {
  TinyServer server([](Peer& peer, const std::string& bytes) {
    const bool twice = peer.number == 2 && peer.received == 128;
    peer.Send(twice ? "+OK\n+OK\n" : "+OK\n");
    (void)bytes;
  });
  const Json json =
      Run(server, {"--request", std::string(63, 'r') + "\\n", "--reply-until", "\\n"});
  ExpectOthersServed(json);
  EXPECT_EQ(json["errors"]["surplus"], 1);
  EXPECT_EQ(json["errors"]["total"], 1);
  EXPECT_EQ(json["errors"]["lost_requests"], 0);  // nothing begins on a connection that is dead
  ExpectOneFailure(json, "surplus");
}

TEST_P(TroubleOn, GivesUpARequestThatIsNeverAnswered) {
  int timeout_ms = 0;
  const Json json = Patiently(
      [&](const Pace& pace) {
        TinyServer server([](Peer& peer, const std::string& bytes) {
          if (peer.number != 4 || peer.received <= 64) peer.Send(bytes);
        });
        timeout_ms = pace.timeout;
        return Run(server, {"--timeout", Ms(pace.timeout)}, Ms(2 * pace.run + pace.timeout));
      },
      OnlyOneTimedOut);
  ExpectOthersServed(json);
  EXPECT_EQ(json["errors"]["timeouts"], 1);
  EXPECT_EQ(json["errors"]["total"], 1);
  ExpectOneFailure(json, "timeout");
  EXPECT_EQ(json["errors"]["failures"][0]["in_flight"], 1);
  EXPECT_EQ(json["latency_ns"]["censored"], 1);
  EXPECT_GE(json["latency_ns"]["max"].get<double>(), timeout_ms * 1e6);
  EXPECT_EQ(json["latency_ns"]["count"], Number(json["requests"]) + 1);
}

TEST_P(TroubleOn, CountsWhatIsUnansweredAtTheEnd) {
  LEFT_TO_ALL();
  TinyServer server([](Peer& peer, const std::string& bytes) {
    if (peer.number != 4 || peer.received <= 64) peer.Send(bytes);
  });
  const Json json = Run(server, {});
  ExpectOthersServed(json);
  EXPECT_EQ(json["errors"]["unanswered"], 1);
  EXPECT_EQ(json["errors"]["total"], 1);
}

TEST_P(TroubleOn, CountsHalfAReplyAsNone) {
  LEFT_TO_ALL();
  const Json json = Patiently(
      [&](const Pace& pace) {
        TinyServer server([](Peer& peer, const std::string& bytes) {
          if (peer.number == 4 && peer.received > 64) {
            if (peer.received == 128) peer.Send(bytes.substr(0, 32));
            return;
          }
          peer.Send(bytes);
        });
        return Run(server, {"--timeout", Ms(pace.timeout)}, Ms(2 * pace.run + pace.timeout));
      },
      OnlyOneTimedOut);
  ExpectOthersServed(json);
  EXPECT_EQ(json["errors"]["timeouts"], 1);
  EXPECT_EQ(json["bytes"]["corrupt"], 0);
  ExpectOneFailure(json, "timeout");
}

TEST_P(TroubleOn, CountsAResetByItsErrno) {
  TinyServer server([](Peer& peer, const std::string& bytes) {
    peer.number == 5 && peer.received > 64 ? peer.Reset() : peer.Send(bytes);
  });
  const Json json = Run(server, {});
  ExpectOthersServed(json);
  EXPECT_EQ(json["errors"]["by_errno"], Json({{"ECONNRESET", 1}}));
  EXPECT_EQ(json["errors"]["connect_failed"], 0);
  EXPECT_EQ(json["errors"]["lost_requests"], 1);
  ExpectOneFailure(json, "broken", "ECONNRESET");
}

TEST_P(TroubleOn, CountsAServerThatEndsTheConnection) {
  TinyServer server([](Peer& peer, const std::string& bytes) {
    peer.number == 5 && peer.received > 64 ? peer.HalfClose() : peer.Send(bytes);
  });
  const Json json = Run(server, {});
  ExpectOthersServed(json);
  EXPECT_EQ(json["errors"]["closed_by_server"], 1);
  EXPECT_EQ(json["errors"]["total"], 1);
  ExpectOneFailure(json, "closed_by_server");
}

TEST_P(TroubleOn, CountsConnectionsThatAreRefused) {
  const std::string port = cli_tests::FreePort();
  const Json json = LoadJson({port, "--backend", GetParam(), "-c", "20", "-d", "50ms"}, 1);
  EXPECT_EQ(json["errors"]["by_errno"], Json({{"ECONNREFUSED", 20}}));
  EXPECT_EQ(json["errors"]["connect_failed"], 20);
  EXPECT_EQ(json["errors"]["total"], 20);
  const Json& failures = json["errors"]["failures"];
  ASSERT_GT(failures.size(), 0u);  // the first few
  EXPECT_LT(failures.size(), 20u);
  for (const Json& failure : failures) EXPECT_EQ(failure["kind"], "connect_failed");
  for (const Json& failure : failures) EXPECT_EQ(failure["errno"], "ECONNREFUSED");
}

TEST_P(TroubleOn, OpensAgainWhatWasReset) {
  uint64_t accepted = 0;
  const Json json = Patiently(
      [&](const Pace& pace) {
        TinyServer server([](Peer& peer, const std::string& bytes) {
          peer.number<10 && peer.received> 64 ? peer.Reset() : peer.Send(bytes);
        });
        Json ran = Run(server, {"--reconnect", "1ms"}, Ms(pace.run));
        accepted = server.accepted();
        return ran;
      },
      [](const Json& ran) {
        return ran["connections"]["opened"] == 20 && ran["connections"]["silent"] == 0;
      });
  EXPECT_EQ(json["errors"]["by_errno"], Json({{"ECONNRESET", 10}}));
  EXPECT_EQ(json["connections"]["opened"], 20);
  EXPECT_EQ(json["connections"]["silent"], 0);
  EXPECT_EQ(accepted, 20u);
  EXPECT_GT(Number(json["requests"]), 20u);
}

TEST_P(TroubleOn, EndsAtSoManyErrors) {
  TinyServer server([](Peer& peer, const std::string&) { peer.Reset(); });
  const Json json = LoadJson({server.address(), "--backend", GetParam(), "-c", "4", "-d", "1h",
                              "--warmup", "0s", "--reconnect", "1ms", "--max-errors", "50"},
                             1);
  EXPECT_GT(Number(json["errors"]["total"]), 50u);
  EXPECT_EQ(json["verdict"]["kind"], "incomplete");
}

TEST_P(TroubleOn, GoesOnWhenTheServerVanishes) {
  Serving server({"127.0.0.1:0"});
  bench::Process load = StartLoad({server.address(), "--backend", GetParam(), "-c", "8", "-d", "1h",
                                   "--warmup", "0s", "--live", "json", "--json", "-"});
  ASSERT_TRUE(serve_tests::Until([&] { return !load.Errors().empty(); }));  // an interval passed
  server.process().Signal(SIGKILL);
  const Ended ended = cli_tests::WaitFor(load);
  EXPECT_EQ(ended.exit_code, 1);
  const Json json = Json::parse(ended.out);
  uint64_t broken = Number(json["errors"]["closed_by_server"]);
  for (const Json& count : json["errors"]["by_errno"]) broken += Number(count);
  EXPECT_EQ(broken, 8u) << json["errors"];
  EXPECT_EQ(json["errors"]["failures"].size(), 8u);
  EXPECT_GT(Number(json["requests"]), 0u);
}

// A server that stands still for 300 ms, once, after so many requests.
class Stalling {
 public:
  explicit Stalling(uint64_t after)
      : server_([this, after](Peer& peer, const std::string& bytes) {
          if ((served_ += bytes.size() / 64) >= after && !stalled_) {
            stalled_ = true;
            std::this_thread::sleep_for(std::chrono::milliseconds(300));
          }
          peer.Send(bytes);
        }) {}
  const std::string& address() const { return server_.address(); }

 private:
  uint64_t served_ = 0;
  bool stalled_ = false;
  TinyServer server_;
};

// All the time that requests took, and what of it there is for so many at once.
double Sum(const Json& times) { return times["mean"].get<double>() * Number(times["count"]); }
double Room(const Json& json, int connections) {
  return connections * json["duration_s"].get<double>() * 1e9;
}

TEST_P(TroubleOn, AStallIsInTheResponseTimesOfAllThatWereDue) {
  Stalling server(100);
  const Json json = LoadJson({server.address(), "--backend", GetParam(), "-c", "4", "--rate", "1k",
                              "-n", "1000", "--timestamps", "off"});
  EXPECT_GE(json["latency_ns"]["max"].get<double>(), 250e6);
  // About 300 requests were due meanwhile; the least of them has waited.
  EXPECT_GE(json["latency_ns"]["p90"].get<double>(), 150e6);
  EXPECT_EQ(json["pace"]["offered"], 1000);
  EXPECT_EQ(json["latency_ns"]["count"], 1000);
  // More waited than there are connections; on the way were no more than these.
  EXPECT_GT(Sum(json["latency_ns"]), Room(json, 4));
  EXPECT_LE(Sum(json["service_ns"]), Room(json, 4));
}

TEST_P(TroubleOn, InClosedLoopOneRequestSeesTheStall) {
  Stalling server(100);
  const Json json = LoadJson(
      {server.address(), "--backend", GetParam(), "-c", "1", "-n", "2000", "--timestamps", "off"});
  EXPECT_GE(json["latency_ns"]["max"].get<double>(), 300e6);
  EXPECT_EQ(json["latency_ns"]["count"], 2000);
  EXPECT_LE(Sum(json["latency_ns"]), Room(json, 1));  // so nobody waited beside it
}

TEST_P(TroubleOn, ADeadlineShedsWhatIsTooLate) {
  Stalling server(100);
  const Json json = LoadJson({server.address(), "--backend", GetParam(), "-c", "4", "--rate", "1k",
                              "-d", "1s", "--warmup", "0s", "--deadline", "20ms"});
  const uint64_t offered = Number(json["pace"]["offered"]), shed = Number(json["pace"]["shed"]);
  EXPECT_NEAR(offered, 1000, 1);
  EXPECT_GT(shed, 0u);
  EXPECT_EQ(json["latency_ns"]["count"], offered - shed);
  EXPECT_TRUE(Accuses(json, "rate_not_reached")) << json["accusations"];
}

TEST_P(TroubleOn, ARateBeyondWhatTheServerGivesIsNotReached) {
  TinyServer server([](Peer& peer, const std::string& bytes) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    peer.Send(bytes);
  });
  const Json json = LoadJson({server.address(), "--backend", GetParam(), "-c", "4", "--rate", "20k",
                              "-d", "200ms", "--warmup", "0s"});
  EXPECT_TRUE(Accuses(json, "rate_not_reached")) << json["accusations"];
  const bool noise = Accuses(json, "others_cpu") || Accuses(json, "cpu_taken") ||
                     Accuses(json, "steal");  // which goes first
  const std::string kind = json["verdict"]["kind"];
  EXPECT_TRUE(kind == (noise ? "noisy" : "server-bound") || kind == "client-bound") << kind;
  const uint64_t offered = Number(json["pace"]["offered"]);
  EXPECT_NEAR(offered, 4000, 1);
  EXPECT_GT(Number(json["pace"]["unsent"]), 0u);
  EXPECT_EQ(json["latency_ns"]["count"], offered);  // with the time that they waited
  EXPECT_EQ(json["latency_ns"]["censored"], json["pace"]["unsent"]);
}

// The greatest memory that the process has had so far; 0 where it has ended.
uint64_t PeakKib(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return std::stoull(line.substr(6));
  }
  return 0;
}

TEST_P(TroubleOn, WhatIsUnsentTakesNoMemory) {
  LEFT_TO_ALL();
  if (kSanitized) GTEST_SKIP() << "a sanitizer's memory is not the program's";
  Serving server({"127.0.0.1:0"});
  bench::Process load = StartLoad({server.address(), "--backend", GetParam(), "-c", "8", "--rate",
                                   "5M", "-d", "1s", "--warmup", "0s", "--json", "-"});
  uint64_t peak = 0;
  while (load.Wait(1'000'000, -1) != bench::Process::Waited::kEnded) {
    peak = std::max(peak, PeakKib(load.pid()));
  }
  EXPECT_EQ(load.exit_code(), 0) << load.Errors();
  const Json json = Json::parse(load.Output());
  const uint64_t offered = Number(json["pace"]["offered"]);
  EXPECT_NEAR(offered, 5e6, 1024);  // most of them are counted in slices
  EXPECT_GT(Number(json["pace"]["unsent"]), 1'000'000u);
  EXPECT_EQ(json["latency_ns"]["count"], offered);
  EXPECT_GT(peak, 0u);
  EXPECT_LT(peak, 100'000u);
}

}  // namespace
}  // namespace load_tests::trouble
