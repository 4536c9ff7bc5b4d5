// A kernel that has no memory for completions loses some, and says so (EBADR, io_uring_enter(2)).
// Which of them nobody can know. So whoever has something under way is reset, nothing is used again
// before the kernel holds nothing of it, and the loop goes on with others.

#include "io/errors.h"
#include "tests/faults/rig.h"

namespace faults {
namespace {

class LostCompletions : public BackendTest<Uring> {
 protected:
  // The next completion of such an operation is lost, after `provoke` has brought it about.
  template <class F>
  static void Lose(Call call, F provoke, const io::LoopOptions& options = {}) {
    SCOPED_TRACE(CallName(call));
    const size_t descriptors = OpenDescriptors();
    {
      Rig<Uring> rig(1, {}, options);
      rig.Listen();
      const Socket a = rig.Connect(), b = rig.Connect();
      ASSERT_TRUE(rig.Echoes(a, "hello") && rig.Echoes(b, "hello"));
      rig.faults->Lose(call);
      provoke(rig, a);
      ASSERT_TRUE(rig.Until([&] { return rig.loop.counters().lost_completions == 1; }))
          << rig.status;
      // Both had a receive under way, which may have been it.
      EXPECT_TRUE(rig.Ended(a) && rig.Ended(b));
      ASSERT_TRUE(rig.Until([&] { return rig.handler.closes.size() >= 2; })) << rig.status;
      EXPECT_GE(std::count(rig.handler.closes.begin(), rig.handler.closes.end(), EBADR), 1);
      for (int i = 0; i < 20; ++i) {  // as many at once as make use of all that was used before
        const Socket c = rig.Connect(), d = rig.Connect();
        const std::string text(10'000, static_cast<char>('a' + i));
        EXPECT_TRUE(rig.Echoes(c, text) && rig.Echoes(d, text)) << rig.status;
      }
      EXPECT_EQ(rig.loop.counters().errors[EBADR],
                1u + std::count(rig.handler.closes.begin(), rig.handler.closes.end(), EBADR));
      EXPECT_EQ(rig.loop.counters().stale_completions, 0u);
      rig.loop.Wake();
      ASSERT_TRUE(rig.loop.RunOnce(io::kForever).ok()) << "it can't be woken any more";
      rig.loop.Shutdown();
      EXPECT_EQ(rig.loop.connections(), 0u);
      EXPECT_EQ(rig.loop.operations_in_kernel(), 0u);
      EXPECT_EQ(rig.loop.buffers_lent(), 0u);
    }
    EXPECT_EQ(OpenDescriptors(), descriptors);
  }

  static void SendText(const Socket& from) {
    ASSERT_EQ(send(from.fd(), "more", 4, MSG_NOSIGNAL), 4);
  }
};

TEST_F(LostCompletions, OfAReceiveResetItsConnection) {
  Lose(Call::kReceive, [](auto&, const Socket& a) { SendText(a); });
}

TEST_F(LostCompletions, OfASendResetItsConnection) {
  Lose(Call::kSend, [](auto&, const Socket& a) { SendText(a); });
}

TEST_F(LostCompletions, OfAReceiveThatTookTheLastBuffers) {
  Lose(Call::kReceive, [](auto&, const Socket& a) { SendText(a); },
       {.recv_buffer_bytes = 4096, .recv_buffers = 2});
}

// A close whose completion is lost is taken as done: to close the number again might close
// another's.
TEST_F(LostCompletions, OfACloseEndNothingElse) {
  Lose(Call::kClose, [](auto& rig, const Socket&) { rig.loop.Close(*rig.handler.open.front()); });
}

TEST_F(LostCompletions, OfACancelEndNothingElse) {
  Lose(Call::kCancel,
       [](auto& rig, const Socket&) { rig.loop.PauseReceive(*rig.handler.open.front()); });
}

// Again and again.
TEST_F(LostCompletions, MayBeMany) {
  Rig<Uring> rig;
  rig.Listen();
  for (uint64_t i = 1; i <= 50; ++i) {
    const Socket client = rig.Connect();
    ASSERT_TRUE(rig.Echoes(client, "hello")) << rig.status;
    rig.faults->Lose(i % 2 == 0 ? Call::kReceive : Call::kSend);
    SendText(client);
    ASSERT_TRUE(rig.Until([&] { return rig.loop.counters().lost_completions == i; }));
    EXPECT_TRUE(rig.Ended(client));
  }
  rig.loop.Shutdown();
  EXPECT_EQ(rig.loop.operations_in_kernel(), 0u);
  EXPECT_EQ(rig.loop.buffers_lent(), 0u);
}

// Where the memory of sends may be the kernel's for long, the loop ends with a reason.
TEST_F(LostCompletions, EndALoopThatSendsWithoutCopies) {
  io::LoopOptions options;
  options.features.Switch(io::Feature::kSendZeroCopy, true);
  if (!Rig<Uring>::TryOpen(options).ok()) GTEST_SKIP() << "this kernel has no send-zc";
  Rig<Uring> rig(1, {}, options);
  rig.Listen();
  const Socket client = rig.Connect();
  ASSERT_TRUE(rig.Echoes(client, "hello"));
  rig.faults->Lose(Call::kReceive);
  SendText(client);
  EXPECT_FALSE(rig.Until([&] { return false; }));
  EXPECT_NE(rig.status.message().find("EBADR"), absl::string_view::npos) << rig.status;
}

}  // namespace
}  // namespace faults
