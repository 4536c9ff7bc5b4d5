#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "tests/contract/harness.h"
#include "tests/contract/raw_socket.h"

namespace contract {
namespace {

// How many descriptors of this process are of the kernel's kind `name`.
int CountDescriptors(const std::string& name) {
  int count = 0;
  std::error_code gone;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    count += std::filesystem::read_symlink(entry.path(), gone) == "anon_inode:" + name;
  }
  return count;
}

TYPED_TEST(Contract, RunsOnWhatItIsNamedAfter) {
  const Stage<TypeParam> stage;
  const std::string_view name = LoopOf<TypeParam>::kName;
  EXPECT_EQ(CountDescriptors("[io_uring]"), name == "io_uring");
  EXPECT_EQ(CountDescriptors("[eventpoll]"), name == "epoll");
}

TYPED_TEST(Contract, WakeEndsAWaitForEver) {
  Stage<TypeParam> stage;
  constexpr int kTimes = 200;
  std::atomic<int> asked = 0, woken = 0;
  std::thread waker([&] {
    for (int i = 1; i <= kTimes; ++i) {
      asked = i;
      stage.loop().Wake();
      woken.wait(i - 1);  // a wake-up that is lost ends here
    }
  });
  while (woken < kTimes) {
    stage.RunOnce(io::kForever);
    if (woken < asked) {
      ++woken;
      woken.notify_one();
    }
  }
  waker.join();
}

// A caller that waits for what its handler is told must not sleep past it.
TYPED_TEST(Contract, DoesNotWaitAfterItCalledTheHandler) {
  NEEDS_SOCKETS("the peer has to be nobody's end on this loop");
  Stage<TypeParam> stage;
  bool drained = false;
  stage.server.drained = [&](auto&) { drained = true; };
  RawSocket client;
  ASSERT_TRUE(client.Connect(stage.Listen()));
  ASSERT_TRUE(stage.RunUntil([&] { return stage.servers().size() == 1; }));
  stage.ExpectRest();
  for (int i = 0; i < 20; ++i) {
    drained = false;
    stage.servers()[0]->Send(io::AsBytes("x"));    // outside of any callback
    while (!drained) stage.RunOnce(io::kForever);  // NOLINT(bugprone-infinite-loop)
  }
}

TYPED_TEST(Contract, WakeBeforeTheWaitEndsIt) {
  Stage<TypeParam> stage;
  for (int i = 0; i < 100; ++i) {
    stage.loop().Wake();
    if (i % 3 == 0) stage.loop().Wake();  // two may count as one
    stage.RunOnce(io::kForever);
  }
  stage.ExpectRest();
}

// A signal handler that wakes must not change what the interrupted code is about to read: errno,
// also where the wake-up fails, here since the loop isn't open yet.
TYPED_TEST(Contract, WakeLeavesErrnoAsItIs) {
  Script<TypeParam> script(64 * 1024);
  LoopOf<TypeParam> loop(script, {});
  errno = EDOM;
  loop.Wake();
  EXPECT_EQ(errno, EDOM);
  Stage<TypeParam> stage;
  errno = EDOM;
  stage.loop().Wake();
  EXPECT_EQ(errno, EDOM);
}

TYPED_TEST(Contract, ASignalHandlerWakes) {
  Stage<TypeParam> stage;
  static std::atomic<LoopOf<TypeParam>*> loop;
  static std::atomic<bool> came;
  loop = &stage.loop();
  came = false;
  struct sigaction action = {}, before;
  action.sa_handler = [](int) {
    came = true;
    loop.load()->Wake();
  };
  sigaction(SIGUSR1, &action, &before);
  // One signal is enough, but for ThreadSanitizer: it puts a handler off to its next interceptor,
  // and a signal that comes right before the loop's wait, which is none, would wait with it.
  std::thread sender([self = pthread_self()] {
    do {
      pthread_kill(self, SIGUSR1);
      usleep(1000);
    } while (kThreadSanitizer && !came);
  });
  while (!came) stage.RunOnce(io::kForever);
  sender.join();
  sigaction(SIGUSR1, &before, nullptr);
}

TYPED_TEST(Contract, RunOnceWithoutTimeDoesNotWait) {
  Stage<TypeParam> stage;
  stage.Listen();
  for (int i = 0; i < 1000; ++i) stage.RunOnce(io::Nanos::zero());  // ends
  for (int i = 0; i < 1000; ++i) stage.RunOnce(io::Nanos(-1));
  for (int i = 0; i < 3; ++i) stage.RunOnce(std::chrono::microseconds(100));
  EXPECT_LE(stage.counters().turns, 2003u);
  EXPECT_EQ(stage.counters().errors.total(), 0u);
}

// Brings `count` connections to echo without end.
template <class Backend>
void KeepBusy(Stage<Backend>& stage, uint64_t count) {
  stage.ServeEcho();
  stage.client.open = stage.client.drained = [](auto& peer) { peer.Send(peer.out.Take(10'000)); };
  stage.client.receive = [&](auto& peer, io::Bytes in) { stage.Verify(peer, in); };
  stage.Connect(stage.Listen(), 0, count);
  ASSERT_TRUE(stage.RunUntil([&] {
    return stage.script().open() == 2 * count && stage.counters().received_bytes > 4'000'000;
  }));
}

TYPED_TEST(Contract, ShutdownClosesBusyConnections) {
  Stage<TypeParam> stage;
  KeepBusy(stage, 100);
  stage.Shutdown();
  EXPECT_EQ(stage.script().closes(), 200u);
  for (auto& peer : stage.script().peers()) EXPECT_EQ(peer.connection, nullptr);
  EXPECT_EQ(stage.loop().Connect(*io::Resolve("9"), 0).status().code(),
            absl::StatusCode::kFailedPrecondition);
  stage.Shutdown();  // again: nothing
}

TYPED_TEST(Contract, DestructionClosesBusyConnections) {
  Stage<TypeParam> stage;
  KeepBusy(stage, 100);
  stage.Destroy();
  EXPECT_EQ(stage.script().closes(), 200u);
}

TYPED_TEST(Contract, ShutdownClosesWhatIsStillConnecting) {
  Stage<TypeParam> stage;
  stage.Connect(stage.Listen(), 0, 10);
  stage.Shutdown();
  const auto clients = stage.clients();
  EXPECT_EQ(clients.size(), 10u);
  for (auto* client : clients) EXPECT_EQ(client->connection, nullptr);
}

TYPED_TEST(Contract, ShutdownTakesThePortBack) {
  Stage<TypeParam> stage, next;
  const io::Endpoint at = stage.Listen();
  stage.RunOnce(io::Nanos::zero());
  stage.Shutdown();
  const auto listening = next.loop().Listen(at, {});
  EXPECT_TRUE(listening.ok()) << listening.status();
}

TYPED_TEST(Contract, ALoopThatWasNeverOpenedGoesQuietly) {
  Script<TypeParam> script(65536);
  const LoopOf<TypeParam> loop(script);
}

TYPED_TEST(Contract, ForEachConnectionNamesEachOnce) {
  Stage<TypeParam> stage;
  stage.Connect(stage.Listen(), 0, 20);
  ASSERT_TRUE(stage.RunUntil([&] { return stage.script().open() == 40; }));
  stage.server.end = [](auto& peer) { peer.Close(); };
  for (auto* client : stage.clients()) {
    if (client->tag % 2 == 0) client->Close();
  }
  ASSERT_TRUE(stage.RunUntil([&] { return stage.loop().connections() == 20; }));
  std::vector<uint32_t> seen;
  stage.loop().ForEachConnection([&](io::Connection& c) { seen.push_back(c.index); });
  EXPECT_EQ(seen.size(), 20u);
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(std::unique(seen.begin(), seen.end()), seen.end());
}

}  // namespace
}  // namespace contract
