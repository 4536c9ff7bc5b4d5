// One fault at a time: each call, each errno that its manual page lists, its first, second and
// third time. Either the connection survives, or it ends with one OnClose that carries the errno.

#include "io/errors.h"
#include "tests/faults/rig.h"

namespace faults {
namespace {

constexpr int kTimes = 3;

template <class Backend>
class SingleFault : public BackendTest<Backend> {
 protected:
  static constexpr bool kUring = std::is_same_v<Backend, Uring>;

  // Each accept and receive is armed anew, so that there is an n-th.
  static constexpr Plan kOneShot = {.ends_early = 1};

  static std::string Trace(Call call, int nth, int error) {
    return std::string(CallName(call)) + " " + std::to_string(nth) + ": " + io::ErrnoSymbol(error);
  }

  // The n-th `call` on behalf of one of several connections fails with `error`; all survive.
  static void ExpectSurvival(Call call, int nth, int error) {
    SCOPED_TRACE(Trace(call, nth, error));
    Rig<Backend> rig(1, kOneShot);
    rig.faults->Fail(call, nth, error);
    rig.Listen();
    const Socket a = rig.Connect(), b = rig.Connect(), c = rig.Connect();
    for (int round = 0; round < kTimes; ++round) {
      for (const Socket* client : {&a, &b, &c}) {
        EXPECT_TRUE(rig.Echoes(*client, "round " + std::to_string(round)));
      }
    }
    EXPECT_EQ(rig.faults->injected(error), 1u);
    EXPECT_TRUE(rig.handler.closes.empty());
    rig.loop.Shutdown();
    EXPECT_EQ(rig.handler.closes, std::vector<int>(3, 0));
    EXPECT_EQ(rig.loop.connections(), 0u);
    EXPECT_EQ(rig.loop.operations_in_kernel(), 0u);
  }

  // The n-th `call` fails with `error`, which is the end of its connection; another is unharmed.
  static void ExpectLoss(Call call, int nth, int error) {
    SCOPED_TRACE(Trace(call, nth, error));
    Rig<Backend> rig(1, kOneShot);
    rig.faults->Fail(call, nth, error);
    rig.Listen();
    const Socket lost = rig.Connect();
    for (int i = 1; i < nth; ++i) rig.Echoes(lost, "a");
    ASSERT_EQ(send(lost.fd(), "b", 1, 0), 1);
    EXPECT_TRUE(rig.Ended(lost));
    EXPECT_TRUE(rig.Until([&] { return !rig.handler.closes.empty(); }));
    const Socket other = rig.Connect();
    EXPECT_TRUE(rig.Echoes(other, "all is well"));
    EXPECT_EQ(rig.faults->injected(error), 1u);
    EXPECT_EQ(rig.handler.closes, std::vector<int>{error});
    EXPECT_EQ(rig.loop.counters().errors[error], 1u);
    EXPECT_EQ(rig.loop.connections(), 1u);
    EXPECT_EQ(rig.loop.buffers_lent(), 0u);
  }
};

TYPED_TEST_SUITE(SingleFault, Backends, BackendNames);

// All of accept(2)'s errors that can come while a listener is in order.
TYPED_TEST(SingleFault, AcceptGoesOn) {
  for (const int error :
       {EAGAIN, EINTR, ECONNABORTED, EPROTO, EPERM, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET,
        EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH, ETIMEDOUT, EMFILE, ENFILE, ENOBUFS, ENOMEM}) {
    for (int nth = 1; nth <= kTimes; ++nth) this->ExpectSurvival(Call::kAccept, nth, error);
  }
}

TYPED_TEST(SingleFault, ReceiveGoesOn) {
  std::vector<int> errors = {EINTR, EAGAIN};
  if (this->kUring) errors.insert(errors.end(), {ENOBUFS, ECANCELED});
  for (const int error : errors) {
    for (int nth = 1; nth <= kTimes; ++nth) this->ExpectSurvival(Call::kReceive, nth, error);
  }
}

TYPED_TEST(SingleFault, ReceiveLosesTheConnection) {
  for (const int error :
       {ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, ENETDOWN, EPIPE, ENOTCONN, ENOMEM}) {
    for (int nth = 1; nth <= kTimes; ++nth) this->ExpectLoss(Call::kReceive, nth, error);
  }
}

TYPED_TEST(SingleFault, SendGoesOn) {
  for (const int error : {EINTR, EAGAIN}) {
    for (int nth = 1; nth <= kTimes; ++nth) this->ExpectSurvival(Call::kSend, nth, error);
  }
}

TYPED_TEST(SingleFault, SendLosesTheConnection) {
  for (const int error : {EPIPE, ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, ENETDOWN,
                          ENOBUFS, ENOMEM, EACCES}) {
    for (int nth = 1; nth <= kTimes; ++nth) this->ExpectLoss(Call::kSend, nth, error);
  }
}

// A connect that fails is told as OnClose without OnOpen; the next one works.
TYPED_TEST(SingleFault, ConnectFails) {
  for (const int error : {ECONNREFUSED, ETIMEDOUT, ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL, EACCES,
                          EPERM, ECONNRESET, EAGAIN, EADDRINUSE}) {
    SCOPED_TRACE(io::ErrnoSymbol(error));
    Rig<TypeParam> rig;
    rig.Listen();
    rig.faults->Fail(Call::kConnect, 1, error);
    ASSERT_TRUE(rig.loop.Connect(rig.address, 7).ok());
    EXPECT_TRUE(rig.handler.closes.empty()) << "called back inside Connect()";
    EXPECT_TRUE(rig.Until([&] { return !rig.handler.closes.empty(); }));
    EXPECT_EQ(rig.handler.closes, std::vector<int>{error});
    EXPECT_EQ(rig.handler.opens, 0);
    EXPECT_EQ(rig.loop.connections(), 0u);
    ASSERT_TRUE(rig.loop.Connect(rig.address, 8).ok());
    EXPECT_TRUE(rig.Until([&] { return rig.handler.opens == 2; }));  // both ends
    EXPECT_EQ(rig.loop.counters().connected, 1u);
  }
}

// A connection that is closed while its connect is still on its way ends like any other.
TYPED_TEST(SingleFault, CloseBeforeConnected) {
  const Socket full(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto any = *io::Resolve("127.0.0.1:0");
  ASSERT_EQ(bind(full.fd(), any.address(), any.size()), 0);
  ASSERT_EQ(listen(full.fd(), 0), 0);
  Rig<TypeParam> rig;
  rig.address = *io::LocalEndpoint(full.fd());
  const Socket fills = rig.Connect();  // from here on, who connects waits
  const auto c = rig.loop.Connect(rig.address);
  ASSERT_TRUE(c.ok());
  ASSERT_TRUE(rig.loop.RunOnce(io::Nanos::zero()).ok());
  rig.loop.Close(**c);
  EXPECT_TRUE(rig.Until([&] { return rig.loop.connections() == 0; }));
  EXPECT_EQ(rig.handler.opens, 0);
  EXPECT_EQ(rig.handler.closes, std::vector<int>{0});
}

// close(2) may fail; the descriptor is gone, and the connection too.
TYPED_TEST(SingleFault, CloseFails) {
  for (const int error : {EINTR, EIO, ENOSPC, EDQUOT}) {
    SCOPED_TRACE(io::ErrnoSymbol(error));
    const size_t descriptors = OpenDescriptors();
    {
      Rig<TypeParam> rig;
      rig.Listen();
      const Socket client = rig.Connect();
      EXPECT_TRUE(rig.Echoes(client, "hello"));
      rig.faults->Fail(Call::kClose, 1, error, 100);
      shutdown(client.fd(), SHUT_WR);
      EXPECT_TRUE(rig.Ended(client));
      EXPECT_TRUE(rig.Until([&] { return rig.loop.connections() == 0; }));
      EXPECT_EQ(rig.handler.closes, std::vector<int>{0});
      EXPECT_EQ(rig.loop.counters().errors[error], 1u) << "it isn't counted";
    }
    EXPECT_EQ(OpenDescriptors(), descriptors);
  }
}

// The peer may be gone when our FIN is to be sent: its reset comes by another way.
TYPED_TEST(SingleFault, ShutdownFails) {
  Rig<TypeParam> rig;
  rig.Listen();
  const Socket client = rig.Connect();
  EXPECT_TRUE(rig.Echoes(client, "hello"));
  rig.faults->Fail(Call::kShutdown, 1, ENOTCONN);
  rig.loop.End(*rig.handler.open.front());
  EXPECT_TRUE(rig.Until([&] { return rig.faults->injected(ENOTCONN) == 1; }));
  shutdown(client.fd(), SHUT_WR);
  EXPECT_TRUE(rig.Ended(client));
  EXPECT_TRUE(rig.Until([&] { return rig.loop.connections() == 0; }));
  EXPECT_EQ(rig.handler.closes, std::vector<int>{0});
}

// One that fails otherwise would leave the peer waiting for an end that never comes.
TYPED_TEST(SingleFault, ShutdownFailsForGood) {
  Rig<TypeParam> rig;
  rig.Listen();
  const Socket client = rig.Connect();
  EXPECT_TRUE(rig.Echoes(client, "hello"));
  rig.faults->Fail(Call::kShutdown, 1, EIO);
  rig.loop.End(*rig.handler.open.front());
  EXPECT_TRUE(rig.Ended(client));
  EXPECT_TRUE(rig.Until([&] { return rig.loop.connections() == 0; }));
  EXPECT_EQ(rig.handler.closes, std::vector<int>{EIO});
  EXPECT_EQ(rig.loop.counters().errors[EIO], 1u);
}

// A close that was cancelled has closed nothing: it is made again.
TEST(UringSingleFault, CloseIsCancelled) {
  if (const absl::Status available = io::ProbeUring(); !available.ok()) GTEST_SKIP() << available;
  const size_t descriptors = OpenDescriptors();
  {
    Rig<Uring> rig;
    rig.Listen();
    const Socket client = rig.Connect();
    EXPECT_TRUE(rig.Echoes(client, "hello"));
    rig.faults->Fail(Call::kClose, rig.faults->count(Call::kClose) + 1, ECANCELED);
    shutdown(client.fd(), SHUT_WR);
    EXPECT_TRUE(rig.Ended(client));
    EXPECT_TRUE(rig.Until([&] { return rig.loop.connections() == 0; }));
    EXPECT_EQ(rig.handler.closes, std::vector<int>{0});
    EXPECT_EQ(rig.loop.counters().errors[ECANCELED], 1u);
  }
  EXPECT_EQ(OpenDescriptors(), descriptors);
}

TYPED_TEST(SingleFault, WaitGoesOn) {
  std::vector<int> errors = {EINTR};
  if (this->kUring) errors.insert(errors.end(), {EAGAIN, EBUSY, ETIME});
  for (const int error : errors) {
    for (int nth = 1; nth <= kTimes; ++nth) this->ExpectSurvival(Call::kWait, nth, error);
  }
}

// A wait that can't work ends the loop, with a status that names call and errno.
TYPED_TEST(SingleFault, WaitFailsForGood) {
  for (const int error : {EBADF, EINVAL, EFAULT}) {
    Rig<TypeParam> rig;
    rig.Listen();
    rig.faults->Fail(Call::kWait, rig.faults->count(Call::kWait) + 1, error);
    const absl::Status status = rig.loop.RunOnce(std::chrono::milliseconds(1));
    const std::string why(status.message());
    EXPECT_FALSE(status.ok());
    EXPECT_NE(why.find(io::ErrnoSymbol(error)), std::string::npos) << why;
    EXPECT_NE(why.find(this->kUring ? "io_uring_enter" : "epoll_pwait2"), std::string::npos) << why;
  }
}

// A connection that epoll has no room for is dropped; its neighbours stay.
TEST(EpollSingleFault, ConnectionCannotBeWatched) {
  for (const int error : {ENOMEM, ENOSPC}) {
    SCOPED_TRACE(io::ErrnoSymbol(error));
    Rig<Epoll> rig;
    rig.Listen();
    rig.faults->Fail(Call::kControl, rig.faults->count(Call::kControl) + 1, error);
    const Socket dropped = rig.Connect();
    EXPECT_TRUE(rig.Ended(dropped));
    const Socket kept = rig.Connect();
    EXPECT_TRUE(rig.Echoes(kept, "hello"));
    EXPECT_EQ(rig.handler.opens, 2);
    EXPECT_EQ(rig.handler.closes, std::vector<int>{error});
    EXPECT_EQ(rig.loop.counters().errors[error], 1u);
    EXPECT_EQ(rig.loop.connections(), 1u);
  }
}

TEST(EpollSingleFault, ConnectorCannotBeWatched) {
  Rig<Epoll> rig;
  rig.Listen();
  rig.faults->Fail(Call::kControl, rig.faults->count(Call::kControl) + 1, ENOSPC);
  ASSERT_TRUE(rig.loop.Connect(rig.address).ok());
  EXPECT_TRUE(rig.Until([&] { return !rig.handler.closes.empty(); }));
  EXPECT_EQ(rig.handler.closes.front(), ENOSPC);
}

TEST(EpollSingleFault, ListenerCannotBeWatched) {
  const size_t descriptors = OpenDescriptors();
  {
    Rig<Epoll> rig;
    rig.faults->Fail(Call::kControl, rig.faults->count(Call::kControl) + 1, ENOSPC);
    const auto at = rig.loop.Listen(*io::Resolve("127.0.0.1:0"), {});
    EXPECT_EQ(at.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_NE(at.status().message().find("max_user_watches"), absl::string_view::npos);
    rig.Listen();
    const Socket client = rig.Connect();
    EXPECT_TRUE(rig.Echoes(client, "hello"));
  }
  EXPECT_EQ(OpenDescriptors(), descriptors);
}

// After the pause, the listener can't go back into epoll: the loop pauses again.
TEST(EpollSingleFault, PausedListenerCannotBeWatched) {
  Rig<Epoll> rig;
  rig.Listen();
  rig.faults->Fail(Call::kAccept, 1, EMFILE);
  const uint64_t taken_out = rig.faults->count(Call::kControl) + 1;
  rig.faults->Fail(Call::kControl, taken_out + 1, ENOMEM);
  rig.faults->Fail(Call::kControl, taken_out + 3, ENOMEM);
  const Socket client = rig.Connect();
  EXPECT_TRUE(rig.Echoes(client, "hello"));
  EXPECT_EQ(rig.loop.counters().accept_pauses, 3u);
}

// While nothing can be accepted, the loop sleeps most of the time, and serves who is there.
TYPED_TEST(SingleFault, ExhaustedAcceptDoesNotSpin) {
  Rig<TypeParam> rig(1, this->kOneShot);
  rig.Listen();
  const Socket first = rig.Connect();
  EXPECT_TRUE(rig.Echoes(first, "hello"));
  constexpr uint64_t kFailures = 3;
  rig.faults->Fail(Call::kAccept, rig.faults->count(Call::kAccept) + 1, EMFILE, kFailures);
  // io_uring has armed an accept already: the client after `second` meets the failures.
  const Socket second = rig.Connect();
  if (this->kUring) {
    EXPECT_TRUE(rig.Echoes(second, "hello"));
  }
  const Socket third = rig.Connect();
  const uint64_t turns = rig.loop.counters().turns;
  while (rig.loop.counters().accept_pauses < kFailures) {
    ASSERT_TRUE(rig.loop.RunOnce(std::chrono::seconds(1)).ok());
  }
  EXPECT_LE(rig.loop.counters().turns - turns, 6 * kFailures);
  EXPECT_TRUE(rig.Echoes(first, "still here"));
  EXPECT_TRUE(rig.Echoes(second, "hello"));
  EXPECT_TRUE(rig.Echoes(third, "hello"));
  EXPECT_EQ(rig.loop.counters().errors[EMFILE], kFailures);
}

// A descriptor that comes free ends the pause at once.
TYPED_TEST(SingleFault, ClosingEndsTheAcceptPause) {
  Rig<TypeParam> rig(1, this->kOneShot);
  rig.Listen();
  const Socket first = rig.Connect();
  EXPECT_TRUE(rig.Echoes(first, "hello"));
  rig.faults->Fail(Call::kAccept, rig.faults->count(Call::kAccept) + 1, EMFILE);
  const Socket second = rig.Connect(), third = rig.Connect();
  EXPECT_TRUE(rig.Until([&] { return rig.loop.counters().accept_pauses == 1; }));
  rig.loop.Close(*rig.handler.open.front());
  EXPECT_TRUE(rig.Echoes(second, "hello"));
  EXPECT_TRUE(rig.Echoes(third, "hello"));
}

TYPED_TEST(SingleFault, StopsListeningWithoutATrace) {
  const size_t descriptors = OpenDescriptors();
  for (const bool turn : {false, true}) {
    Rig<TypeParam> rig;
    rig.Listen();
    const absl::Status turned = turn ? rig.loop.RunOnce(io::Nanos::zero()) : absl::OkStatus();
    EXPECT_TRUE(turned.ok());
    rig.loop.Shutdown();
  }
  EXPECT_EQ(OpenDescriptors(), descriptors);
}

}  // namespace
}  // namespace faults
