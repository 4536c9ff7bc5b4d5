#include <algorithm>
#include <cerrno>
#include <set>
#include <string>

#include "tests/contract/harness.h"

namespace contract {
namespace {

// Opens a connection over `host`, checks what OnOpen tells, and closes it from the client's end.
template <class Backend>
void OpenAndClose(Stage<Backend>& stage, const io::Endpoint& at) {
  stage.server.open = [](auto& peer) { EXPECT_TRUE(peer.connection->accepted); };
  stage.server.end = [](auto& peer) { peer.Close(); };
  stage.client.open = [](auto& peer) { EXPECT_FALSE(peer.connection->accepted); };
  stage.Connect(at, /*tag=*/11);
  ASSERT_TRUE(stage.RunUntil([&] { return stage.script().open() == 2; }));
  ASSERT_EQ(stage.servers().size(), 1u);
  EXPECT_EQ(stage.servers()[0]->tag, 7u);
  EXPECT_EQ(stage.clients()[0]->tag, 11u);
  EXPECT_NE(stage.servers()[0]->connection->index, stage.clients()[0]->connection->index);
  stage.clients()[0]->Close();
  ASSERT_TRUE(stage.RunUntilAllClosed());
  EXPECT_TRUE(stage.servers()[0]->ended);
  EXPECT_EQ(stage.servers()[0]->error, 0);
  EXPECT_EQ(stage.clients()[0]->error, 0);
  EXPECT_EQ(stage.counters().accepted, 1u);
  EXPECT_EQ(stage.counters().connected, 1u);
  EXPECT_EQ(stage.counters().closed, 2u);
}

TYPED_TEST(Contract, OpensAndClosesOverIpv4) {
  Stage<TypeParam> stage;
  OpenAndClose(stage, stage.Listen(AnyAddress(), {.tag = 7}));
}

TYPED_TEST(Contract, OpensAndClosesOverIpv6) {
  Stage<TypeParam> stage;
  const auto at = stage.loop().Listen(*io::Resolve("[::1]:0"), {.tag = 7});
  if (!at.ok()) GTEST_SKIP() << LoopOf<TypeParam>::kName << ": " << at.status();
  OpenAndClose(stage, *at);
}

enum class Where { kOpen, kReceive, kEnd, kDrained };

std::string Name(Where where) {
  constexpr const char* kNames[] = {"OnOpen", "OnReceive", "OnEnd", "OnDrained"};
  return kNames[static_cast<int>(where)];
}

// Has one end close or abort in the callback that `where` names, and the other end follow.
template <class Backend>
void LeaveFrom(Stage<Backend>& stage, const io::Endpoint& at, Where where, bool server_leaves,
               bool abort) {
  static constexpr std::string_view kText = "bytes that somebody may or may not read";
  auto& leaver = server_leaves ? stage.server : stage.client;
  auto& other = server_leaves ? stage.client : stage.server;
  leaver = other = {};
  const auto leave = [abort](auto& peer) { abort ? peer.Abort() : peer.Close(); };
  other.open = [where](auto& peer) {
    peer.Send(io::AsBytes(kText));
    if (where == Where::kEnd) peer.End();
  };
  other.end = [](auto& peer) { peer.Close(); };
  switch (where) {
    case Where::kOpen:
      leaver.open = leave;
      break;
    case Where::kReceive:
      leaver.receive = [leave](auto& peer, io::Bytes) { leave(peer); };
      break;
    case Where::kEnd:
      leaver.end = leave;
      break;
    case Where::kDrained:
      leaver.open = [](auto& peer) { peer.Send(io::AsBytes(kText)); };
      leaver.drained = leave;
      break;
  }
  stage.Connect(at);
  ASSERT_TRUE(stage.RunUntil(
      [&] { return stage.counters().connected > 0 && stage.loop().connections() == 0; }));
}

TYPED_TEST(Contract, ClosesAndAbortsFromWithinEachCallback) {
  for (const bool abort : {false, true}) {
    for (const bool server_leaves : {false, true}) {
      for (const Where where : {Where::kOpen, Where::kReceive, Where::kEnd, Where::kDrained}) {
        SCOPED_TRACE((abort ? "Abort in " : "Close in ") + Name(where) +
                     (server_leaves ? " of the server" : " of the client"));
        Stage<TypeParam> stage;
        LeaveFrom(stage, stage.Listen(), where, server_leaves, abort);
        for (auto& peer : stage.script().peers()) {
          const bool left = peer.accepted == server_leaves;
          // Closing over unread bytes is a reset too (RFC 9293, 3.10.4), so only who left is sure.
          if (left || (where == Where::kEnd && !abort)) {
            EXPECT_EQ(peer.error, 0);
          } else if (abort && TransportResets()) {
            EXPECT_EQ(peer.error, ECONNRESET);
          }
        }
      }
    }
  }
}

TYPED_TEST(Contract, AbortLosesWhatIsQueuedAndResetsThePeer) {
  Stage<TypeParam> stage;
  const std::string large(32 << 20, 'x');
  stage.server.open = [&](auto& peer) { peer.Send(io::AsBytes(large)); };
  stage.client.receive = [&](auto&, io::Bytes) {
    auto* server = stage.servers()[0];
    if (server->connection != nullptr) server->Abort();
  };
  stage.client.end = [](auto& peer) { peer.Close(); };
  stage.Connect(stage.Listen());
  ASSERT_TRUE(stage.RunUntil([&] { return stage.script().closes() == 2; }));
  EXPECT_LT(stage.clients()[0]->received, large.size());
  if (!TransportResets()) return;
  EXPECT_EQ(stage.clients()[0]->error, ECONNRESET);
  EXPECT_FALSE(stage.clients()[0]->ended);
}

TYPED_TEST(Contract, CloseSendsWhatIsQueuedFirst) {
  Stage<TypeParam> stage;
  constexpr size_t kBytes = 32'000'000;  // more than sockets hold
  stage.server.open = [](auto& peer) {
    while (peer.out.bytes() < kBytes) peer.Send(peer.out.Take(100'000));
    peer.Close();
  };
  stage.client.receive = [&](auto& peer, io::Bytes in) { stage.Verify(peer, in); };
  stage.client.end = [](auto& peer) { peer.Close(); };
  stage.Connect(stage.Listen());
  ASSERT_TRUE(stage.RunUntil(
      [&] { return stage.counters().connected > 0 && stage.loop().connections() == 0; }));
  EXPECT_EQ(stage.clients()[0]->received, kBytes);
  EXPECT_TRUE(stage.clients()[0]->ended);
}

TYPED_TEST(Contract, ClosesAndAbortsWhatIsStillConnecting) {
  Stage<TypeParam> stage;
  const io::Endpoint at = stage.Listen();
  stage.server.end = [](auto& peer) { peer.Close(); };
  for (int i = 0; i < 32; ++i) {
    const auto connection = stage.loop().Connect(at, i);
    ASSERT_TRUE(connection.ok());
    if (i % 4 >= 2) stage.RunOnce(io::Nanos::zero());  // it is in the kernel, or through
    i % 2 == 0 ? stage.loop().Close(**connection) : stage.loop().Abort(**connection);
  }
  ASSERT_TRUE(stage.RunUntilAllClosed());
  std::set<uint64_t> tags;
  for (auto* client : stage.clients()) {
    EXPECT_TRUE(tags.insert(client->tag).second) << "a second OnClose of " << client->tag;
    EXPECT_EQ(client->error, 0) << client->tag;
  }
  EXPECT_EQ(tags.size(), 32u);
}

TYPED_TEST(Contract, ReusesSlotsUnderNewGenerations) {
  Stage<TypeParam> stage({.connections_max = 4});
  const io::Endpoint at = stage.Listen();
  std::set<std::pair<uint32_t, uint32_t>> seen;
  const auto note = [&](auto& peer) {
    EXPECT_LT(peer.connection->index, 4u);
    EXPECT_TRUE(seen.emplace(peer.connection->index, peer.connection->generation).second);
  };
  stage.server.open = note;
  stage.server.end = [](auto& peer) { peer.Close(); };
  stage.client.open = [&](auto& peer) {
    note(peer);
    peer.Close();
  };
  for (uint64_t i = 1; i <= 100; ++i) {
    stage.Connect(at);
    ASSERT_TRUE(stage.RunUntil([&] { return stage.script().closes() == 2 * i; }));
  }
  EXPECT_EQ(seen.size(), 200u);
}

TYPED_TEST(Contract, HalfCloseLetsTheOtherEndAnswer) {
  Stage<TypeParam> stage;
  constexpr size_t kRequest = 1'000'003, kReply = 2'000'003;
  stage.client.open = [](auto& peer) {
    peer.Send(peer.out.Take(kRequest));
    peer.End();
  };
  stage.server.receive = [&](auto& peer, io::Bytes in) { stage.Verify(peer, in); };
  stage.server.end = [&](auto& peer) {
    EXPECT_EQ(peer.received, kRequest);
    Stream reply(1);
    while (reply.bytes() < kReply) {
      peer.Send(reply.Take(std::min<size_t>(kReply - reply.bytes(), 65'537)));
    }
    peer.Close();
  };
  Stream reply(1);
  stage.client.receive = [&](auto&, io::Bytes in) { EXPECT_TRUE(reply.Matches(in)); };
  stage.client.end = [&](auto& peer) {
    EXPECT_EQ(peer.received, kReply);
    peer.Close();
  };
  stage.Connect(stage.Listen());
  ASSERT_TRUE(stage.RunUntil(
      [&] { return stage.counters().connected > 0 && stage.loop().connections() == 0; }));
  EXPECT_TRUE(stage.clients()[0]->ended);
  EXPECT_TRUE(stage.servers()[0]->ended);
  EXPECT_EQ(stage.clients()[0]->error, 0);
}

TYPED_TEST(Contract, SendsNothingAfterEnd) {
  Stage<TypeParam> stage;
  stage.client.open = [](auto& peer) {
    peer.Send(io::AsBytes("all"));
    peer.End();
    peer.Send(io::AsBytes("too late"));
  };
  std::string got;
  stage.server.receive = [&](auto&, io::Bytes in) { got += io::AsText(in); };
  stage.server.end = [](auto& peer) { peer.Close(); };
  stage.client.end = [](auto& peer) { peer.Close(); };
  stage.Connect(stage.Listen());
  ASSERT_TRUE(stage.RunUntil([&] { return stage.script().closes() == 2; }));
  EXPECT_EQ(got, "all");
}

TYPED_TEST(Contract, RestsOverConnectionsThatOneEndHasEnded) {
  Stage<TypeParam> stage;
  stage.client.open = [](auto& peer) { peer.End(); };
  stage.Connect(stage.Listen(), 0, 3);
  ASSERT_TRUE(stage.RunUntil([&] {
    const auto servers = stage.servers();
    return std::count_if(servers.begin(), servers.end(), [](auto* p) { return p->ended; }) == 3;
  }));
  stage.ExpectRest();
  EXPECT_EQ(stage.script().open(), 6u);
  for (auto* server : stage.servers()) server->End();
  ASSERT_TRUE(stage.RunUntil([&] {
    const auto clients = stage.clients();
    return std::count_if(clients.begin(), clients.end(), [](auto* p) { return p->ended; }) == 3;
  }));
  stage.ExpectRest();  // both ends have ended, and nobody closes
  EXPECT_EQ(stage.script().open(), 6u);
}

}  // namespace
}  // namespace contract
