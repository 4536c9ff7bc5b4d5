// What peers cost in the server's memory: those who only connect, and those who send and never
// read.

#include <algorithm>
#include <chrono>
#include <iostream>

#include "tests/integrity/peer.h"
#include "tests/tier.h"

namespace integrity {
namespace {

class Memory : public EachBackend {
 protected:
  void SetUp() override {
    if (kSanitized)
      GTEST_SKIP() << "a sanitizer's shadow and quarantine are not the server's memory";
    EachBackend::SetUp();
  }

  // A message there and back.
  static bool RoundTrip(Peer& peer) {
    constexpr uint64_t kMessage = 64;
    const uint64_t target = peer.sent() + kMessage;
    while (peer.received() < target && peer.error() == 0 && peer.problem().empty()) {
      peer.SendUntil(target);
      pollfd readable = {peer.fd(), POLLIN, 0};
      if (poll(&readable, 1, kHangMs) <= 0) break;
      peer.Receive();
      if (peer.ended()) break;
    }
    return peer.received() == target && peer.problem().empty();
  }
};

INSTANTIATE_TEST_SUITE_P(Backends, Memory, testing::Values("epoll", "io_uring"), BackendName);

TEST_P(Memory, AnIdleConnectionTakesLittle) {
  constexpr int kIdle = 5'000;
  constexpr int64_t kBytesMax = 512;  // a connection
  Server server({"--backend", GetParam()});
  const io::Endpoint at = *io::Resolve("127.0.0.1:" + server.port());
  std::deque<Peer> peers;
  const auto connect = [&] {
    Peer& peer = peers.emplace_back(peers.size());
    peer.Open();
    peer.Connect(at);
  };
  connect();
  ASSERT_TRUE(RoundTrip(peers.front()));  // touches what the server has once, not for each
  const int64_t before = ResidentBytes(server.process().pid());
  for (int i = 0; i < kIdle; ++i) connect();
  connect();
  ASSERT_TRUE(RoundTrip(peers.back()));  // who came before it was accepted before it
  const int64_t each = (ResidentBytes(server.process().pid()) - before) / kIdle;
  std::cout << GetParam() << ": " << each << " bytes for each of " << kIdle
            << " idle connections\n";
  EXPECT_LE(each, kBytesMax);
  const uint64_t connections = peers.size();
  peers.clear();
  StopAndCheck(server, connections);
}

class SilentPeers : public Memory {
 protected:
  static constexpr int kSilent = 1'000;
  static constexpr int kRoundTrips =
      8'000;  // turns, in which the loop gives back what it no longer needs

  // What one takes in a server with these flags, while another is served.
  void Measure(std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"--backend", GetParam()});
    Server server(flags);
    const io::Endpoint at = *io::Resolve("127.0.0.1:" + server.port());
    Peer good(0);
    good.Open();
    good.Connect(at);
    ASSERT_TRUE(RoundTrip(good));
    const int64_t before = ResidentBytes(server.process().pid());

    // Small buffers and segments, so that what they send waits in the server, not in the kernel.
    std::deque<Peer> peers;
    for (int i = 1; i <= kSilent; ++i) {
      Peer& peer = peers.emplace_back(i);
      peer.Open(16 * 1024, 64 * 1024);
      peer.Set(IPPROTO_TCP, TCP_MAXSEG, 1460);
      peer.Connect(at);
    }
    std::vector<std::chrono::nanoseconds> latencies;
    ASSERT_TRUE(SendUntilBlocked(peers, good, &latencies));
    each_ = (ResidentBytes(server.process().pid()) - before) / kSilent;
    uint64_t sent = 0;
    for (const Peer& peer : peers) {
      EXPECT_EQ(peer.error(), 0) << io::ErrnoName(peer.error());
      sent += peer.sent();
    }
    const auto us = [](auto time) { return time / std::chrono::microseconds(1); };
    const size_t trips = latencies.size();
    latencies.resize(kRoundTrips);  // the first: those from when the others still sent
    std::sort(latencies.begin(), latencies.end());
    std::cout << GetParam() << ": " << each_ << " bytes for each of " << kSilent
              << " peers that sent " << sent / kSilent
              << " bytes each and read none; a good peer's round trip: p50 "
              << us(latencies[kRoundTrips / 2]) << " us, p99 "
              << us(latencies[kRoundTrips * 99 / 100]) << " us (" << trips << " made)\n";
    for (Peer& peer : peers) peer.Reset();
    good.Close();
    StopAndCheck(server, kSilent + 1);
  }

  int64_t each_ = 0;

 private:
  // They send whatever their sockets take, until none takes anything during many of the good peer's
  // round trips: in each of these the server has made a turn.
  static bool SendUntilBlocked(std::deque<Peer>& peers, Peer& good,
                               std::vector<std::chrono::nanoseconds>* latencies) {
    constexpr int kQuietTrips = 100;
    constexpr size_t kParts = 10;  // so many trips give each peer a turn
    for (int quiet = 0; quiet < kQuietTrips || latencies->size() < kRoundTrips;) {
      uint64_t took = 0;
      for (size_t i = latencies->size() % kParts; i < peers.size(); i += kParts) {
        const uint64_t sent = peers[i].sent();
        peers[i].SendUntil(sent + 262'144);
        took += peers[i].sent() - sent;
      }
      quiet = took == 0 ? quiet + 1 : 0;
      const auto start = std::chrono::steady_clock::now();
      if (!RoundTrip(good)) return false;
      latencies->push_back(std::chrono::steady_clock::now() - start);
    }
    return true;
  }
};

INSTANTIATE_TEST_SUITE_P(Backends, SilentPeers, testing::Values("epoll", "io_uring"), BackendName);

// Nobody who sends and never reads takes more than 64 KiB.
TEST_P(SilentPeers, TakeLittle) {
  Measure({});
  EXPECT_LE(each_, 64 * 1024);
}

TEST_P(SilentPeers, TakeLessWhereTheBoundsAreLower) {
  LEFT_TO_ALL();
  std::vector<std::string> flags = {"--pending-bytes", "24KiB", "--recv-buffer-bytes", "16KiB"};
  if (GetParam() == "io_uring") flags.insert(flags.end(), {"--recv-buffers", "256"});
  Measure(flags);
  EXPECT_LE(each_, 40 * 1024);
}

}  // namespace
}  // namespace integrity
