#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "tests/contract/harness.h"
#include "tests/contract/raw_socket.h"

namespace contract {
namespace {

// Skips where who is accepted takes none.
#define ACCEPTS_WITH_FILE_DESCRIPTORS()                                              \
  if (std::is_same_v<TypeParam, io::Uring> && AsksForDirectDescriptors()) {          \
    GTEST_SKIP() << "accepted connections take direct descriptors, of which nobody " \
                    "else has any: see AFullTableLosesNobody";                       \
  }

// The limit under which just `count` more descriptors can be opened.
rlim_t LimitForMore(int count) {
  std::vector<int> taken;
  for (int i = 0; i < count; ++i) taken.push_back(fcntl(0, F_DUPFD_CLOEXEC, 0));
  const int highest = *std::max_element(taken.begin(), taken.end());
  for (const int fd : taken) close(fd);
  return highest + 1;
}

// Clients that each say who they are; who hears it back is served.
class Queue {
 public:
  explicit Queue(size_t clients) : clients_(clients) {}

  void Connect(const io::Endpoint& at) {
    for (size_t i = 0; i < clients_.size(); ++i) {
      ASSERT_TRUE(clients_[i].Connect(at));
      clients_[i].Send(io::AsBytes(Name(i)));
    }
  }

  size_t Served() {
    size_t served = 0;
    for (size_t i = 0; i < clients_.size(); ++i) served += Heard(i).starts_with(Name(i));
    return served;
  }

  // Everything that client `i` has heard.
  const std::string& Heard(size_t i) {
    clients_[i].Poll();
    return clients_[i].received();
  }

  std::vector<size_t> ServedOnes() {
    std::vector<size_t> ones;
    for (size_t i = 0; i < clients_.size(); ++i) {
      if (!Heard(i).empty()) ones.push_back(i);
    }
    return ones;
  }

  RawSocket& operator[](size_t i) { return clients_[i]; }
  static std::string Name(size_t i) { return "client " + std::to_string(i); }

 private:
  std::vector<RawSocket> clients_;
};

constexpr size_t kQueued = 12, kRoom = 4;

// With `kRoom` clients served and the others waiting: those are served on, nothing spins, and the
// others come in one by one as the first leave.
template <class Backend>
void ServeOnAndLetTheOthersIn(Stage<Backend>& stage, Queue& queue) {
  const std::vector<size_t> in = queue.ServedOnes();
  for (int round = 0; round < 50; ++round) {
    for (const size_t i : in) queue[i].Send(io::AsBytes("+"));
    ASSERT_TRUE(stage.RunUntil([&] {
      return std::all_of(in.begin(), in.end(), [&](size_t i) {
        return queue.Heard(i).size() == Queue::Name(i).size() + round + 1;
      });
    }));
  }
  EXPECT_EQ(queue.Served(), kRoom);
  stage.ExpectRest();

  std::vector<bool> left(kQueued);
  for (size_t gone = 1; gone <= kQueued - kRoom; ++gone) {
    const std::vector<size_t> served = queue.ServedOnes();
    const size_t next =
        *std::find_if(served.begin(), served.end(), [&](size_t i) { return !left[i]; });
    left[next] = true;
    queue[next].Finish();
    ASSERT_TRUE(stage.RunUntil([&] { return queue.Served() == kRoom + gone; }));
    EXPECT_LE(stage.script().open(), kRoom);
  }
  for (size_t i = 0; i < kQueued; ++i) EXPECT_EQ(queue[i].error(), 0) << i;
}

TYPED_TEST(Contract, OutOfDescriptorsItServesOnAndAcceptsAfterAClose) {
  NEEDS_SOCKETS("it has no descriptors to run out of");
  ACCEPTS_WITH_FILE_DESCRIPTORS();
  Queue queue(kQueued);  // opened before the limit is set
  Stage<TypeParam> stage;
  stage.ServeEcho();
  const io::Endpoint at = stage.Listen();
  const DescriptorLimit limit(LimitForMore(kRoom));
  queue.Connect(at);
  ASSERT_TRUE(stage.RunUntil(
      [&] { return queue.Served() == kRoom && stage.counters().errors[EMFILE] > 0; }));
  EXPECT_GT(stage.counters().accept_pauses, 0u);
  ServeOnAndLetTheOthersIn(stage, queue);
}

TYPED_TEST(Contract, AcceptsAgainWhenAnotherGivesADescriptorBack) {
  NEEDS_SOCKETS("it has no descriptors to run out of");
  ACCEPTS_WITH_FILE_DESCRIPTORS();
  Queue queue(1);
  Stage<TypeParam> stage;
  stage.ServeEcho();
  const io::Endpoint at = stage.Listen();
  {
    const DescriptorLimit limit(LimitForMore(1) - 1);
    queue.Connect(at);
    ASSERT_TRUE(stage.RunUntil([&] { return stage.counters().errors[EMFILE] > 0; }));
  }
  // No connection of the loop's ever closes; it has to look again by itself.
  ASSERT_TRUE(stage.RunUntil([&] { return queue.Served() == 1; }));
}

TYPED_TEST(Contract, AtConnectionsMaxItServesOnAndAcceptsAfterAClose) {
  NEEDS_SOCKETS("it has no backlog to wait in");
  Queue queue(kQueued);
  Stage<TypeParam> stage({.connections_max = kRoom});
  stage.ServeEcho();
  queue.Connect(stage.Listen());
  ASSERT_TRUE(stage.RunUntil([&] { return queue.Served() == kRoom; }));
  ServeOnAndLetTheOthersIn(stage, queue);
}

// A table that is full is as connections_max: the kernel drops nobody.
TYPED_TEST(Contract, AFullTableLosesNobody) {
  if (!std::is_same_v<TypeParam, io::Uring>) GTEST_SKIP() << "it has no such table";
  NEEDS_TCP("Unix sockets take ordinary descriptors");
  Queue queue(kQueued);
  Stage<TypeParam> stage({.direct_accepts = kRoom}, Sizes::kAsGiven);
  stage.ServeEcho();
  const io::Endpoint at = stage.Listen();
  const size_t before = OpenDescriptors();
  queue.Connect(at);
  ASSERT_TRUE(stage.RunUntil(
      [&] { return queue.Served() == kRoom && stage.counters().accept_pauses > 0; }));
  ServeOnAndLetTheOthersIn(stage, queue);
  EXPECT_EQ(OpenDescriptors(), before);
  EXPECT_EQ(stage.counters().errors.total(), 0u);
}

TYPED_TEST(Contract, StopListeningResetsThoseWhoWait) {
  NEEDS_SOCKETS("it has no backlog to wait in");
  Queue queue(kQueued);
  Stage<TypeParam> stage({.connections_max = kRoom});
  stage.ServeEcho();
  queue.Connect(stage.Listen());
  ASSERT_TRUE(stage.RunUntil([&] { return queue.Served() == kRoom; }));
  stage.loop().StopListening();
  ASSERT_TRUE(stage.RunUntil([&] {
    size_t reset = 0;
    for (size_t i = 0; i < kQueued; ++i) reset += queue[i].error() == ECONNRESET;
    return queue.Served() == kRoom && reset == kQueued - kRoom;
  }));
  EXPECT_EQ(stage.script().open(), kRoom);
}

TYPED_TEST(Contract, RetireListenersLosesNobodyWhoWaits) {
  NEEDS_SOCKETS("it has no backlog to wait in");
  Queue queue(kQueued);
  Stage<TypeParam> stage({.connections_max = kRoom});
  stage.ServeEcho();
  queue.Connect(stage.Listen());
  ASSERT_TRUE(stage.RunUntil([&] { return queue.Served() == kRoom; }));
  const size_t ours = kRoom + stage.loop().waiting();
  stage.loop().RetireListeners();
  ASSERT_TRUE(stage.RunUntil([&] { return stage.loop().listening() == 0; }));
  EXPECT_EQ(stage.loop().connections(), kRoom);
  for (size_t i = 0; i < kQueued; ++i) queue[i].Close();
  ASSERT_TRUE(stage.RunUntil(
      [&] { return stage.loop().connections() == 0 && stage.loop().waiting() == 0; }));
  EXPECT_GE(stage.counters().accepted, ours);
  EXPECT_EQ(stage.counters().refused, 0u);
}

TYPED_TEST(Contract, ConnectTellsThatTheLimitIsReached) {
  Stage<TypeParam> stage({.connections_max = 4});
  const io::Endpoint at = stage.Listen();
  stage.Connect(at, 0, 2);
  ASSERT_TRUE(stage.RunUntil([&] { return stage.script().open() == 4; }));
  const auto fifth = stage.loop().Connect(at, 9);
  EXPECT_EQ(fifth.status().code(), absl::StatusCode::kResourceExhausted) << fifth.status();
  stage.server.end = [](auto& peer) { peer.Close(); };
  stage.clients()[0]->Close();
  ASSERT_TRUE(stage.RunUntil([&] { return stage.loop().connections() == 2; }));
  stage.Connect(at);
  ASSERT_TRUE(stage.RunUntil([&] { return stage.script().open() == 4; }));
}

TYPED_TEST(Contract, ConnectTellsThatNoDescriptorIsLeft) {
  NEEDS_SOCKETS("it has no descriptors to run out of");
  Stage<TypeParam> stage;
  const io::Endpoint at = stage.Listen();
  const DescriptorLimit limit(LimitForMore(1) - 1);
  const auto connection = stage.loop().Connect(at, 0);
  EXPECT_EQ(connection.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(connection.status().message().find("EMFILE"), absl::string_view::npos);
}

}  // namespace
}  // namespace contract
