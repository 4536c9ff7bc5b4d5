// Memory that can't be had costs the connection that needs it, and nobody else: each allocation of
// a server at work fails in turn, alone, and with all that follow for a while.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "io/epoll_loop.h"
#include "io/null_loop.h"
#include "io/uring_loop.h"
#include "server/one_service.h"
#include "tests/allocation/malloc.h"

namespace {

// A peer by plain system calls, which reads all that comes.
class Peer {
 public:
  explicit Peer(const io::Endpoint& at)
      : fd_(socket(at.address()->sa_family, at.type() | SOCK_CLOEXEC, 0)) {
    const int small = 8 * 1024;
    setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    EXPECT_EQ(connect(fd_, at.address(), at.size()), 0);
    fcntl(fd_, F_SETFL, O_NONBLOCK);
  }
  Peer(Peer&& other) noexcept : fd_(std::exchange(other.fd_, -1)), got_(other.got_) {}
  ~Peer() {
    if (fd_ >= 0) close(fd_);
  }
  void Send(const std::string& text) {
    EXPECT_EQ(send(fd_, text.data(), text.size(), MSG_NOSIGNAL), std::ssize(text));
  }
  // Reads what is there; true once `bytes` have come, or the connection has ended. Allocates
  // nothing.
  bool Done(size_t bytes) {
    static char into[64 * 1024];
    while (got_ < bytes && end_ < 0) {
      const ssize_t n = recv(fd_, into, sizeof(into), 0);
      if (n < 0 && errno == EAGAIN) return false;
      if (n > 0) got_ += n;
      if (n <= 0) end_ = n == 0 ? 0 : errno;
    }
    return true;
  }
  size_t got() const { return got_; }
  int end() const { return end_; }  // an errno, 0 after a FIN, -1 while it is open

 private:
  int fd_;
  size_t got_ = 0;
  int end_ = -1;
};

struct Case {
  const char *service, *at;
  services::ServiceOptions options;
  std::string request;
  size_t reply_bytes;
};

constexpr size_t kLong = 300'000;  // more than a socket takes at once

std::vector<Case> Cases() {
  return {{"reply", "127.0.0.1:0", {.text = std::string(kLong, 't')}, "x", kLong},
          // Several requests at once: the second waits for the first to be answered.
          {"reply",
           "127.0.0.1:0",
           {.message_bytes = 1, .text = std::string(kLong / 2, 't')},
           "xy",
           kLong},
          {"delay",
           "127.0.0.1:0",
           {.delay = {.a = std::chrono::microseconds(10)}},
           std::string(5'000, 'd'),
           5'000}};
}

// Where the n-th allocation, and those after it, fail; false where there are fewer.
template <class Loop>
bool Run(const Case& its, uint64_t nth, uint64_t times) {
  SCOPED_TRACE(testing::Message() << its.service << ": " << times << " allocations from number "
                                  << nth << " on fail");
  server::OneService server(its.service, its.options);
  Loop loop(*server.responder, {});
  EXPECT_TRUE(loop.Open().ok());
  const auto at = loop.Listen(*io::Resolve(its.at), {});
  EXPECT_TRUE(at.ok());
  std::vector<Peer> peers;
  for (int i = 0; i < 3; ++i) peers.emplace_back(*at).Send(its.request);
  const auto turn = [&] {
    const bool ok = loop.RunOnce(std::chrono::microseconds(100)).ok();
    server.responder->Tick(loop, server::Responder::Now());
    return ok;
  };
  bool ok = true;
  allocation::Fail(nth, times);
  for (bool done = false; !done && ok;) {
    ok = turn();
    done = true;
    for (Peer& peer : peers) done &= peer.Done(its.reply_bytes);
  }
  const uint64_t failed = allocation::Failed();
  allocation::Fail(0, 0);
  EXPECT_TRUE(ok) << "the loop ended";
  uint64_t lost = 0;
  for (Peer& peer : peers) {
    if (peer.got() == its.reply_bytes) continue;
    EXPECT_EQ(peer.end(), ECONNRESET) << "cut off, and not told so";
    ++lost;
  }
  // Who can't be accepted waits, unless the kernel has accepted him already.
  const uint64_t waited = Loop::kName == "epoll" ? loop.counters().accept_pauses : 0;
  EXPECT_EQ(lost + waited, loop.counters().no_memory + server.responder->refusals().no_memory);
  if (failed == 0) {
    EXPECT_EQ(lost, 0u);
  }
  Peer later(*at);
  later.Send(its.request);
  while (!later.Done(its.reply_bytes) && turn()) continue;
  EXPECT_EQ(later.got(), its.reply_bytes) << "nobody is served any more";
  loop.Shutdown();
  EXPECT_EQ(loop.connections(), 0u);
  EXPECT_EQ(loop.operations_in_kernel(), 0u);
  EXPECT_EQ(loop.buffers_lent(), 0u);
  return failed > 0;
}

template <class Loop>
void FailEach() {
  if (RINGSIDE_SANITIZED) GTEST_SKIP() << "a sanitizer's allocator is in the way";
  const absl::Status available = Loop::Probe();
  if (!available.ok()) GTEST_SKIP() << Loop::kName << ": " << available;
  for (const Case& its : Cases()) {
    for (const uint64_t times : {1, 5}) {
      uint64_t nth = 1;
      while (Run<Loop>(its, nth, times) && !testing::Test::HasFailure()) ++nth;
      EXPECT_GT(nth, 3u) << "nothing was tested";
    }
  }
}

TEST(NoMemory, CostsAnEpollServerOneConnection) { FailEach<io::EpollLoop<server::Responder>>(); }
TEST(NoMemory, CostsAnUringServerOneConnection) { FailEach<io::UringLoop<server::Responder>>(); }

// Answers with more than lies on the way to the other end.
struct LongAnswers {
  std::vector<std::byte> answer = std::vector<std::byte>(kLong);
  std::array<int, 8> errors = {-1, -1, -1, -1, -1, -1, -1, -1};  // of OnClose, by slot
  std::array<size_t, 8> got = {};

  void OnOpen(auto& loop, io::Connection& c) noexcept {
    if (!c.accepted) loop.Send(c, io::AsBytes("x"));
  }
  void OnReceive(auto& loop, io::Connection& c, io::Bytes in) noexcept {
    c.accepted ? loop.Send(c, answer) : void(got[c.index] += in.size());
  }
  void OnEnd(auto& loop, io::Connection& c) noexcept { loop.Close(c); }
  void OnDrained(auto&, io::Connection&) noexcept {}
  void OnClose(auto&, io::Connection& c, int error) noexcept { errors[c.index] = error; }
};

TEST(NoMemory, CostsANullLoopOneConnection) {
  if (RINGSIDE_SANITIZED) GTEST_SKIP() << "a sanitizer's allocator is in the way";
  bool failed = true;
  for (uint64_t nth = 1; failed && !testing::Test::HasFailure(); ++nth) {
    SCOPED_TRACE(nth);
    LongAnswers handler;
    io::NullLoop<LongAnswers> loop(handler);
    ASSERT_TRUE(loop.Open().ok());
    const io::Endpoint at = *io::Resolve("127.0.0.1:1");
    ASSERT_TRUE(loop.Listen(at, {}).ok());
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(loop.Connect(at).ok());
    allocation::Fail(nth, 1);
    bool ok = true;
    for (int i = 0; i < 200; ++i) ok &= loop.RunOnce(io::Nanos::zero()).ok();
    failed = allocation::Failed() > 0;
    allocation::Fail(0, 0);
    EXPECT_TRUE(ok);
    const auto with = [&](int error) {
      return std::count(handler.errors.begin(), handler.errors.end(), error);
    };
    EXPECT_EQ(with(ENOMEM), failed);
    EXPECT_LE(with(ECONNRESET), failed);  // its other end, where that was open
    EXPECT_EQ(loop.counters().no_memory, failed ? 1u : 0u);
    EXPECT_EQ(std::count(handler.got.begin(), handler.got.end(), kLong), failed ? 2 : 3);
  }
}

// A queue that has no memory for all of what it is given says so, and can be cleared.
TEST(NoMemory, IsToldByAQueue) {
  if (RINGSIDE_SANITIZED) GTEST_SKIP() << "a sanitizer's allocator is in the way";
  io::BlockPool pool;
  io::ByteQueue queue, messages;
  const std::vector<std::byte> bytes(100'000);
  allocation::Fail(3, 100);
  const bool appended = queue.Append(bytes, pool), added = messages.AppendMessage(bytes, pool);
  allocation::Fail(0, 0);
  EXPECT_FALSE(appended || added);
  EXPECT_EQ(queue.bytes(), 2 * size_t{io::BlockPool::kLarge});
  EXPECT_TRUE(messages.empty());
  queue.Clear(pool);
  EXPECT_TRUE(queue.empty());
  EXPECT_TRUE(queue.Append(bytes, pool));
  queue.Clear(pool);
}

}  // namespace
