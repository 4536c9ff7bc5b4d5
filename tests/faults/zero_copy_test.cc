// io_uring only: zero-copy sends that the kernel doesn't perform. Under random faults they are in
// the suite that runs again with other features.

#include "io/errors.h"
#include "tests/faults/rig.h"

namespace faults {
namespace {

class ZeroCopy : public BackendTest<Uring> {
 protected:
  void SetUp() override {
    BackendTest<Uring>::SetUp();
    if (IsSkipped()) return;
    options_.features.Switch(io::Feature::kSendZeroCopy, true);
    if (const absl::Status opened = Rig<Uring>::TryOpen(options_); !opened.ok())
      GTEST_SKIP() << opened;
  }
  io::LoopOptions options_;
};

// Pages that may not be pinned (RLIMIT_MEMLOCK), or a socket that can't: from then on its bytes are
// copied, and none is lost or sent twice. The seed says whether the refused send is notified of.
TEST_F(ZeroCopy, WhatIsRefusedIsCopied) {
  for (const int error : {ENOMEM, EOPNOTSUPP}) {
    for (uint64_t seed = 1; seed <= 8; ++seed) {
      SCOPED_TRACE(io::ErrnoSymbol(error) + ", seed " + std::to_string(seed));
      Rig<Uring> rig(seed, {}, options_);
      rig.faults->Fail(Call::kSend, 2, error);
      rig.Listen();
      const Socket client = rig.Connect(), other = rig.Connect();
      for (int i = 0; i < 5; ++i) {
        EXPECT_TRUE(rig.Echoes(client, "refused once " + std::to_string(i)));
        EXPECT_TRUE(rig.Echoes(other, "never refused " + std::to_string(i)));
      }
      EXPECT_EQ(rig.loop.counters().errors[error], 1u);
      EXPECT_TRUE(rig.handler.closes.empty());
      EXPECT_TRUE(rig.Until([&] { return rig.loop.buffers_lent() == 0; }));
      rig.loop.Shutdown();
      EXPECT_EQ(rig.loop.operations_in_kernel(), 0u);
    }
  }
}

// A connection that is lost while its memory is the kernel's gives the memory back nevertheless.
TEST_F(ZeroCopy, WhatIsLostIsGivenBack) {
  for (const int error : {EPIPE, ECONNRESET}) {
    for (uint64_t seed = 1; seed <= 8; ++seed) {
      SCOPED_TRACE(io::ErrnoSymbol(error) + ", seed " + std::to_string(seed));
      Rig<Uring> rig(seed, {.delayed = 0.5}, options_);
      rig.faults->Fail(Call::kSend, 1, error);
      rig.Listen();
      const Socket lost = rig.Connect();
      ASSERT_EQ(send(lost.fd(), "b", 1, 0), 1);
      EXPECT_TRUE(rig.Ended(lost));
      EXPECT_TRUE(rig.Until([&] { return rig.loop.connections() == 0; }));
      EXPECT_EQ(rig.handler.closes, std::vector<int>{error});
      EXPECT_EQ(rig.loop.buffers_lent(), 0u);
      const Socket next = rig.Connect();
      EXPECT_TRUE(rig.Echoes(next, "all is well"));
    }
  }
}

}  // namespace
}  // namespace faults
