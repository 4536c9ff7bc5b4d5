#include "tests/load/drive.h"
#include "tests/load/tiny_server.h"
#include "tests/tier.h"

// What `load` can be told beyond its workload, each seen from the other end, or in the result.
namespace load_tests::options {
namespace {

using Peer = TinyServer::Peer;

using LoadWith = cli_tests::EachBackend;
INSTANTIATE_TEST_SUITE_P(Backends, LoadWith, testing::Values("epoll", "io_uring"),
                         [](const auto& test) { return test.param; });

Args Client(const std::string& address, const std::string& backend) {
  return {address, "--backend", backend};
}

TEST_P(LoadWith, TextThatOurServicesAnswer) {
  Serving echo({"127.0.0.1:0"});
  const Args twice = {"-c", "4", "-n", "200", "--depth", "2"};
  for (const Args& reply :
       {Args{"--reply-until", "\\r\\n"}, Args{"--reply-bytes", "6"},
        Args{"--reply-is", "PING\\r\\n"}, Args{"--reply-bytes", "6", "--reply-prefix", "PI"},
        Args{"--reply-until", "\\x0a", "--reply-is", "PING\\r\\n"}}) {
    const Json json = LoadJson(Client(echo.address(), GetParam()) + twice +
                               Args{"--request", "PING\\r\\n"} + reply);
    ExpectVerified(json);
    EXPECT_EQ(json["requests"], 200);
    EXPECT_EQ(json["bytes"]["received"], 1200);
    EXPECT_EQ(json["service"], "text");
  }
  // Over datagrams, each is one.
  Serving replies({"udp://127.0.0.1:0", "--service", "reply", "--reply-text", "yes"});
  const Json json = LoadJson(Client(replies.address(), GetParam()) +
                             Args{"-c", "2", "-n", "50", "--request", "?", "--reply-is", "yes"});
  ExpectVerified(json);
  EXPECT_EQ(json["bytes"]["received"], 150);
}

TEST_P(LoadWith, TextThatIsAnsweredOtherwise) {
  Serving echo({"127.0.0.1:0"});
  for (const Args& reply : {Args{"--reply-is", "PONG\\r\\n"},
                            Args{"--reply-until", "\\r\\n", "--reply-prefix", "PO"}}) {
    const Json json = LoadJson(Client(echo.address(), GetParam()) +
                                   Args{"-c", "1", "-n", "3", "--request", "PING\\r\\n"} + reply,
                               1);
    EXPECT_EQ(json["bytes"]["corrupt"], 3);
    EXPECT_EQ(json["errors"]["corruptions"][0]["offset"], 1);
    EXPECT_EQ(json["errors"]["corruptions"][0]["expected"], 'O');
    EXPECT_EQ(json["errors"]["corruptions"][0]["got"], 'I');
  }
}

// The protocol of Redis: a line in, a line out, in pieces as they come.
TEST_P(LoadWith, RedisAsItAnswersPing) {
  TinyServer redis([](Peer& peer, const std::string& bytes) {
    peer.held += bytes;
    for (size_t end; (end = peer.held.find("\r\n")) != std::string::npos;) {
      const bool ping = peer.held.substr(0, end) == "PING";
      peer.Send(ping ? "+PO" : "-ERR unknown command\r\n");
      if (ping) peer.Send("NG\r\n");
      peer.held.erase(0, end + 2);
    }
  });
  const Args flags = {"-c", "3", "--depth", "4", "-n", "300"};
  const Args pong = {"--reply-until", "\\r\\n", "--reply-is", "+PONG\\r\\n"};
  const Json json = LoadJson(Client(redis.address(), GetParam()) + flags +
                             Args{"--request", "PING\\r\\n"} + pong);
  ExpectVerified(json);
  EXPECT_EQ(json["requests"], 300);
  EXPECT_EQ(json["bytes"]["received"], 300 * 7);
  const Json wrong = LoadJson(
      Client(redis.address(), GetParam()) + flags + Args{"--request", "PIG\\r\\n"} + pong, 1);
  EXPECT_EQ(wrong["valid"], false);
  EXPECT_EQ(wrong["errors"]["corrupt_connections"], 3);
}

TEST_P(LoadWith, ARampOpensOverItsTime) {
  Serving server({"127.0.0.1:0"});
  for (const Args& how : {Args{"--ramp", "200ms"}, Args{"--connect-rate", "50"}}) {
    const Json json = LoadJson(Client(server.address(), GetParam()) +
                               Args{"-c", "10", "-d", "50ms", "--warmup", "0s"} + how);
    ExpectVerified(json);
    EXPECT_EQ(json["connections"]["opened"], 10);
    EXPECT_GE(json["connections"]["opening_s"].get<double>(), 0.17);  // nine times 20 ms
  }
}

TEST_P(LoadWith, SourcesThatItWasGiven) {
  TinyServer server([](Peer& peer, const std::string& bytes) { peer.Send(bytes); });
  const Json json =
      LoadJson(Client(server.address(), GetParam()) +
               Args{"-c", "8", "-n", "80", "--source", "127.0.0.2,127.0.0.3", "-t", "2"});
  ExpectVerified(json);
  EXPECT_EQ(server.accepted(), 8u);
  EXPECT_EQ(server.sources(), (std::set<std::string>{"127.0.0.2", "127.0.0.3"}));
}

TEST_P(LoadWith, BusyPollingSleepsNever) {
  Serving server({"127.0.0.1:0"});
  // So few that what each costs is little beside what is spun, however slow this is built.
  const Args slow = {"-c", "1", "--rate", "20", "-d", "300ms", "--warmup", "0s"};
  const Json spinning = LoadJson(Client(server.address(), GetParam()) + slow + Args{"--busy-poll"});
  ExpectVerified(spinning);
  const Json sleeping = LoadJson(Client(server.address(), GetParam()) + slow);
  ExpectVerified(sleeping);
  EXPECT_GT(spinning["client"]["cpu_us_per_request"].get<double>(),
            2 * sleeping["client"]["cpu_us_per_request"].get<double>());
}

TEST_P(LoadWith, TimestampsTellTheClientsShare) {
  Serving tcp({"127.0.0.1:0"}), local({"unix:" + Scratch("s")});
  const Args each = {"-c", "4", "-d", "100ms", "--warmup", "0s", "--timestamps"};
  const Json json = LoadJson(Client(tcp.address(), GetParam()) + each + Args{"1"});
  ExpectVerified(json);
  ASSERT_TRUE(json["client"].contains("share_of_latency")) << json["client"];
  const double share = json["client"]["share_of_latency"].get<double>();
  EXPECT_GE(share, 0);
  EXPECT_LE(share, 1);
  EXPECT_GT(Number(json["client"]["wait_ns"]["count"]), 0u);
  EXPECT_LE(Number(json["client"]["wait_ns"]["count"]), Number(json["requests"]));
  for (const Json& without : {LoadJson(Client(tcp.address(), GetParam()) + each + Args{"off"}),
                              LoadJson(Client(local.address(), GetParam()) + each + Args{"1"})}) {
    ExpectVerified(without);
    EXPECT_FALSE(without["client"].contains("share_of_latency"));
  }
}

TEST_P(LoadWith, AWarmupThatEndsByItself) {
  LEFT_TO_ALL();
  Serving server({"127.0.0.1:0"});
  for (const Args& rate : {Args{}, Args{"--rate", "500"}}) {
    const Json json = LoadJson(Client(server.address(), GetParam()) +
                               Args{"-c", "2", "-d", "100ms", "--warmup", "auto"} + rate);
    ExpectVerified(json);
    EXPECT_GE(json["warmup_s"].get<double>(), 0.99);  // a second at least
    if (rate.empty()) continue;
    EXPECT_NEAR(Number(json["pace"]["offered"]), 50, 1);
    EXPECT_EQ(json["latency_ns"]["count"], json["pace"]["offered"]);
  }
}

TEST_P(LoadWith, PlansOfRatesAddUp) {
  Serving server({"127.0.0.1:0"});
  struct Plan {
    std::string workload, text;
    double offered;
  };
  for (const Plan& plan : {Plan{"rate", "500/100ms,2k/100ms", 250},
                           Plan{"rate", "100:1900/200ms", 200}, Plan{"rate", "250/conn", 200},
                           Plan{"rate", "0:1k/200ms", 100}, Plan{"crr", "0:1k/200ms", 100}}) {
    SCOPED_TRACE(plan.workload + " " + plan.text);
    Args flags = {"-c", "4", "-w", plan.workload, "--rate", plan.text, "--warmup", "20ms"};
    if (plan.text == "250/conn") flags = flags + Args{"-d", "200ms"};
    const Json json = LoadJson(Client(server.address(), GetParam()) + flags);
    ExpectVerified(json);
    EXPECT_NEAR(Number(json["pace"]["offered"]), plan.offered, 1);
    EXPECT_EQ(json["latency_ns"]["count"], json["pace"]["offered"]);
  }
}

}  // namespace
}  // namespace load_tests::options
