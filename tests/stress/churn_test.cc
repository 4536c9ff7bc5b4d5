#include "tests/stress/drive.h"

namespace stress_tests {
namespace {

int64_t TimeWaitPeak(const Json& row) {
  int64_t peak = 0;
  for (const Json& look : row["time_wait"]) peak = std::max(peak, look["sockets"].get<int64_t>());
  return peak;
}

// Of a run in which nothing went wrong: both ends counted the same.
void ExpectAgreement(const Json& json) {
  const Json& connections = json["connections"];
  EXPECT_GT(Number(connections["opened"]), 0u);
  EXPECT_EQ(connections["opened"], connections["answered"]);
  EXPECT_EQ(json["problem"], nullptr);
  for (const Json& row : json["churn"]["rows"]) {
    EXPECT_EQ(row["errors"]["total"], 0) << row["errors"];
    EXPECT_EQ(row["bytes_corrupt"], 0);
    EXPECT_EQ(row["server"]["accepted"], row["connections"]["opened"]);
    EXPECT_EQ(row["server"]["requests"], row["connections"]["answered"]);
    EXPECT_EQ(row["connect_ns"]["count"], row["connections"]["opened"]);
    EXPECT_EQ(row["first_byte_ns"]["count"], row["connections"]["answered"]);
  }
}

class Churn : public EachBackend {
 protected:
  static Json Short(const Args& arguments) {
    return BriefJson(Args{"churn", "--backend", GetParam()} + arguments);
  }
};

INSTANTIATE_TEST_SUITE_P(Backends, Churn, testing::Values("epoll", "io_uring"), BackendName);

TEST_P(Churn, AgreesWithTheServerWhereWeCloseFirst) {
  const Json json = Short({});
  ExpectAgreement(json);
  const Json& row = json["churn"]["rows"][0];
  EXPECT_EQ(row["backend"], GetParam());
  EXPECT_GT(Number(row["connections"]["closed_by_fin"]), 0u);
  EXPECT_LE(Number(row["connections"]["closed_by_fin"]), Number(row["connections"]["opened"]));
  EXPECT_GT(row["close_ns"]["p50"].get<int64_t>(), 0);
  EXPECT_GT(row["server"]["cpu_us_each"].get<double>(), 0);
  EXPECT_GT(row["server"]["system_calls_each"].get<double>(), 0);
  EXPECT_GT(row["ports"]["rate_max"].get<double>(), 0);
}

TEST_P(Churn, AgreesWithTheServerWhereItClosesFirst) {
  const Json json = Short({"--closes", "server"});
  ExpectAgreement(json);
  EXPECT_EQ(json["churn"]["rows"][0]["connections"]["closed_by_fin"], 0);
  EXPECT_EQ(json["churn"]["rows"][0]["ports"]["held_s"], 0);
}

TEST_P(Churn, AgreesWithTheServerThatIsReset) {
  const Json json = Short({"--reset"});
  ExpectAgreement(json);
  EXPECT_EQ(json["churn"]["rows"][0]["close_ns"]["p50"], nullptr);
}

TEST_P(Churn, KeepsToARate) {
  const Json json = Short({"--rate", "50", "-c", "8"});
  ExpectAgreement(json);
  const Json& row = json["churn"]["rows"][0];
  EXPECT_LE(Number(row["connections"]["opened"]), 8u + 50 * row["duration_s"].get<double>() + 1);
  EXPECT_EQ(row["ports"]["used_up_after_s"], nullptr);
}

TEST_P(Churn, MeasuresAServerOfSomebodyElse) {
  pid_t pid = 0;
  Json summary;
  const Ended ended = Briefly([&](const Args& duration) {
    Server server({"--backend", GetParam(), "--size", "64"});
    Ended ran = Ringside(Args{"stress", "churn", server.port(), "--json", "-"} + duration);
    pid = server.process().pid();
    summary = server.Stop();
    return ran;
  });
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  const Json json = Json::parse(ended.out, nullptr, false);
  ExpectWhole(json, "churn");
  const Json& row = json["churn"]["rows"][0];
  EXPECT_EQ(row["backend"], nullptr);
  EXPECT_EQ(row["server"]["ours"], false);
  EXPECT_EQ(row["server"]["pid"], pid);
  EXPECT_GT(row["server"]["cpu_us_each"].get<double>(), 0);
  EXPECT_EQ(summary["connections"]["accepted"], json["connections"]["opened"]);
  EXPECT_EQ(summary["requests"], json["connections"]["answered"]);
}

TEST_P(Churn, ReportsWhatThereIsAtASignal) {
  Server server({"--backend", GetParam()});
  bench::Process run = cli_tests::Start({RINGSIDE_BINARY, "stress", "churn", server.port(), "-d",
                                         "1h", "--rate", "200", "--json", "-"});
  // It closes whom it has an answer from.
  ASSERT_TRUE(cli_tests::Until([&] { return server.Status()["connections"]["closed"] > 40; }));
  run.Signal(SIGINT);
  const Ended ended = cli_tests::WaitFor(run);
  EXPECT_EQ(ended.exit_code, 130) << ended.err;
  const Json json = Json::parse(ended.out, nullptr, false);
  ExpectWhole(json, "churn");
  EXPECT_EQ(json["interrupted"], true);
  EXPECT_GT(Number(json["connections"]["answered"]), 40u);
}

TEST_P(Churn, NamesTheRangeThatIsUsedUp) {
  if (!MayUnshare()) GTEST_SKIP() << "only root can have a network of its own";
  const std::string fifty = "echo 40000 40049 >/proc/sys/net/ipv4/ip_local_port_range; ";
  const Args run = {"churn", "--backend", GetParam(), "-d", "1h"};
  const Json json = StressJsonAlone(fifty, run, 3);
  EXPECT_EQ(json["limit"]["name"], "net.ipv4.ip_local_port_range");
  EXPECT_NE(json["limit"]["value"].get<std::string>().find("40000 40049"), std::string::npos);
  for (const char* mend :
       {"--source", "sysctl -w net.ipv4.ip_local_port_range=", "tcp_tw_reuse", "--closes server"}) {
    EXPECT_NE(json["limit"]["mend"].get<std::string>().find(mend), std::string::npos) << mend;
  }
  const Json& row = json["churn"]["rows"][0];
  EXPECT_GT(Number(row["errors"]["by_errno"]["EADDRNOTAVAIL"]), 0u);
  EXPECT_EQ(row["ports"]["ports"], 50);
  EXPECT_GT(TimeWaitPeak(row), 25);
  EXPECT_EQ(json["problem"], nullptr);

  const Json two = StressJsonAlone(fifty, run + Args{"--source", "127.0.0.1,127.0.0.2"}, 3);
  EXPECT_EQ(two["churn"]["rows"][0]["ports"]["ports"], 100);
  EXPECT_GT(Number(two["connections"]["opened"]), 50u);
}

// Its rate is far above what so many ports can bear when each is held for a minute.
TEST_P(Churn, SeesItComing) {
  if (!MayUnshare()) GTEST_SKIP() << "only root can have a network of its own";
  const Json json = BriefJson(Alone("echo 30000 60000 >/proc/sys/net/ipv4/ip_local_port_range; "
                                    "echo 0 >/proc/sys/net/ipv4/tcp_tw_reuse; "),
                              {"churn", "--backend", GetParam(), "--rate", "2000"});
  ExpectAgreement(json);
  const Json& ports = json["churn"]["rows"][0]["ports"];
  EXPECT_EQ(ports["held_s"], 60);
  EXPECT_NEAR(ports["rate_max"].get<double>(), 30'001 / 60.0, 0.1);
  const double rate = json["churn"]["rows"][0]["connections_per_s"].get<double>();
  if (rate > 600) {  // else this machine is too busy to threaten anybody's ports
    EXPECT_NEAR(ports["used_up_after_s"].get<double>(), 30'001 / rate, 0.1);
    EXPECT_NE(json["finding"].get<std::string>().find("are used up in"), std::string::npos);
  }
}

TEST_P(Churn, LeavesTimeWaitWithWhomItBelongs) {
  if (!MayUnshare()) GTEST_SKIP() << "only root can have a network of its own";
  const Args run = {"churn", "--backend", GetParam(), "--rate", "500"};
  const Json reset = BriefJson(Alone(""), run + Args{"--reset"});
  ExpectAgreement(reset);
  EXPECT_EQ(TimeWaitPeak(reset["churn"]["rows"][0]), 0);
  const Json fin = BriefJson(Alone(""), run);
  ExpectAgreement(fin);
  EXPECT_GT(TimeWaitPeak(fin["churn"]["rows"][0]), 0);
}

TEST(ChurnOfBoth, HasARowForEachBackend) {
  if (!cli_tests::Available("io_uring")) GTEST_SKIP() << "io_uring is not available here";
  const Json json = BriefJson({"churn", "--backends"});
  ExpectAgreement(json);
  ASSERT_EQ(json["churn"]["rows"].size(), 2u);
  EXPECT_EQ(json["churn"]["rows"][0]["backend"], "io_uring");
  EXPECT_EQ(json["churn"]["rows"][1]["backend"], "epoll");
}

TEST(ChurnAlone, FailsWhereNobodyListens) {
  const Json json = StressJson({"churn", cli_tests::FreePort(), "-d", "100ms"}, 1);
  EXPECT_NE(json["problem"].get<std::string>().find("ECONNREFUSED"), std::string::npos);
  EXPECT_EQ(json["connections"]["answered"], 0);
}

}  // namespace
}  // namespace stress_tests
