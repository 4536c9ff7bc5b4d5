#include <string>
#include <utility>

#include "tests/contract/harness.h"

namespace contract {
namespace {

TYPED_TEST(Contract, ASlowReaderIsNotReadFrom) {
  constexpr uint32_t kPendingMax = 64 * 1024;
  constexpr size_t kPiece = 50'000;
  constexpr uint64_t kSlow = 0, kQuick = 1, kRounds = 300, kEnough = 256 << 20;
  Stage<TypeParam> stage({.pending_bytes_max = kPendingMax});
  stage.ServeEcho();
  uint64_t rounds = 0;
  bool reading = false;
  stage.client.open = [&](auto& peer) {
    if (peer.tag == kSlow) peer.PauseReceive();
    peer.Send(peer.out.Take(peer.tag == kSlow ? kPiece : 100));
  };
  stage.client.drained = [&](auto& peer) {  // the slow one sends as long as anybody takes it
    if (peer.tag == kSlow && !reading && peer.out.bytes() < kEnough) {
      peer.Send(peer.out.Take(kPiece));
    }
  };
  stage.client.receive = [&](auto& peer, io::Bytes in) {
    stage.Verify(peer, in);
    if (peer.tag == kQuick && peer.in.bytes() == peer.out.bytes()) {
      ++rounds;
      peer.Send(peer.out.Take(100));
    }
  };
  const io::Endpoint at = stage.Listen();
  stage.Connect(at, kSlow);
  ASSERT_TRUE(stage.RunUntil([&] { return stage.counters().receive_pauses > 0; }));
  stage.Connect(at, kQuick);
  // Others are served; and once nothing moves any more but they, the bound has to hold.
  uint64_t sent_by_slow = 0;
  const auto* slow = stage.clients()[0];
  ASSERT_TRUE(stage.RunUntil([&] {
    if (rounds < kRounds) return false;
    rounds = 0;
    return std::exchange(sent_by_slow, slow->out.bytes()) == slow->out.bytes();
  }));
  EXPECT_LT(slow->out.bytes(), kEnough);
  EXPECT_EQ(slow->received, 0u);
  const uint64_t quick_sent = 2 * stage.clients()[1]->out.bytes();
  const uint64_t echoed = stage.counters().sent_bytes - quick_sent - slow->out.bytes() + kPiece;
  EXPECT_LT(stage.servers()[0]->received, echoed + 4 * kPendingMax);

  reading = true;
  stage.clients()[0]->ResumeReceive();
  ASSERT_TRUE(stage.RunUntil([&] { return slow->received == slow->out.bytes(); }));
}

TYPED_TEST(Contract, PausesAndResumesAtEachReceive) {
  constexpr size_t kBytes = 4 << 20;
  Stage<TypeParam> stage({.recv_buffer_bytes = 16384});
  stage.ServeEcho();
  stage.client.open = stage.client.drained = [](auto& peer) {
    const size_t left = kBytes - peer.out.bytes();
    if (left > 0) peer.Send(peer.out.Take(std::min<size_t>(left, 30'000)));
  };
  stage.client.receive = [&](auto& peer, io::Bytes in) {
    stage.Verify(peer, in);
    peer.PauseReceive();
    if (peer.count++ % 3 == 0) peer.ResumeReceive();  // at once, or below
  };
  stage.Connect(stage.Listen(), 0, 3);
  ASSERT_TRUE(stage.RunUntil([&] {
    bool all = true;
    for (auto* client : stage.clients()) {
      client->ResumeReceive();
      all &= client->received == kBytes;
    }
    return all && stage.clients().size() == 3;
  }));
}

TYPED_TEST(Contract, WhatArrivesWhilePausedComesAfterwards) {
  Stage<TypeParam> stage;
  stage.server.open = [](auto& peer) { peer.PauseReceive(); };
  stage.server.receive = [&](auto& peer, io::Bytes in) { stage.Verify(peer, in); };
  stage.server.end = [](auto& peer) { peer.Close(); };
  stage.client.open = [](auto& peer) {
    peer.Send(peer.out.Take(10'000));
    peer.End();
  };
  stage.client.end = [](auto& peer) { peer.Close(); };
  const io::Endpoint at = stage.Listen();
  stage.Connect(at);
  ASSERT_TRUE(stage.RunUntil(
      [&] { return stage.script().open() == 2 && stage.clients()[0]->drains == 1; }));
  for (int i = 0; i < 20; ++i) stage.RunOnce(io::Nanos::zero());
  stage.ExpectRest();
  EXPECT_EQ(stage.servers()[0]->received, 0u);
  EXPECT_FALSE(stage.servers()[0]->ended);
  stage.servers()[0]->ResumeReceive();
  ASSERT_TRUE(stage.RunUntilAllClosed());
  EXPECT_EQ(stage.servers()[0]->received, 10'000u);
  EXPECT_TRUE(stage.servers()[0]->ended);
}

// `connections` clients keep `depth` messages of 64 bytes under way each, for `rounds` each,
// through few buffers. A connection whose receive is forgotten ends the test by its hang.
template <class Backend>
void EveryConnectionIsServed(Stage<Backend>& stage, const io::Endpoint& at, uint64_t first_tag,
                             int connections, int depth, uint64_t rounds) {
  constexpr size_t kMessage = 64;
  stage.client.open = [=](auto& peer) {
    for (int i = 0; i < depth && peer.tag >= first_tag; ++i) peer.Send(peer.out.Take(kMessage));
  };
  stage.client.receive = [=, &stage](auto& peer, io::Bytes in) {
    stage.Verify(peer, in);
    const uint64_t replies = peer.in.bytes() / kMessage;
    for (; peer.count < replies; ++peer.count) {
      if (peer.out.bytes() < rounds * kMessage) peer.Send(peer.out.Take(kMessage));
    }
  };
  stage.Connect(at, first_tag, connections);
  ASSERT_TRUE(stage.RunUntil([&] {
    int served = 0;
    for (auto* client : stage.clients()) {
      served += client->tag >= first_tag && client->count == rounds;
    }
    return served == connections;
  }));
}

TYPED_TEST(Contract, EightBuffersServe256Connections) {
  Stage<TypeParam> stage({.recv_buffers = 8});
  stage.ServeEcho();
  EveryConnectionIsServed(stage, stage.Listen(), 0, 256, 4, 40);
}

TYPED_TEST(Contract, OneBufferServes64Connections) {
  Stage<TypeParam> stage({.recv_buffers = 1});
  stage.ServeEcho();
  EveryConnectionIsServed(stage, stage.Listen(), 0, 64, 4, 40);
}

TYPED_TEST(Contract, PeersThatNeverReadKeepNoBuffersFromOthers) {
  constexpr uint64_t kStuck = 12;  // more than there are buffers
  Stage<TypeParam> stage({.recv_buffers = 8, .pending_bytes_max = 65536});
  stage.ServeEcho();
  stage.client.open = [](auto& peer) {
    peer.PauseReceive();
    peer.Send(peer.out.Take(50'000));
  };
  stage.client.drained = [](auto& peer) {
    if (peer.tag < kStuck) peer.Send(peer.out.Take(50'000));
  };
  const io::Endpoint at = stage.Listen();
  stage.Connect(at, 0, kStuck);
  ASSERT_TRUE(stage.RunUntil([&] { return stage.counters().receive_pauses >= kStuck; }));
  EveryConnectionIsServed(stage, at, kStuck, 64, 4, 40);
  stage.ExpectRest();
}

TYPED_TEST(Contract, PeersThatStopReadingOneByOneKeepNoBuffersFromOthers) {
  // Each message is sent when the last has drained, so that what gets stuck in the end is bytes
  // that were just lent, not a queue's.
  constexpr size_t kStuck = 12, kMessage = 20'000;
  Stage<TypeParam> stage({.recv_buffers = 8});
  stage.ServeEcho();
  stage.server.drained = [](auto& peer) { peer.count = peer.received; };
  stage.client.open = [](auto& peer) { peer.PauseReceive(); };
  const io::Endpoint at = stage.Listen();
  for (size_t i = 0; i < kStuck; ++i) {
    stage.Connect(at, i);
    ASSERT_TRUE(stage.RunUntil([&] { return stage.script().open() == 2 * (i + 1); }));
  }
  const auto clients = stage.clients(), servers = stage.servers();
  uint64_t seen = 0;
  int quiet_turns = 0;
  ASSERT_TRUE(stage.RunUntil([&] {
    for (size_t i = 0; i < kStuck; ++i) {
      if (servers[i]->count == clients[i]->out.bytes()) {
        clients[i]->Send(clients[i]->out.Take(kMessage));
      }
    }
    const uint64_t now = stage.counters().received_bytes + stage.counters().sent_bytes;
    quiet_turns = std::exchange(seen, now) == now ? quiet_turns + 1 : 0;
    return quiet_turns == 30;
  }));
  EveryConnectionIsServed(stage, at, kStuck, 64, 4, 40);
  stage.ExpectRest();
}

}  // namespace
}  // namespace contract
