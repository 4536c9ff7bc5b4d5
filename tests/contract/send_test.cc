#include <algorithm>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "tests/contract/harness.h"

namespace contract {
namespace {

// A server that answers each receive with several sends, and notes what it said; the client has to
// hear just that.
template <class Backend>
class Recital {
 public:
  using Peer = typename Stage<Backend>::Peer;
  using Answer = std::function<void(Recital&, Peer&, io::Bytes)>;

  explicit Recital(const io::LoopOptions& options, Answer answer)
      : stage_(options), answer_(std::move(answer)) {}

  void Send(Peer& peer, io::Bytes out) {
    said_[peer.count] += io::AsText(out);
    peer.Send(out);
  }

  // Sends from memory that is gone, and overwritten, when this returns.
  void SendFromStack(Peer& peer, size_t size) {
    char own[3000];
    for (size_t i = 0; i < size; ++i)
      own[i] = static_cast<char>('a' + (said_[peer.count].size() + i) % 26);
    Send(peer, io::AsBytes({own, size}));
    std::memset(own, '!', sizeof(own));
    asm volatile("" : : "r"(own) : "memory");
  }

  void Run() {
    constexpr uint64_t kConnections = 5;
    constexpr size_t kBytes = 400'000;
    said_.resize(kConnections);
    heard_.resize(kConnections);
    stage_.server.receive = [this](Peer& peer, io::Bytes in) {
      if (peer.received == in.size())
        peer.count = std::to_integer<size_t>(in[0]), in = in.subspan(1);
      if (!in.empty()) answer_(*this, peer, in);
    };
    stage_.server.end = [](Peer& peer) { peer.Close(); };
    stage_.client.open = [](Peer& peer) {  // says who it is, then anything
      const auto name = static_cast<std::byte>(peer.tag);
      peer.Send({&name, 1});
    };
    stage_.client.drained = [](Peer& peer) {
      if (peer.out.bytes() == kBytes) return peer.End();
      peer.Send(peer.out.Take(std::min<size_t>(kBytes - peer.out.bytes(), 1 + 997 * peer.tag)));
    };
    stage_.client.receive = [this](Peer& peer, io::Bytes in) {
      heard_[peer.tag] += io::AsText(in);
    };
    stage_.client.end = [](Peer& peer) { peer.Close(); };
    for (uint64_t i = 1; i < kConnections; ++i) Connect(i);
    ASSERT_TRUE(
        stage_.RunUntil([&] { return stage_.script().closes() == 2 * (kConnections - 1); }));
    for (uint64_t i = 1; i < kConnections; ++i) {
      EXPECT_FALSE(said_[i].empty());
      EXPECT_TRUE(said_[i] == heard_[i])
          << "connection " << i << ": said " << said_[i].size() << " bytes, heard "
          << heard_[i].size() << ", equal up to " << Equal(said_[i], heard_[i]);
    }
  }

 private:
  void Connect(uint64_t tag) {
    if (at_.size() == 0) at_ = stage_.Listen();
    stage_.Connect(at_, tag);
  }
  static size_t Equal(const std::string& a, const std::string& b) {
    return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
  }

  Stage<Backend> stage_;
  Answer answer_;
  io::Endpoint at_;
  std::vector<std::string> said_, heard_;  // by tag
};

template <class Backend>
void Recite(typename Recital<Backend>::Answer answer) {
  for (const uint32_t buffer_bytes : {64, 5000}) {
    SCOPED_TRACE(buffer_bytes);
    Recital<Backend>({.recv_buffer_bytes = buffer_bytes, .recv_buffers = 64}, answer).Run();
  }
}

TYPED_TEST(Contract, SendsLentSlicesInOrder) {
  Recite<TypeParam>([](auto& recital, auto& peer, io::Bytes in) {
    const size_t third = in.size() / 3;
    recital.Send(peer, in.first(third));  // contiguous slices
    recital.Send(peer, in.subspan(third, third));
    recital.Send(peer, in.subspan(2 * third));
  });
}

TYPED_TEST(Contract, SendsLentSlicesWithGapsBackwardsAndTwice) {
  Recite<TypeParam>([](auto& recital, auto& peer, io::Bytes in) {
    const size_t half = in.size() / 2;
    recital.Send(peer, in.last(in.size() - half));
    recital.Send(peer, in.first(half));
    recital.Send(peer, in);
    recital.Send(peer, in.last(1));
    recital.Send(peer, in.last(1));
  });
}

TYPED_TEST(Contract, SendsLentAndOwnBytesInOrder) {
  Recite<TypeParam>([](auto& recital, auto& peer, io::Bytes in) {
    const size_t half = in.size() / 2;
    recital.Send(peer, in.first(half));
    recital.SendFromStack(peer, 20);
    recital.Send(peer, in.subspan(half));
  });
}

TYPED_TEST(Contract, SendsOwnBytesThatDieWithTheCallback) {
  Recite<TypeParam>([](auto& recital, auto& peer, io::Bytes in) {
    recital.SendFromStack(peer, 1);
    recital.SendFromStack(peer, in.size() % 2000 + 1);
    recital.Send(peer, {});
    recital.SendFromStack(peer, 7);
  });
}

TYPED_TEST(Contract, SendsOnOtherConnectionsFromWithinOneReceive) {
  // What came from one is lent bytes of nobody else: each other connection gets a copy.
  Stage<TypeParam> stage;
  constexpr uint64_t kListeners = 8;
  constexpr size_t kBytes = 300'000;
  stage.client.open = [](auto& peer) {
    if (peer.tag == 0) peer.Send(peer.out.Take(2000));
  };
  stage.client.drained = [](auto& peer) {
    if (peer.out.bytes() < kBytes) peer.Send(peer.out.Take(2000));
  };
  stage.server.receive = [&](auto&, io::Bytes in) {
    for (auto* listener : stage.servers()) listener->Send(in);
  };
  Stream heard[kListeners] = {Stream(0), Stream(0), Stream(0), Stream(0),
                              Stream(0), Stream(0), Stream(0), Stream(0)};
  stage.client.receive = [&](auto& peer, io::Bytes in) {
    EXPECT_TRUE(heard[peer.tag].Matches(in)) << peer.tag;
  };
  const io::Endpoint at = stage.Listen();
  stage.Connect(at, 1, kListeners - 1);
  ASSERT_TRUE(stage.RunUntil([&] { return stage.script().open() == 2 * (kListeners - 1); }));
  stage.Connect(at, 0);
  ASSERT_TRUE(stage.RunUntil([&] {
    for (const Stream& stream : heard) {
      if (stream.bytes() != kBytes) return false;
    }
    return true;
  }));
}

// Lets `from` send a little, one time after the other: `to` has things to do, but nothing to drain.
template <class Backend>
void Disturb(Stage<Backend>& stage, typename Stage<Backend>::Peer& from,
             typename Stage<Backend>::Peer& to) {
  stage.server = stage.client = {};
  for (int i = 0; i < 5; ++i) {
    const uint64_t before = to.received;
    from.Send(io::AsBytes("!"));
    ASSERT_TRUE(stage.RunUntil([&] { return to.received > before; }));
    stage.RunOnce(io::Nanos::zero());
  }
}

TYPED_TEST(Contract, SendStableDrainsOnceForEach) {
  constexpr size_t kBytes = 1 << 20;
  constexpr uint64_t kTimes = 5;
  Stage<TypeParam> stage;
  const auto send = [](auto& peer) {
    if (peer.drains < kTimes) peer.SendStable(peer.out.Take(kBytes));
  };
  stage.server.open = stage.server.drained = send;
  stage.client.receive = [&](auto& peer, io::Bytes in) { stage.Verify(peer, in); };
  stage.Connect(stage.Listen());
  ASSERT_TRUE(stage.RunUntil([&] {
    return !stage.clients().empty() && stage.clients()[0]->received == kTimes * kBytes &&
           stage.servers()[0]->drains == kTimes;
  }));
  Disturb(stage, *stage.clients()[0], *stage.servers()[0]);
  EXPECT_EQ(stage.servers()[0]->drains, kTimes);
}

TYPED_TEST(Contract, SendAndSendStableAlternate) {
  Stage<TypeParam> stage;
  constexpr uint64_t kTimes = 60;
  const auto send = [](auto& peer) {
    if (peer.drains >= kTimes) return;
    const io::Bytes out = peer.out.Take(1 + peer.drains * 5003);
    peer.drains % 2 == 0 ? peer.SendStable(out) : peer.Send(out);
    if (peer.drains % 3 == 0) peer.Send(peer.out.Take(10));  // behind it
  };
  stage.client.open = stage.client.drained = send;
  stage.server.receive = [&](auto& peer, io::Bytes in) { stage.Verify(peer, in); };
  stage.Connect(stage.Listen());
  ASSERT_TRUE(stage.RunUntil([&] {
    return !stage.clients().empty() && stage.clients()[0]->drains == kTimes &&
           stage.servers()[0]->received == stage.clients()[0]->out.bytes();
  }));
}

TYPED_TEST(Contract, SeveralSendsDrainOnce) {
  Stage<TypeParam> stage;
  stage.client.open = [](auto& peer) {
    for (int i = 0; i < 10; ++i) peer.Send(peer.out.Take(1000));
  };
  stage.server.receive = [&](auto& peer, io::Bytes in) { stage.Verify(peer, in); };
  stage.Connect(stage.Listen());
  ASSERT_TRUE(stage.RunUntil(
      [&] { return !stage.servers().empty() && stage.servers()[0]->received == 10'000; }));
  ASSERT_TRUE(stage.RunUntil([&] { return stage.clients()[0]->drains > 0; }));
  Disturb(stage, *stage.servers()[0], *stage.clients()[0]);
  EXPECT_EQ(stage.clients()[0]->drains, 1u);
}

}  // namespace
}  // namespace contract
