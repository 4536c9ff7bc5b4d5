#include <string>
#include <vector>

#include "tests/contract/harness.h"

namespace contract {
namespace {

// What one client sends, in pieces of how many bytes each; the next piece when the last has
// drained.
struct Plan {
  size_t bytes, piece;
};

std::vector<Plan> Plans(size_t bytes_max) {
  constexpr size_t kSizes[] = {1,    2,     63,    64,    65,      4095,    4096,
                               4097, 65535, 65536, 65537, 1 << 20, 8u << 20};
  constexpr size_t kPieces[] = {1, 7, 4093, 65521};
  std::vector<Plan> plans;
  for (const size_t bytes : kSizes) {
    if (bytes > bytes_max) continue;
    plans.push_back({bytes, bytes});
    for (const size_t piece : kPieces) {
      // No more than a few thousand pieces each: the suite is meant to be run often.
      if (piece < bytes && bytes / piece < 5000) plans.push_back({bytes, piece});
    }
  }
  return plans;
}

// All plans at once, each over a connection of its own, against one echo server.
template <class Backend>
void EchoPlans(const io::LoopOptions& options, const std::vector<Plan>& plans) {
  Stage<Backend> stage(options);
  using Peer = typename Stage<Backend>::Peer;
  stage.ServeEcho();
  std::vector<std::byte> whole(8 << 20);
  const auto send = [&](Peer& peer) {
    const Plan& plan = plans[peer.tag];
    const size_t piece = std::min(plan.piece, plan.bytes - peer.out.bytes());
    if (piece == 0) return;
    if (piece <= Stream::kTakeMax) return peer.Send(peer.out.Take(piece));
    for (size_t at = 0; at < piece; at += Stream::kTakeMax) {
      const io::Bytes part = peer.out.Take(std::min(Stream::kTakeMax, piece - at));
      std::copy(part.begin(), part.end(), whole.begin() + at);
    }
    peer.Send({whole.data(), piece});
  };
  stage.client.open = stage.client.drained = send;
  stage.client.receive = [&](Peer& peer, io::Bytes in) {
    stage.Verify(peer, in);
    if (peer.received == plans[peer.tag].bytes) peer.End();
  };
  stage.client.end = [](Peer& peer) { peer.Close(); };
  stage.Connect(stage.Listen(), 0, plans.size());
  ASSERT_TRUE(stage.RunUntil([&] { return stage.script().closes() == 2 * plans.size(); }));
  for (Peer* client : stage.clients()) {
    EXPECT_EQ(client->received, plans[client->tag].bytes) << "piece " << plans[client->tag].piece;
    EXPECT_EQ(client->error, 0);
  }
}

// Both ends may hold the whole of it: an echo is not to wait for itself.
constexpr uint32_t kPendingMax = 16 << 20;

TYPED_TEST(Contract, EchoesEverySizeThroughSmallBuffers) {
  EchoPlans<TypeParam>({.recv_buffer_bytes = 64, .pending_bytes_max = kPendingMax}, Plans(65537));
}

TYPED_TEST(Contract, EchoesEverySizeThroughPages) {
  EchoPlans<TypeParam>({.recv_buffer_bytes = 4096, .pending_bytes_max = kPendingMax},
                       Plans(1 << 20));
}

TYPED_TEST(Contract, EchoesEverySizeThroughLargeBuffers) {
  EchoPlans<TypeParam>({.recv_buffer_bytes = 65536, .pending_bytes_max = kPendingMax},
                       Plans(8 << 20));
}

TYPED_TEST(Contract, EchoesManyBytesWithinTheBounds) {
  // 8 MiB over bounds of 16 KiB: receiving stops and goes on hundreds of times.
  EchoPlans<TypeParam>({.recv_buffer_bytes = 4096, .recv_buffers = 16, .pending_bytes_max = 16384},
                       {{8 << 20, 4093}, {1 << 20, 4096}, {100'003, 7000}});
}

TYPED_TEST(Contract, EchoesOnceOnEachOf2000Connections) {
  constexpr uint64_t kConnections = 2000;
  if (HardDescriptorLimit() < 3 * kConnections) {
    GTEST_SKIP() << LoopOf<TypeParam>::kName << ": " << HardDescriptorLimit()
                 << " descriptors are too few";
  }
  Stage<TypeParam> stage;
  stage.ServeEcho();
  uint64_t echoed = 0;
  stage.client.open = [](auto& peer) { peer.Send(peer.out.Take(100)); };
  stage.client.receive = [&](auto& peer, io::Bytes in) {
    stage.Verify(peer, in);
    if (peer.received == 100) ++echoed;
  };
  stage.Connect(stage.Listen(), 0, kConnections);
  ASSERT_TRUE(stage.RunUntil([&] { return echoed == kConnections; }));
  EXPECT_EQ(stage.script().open(), 2 * kConnections);
  EXPECT_EQ(stage.counters().errors.total() - stage.counters().errors[ENOBUFS], 0u);
}

}  // namespace
}  // namespace contract
