#include <signal.h>

#include <chrono>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/serve/peers.h"
#include "tests/serve/plain_client.h"

// What a server holds for its peers has bounds, also where an answer is longer than its request, or
// waits; and it judges nobody by time in which it was stopped.
namespace serve_tests {
namespace {

using cli_tests::Server;
using peers::Await;
using peers::Metric;
using peers::Peer;

using BoundsOn = cli_tests::EachBackend;
INSTANTIATE_TEST_SUITE_P(Backends, BoundsOn, testing::Values("epoll", "io_uring"),
                         [](const auto& test) { return test.param; });

int64_t ResidentBytes(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/statm");
  int64_t pages = 0, resident = 0;
  file >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// Each byte is a request, each answer 4,000 bytes, and nobody reads.
TEST_P(BoundsOn, AnswersLongerThanTheirRequests) {
  constexpr int kPeers = 3;
  Server server({"--backend", GetParam(), "--service", "reply", "--reply-text",
                 std::string(4'000, 't'), "-s", "1"});
  {
    Peer warm = Peer::Connected(Address(server));
    ASSERT_TRUE(warm.Send("x"));
    ASSERT_EQ(warm.Receive(4'000).size(), 4'000u);
  }
  const int64_t before = ResidentBytes(server.process().pid());
  std::vector<Peer> silent;
  for (int i = 0; i < kPeers; ++i) {
    silent.push_back(Peer::Connected(Address(server), "", 16 * 1024));
    ASSERT_TRUE(silent.back().Send(std::string(5'000, 'x')));
  }
  Await("receiving from all pauses",
        [&] { return server.Status()["loop"]["receive_pauses"] >= kPeers; });
  if (!kSanitized) {
    // Beside some buffers that are touched for the first time.
    EXPECT_LT(ResidentBytes(server.process().pid()) - before, 8 << 20);
  }
  // Whoever reads gets them all.
  EXPECT_EQ(silent[0].Receive(20'000'000).size(), 20'000'000u);
  silent.clear();
  Await("all are gone", [&] { return server.Status()["connections"]["open"] == 0; });
  server.Stop();
}

TEST_P(BoundsOn, RepliesThatWaitForTheirTime) {
  Server server({"--backend", GetParam(), "--service", "delay", "--delay", "1h", "--delayed-bytes",
                 "1MiB", "--metrics", "0"});
  std::vector<Peer> peers;
  Await("the bound is reached", [&] {
    peers.push_back(Peer::Connected(Address(server)));
    EXPECT_TRUE(peers.back().Send(std::string(40'000, 'd')));
    return server.Status()["limits"]["over_delayed_limit"] >= 1;
  });
  EXPECT_GT(peers.size(), 8u);
  EXPECT_GT(server.Status()["limits"]["delayed_bytes"], 0);
  EXPECT_LE(server.Status()["limits"]["delayed_bytes"], 1 << 20);
  EXPECT_GE(Metric(server, "ringside_refusals_total", "{reason=\"over_delayed_limit\"}"), 1);
  for (const Peer& peer : peers) {
    const linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(peer.fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  }
  peers.clear();
  Await("they went with their connections",
        [&] { return server.Status()["limits"]["delayed_replies"] == 0; });
  EXPECT_EQ(server.Status()["limits"]["delayed_bytes"], 0);
  server.Stop();
}

// More have sent something meanwhile than one turn brings.
TEST(Bounds, TimeInWhichTheServerWasStoppedIsNobodysIdleTime) {
  Server server({"--backend", "epoll", "--idle-timeout", "1s", "--batch", "1"});
  std::vector<Peer> peers;
  for (int i = 0; i < 100; ++i) peers.push_back(Peer::Connected(Address(server)));
  for (Peer& peer : peers) ASSERT_TRUE(peer.Echoes("hello"));
  server.process().Signal(SIGSTOP);
  for (Peer& peer : peers) ASSERT_TRUE(peer.Send("still here"));
  std::this_thread::sleep_for(std::chrono::milliseconds(1'300));  // longer than the limit
  server.process().Signal(SIGCONT);
  for (Peer& peer : peers) ASSERT_EQ(peer.Receive(10), "still here");
  server.Stop();
}

}  // namespace
}  // namespace serve_tests
