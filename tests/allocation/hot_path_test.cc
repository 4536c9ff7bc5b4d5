// No memory is allocated for a message once a loop has started: this program counts every malloc().

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <vector>

#include "io/epoll_loop.h"
#include "io/null_loop.h"
#include "io/uring_loop.h"
#include "server/delay_queue.h"
#include "services/counter.h"
#include "services/echo.h"
#include "stats/histogram.h"
#include "tests/allocation/malloc.h"

namespace {

using allocation::allocations;

// Both ends on one loop: accepted connections serve, connected ones send the next request for each
// reply.
template <class Service>
class Rally {
 public:
  explicit Rally(uint64_t message_bytes)
      : service_({.message_bytes = message_bytes}),
        client_({.message_bytes = message_bytes}),
        message_bytes_(message_bytes),
        server_sessions_(256),
        client_sessions_(256) {}

  uint64_t replies() const { return latency_.count(); }

  template <class L>
  void OnOpen(L& loop, io::Connection& c) noexcept {
    if (c.accepted) return;
    client_.OnOpen(client_sessions_[c.index], c.tag);
    loop.SendStable(c, client_.Next(client_sessions_[c.index], message_bytes_));
  }
  template <class L>
  void OnReceive(L& loop, io::Connection& c, io::Bytes in) noexcept {
    if (c.accepted) {
      Reply<L> reply{loop, c};
      service_.OnReceive(server_sessions_[c.index], in, reply);
      return;
    }
    const services::Received got = client_.OnReceive(client_sessions_[c.index], in);
    EXPECT_EQ(got.corrupt_bytes, 0u);
    for (uint32_t i = 0; i < got.replies; ++i) {
      latency_.Record(1000 + latency_.count() % 100'000);
      drained_[c.index] ? Next(loop, c) : void(due_[c.index] = true);
    }
  }
  template <class L>
  void OnDrained(L& loop, io::Connection& c) noexcept {
    if (c.accepted) return;
    drained_[c.index] = true;
    if (due_[c.index]) Next(loop, c);
  }
  template <class L>
  void OnEnd(L& loop, io::Connection& c) noexcept {
    loop.Close(c);
  }
  template <class L>
  void OnClose(L&, io::Connection&, int) noexcept {}

 private:
  template <class L>
  struct Reply {
    L& loop;
    io::Connection& c;
    bool full() noexcept { return false; }
    void Keep(io::Bytes) noexcept {}
    void Write(io::Bytes out) noexcept { loop.Send(c, out); }
    void Close() noexcept { loop.Close(c); }
    void Violation() noexcept { loop.Close(c); }
  };

  template <class L>
  void Next(L& loop, io::Connection& c) {
    due_[c.index] = drained_[c.index] = false;
    loop.SendStable(c, client_.Next(client_sessions_[c.index], message_bytes_));
  }

  Service service_;
  typename Service::Client client_;
  const uint64_t message_bytes_;
  std::vector<typename Service::Session> server_sessions_;
  std::vector<typename Service::Client::Session> client_sessions_;
  std::array<bool, 256> drained_ = {}, due_ = {};
  stats::Histogram latency_;
};

template <template <class...> class Loop, class Service>
void ExpectNoAllocations(uint64_t message_bytes) {
  if (RINGSIDE_SANITIZED) GTEST_SKIP() << "a sanitizer's allocator is in the way";
  using L = Loop<Rally<Service>>;
  const absl::Status available = L::Probe();
  if (!available.ok()) GTEST_SKIP() << L::kName << ": " << available;
  Rally<Service> rally(message_bytes);
  L loop(rally, {});
  ASSERT_TRUE(loop.Open().ok());
  const auto at = loop.Listen(*io::Resolve("127.0.0.1:0"), {});
  ASSERT_TRUE(at.ok()) << at.status();
  for (int i = 0; i < 32; ++i) ASSERT_TRUE(loop.Connect(*at, i).ok());
  const auto run_until = [&](uint64_t replies) {
    while (rally.replies() < replies) ASSERT_TRUE(loop.RunOnce(std::chrono::seconds(10)).ok());
  };
  run_until(3'200);
  const uint64_t before = allocations.load();
  run_until(33'200);
  EXPECT_EQ(allocations.load() - before, 0u)
      << "in 30,000 messages of " << message_bytes << " bytes";
  EXPECT_GT(before, 0u) << "nothing was counted at all";
}

TEST(HotPath, UringEchoAllocatesNothing) { ExpectNoAllocations<io::UringLoop, services::Echo>(64); }
TEST(HotPath, UringLargeEchoAllocatesNothing) {
  ExpectNoAllocations<io::UringLoop, services::Echo>(16 * 1024);
}
TEST(HotPath, UringCounterAllocatesNothing) {
  ExpectNoAllocations<io::UringLoop, services::Counter>(8);
}
TEST(HotPath, EpollEchoAllocatesNothing) { ExpectNoAllocations<io::EpollLoop, services::Echo>(64); }
TEST(HotPath, EpollLargeEchoAllocatesNothing) {
  ExpectNoAllocations<io::EpollLoop, services::Echo>(16 * 1024);
}
TEST(HotPath, EpollCounterAllocatesNothing) {
  ExpectNoAllocations<io::EpollLoop, services::Counter>(8);
}

TEST(HotPath, ADelayedReplyAllocatesNothing) {
  if (RINGSIDE_SANITIZED) GTEST_SKIP() << "a sanitizer's allocator is in the way";
  server::DelayQueue queue;
  const std::vector<std::byte> bytes(20'000);
  int64_t now = 0;
  uint64_t sent = 0;
  const auto run = [&](int replies) {
    for (int i = 0; i < replies; ++i, ++now) {  // a thousand wait; short ones and long ones
      EXPECT_TRUE(
          queue.Add(now + 1000, 0, 0, io::Bytes(bytes).first(i % 100 == 0 ? 20'000 : i % 100)));
      queue.PopDue(now, [&](uint32_t, uint32_t, io::Bytes) {
        ++sent;
        return true;
      });
    }
  };
  run(10'000);
  const uint64_t before = allocations.load();
  run(100'000);
  EXPECT_EQ(allocations.load() - before, 0u);
  EXPECT_EQ(sent, 109'000u);
}

TEST(HotPath, NullEchoAllocatesNothing) { ExpectNoAllocations<io::NullLoop, services::Echo>(64); }

}  // namespace
