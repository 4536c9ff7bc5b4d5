#include <algorithm>
#include <cerrno>
#include <string>

#include "tests/contract/harness.h"
#include "tests/contract/raw_socket.h"

namespace contract {
namespace {

// Skips where this loop, or this kernel, has none.
#define NEEDS_DIRECT_DESCRIPTORS()                                           \
  if (!std::is_same_v<TypeParam, io::Uring>) {                               \
    GTEST_SKIP() << ::contract::LoopOf<TypeParam>::kName << ": it has none"; \
  }                                                                          \
  if (const absl::Status opened = TryOpen<TypeParam>(16); !opened.ok()) {    \
    GTEST_SKIP() << ::contract::LoopOf<TypeParam>::kName << ": " << opened;  \
  }                                                                          \
  NEEDS_TCP("Unix sockets take ordinary descriptors, and Multipath TCP is as TCP")

template <class Backend>
absl::Status TryOpen(uint32_t direct_descriptors) {
  Script<Backend> script(65536);
  LoopOf<Backend> loop(script, {.direct_descriptors = direct_descriptors});
  return loop.Open();
}

TYPED_TEST(Contract, SaysThatOnlyUringHasDirectDescriptors) {
  if (!std::is_same_v<TypeParam, io::Epoll>) {
    GTEST_SKIP() << LoopOf<TypeParam>::kName << ": it has them, or needs none";
  }
  const absl::Status opened = TryOpen<TypeParam>(16);
  EXPECT_EQ(opened.code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(opened.message().find("io_uring"), std::string::npos) << opened;
}

TYPED_TEST(Contract, SaysThatATableExceedsTheLimitOfDescriptors) {
  NEEDS_DIRECT_DESCRIPTORS();
  const DescriptorLimit lowered(200);
  const absl::Status opened = TryOpen<TypeParam>(201);
  EXPECT_EQ(opened.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(opened.message().find("RLIMIT_NOFILE"), std::string::npos) << opened;
}

TYPED_TEST(Contract, EchoesOverDirectConnections) {
  NEEDS_DIRECT_DESCRIPTORS();
  constexpr int kConnections = 300;
  Stage<TypeParam> stage({.direct_descriptors = 200}), other({.direct_descriptors = 200});
  Stage<TypeParam> server;
  server.ServeEcho();
  const io::Endpoint at = server.Listen();
  const size_t before = OpenDescriptors();
  int echoed = 0;
  for (Stage<TypeParam>* client : {&stage, &other}) {
    client->client.open = [](auto& peer) { peer.Send(peer.out.Take(1000)); };
    client->client.receive = [&echoed, client](auto& peer, io::Bytes in) {
      client->Verify(peer, in);
      if (peer.received == 1000) ++echoed;
    };
    client->Connect(at, 0, kConnections / 2);
  }
  EXPECT_EQ(OpenDescriptors(), before);
  ASSERT_TRUE(Repeat([&] { return echoed == kConnections; },
                     [&] {
                       stage.RunOnce(io::Nanos::zero());
                       other.RunOnce(io::Nanos::zero());
                       server.RunOnce(io::Nanos::zero());
                     }));
  EXPECT_EQ(OpenDescriptors(), before + kConnections);  // the server's
}

TYPED_TEST(Contract, OpensMoreDirectConnectionsThanThereAreDescriptors) {
  NEEDS_DIRECT_DESCRIPTORS();
  Stage<TypeParam> stage({.direct_descriptors = 200});
  const int listener = *io::OpenListener(*io::Resolve("127.0.0.1:0"), {}, /*nonblocking=*/false);
  const io::Endpoint at = *io::LocalEndpoint(listener);
  {
    const DescriptorLimit lowered(OpenDescriptors() + 5);
    stage.Connect(at, 0, 200);  // they wait in the backlog
    ASSERT_TRUE(stage.RunUntil([&] { return stage.script().open() == 200; }));
  }
  close(listener);
}

TYPED_TEST(Contract, SaysThatAllDirectDescriptorsAreInUseAndReusesThem) {
  NEEDS_DIRECT_DESCRIPTORS();
  Stage<TypeParam> stage({.direct_descriptors = 3});
  if (std::getenv("RINGSIDE_DIRECT_DESCRIPTORS") != nullptr) GTEST_SKIP() << "it sets the number";
  stage.server.end = [](auto& peer) { peer.Close(); };
  const io::Endpoint at = stage.Listen();
  for (uint64_t round = 1; round <= 5; ++round) {
    stage.Connect(at, 0, 3);
    ASSERT_TRUE(stage.RunUntil([&] { return stage.script().open() == 6; }));
    EXPECT_EQ(stage.loop().Connect(at).status().code(), absl::StatusCode::kResourceExhausted);
    for (auto* client : stage.clients()) {
      if (client->connection != nullptr) round % 2 == 0 ? client->Close() : client->End();
    }
    stage.client.end = [](auto& peer) { peer.Close(); };
    ASSERT_TRUE(stage.RunUntil([&] { return stage.script().closes() == 6 * round; }));
  }
}

TYPED_TEST(Contract, AbortsDirectConnectionsWithAReset) {
  NEEDS_DIRECT_DESCRIPTORS();
  Stage<TypeParam> stage({.direct_descriptors = 16});
  stage.client.open = [](auto& peer) { peer.Abort(); };
  stage.Connect(stage.Listen(), 0, 8);
  ASSERT_TRUE(stage.RunUntil([&] { return stage.script().closes() == 16; }));
  for (auto* server : stage.servers()) EXPECT_EQ(server->error, ECONNRESET);
  for (auto* client : stage.clients()) EXPECT_EQ(client->error, 0);
}

// All that Connect() can be asked for, over IP of both kinds.
TYPED_TEST(Contract, BindsAndStampsDirectConnections) {
  NEEDS_DIRECT_DESCRIPTORS();
  for (const std::string scheme : {"", "udp://"}) {
    SCOPED_TRACE(scheme);
    Stage<TypeParam> stage({.direct_descriptors = 16});
    stage.server.receive = [](auto& peer, io::Bytes in) { peer.Send(in); };
    stage.server.end = [](auto& peer) { peer.Close(); };
    stage.script().datagram = [](auto& loop, const io::Datagram& in) {
      EXPECT_EQ(io::Endpoint(io::Transport::kUdp, in.path.peer, in.path.peer_size).WithPort(0),
                *io::Resolve("udp://127.0.0.9:0"));
      loop.SendDatagram(in.socket, in.path, in.bytes);
    };
    bool stamped = false;
    stage.client.open = [](auto& peer) { peer.Send(peer.out.Take(64)); };
    stage.client.receive = [&](auto& peer, io::Bytes in) {
      stage.Verify(peer, in);
      stamped = stamped || peer.connection->received_at_ns != 0;
      peer.Send(peer.out.Take(64));
    };
    const io::Endpoint from = *io::Resolve(scheme + "127.0.0.9:0");
    stage.connect = {.from = &from, .receive_timestamps = true};
    stage.Connect(stage.Listen(scheme + "127.0.0.1:0"));
    ASSERT_TRUE(stage.RunUntil([&] { return stamped; }));
  }
}

}  // namespace
}  // namespace contract
