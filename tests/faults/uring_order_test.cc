// io_uring only: completions that come late, or in an order that nobody hopes for.

#include "tests/faults/rig.h"

namespace faults {
namespace {

class UringOrder : public BackendTest<Uring> {};

bool LingersOn(int fd) {
  linger value = {};
  socklen_t size = sizeof(value);
  EXPECT_EQ(getsockopt(fd, SOL_SOCKET, SO_LINGER, &value, &size), 0);
  return value.l_onoff != 0;
}

// The number that the next descriptor gets.
int NextDescriptor() { return Socket(dup(0)).fd(); }

// Between the kernel's close and its completion the number may be another's: Abort() must keep its
// hands off it.
TEST_F(UringOrder, AbortAfterCloseSparesTheNextOwnerOfTheDescriptor) {
  Rig<Uring> rig;
  rig.Listen();
  const Socket client = rig.Connect();
  const int number = NextDescriptor();
  EXPECT_TRUE(rig.Echoes(client, "hello"));
  io::Connection* c = rig.handler.open.front();
  rig.faults->HoldBack(Call::kClose);
  rig.loop.Close(*c);
  EXPECT_TRUE(rig.Ended(client));
  const Socket next(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(next.fd(), number);
  rig.loop.Abort(*c);
  EXPECT_FALSE(LingersOn(next.fd()));
  rig.faults->Release();
  EXPECT_TRUE(rig.Until([&] { return rig.loop.connections() == 0; }));
  EXPECT_EQ(rig.handler.closes, std::vector<int>{0});
}

// All buffers of the ring are lent to sends that don't complete; there are more in reserve, and
// whoever comes new gets one. (Of a pool this large an eighth is lent, which is more than the ring
// has at first.)
TEST_F(UringOrder, SendsThatHoldAllProvidedBuffersDoNotSilenceANewcomer) {
  Rig<Uring> rig(1, {}, {.recv_buffer_bytes = 4096, .recv_buffers = 1024});
  rig.Listen();
  rig.faults->HoldBack(Call::kSend);
  std::vector<Socket> clients;
  for (uint32_t before = rig.loop.buffers().target(), i = 0; i < before; ++i) {
    clients.push_back(rig.Connect());
    EXPECT_TRUE(rig.Echoes(clients.back(), "hello"));
  }
  EXPECT_EQ(rig.loop.buffers_lent(), clients.size());
  const uint64_t turns = rig.loop.counters().turns;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(rig.Connect());
    ASSERT_TRUE(rig.Echoes(clients.back(), "hello")) << "newcomer " << i;
  }
  EXPECT_LT(rig.loop.counters().turns - turns, 500u) << "it was by chance";
  rig.faults->Release();
  EXPECT_TRUE(rig.Until([&] { return rig.loop.buffers_lent() == 0; }));
  for (const Socket& client : clients) EXPECT_TRUE(rig.Echoes(client, "again"));
}

// However many sends stand still, there are buffers, or copies, for those who have none.
TEST_F(UringOrder, SendsThatStandStillLeaveBuffersForOthers) {
  Rig<Uring> rig(1, {}, {.recv_buffer_bytes = 4096, .recv_buffers = 8});
  rig.Listen();
  rig.faults->HoldBack(Call::kSend);
  std::vector<Socket> clients;
  for (int i = 0; i < 32; ++i) {
    clients.push_back(rig.Connect());
    ASSERT_TRUE(rig.Echoes(clients.back(), "hello")) << "client " << i;
  }
  EXPECT_LT(rig.loop.buffers_lent(), 8u);
  rig.faults->Release();
  for (const Socket& client : clients) EXPECT_TRUE(rig.Echoes(client, "again"));
  EXPECT_EQ(rig.loop.buffers_lent(), 0u);
}

// A send's completion may come after the receive's error: the slot waits for both.
TEST_F(UringOrder, SlotOutlivesItsLastOperation) {
  Rig<Uring> rig;
  rig.Listen();
  const Socket client = rig.Connect();
  rig.faults->HoldBack(Call::kSend);
  EXPECT_TRUE(rig.Echoes(client, "hello"));
  const linger reset = {.l_onoff = 1, .l_linger = 0};
  setsockopt(client.fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  { const Socket closing(dup(client.fd())); }
  rig.faults->Fail(Call::kReceive, rig.faults->count(Call::kReceive) + 1, ECONNRESET);
  io::Connection* c = rig.handler.open.front();
  rig.loop.PauseReceive(*c);
  EXPECT_TRUE(rig.Until([&] { return rig.loop.operations_in_kernel() == 3; }));
  rig.loop.ResumeReceive(*c);  // arms the receive that fails
  EXPECT_TRUE(rig.Until([&] { return rig.loop.counters().errors[ECONNRESET] == 1; }));
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(rig.loop.RunOnce(io::Nanos::zero()).ok());
  EXPECT_TRUE(rig.handler.closes.empty());
  EXPECT_EQ(rig.loop.buffers_lent(), 1u);
  rig.faults->Release();
  EXPECT_TRUE(rig.Until([&] { return rig.loop.connections() == 0; }));
  EXPECT_EQ(rig.handler.closes, std::vector<int>{ECONNRESET});
  EXPECT_EQ(rig.loop.buffers_lent(), 0u);
  EXPECT_EQ(rig.loop.counters().stale_completions, 0u);
}

// The cancel that pauses a receive comes too late, and says so; nothing is lost by it.
TEST_F(UringOrder, CancelThatComesTooLate) {
  for (const int error : {EALREADY, ENOENT}) {
    Rig<Uring> rig;
    rig.Listen();
    const Socket client = rig.Connect();
    EXPECT_TRUE(rig.Echoes(client, "hello"));
    io::Connection* c = rig.handler.open.front();
    rig.faults->Fail(Call::kCancel, 1, error);
    for (int i = 0; i < 3; ++i) {
      rig.loop.PauseReceive(*c);
      ASSERT_TRUE(rig.loop.RunOnce(io::Nanos::zero()).ok());
      rig.loop.ResumeReceive(*c);
      EXPECT_TRUE(rig.Echoes(client, "again"));
    }
    rig.loop.Close(*c);
    EXPECT_TRUE(rig.Until([&] { return rig.loop.connections() == 0; }));
    EXPECT_EQ(rig.loop.counters().stale_completions, 0u);
  }
}

// A receive is over, but its completion is on its way when the cancel arrives: the cancel finds
// nothing.
TEST_F(UringOrder, CancelOfAReceiveWhoseEndIsOnItsWay) {
  Rig<Uring> rig;
  rig.Listen();
  const Socket client = rig.Connect();
  EXPECT_TRUE(rig.Echoes(client, "hello"));
  io::Connection* c = rig.handler.open.front();
  rig.faults->HoldBack(Call::kReceive);
  shutdown(client.fd(), SHUT_WR);
  EXPECT_TRUE(rig.Until([&] { return rig.faults->held() == 1; }));
  rig.loop.Close(*c);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(rig.loop.RunOnce(io::Nanos::zero()).ok());
  EXPECT_EQ(rig.loop.connections(), 1u) << "freed while a completion names it";
  rig.faults->Release();
  EXPECT_TRUE(rig.Until([&] { return rig.loop.connections() == 0; }));
  EXPECT_EQ(rig.handler.closes, std::vector<int>{0});
  EXPECT_EQ(rig.loop.counters().stale_completions, 0u);
}

// The connect is done, but the loop hasn't heard of it when it is closed.
TEST_F(UringOrder, CloseOvertakesTheConnect) {
  Rig<Uring> rig;
  rig.Listen();
  rig.faults->HoldBack(Call::kConnect);
  const auto c = rig.loop.Connect(rig.address);
  ASSERT_TRUE(c.ok());
  EXPECT_TRUE(rig.Until([&] { return rig.faults->held() == 1; }));
  rig.loop.Abort(**c);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(rig.loop.RunOnce(io::Nanos::zero()).ok());
  EXPECT_TRUE(rig.handler.closes.empty());
  rig.faults->Release();
  EXPECT_TRUE(rig.Until([&] { return !rig.handler.closes.empty(); }));
  rig.loop.Shutdown();
  EXPECT_EQ(rig.loop.counters().stale_completions, 0u);
}

// Connections that were accepted, but not yet told, when the loop stops listening, are closed.
TEST_F(UringOrder, AcceptedAfterStopListening) {
  const size_t descriptors = OpenDescriptors();
  {
    Rig<Uring> rig;
    rig.Listen();
    rig.faults->HoldBack(Call::kAccept);
    const Socket a = rig.Connect(), b = rig.Connect();
    EXPECT_TRUE(rig.Until([&] { return rig.faults->held() == 2; }));
    rig.loop.StopListening();
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(rig.loop.RunOnce(io::Nanos::zero()).ok());
    rig.faults->Release();
    EXPECT_TRUE(rig.Ended(a));
    EXPECT_TRUE(rig.Ended(b));
    EXPECT_EQ(rig.handler.opens, 0);
    rig.loop.Shutdown();
    EXPECT_EQ(rig.loop.operations_in_kernel(), 0u);
  }
  EXPECT_EQ(OpenDescriptors(), descriptors);
}

// The same with direct descriptors, which only operations can close.
TEST_F(UringOrder, AcceptedDirectlyAfterStopListening) {
  const io::LoopOptions direct = {.direct_accepts = 8};
  if (const absl::Status opened = Rig<Uring>::TryOpen(direct); !opened.ok()) {
    GTEST_SKIP() << opened;
  }
  Rig<Uring> rig(1, {}, direct);
  rig.Listen();
  rig.faults->HoldBack(Call::kAccept);
  const Socket a = rig.Connect(), b = rig.Connect();
  EXPECT_TRUE(rig.Until([&] { return rig.faults->held() == 2; }));
  rig.loop.StopListening();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(rig.loop.RunOnce(io::Nanos::zero()).ok());
  rig.faults->Release();
  for (const Socket* client : {&a, &b}) {
    EXPECT_TRUE(rig.Ended(*client));
    EXPECT_EQ(io::SocketError(client->fd()), 0);  // Ended() took the reset
  }
  EXPECT_EQ(rig.handler.opens, 0);
  rig.loop.Shutdown();
  EXPECT_EQ(rig.loop.operations_in_kernel(), 0u);
  EXPECT_EQ(rig.loop.counters().stale_completions, 0u);
}

// Each error of accept(2) gives the number back that the accept had: the table stays whole.
TEST_F(UringOrder, FailedAcceptsKeepNoDirectDescriptor) {
  const io::LoopOptions direct = {.direct_accepts = 4};
  if (const absl::Status opened = Rig<Uring>::TryOpen(direct); !opened.ok()) {
    GTEST_SKIP() << opened;
  }
  Rig<Uring> rig(1, {}, direct);
  uint64_t nth = 1;
  for (const int error : {ECONNABORTED, EPROTO, ENOMEM, ENFILE, EINTR, EAGAIN}) {
    rig.faults->Fail(Call::kAccept, nth, error, 3);
    nth += 3;
  }
  rig.Listen();
  std::vector<Socket> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(rig.Connect());
    ASSERT_TRUE(rig.Echoes(clients.back(), "hello")) << i;
  }
  EXPECT_GE(rig.faults->count(Call::kAccept), nth - 1 + 4);
  const Socket fifth = rig.Connect();
  clients.pop_back();
  EXPECT_TRUE(rig.Echoes(fifth, "hello"));
}

// The submission ring is full and the kernel takes nothing: what found no place there is made up
// for, before the loop sleeps.
TEST_F(UringOrder, FullSubmissionRingDoesNotLoseTheWaker) {
  Rig<Uring> rig(1, {}, {.submission_entries = 1});
  rig.Listen();  // takes the only place; the waker's poll finds none
  rig.faults->Fail(Call::kWait, 1, EAGAIN);
  rig.loop.Wake();
  constexpr std::chrono::seconds kBound(10);
  const auto before = std::chrono::steady_clock::now();
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(rig.loop.RunOnce(kBound).ok());
  EXPECT_LT(std::chrono::steady_clock::now() - before, kBound) << "it slept through Wake()";
}

}  // namespace
}  // namespace faults
