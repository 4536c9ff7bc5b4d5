#include <iostream>

#include "tests/stress/drive.h"
#include "tests/tier.h"

namespace stress_tests {
namespace {

class Slow : public EachBackend {
 protected:
  static Json Short(const Args& arguments) {
    Json json = BriefJson(Args{"slow", "--backend", GetParam()} + arguments);
    for (const Json& row : json["slow"]["rows"]) ExpectServed(row);
    return json;
  }

  // The good client was answered, and rightly, whoever was beside it.
  static void ExpectServed(const Json& row) {
    EXPECT_EQ(row["backend"], GetParam());
    for (const char* when : {"without", "with"}) {
      const Json& good = row["good"][when];
      EXPECT_GT(Number(good["requests"]), 0u) << row["kind"] << when;
      EXPECT_EQ(good["errors"]["total"], 0) << good["errors"];
      EXPECT_EQ(good["bytes_corrupt"], 0);
    }
    EXPECT_EQ(row["peers"]["corrupt_bytes"], 0);
    EXPECT_EQ(row["peers"]["failed"], 0);
    EXPECT_EQ(row["peers"]["opened"], row["peers"]["requested"]);
  }
};

INSTANTIATE_TEST_SUITE_P(Backends, Slow, testing::Values("epoll", "io_uring"), BackendName);

TEST_P(Slow, NeverReadersAreHeldAndOthersServed) {
  LEFT_TO_ALL();
  const Json json = Short({"--kind", "never-read", "-n", "20"});
  const Json& peers = json["slow"]["rows"][0]["peers"];
  EXPECT_EQ(peers["received_bytes"], 0);
  EXPECT_GT(Number(peers["sent_bytes"]), 20u * 64 * 1024);
  EXPECT_EQ(peers["closed_by_server"], 0);
}

TEST_P(Slow, TricklersReadLittle) {
  LEFT_TO_ALL();
  const Json json = Short({"--kind", "trickle", "-n", "20", "--trickle-every", "10ms"});
  const Json& peers = json["slow"]["rows"][0]["peers"];
  EXPECT_GT(Number(peers["received_bytes"]), 0u);
  EXPECT_LT(Number(peers["received_bytes"]) * 10, Number(peers["sent_bytes"]));
}

TEST_P(Slow, HalfClosersAreAnsweredAndClosed) {
  const Json json = Short({"--kind", "half-close", "-n", "20", "-s", "2KiB"});
  const Json& peers = json["slow"]["rows"][0]["peers"];
  EXPECT_EQ(peers["answered"], 20);
  EXPECT_EQ(peers["closed_by_server"], 20);
  EXPECT_EQ(peers["received_bytes"], 20 * 2048);
}

TEST_P(Slow, AllKindsHaveARow) {
  LEFT_TO_ALL();
  const Json json = Short({"-n", "5"});
  ASSERT_EQ(json["slow"]["rows"].size(), 3u);
  EXPECT_EQ(json["slow"]["rows"][0]["kind"], "never-read");
  EXPECT_EQ(json["slow"]["rows"][1]["kind"], "trickle");
  EXPECT_EQ(json["slow"]["rows"][2]["kind"], "half-close");
}

// What serve promises of peers that never read: 64 KiB each (tests/integrity/memory_test.cc), and
// io_uring's receive buffers, once.
TEST_P(Slow, NeverReadersCostWhatServePromises) {
  LEFT_TO_ALL();
  if (kSanitized) GTEST_SKIP() << "a sanitizer's shadow is not the server's memory";
  constexpr double kPeers = 50, kEachMax = 64 * 1024, kPool = 64 * 64 * 1024;
  Args flags = {"--kind", "never-read"};
  if (GetParam() == "io_uring") flags = flags + Args{"--serve-flags", "--recv-buffers 64"};
  const Json json = Short(flags);
  const Json& memory = json["slow"]["rows"][0]["memory"];
  std::cout << GetParam() << ": " << memory["rss_bytes_each"] << " bytes of the server a peer, "
            << memory["kernel"]["bytes_each"] << " of the kernel\n";
  EXPECT_GT(memory["rss_bytes_each"].get<double>(), 0);
  EXPECT_LE(memory["rss_bytes_each"].get<double>() * kPeers, kEachMax * kPeers + kPool);
}

TEST_P(Slow, TheServersLimitClosesThem) {
  LEFT_TO_ALL();
  const Json json = StressJson({"slow", "--backend", GetParam(), "--kind", "never-read", "-n", "10",
                                "-d", "2s", "--serve-flags", "--stall-timeout 100ms"});
  const Json& row = json["slow"]["rows"][0];
  EXPECT_GT(Number(row["peers"]["closed_by_server"]), 0u);
  EXPECT_LE(Number(row["peers"]["closed_by_server"]), Number(row["server"]["stalled_closed"]));
}

TEST_P(Slow, ReportsWhatThereIsAtASignal) {
  Server server({"--backend", GetParam()});
  bench::Process run = cli_tests::Start(
      {RINGSIDE_BINARY, "stress", "slow", server.port(), "-d", "1h", "--json", "-"});
  ASSERT_TRUE(cli_tests::Until([&] { return server.Status()["requests"] > 100; }));
  run.Signal(SIGTERM);
  const Ended ended = cli_tests::WaitFor(run);
  EXPECT_EQ(ended.exit_code, 143) << ended.err;
  const Json json = Json::parse(ended.out, nullptr, false);
  ExpectWhole(json, "slow");
  EXPECT_EQ(json["interrupted"], true);
  EXPECT_GT(Number(json["connections"]["answered"]), 0u);
}

}  // namespace
}  // namespace stress_tests
