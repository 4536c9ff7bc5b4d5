#include "stress/fds.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "stats/socket_diag.h"
#include "tests/stress/bad_server.h"
#include "tests/stress/drive.h"
#include "tests/tier.h"

namespace stress_tests {
namespace {

Json Phase(const Json& row, const std::string& name) {
  for (const Json& phase : row["existing"]["phases"]) {
    if (phase["name"] == name) return phase;
  }
  return Json();
}

// Those who were there before were answered, whenever they asked.
void ExpectExistingServed(const Json& row, uint64_t connections) {
  EXPECT_EQ(row["existing"]["connections"], connections);
  EXPECT_EQ(row["existing"]["lost"], 0);
  for (const Json& phase : row["existing"]["phases"]) {
    EXPECT_EQ(phase["requests"], phase["replies"]) << phase["name"];
    EXPECT_EQ(phase["connections_asking"], phase["connections_answered"]) << phase["name"];
    EXPECT_EQ(phase["latency_ns"]["count"], phase["replies"]) << phase["name"];
  }
  for (const char* name : {"before", "at_limit"}) {
    EXPECT_EQ(Phase(row, name)["connections_answered"], connections) << name;
  }
  EXPECT_EQ(row["bytes_corrupt"], 0);
}

// Whoever waited was answered when there was room, and not before.
void ExpectRecovered(const Json& row, uint64_t beyond) {
  EXPECT_EQ(row["waiting"]["connected"], beyond);
  EXPECT_EQ(row["waiting"]["answered"], beyond);
  EXPECT_EQ(row["answered_at_limit"], 0);
  EXPECT_EQ(row["accepted_and_dropped"], 0);
  EXPECT_EQ(row["accept_queue"]["length"], beyond);
  EXPECT_EQ(row["recovery"]["closed"], beyond);
  EXPECT_EQ(row["recovery"]["answered"], beyond);
  EXPECT_GT(Number(row["recovery"]["first_ns"]), 0u);
  EXPECT_GE(Number(row["recovery"]["last_ns"]), Number(row["recovery"]["first_ns"]));
  EXPECT_GT(Number(row["afterwards"]["asked"]), beyond);
  EXPECT_EQ(row["afterwards"]["asked"], row["afterwards"]["answered"]);
}

bool Finds(const Json& json, const std::string& words) {
  return json["finding"].get<std::string>().find(words) != std::string::npos;
}

// Its result where it waits in vain, and so with little patience; with more on a machine so busy
// that it waited in vain for what does come, by which `told` tells them apart.
Json WithPatience(const Args& arguments, int exit_code,
                  const std::function<bool(const Json& row)>& told) {
  Json json;
  for (const char* patience : {"200ms", "2s", "20s"}) {
    const Ended ended =
        Ringside(Args{"stress"} + arguments + Args{"--patience", patience, "--json", "-"});
    json = Json::parse(ended.out, nullptr, false);
    const bool whole = json.is_object() && !json["fds"]["rows"].empty();
    if (!whole || !told(json["fds"]["rows"][0])) continue;
    EXPECT_EQ(ended.exit_code, exit_code) << ended.err;
    ExpectWhole(json, "fds");
    return json;
  }
  ADD_FAILURE() << "not even with the most patience: " << json;
  return json;
}

class Fds : public EachBackend {};

INSTANTIATE_TEST_SUITE_P(Backends, Fds, testing::Values("epoll", "io_uring"), BackendName);

TEST_P(Fds, OurServerWaitsAtItsLimitAndRecovers) {
  const Json json = StressJson({"fds", "--backend", GetParam(), "--server-nofile", "128", "-c", "5",
                                "--beyond", "20", "-d", "1s", "--client-backend", GetParam()});
  ASSERT_EQ(json["fds"]["rows"].size(), 1u);
  const Json& row = json["fds"]["rows"][0];
  EXPECT_EQ(row["backend"], GetParam());
  EXPECT_EQ(row["reached"], true);
  EXPECT_EQ(row["descriptors"]["limit"], 128);
  EXPECT_EQ(row["descriptors"]["at_limit"], 128);
  EXPECT_EQ(row["descriptors"]["after"], row["descriptors"]["before"]);
  ExpectExistingServed(row, 5);
  ExpectRecovered(row, 20);
  EXPECT_EQ(row["filling"]["answered"], row["filling"]["asked"]);
  EXPECT_EQ(row["filling"]["lost"], 0);
  // CPU time, not what a clock on a wall says: others on the machine don't add to it.
  if (!kSanitized) {
    EXPECT_LT(row["cpu_share"]["idle_at_limit"].get<double>(), stress::kSpinShare);
  }
  EXPECT_EQ(row["spins"], false) << row["cpu_share"];
  EXPECT_GT(Number(row["accept_pauses"]), 0u);
  EXPECT_TRUE(Finds(json, GetParam() + ": at its 128 descriptors it answered all 5 existing"))
      << json["finding"];
  EXPECT_TRUE(Finds(json, "dropped none of 20 that waited, and took the first")) << json["finding"];
  EXPECT_EQ(json["connections"]["opened"], json["connections"]["answered"]);
}

TEST_P(Fds, OurServerDoesSoOverUnixSockets) {
  const std::string name = "unix:@ringside-fds-" + std::to_string(getpid());
  Server server = Server::By({"prlimit", "--nofile=100", RINGSIDE_BINARY, "serve", name, "--json",
                              "--backend", GetParam()});
  const Json json = StressJson({"fds", name, "-c", "3", "--beyond", "10", "-d", "200ms"});
  const Json& row = json["fds"]["rows"][0];
  EXPECT_EQ(row["backend"], Json());
  EXPECT_EQ(row["descriptors"]["limit"], 100);
  EXPECT_EQ(row["reached"], true);
  ExpectExistingServed(row, 3);
  EXPECT_EQ(row["waiting"]["answered"], 10);
  EXPECT_EQ(row["accepted_and_dropped"], 0);
  EXPECT_EQ(server.Stop()["connections"]["open"], 0);
}

TEST(FdsOfBoth, IsTheDefault) {
  const Ended text = Ringside(
      {"stress", "fds", "--server-nofile", "64", "-c", "2", "--beyond", "4", "-d", "100ms"});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_NE(text.out.find("epoll: at its 64 descriptors"), std::string::npos) << text.out;
  if (cli_tests::Available("io_uring")) {
    EXPECT_NE(text.out.find("io_uring: at its 64 descriptors"), std::string::npos) << text.out;
  }
  for (const char* row : {"descriptors", "at the limit", "server CPU", "waiting", "recovery"}) {
    EXPECT_NE(text.out.find(row), std::string::npos) << row << text.out;
  }
}

TEST(FdsOfOthers, AccusesOneThatSpins) {
  const BadServer server(BadServer::Kind::kSpins);
  const Json json = StressJson({"fds", server.port(), "-c", "3", "--beyond", "10", "-d", "400ms"});
  const Json& row = json["fds"]["rows"][0];
  EXPECT_EQ(row["server"]["pid"], server.pid());
  EXPECT_EQ(row["descriptors"]["limit"], BadServer::kDescriptors);
  EXPECT_EQ(row["spins"], true) << row["cpu_share"];
  EXPECT_LT(row["cpu_share"]["idle_before"].get<double>(), stress::kSpinShare);
  EXPECT_GE(row["cpu_share"]["idle_at_limit"].get<double>(), stress::kSpinShare);
  EXPECT_TRUE(Finds(json, "spun (used ")) << json["finding"];
  ExpectExistingServed(row, 3);  // it is only busy
  ExpectRecovered(row, 10);
  EXPECT_EQ(row["descriptors"]["after"], row["descriptors"]["before"]);
  EXPECT_EQ(row["accept_pauses"], Json());
}

void ExpectAccusedOfDropping(BadServer::Kind kind, const Args& more) {
  const BadServer server(kind);
  const Json json =
      StressJson(Args{"fds", server.port(), "-c", "3", "--beyond", "10", "-d", "400ms"} + more);
  const Json& row = json["fds"]["rows"][0];
  EXPECT_EQ(row["reached"], true);
  EXPECT_EQ(row["accepted_and_dropped"], 10);
  EXPECT_EQ(Number(row["waiting"]["closed_by_fin"]) + Number(row["waiting"]["closed_by_reset"]),
            10u);
  EXPECT_EQ(row["waiting"]["answered"], 0);
  EXPECT_EQ(row["recovery"]["first_ns"], Json());
  EXPECT_EQ(row["spins"], false) << row["cpu_share"];
  EXPECT_TRUE(Finds(json, "accepted and dropped 10 of 10 that waited")) << json["finding"];
  ExpectExistingServed(row, 3);
}

TEST(FdsOfOthers, AccusesOneThatAcceptsAndDrops) {
  ExpectAccusedOfDropping(BadServer::Kind::kDrops, {});
}

TEST(FdsOfOthers, AccusesOneThatAcceptsAndResets) {
  ExpectAccusedOfDropping(BadServer::Kind::kResets, {"--client-backend", "epoll"});
}

TEST(FdsOfOthers, AccusesOneThatKeepsItsDescriptors) {
  const BadServer server(BadServer::Kind::kLeaks);
  const Json json = StressJson(
      {"fds", server.port(), "-c", "3", "--beyond", "10", "-d", "200ms", "--patience", "300ms"});
  const Json& row = json["fds"]["rows"][0];
  EXPECT_GT(Number(row["descriptors"]["after"]), Number(row["descriptors"]["before"]));
  EXPECT_EQ(row["recovery"]["answered"], 0);
  EXPECT_EQ(row["waiting"]["answered"], 0);
  EXPECT_TRUE(Finds(json, "took none of them when descriptors were free")) << json["finding"];
  EXPECT_TRUE(Finds(json, "descriptors when all were gone")) << json["finding"];
}

TEST(FdsOfOthers, NamesTheFlagWhereTheProcessIsUnknown) {
  const Ended ended = Ringside({"stress", "fds", cli_tests::FreePort()});  // nobody listens
  EXPECT_EQ(ended.exit_code, 2) << ended.err;
  EXPECT_NE(ended.err.find("--server-pid PID"), std::string::npos) << ended.err;
  EXPECT_EQ(ended.out, "");
}

TEST(FdsOfOthers, TakesAProcessThatIsNamed) {
  const BadServer server(BadServer::Kind::kSpins);
  const Json json = StressJson({"fds", server.port(), "--server-pid", std::to_string(server.pid()),
                                "-c", "2", "--beyond", "2", "-d", "100ms"});
  EXPECT_EQ(json["fds"]["rows"][0]["server"]["pid"], server.pid());
}

TEST(FdsOfBoth, RefusesWhatFitsNoServer) {
  const std::pair<Args, std::string> refused[] = {
      {{"9999", "--server-nofile", "100"}, "--server-nofile: "},
      {{"--server-nofile", "10"}, "--server-nofile: "},
      {{"udp://127.0.0.1:9999"}, "ADDRESS: "},
      {{"--beyond", "0"}, "--beyond: "}};
  for (const auto& [wrong, named] : refused) {
    const Ended ended = Ringside(Args{"stress", "fds"} + wrong);
    EXPECT_EQ(ended.exit_code, 2) << ended.err;
    EXPECT_EQ(ended.err.find("ringside stress fds: " + named), 0u) << ended.err;
  }
}

TEST(FdsOfBoth, SaysThatOurLimitIsTooLowForOurServer) {
  const Ended ended =
      cli_tests::RunToEnd({"prlimit", "--nofile=200", RINGSIDE_BINARY, "stress", "fds", "--backend",
                           "epoll", "--server-nofile", "200", "--json", "-"});
  EXPECT_EQ(ended.exit_code, 3) << ended.err;
  const Json json = Json::parse(ended.out, nullptr, false);
  EXPECT_NE(json["limit"]["mend"].get<std::string>().find("--server-nofile"), std::string::npos);
}

TEST(FdsOfOthers, SaysThatItCantReachALimitAboveOurs) {
  Server server({});
  const Ended ended = cli_tests::RunToEnd(
      {"prlimit", "--nofile=200", RINGSIDE_BINARY, "stress", "fds", server.port(), "--json", "-"});
  EXPECT_EQ(ended.exit_code, 3) << ended.err;
  const Json json = Json::parse(ended.out, nullptr, false);
  ExpectWhole(json, "fds");
  EXPECT_EQ(json["limit"]["name"], "RLIMIT_NOFILE of ringside itself");
  EXPECT_EQ(json["connections"]["opened"], 0);
  EXPECT_EQ(json["fds"]["rows"][0]["reached"], false);
  EXPECT_EQ(server.Stop()["connections"]["accepted"], 0);
}

TEST(FdsOfOthers, SaysThatSomethingElseBoundsTheServer) {
  const Json json =
      WithPatience({"fds", "--backend", "epoll", "--server-nofile", "128", "-c", "2", "-d", "100ms",
                    "--serve-flags", "--connections-max 20"},
                   3, [](const Json& row) { return row["filling"]["answered"] == 18; });
  EXPECT_EQ(json["limit"]["name"], "one of the server's own, below RLIMIT_NOFILE");
  EXPECT_EQ(json["fds"]["rows"][0]["reached"], false);
  EXPECT_EQ(json["fds"]["rows"][0]["filling"]["answered"], 18);
  EXPECT_TRUE(Finds(json, "was not reached")) << json["finding"];
}

// An experiment that will hold a server at its limit for an hour, and now does.
bench::Process StartHold(const std::string& port, pid_t server, uint32_t beyond) {
  bench::Process run = cli_tests::Start({RINGSIDE_BINARY, "stress", "fds", port, "--server-pid",
                                         std::to_string(server), "-c", "3", "--beyond",
                                         std::to_string(beyond), "-d", "1h", "--json", "-"});
  // Who asks has seen that it is connected; that the kernel connected it doesn't say so.
  const auto wait = [&] {
    const auto all = stats::Connections({.protocols = {stats::SocketProtocol::kTcp},
                                         .ports = {static_cast<uint16_t>(std::stoi(port))},
                                         .unix_names = {}});
    return all.ok() && std::ranges::count_if(all->sockets, [](const stats::SocketInfo& socket) {
                         return socket.inode == 0 && socket.recv_queue > 0;
                       }) == beyond;
  };
  EXPECT_TRUE(cli_tests::Until(wait)) << run.Errors();
  return run;
}

Json HeldResult(bench::Process& run, int exit_code) {
  const Ended ended = cli_tests::WaitFor(run);
  EXPECT_EQ(ended.exit_code, exit_code) << ended.err;
  const Json json = Json::parse(ended.out, nullptr, false);
  ExpectWhole(json, "fds");
  const Json& row = json["fds"]["rows"][0];
  EXPECT_EQ(row["reached"], true);
  EXPECT_EQ(row["waiting"]["connected"], 5);
  EXPECT_EQ(row["recovery"], Json());
  EXPECT_EQ(Phase(row, "before")["connections_answered"], 3);
  return json;
}

TEST_P(Fds, ReportsWhatThereIsAtASignal) {
  LEFT_TO_ALL();
  Server server = Server::By({"prlimit", "--nofile=100", RINGSIDE_BINARY, "serve", "0", "--json",
                              "--backend", GetParam()});
  bench::Process run = StartHold(server.port(), server.process().pid(), 5);
  run.Signal(SIGINT);
  const Json json = HeldResult(run, 130);
  EXPECT_EQ(json["interrupted"], true);
  EXPECT_EQ(json["problem"], Json());
  EXPECT_EQ(json["fds"]["rows"][0]["descriptors"]["after"], Json());
}

TEST(FdsOfOthers, ReportsAServerThatDiesAsAProblem) {
  LEFT_TO_ALL();
  auto server = std::make_unique<BadServer>(BadServer::Kind::kSpins);
  bench::Process run = StartHold(server->port(), server->pid(), 5);
  server.reset();
  const Json json = HeldResult(run, 1);
  EXPECT_NE(json["problem"].get<std::string>().find("is it gone?"), std::string::npos);
  EXPECT_EQ(json["fds"]["rows"][0]["existing"]["lost"], 3);
}

}  // namespace
}  // namespace stress_tests
