#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <vector>

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
  const int servers = AsksForDirectDescriptors() ? 0 : kConnections;
  EXPECT_EQ(OpenDescriptors(), before + servers);
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
  Stage<TypeParam> stage({.direct_descriptors = 3}, Sizes::kAsGiven);
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

constexpr uint32_t kTable = 64, kMore = 20;

// More connect than the table holds: they wait, are served once others leave, and nobody is lost.
TYPED_TEST(Contract, ThoseBeyondTheTableWaitInTheBacklog) {
  NEEDS_DIRECT_DESCRIPTORS();
  Stage<TypeParam> server({.direct_accepts = kTable}, Sizes::kAsGiven);
  Stage<TypeParam> clients;
  server.ServeEcho();
  uint32_t answered = 0;
  clients.client.open = [](auto& peer) { peer.Send(peer.out.Take(100)); };
  clients.client.receive = [&](auto& peer, io::Bytes in) {
    clients.Verify(peer, in);
    if (peer.received == 100) ++answered;
  };
  const io::Endpoint at = server.Listen();
  const auto turn = [&] {
    clients.RunOnce(io::Nanos::zero());
    server.RunOnce(io::Nanos::zero());
  };
  const size_t before = OpenDescriptors();
  clients.Connect(at, 0, kTable + kMore);
  ASSERT_TRUE(Repeat(
      [&] { return answered == kTable && clients.script().open() == kTable + kMore; }, turn));
  EXPECT_EQ(server.loop().connections(), kTable);
  server.ExpectRest();
  EXPECT_EQ(answered, kTable);
  for (uint32_t round = 0; round < 3; ++round) {  // the numbers are used again
    const uint32_t goal = answered + kMore;
    uint32_t left = kMore;
    for (auto* client : clients.clients()) {
      if (left == 0 || client->connection == nullptr || client->received < 100) continue;
      --left % 2 == 0 ? client->Close() : client->Abort();
    }
    ASSERT_TRUE(Repeat([&] { return answered == goal; }, turn));
    clients.Connect(at, 1000 * (round + 1), kMore);
    ASSERT_TRUE(Repeat([&] { return clients.script().open() == kTable + kMore; }, turn));
  }
  if (AsksForDirectDescriptors()) {
    EXPECT_EQ(OpenDescriptors(), before);
  }
  EXPECT_EQ(server.counters().accepted, kTable + 3 * kMore);
  for (auto* client : clients.clients()) client->connection != nullptr ? client->Close() : void();
  ASSERT_TRUE(Repeat(
      [&] { return clients.loop().connections() == 0 && server.loop().connections() == 0; }, turn));
  EXPECT_EQ(server.counters().errors[ENFILE], 0u);
}

// Loops that share a listener: one that is full leaves who comes to the others, and all are filled
// to the last place.
TYPED_TEST(Contract, LoopsThatShareAListenerFillAllTheirTables) {
  NEEDS_DIRECT_DESCRIPTORS();
  constexpr uint32_t kLoops = 4;
  const int listener = *io::OpenListener(*io::Resolve("127.0.0.1:0"), {}, /*nonblocking=*/false);
  const io::Endpoint at = *io::LocalEndpoint(listener);
  std::vector<std::unique_ptr<Stage<TypeParam>>> servers;
  for (uint32_t i = 0; i < kLoops; ++i) {
    const uint32_t table = kTable * (i + 1);  // of different sizes
    auto& server = servers.emplace_back(std::make_unique<Stage<TypeParam>>(
        io::LoopOptions{.direct_accepts = table}, Sizes::kAsGiven));
    server->ServeEcho();
    const int copy = fcntl(listener, F_DUPFD_CLOEXEC, 0);
    ASSERT_TRUE(server->loop().Listen(at, {.fd = copy, .shared = true}).ok());
  }
  close(listener);
  constexpr uint32_t kPlaces = kTable * kLoops * (kLoops + 1) / 2;
  Stage<TypeParam> clients;
  uint32_t answered = 0;
  clients.client.open = [](auto& peer) { peer.Send(peer.out.Take(10)); };
  clients.client.receive = [&](auto&, io::Bytes in) { answered += in.size() == 10 ? 1 : 0; };
  clients.client.end = [](auto& peer) { peer.Close(); };
  const auto turn = [&] {
    clients.RunOnce(io::Nanos::zero());
    for (auto& server : servers) server->RunOnce(io::Nanos::zero());
  };
  clients.Connect(at, 0, kPlaces + kMore);
  ASSERT_TRUE(Repeat([&] { return answered == kPlaces; }, turn));
  uint32_t left = kMore;
  for (auto* client : clients.clients()) {
    if (left > 0 && client->received == 10) --left, client->End();
  }
  ASSERT_TRUE(Repeat([&] { return answered == kPlaces + kMore; }, turn));
  for (auto* client : clients.clients()) {
    EXPECT_LE(client->error, 0);
    if (client->connection != nullptr) client->Close();
  }
  ASSERT_TRUE(Repeat([&] { return clients.loop().connections() == 0; }, turn));
}

// Those whom accept(2) has taken when the loop stops listening are reset, as those in the backlog.
TYPED_TEST(Contract, StopListeningResetsThoseWhoWaitForADirectDescriptor) {
  NEEDS_DIRECT_DESCRIPTORS();
  Stage<TypeParam> server({.direct_accepts = 4}, Sizes::kAsGiven);
  std::vector<RawSocket> clients(12);
  const io::Endpoint at = server.Listen();
  for (RawSocket& client : clients) ASSERT_TRUE(client.Connect(at));
  ASSERT_TRUE(server.RunUntil([&] { return server.script().open() == 4; }));
  server.loop().StopListening();
  ASSERT_TRUE(server.RunUntil([&] {
    return std::count_if(clients.begin(), clients.end(), [](RawSocket& client) {
             client.Poll();
             return client.error() == ECONNRESET;
           }) == 8;
  }));
}

// A slot that Connect() took meanwhile is missing to who was accepted: he waits, and is served.
TYPED_TEST(Contract, ADirectConnectionThatFindsNoSlotWaits) {
  NEEDS_DIRECT_DESCRIPTORS();
  Stage<TypeParam> stage({.connections_max = 4, .direct_descriptors = 4, .direct_accepts = 4},
                         Sizes::kAsGiven);
  const int other = *io::OpenListener(*io::Resolve("127.0.0.1:0"), {}, /*nonblocking=*/false);
  const io::Endpoint at = stage.Listen();
  for (const bool stops : {false, true}) {
    std::vector<RawSocket> clients(4);
    stage.RunOnce(io::Nanos::zero());  // arms the accepts
    stage.Connect(*io::LocalEndpoint(other), 0, 2);
    for (RawSocket& client : clients) ASSERT_TRUE(client.Connect(at));
    ASSERT_TRUE(stage.RunUntil([&] { return stage.loop().waiting() > 0; }));
    if (stops) {
      stage.loop().StopListening();
      ASSERT_TRUE(stage.RunUntil([&] {
        return std::count_if(clients.begin(), clients.end(), [](RawSocket& client) {
                 client.Poll();
                 return client.error() == ECONNRESET;
               }) == 2;
      }));
      break;
    }
    const uint64_t opened = stage.counters().accepted + 2;
    for (auto* client : stage.clients()) {
      if (client->connection != nullptr) client->Close();
    }
    ASSERT_TRUE(stage.RunUntil([&] { return stage.counters().accepted == opened; }));
    for (auto* server : stage.servers()) server->Close();
    ASSERT_TRUE(stage.RunUntilAllClosed());
  }
  close(other);
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
