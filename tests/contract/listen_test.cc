#include <algorithm>
#include <atomic>
#include <cerrno>
#include <latch>
#include <string>
#include <thread>
#include <vector>

#include "tests/contract/harness.h"
#include "tests/contract/raw_socket.h"

namespace contract {
namespace {

TYPED_TEST(Contract, ARefusedConnectCloses) {
  Stage<TypeParam> stage;
  // Bound, so that nobody else gets the port, but not listening.
  const RawSocket reserved;
  const io::Endpoint any = *io::Resolve(AnyAddress());
  ASSERT_EQ(bind(reserved.fd(), any.address(), any.size()), 0);
  stage.Connect(*io::LocalEndpoint(reserved.fd()), 3, 10);
  ASSERT_TRUE(stage.RunUntilAllClosed());
  ASSERT_EQ(stage.clients().size(), 10u);
  for (auto* client : stage.clients()) {
    EXPECT_FALSE(client->opened);
    EXPECT_EQ(client->error, ECONNREFUSED);
  }
  EXPECT_EQ(stage.counters().connected, 0u);
  EXPECT_EQ(stage.counters().errors[ECONNREFUSED], 10u);
}

TYPED_TEST(Contract, AConnectThatHangsCanBeClosedAndAborted) {
  NEEDS_SOCKETS("its connects don't hang");
  // A full accept queue answers no SYN.
  const RawSocket full;
  const io::Endpoint any = *io::Resolve(AnyAddress());
  ASSERT_EQ(bind(full.fd(), any.address(), any.size()), 0);
  ASSERT_EQ(listen(full.fd(), 0), 0);
  const io::Endpoint at = *io::LocalEndpoint(full.fd());
  RawSocket filler;
  ASSERT_TRUE(filler.Connect(at));
  Stage<TypeParam> stage;
  std::vector<io::Connection*> hanging;
  for (int i = 0; i < 4; ++i) hanging.push_back(*stage.loop().Connect(at, i));
  for (int i = 0; i < 5; ++i) stage.RunOnce(io::Nanos::zero());
  for (int i = 0; i < 4; ++i) {
    i % 2 == 0 ? stage.loop().Close(*hanging[i]) : stage.loop().Abort(*hanging[i]);
  }
  ASSERT_TRUE(stage.RunUntilAllClosed());
  ASSERT_EQ(stage.clients().size(), 4u);
  for (auto* client : stage.clients()) {
    EXPECT_FALSE(client->opened);
    EXPECT_EQ(client->error, 0);
  }
}

TYPED_TEST(Contract, AnAddressInUseIsToldByName) {
  Stage<TypeParam> first, second;
  const io::Endpoint at = first.Listen();
  Stage<TypeParam>& same = kHasSockets<TypeParam> ? second : first;  // memory has no ports to share
  const auto again = same.loop().Listen(at, {});
  EXPECT_EQ(again.status().code(), absl::StatusCode::kAlreadyExists) << again.status();
  EXPECT_NE(again.status().message().find("EADDRINUSE"), absl::string_view::npos) << again.status();
}

TYPED_TEST(Contract, RestartsOnTheSamePort50Times) {
  io::Endpoint at = *io::Resolve(AnyAddress());
  for (int i = 0; i < 50; ++i) {
    Stage<TypeParam> stage;
    const auto listening = stage.loop().Listen(at, {});
    ASSERT_TRUE(listening.ok()) << "restart " << i << ": " << listening.status();
    at = *listening;
    stage.server.receive = [](auto& peer, io::Bytes in) {
      peer.Send(in);
      if (peer.count == 0 && in[0] == std::byte('c')) peer.Close();  // leaves TIME_WAIT behind
    };
    int heard = 0;
    stage.client.open = [](auto& peer) {
      peer.Send(io::AsBytes(peer.tag == 0 ? "close" : "stay"));
    };
    stage.client.receive = [&](auto&, io::Bytes) { ++heard; };
    stage.client.end = [](auto& peer) { peer.Close(); };
    stage.Connect(at, 0, 2);
    ASSERT_TRUE(stage.RunUntil([&] { return heard == 2 && stage.loop().connections() == 2; }));
    if (i % 2 == 0) stage.Destroy();  // with a client connected, and without a Shutdown()
  }
}

TYPED_TEST(Contract, StopListeningLeavesWhatIsOpen) {
  Stage<TypeParam> stage;
  stage.ServeEcho();
  const io::Endpoint at = stage.Listen();
  stage.client.receive = [&](auto& peer, io::Bytes in) { stage.Verify(peer, in); };
  stage.Connect(at, 0);
  ASSERT_TRUE(stage.RunUntil([&] { return stage.script().open() == 2; }));
  stage.loop().StopListening();
  for (int i = 0; i < 5; ++i) stage.RunOnce(io::Nanos::zero());
  auto* old = stage.clients()[0];
  old->Send(old->out.Take(1000));
  ASSERT_TRUE(stage.RunUntil([&] { return old->received == 1000; }));
  stage.Connect(at, 1);
  ASSERT_TRUE(stage.RunUntil([&] { return stage.script().closes() == 1; }));
  EXPECT_EQ(stage.clients()[1]->error, ECONNREFUSED);
  EXPECT_EQ(stage.counters().accepted, 1u);
}

TYPED_TEST(Contract, ListensOnSeveralAddresses) {
  Stage<TypeParam> stage;
  stage.ServeEcho();
  const io::Endpoint first = stage.Listen(AnyAddress(), {.tag = 100});
  const io::Endpoint second = stage.Listen(AnyAddress(), {.tag = 200});
  EXPECT_FALSE(first == second);
  stage.client.open = [](auto& peer) { peer.Send(peer.out.Take(64)); };
  stage.client.receive = [&](auto& peer, io::Bytes in) { stage.Verify(peer, in); };
  stage.Connect(first, 0, 5);
  stage.Connect(second, 5, 6);
  ASSERT_TRUE(stage.RunUntil([&] {
    uint64_t received = 0;
    for (auto* client : stage.clients()) received += client->received;
    return received == 11 * 64;
  }));
  const auto servers = stage.servers();
  EXPECT_EQ(std::count_if(servers.begin(), servers.end(), [](auto* p) { return p->tag == 100; }),
            5);
  EXPECT_EQ(std::count_if(servers.begin(), servers.end(), [](auto* p) { return p->tag == 200; }),
            6);
}

TYPED_TEST(Contract, TwoLoopsShareAPort) {
  NEEDS_SOCKETS("memory is one loop's alone");
  // Unix has no SO_REUSEPORT: there, both accept from one socket.
  const io::Endpoint any = *io::Resolve(AnyAddress());
  const int shared = any.is_unix() ? *io::OpenListener(any, {}, true) : -1;
  // Each of two threads serves some of the connections: the kernel divides them by their hash.
  constexpr size_t kClients = 64;
  std::vector<RawSocket> clients(kClients);
  std::latch first_listens(1), both_listen(2);
  io::Endpoint at;
  std::atomic<bool> done = false;
  std::atomic<uint64_t> accepted[2] = {0, 0};
  const auto serve = [&](int which) {
    Stage<TypeParam> stage;
    stage.ServeEcho();
    if (which == 1) first_listens.wait();
    const auto listening = any.is_unix()
                               ? stage.loop().Listen(any, {.fd = dup(shared), .shared = true})
                               : stage.loop().Listen(which == 1 ? at : any, {.reuse_port = true});
    EXPECT_TRUE(listening.ok()) << listening.status();
    if (which == 0) {
      at = *listening;
      first_listens.count_down();
    }
    both_listen.count_down();
    EXPECT_TRUE(stage.RunUntil([&] {
      accepted[which] = stage.counters().accepted;
      return done.load();
    }));
  };
  std::thread first(serve, 0), second(serve, 1);
  both_listen.wait();
  for (RawSocket& client : clients) {
    EXPECT_TRUE(client.Connect(at));
    client.Send(io::AsBytes("which of you?"));
  }
  EXPECT_TRUE(Repeat(
      [&] {
        return std::all_of(clients.begin(), clients.end(), [](RawSocket& client) {
          client.Poll();
          return client.received() == "which of you?";
        });
      },
      [] { std::this_thread::yield(); }));
  done = true;
  first.join();
  second.join();
  if (shared >= 0) close(shared);
  EXPECT_EQ(accepted[0] + accepted[1], kClients);
  if (any.is_unix()) return;  // whoever comes first
  EXPECT_GT(accepted[0], 0u);
  EXPECT_GT(accepted[1], 0u);
}

}  // namespace
}  // namespace contract
