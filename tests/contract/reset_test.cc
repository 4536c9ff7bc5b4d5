#include <atomic>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include "tests/contract/harness.h"
#include "tests/contract/raw_socket.h"

namespace contract {
namespace {

constexpr uint64_t kGood = 16;

// Connections that echo without end, and verify each byte, while others come to harm.
template <class Backend>
void RunGoodClients(Stage<Backend>& stage, const io::Endpoint& at) {
  stage.client.open = stage.client.drained = [](auto& peer) {
    if (peer.tag < kGood) peer.Send(peer.out.Take(1 + (peer.out.bytes() * 31 + peer.tag) % 20'000));
  };
  stage.client.receive = [&](auto& peer, io::Bytes in) { stage.Verify(peer, in); };
  stage.Connect(at, 0, kGood);
}

template <class Backend>
void ExpectGoodClientsUnharmed(Stage<Backend>& stage) {
  for (auto* client : stage.clients()) {
    if (client->tag >= kGood) continue;
    EXPECT_TRUE(client->connection != nullptr) << client->tag << ": " << client->error;
    EXPECT_GT(client->in.bytes(), 0u) << client->tag;
  }
}

TYPED_TEST(Contract, ResetsByPeersHarmNobodyElse) {
  NEEDS_SOCKETS("a reset comes from a socket");
  Stage<TypeParam> stage;
  stage.ServeEcho();
  const io::Endpoint at = stage.Listen();
  RunGoodClients(stage, at);
  std::atomic<bool> done = false;
  std::string foreign;
  std::thread churn([&] {
    constexpr int kResets = 2000;
    std::vector<RawSocket> reading;
    for (int i = 0; i < kResets; ++i) {
      RawSocket client;
      if (!client.Connect(at)) continue;
      Stream out(1000 + i);
      client.Send(out.Take(1 + i * 37 % 60'000));
      client.Poll();
      if (Stream expected(1000 + i); !expected.Matches(io::AsBytes(client.received()))) {
        foreign += std::to_string(i) + " ";
      }
      client.Reset();
      // Every 16th stays for a while, and may hear nothing: it gets the number of one that was
      // reset, and perhaps what was meant for it.
      if (i % 16 == 0) {
        RawSocket silent;
        if (silent.Connect(at)) reading.push_back(std::move(silent));
      }
    }
    for (RawSocket& silent : reading) {
      silent.Poll();
      if (!silent.received().empty()) foreign += "silent ";
    }
    done = true;
  });
  const bool in_time = stage.RunUntil([&] {
    return done && stage.loop().connections() == 2 * kGood &&
           stage.counters().received_bytes > 20'000'000;
  });
  churn.join();
  ASSERT_TRUE(in_time);
  EXPECT_EQ(foreign, "") << "connections that got bytes of others";
  ExpectGoodClientsUnharmed(stage);
}

TYPED_TEST(Contract, AbortsHarmNobodyElse) {
  Stage<TypeParam> stage;
  stage.ServeEcho();
  const io::Endpoint at = stage.Listen();
  RunGoodClients(stage, at);
  constexpr uint64_t kAborts = 2000, kAtOnce = 50;
  uint64_t next = kGood;
  const auto open = [&] { stage.Connect(at, next++); };
  const auto good_open = stage.client.open;
  stage.client.open = [&](auto& peer) {
    if (peer.tag < kGood) return good_open(peer);
    for (int i = 0; i < 3; ++i) peer.Send(peer.out.Take(30'000));
    if (peer.tag % 4 == 0) peer.Abort();
  };
  stage.client.receive = [&](auto& peer, io::Bytes in) {
    stage.Verify(peer, in);
    if (peer.tag >= kGood) peer.Abort();
  };
  stage.client.close = [&](auto& peer) {
    if (peer.tag >= kGood && next < kGood + kAborts) open();
  };
  for (uint64_t i = 0; i < kAtOnce; ++i) open();
  ASSERT_TRUE(stage.RunUntil(
      [&] { return next == kGood + kAborts && stage.loop().connections() == 2 * kGood; }));
  ExpectGoodClientsUnharmed(stage);
}

TYPED_TEST(Contract, AServersAbortsHarmNobodyElse) {
  // The server gives up on what it is echoing; the descriptor is the next connection's at once.
  Stage<TypeParam> stage;
  const io::Endpoint at = stage.Listen();
  stage.server.end = [](auto& peer) { peer.Close(); };
  stage.server.receive = [](auto& peer, io::Bytes in) {
    peer.Send(in);
    if (peer.received >= 100'000) peer.Abort();
  };
  constexpr uint64_t kAborts = 1000;
  uint64_t next = 0;
  const auto open = [&] { stage.Connect(at, next++); };
  stage.client.open = stage.client.drained = [](auto& peer) { peer.Send(peer.out.Take(30'000)); };
  stage.client.receive = [&](auto& peer, io::Bytes in) { stage.Verify(peer, in); };
  stage.client.close = [&](auto& peer) {
    EXPECT_TRUE(peer.error == ECONNRESET || peer.error == EPIPE) << peer.error;
    if (next < kAborts) open();
  };
  for (int i = 0; i < 20; ++i) open();
  ASSERT_TRUE(stage.RunUntil([&] { return stage.script().closes() == 2 * kAborts; }));
}

}  // namespace
}  // namespace contract
