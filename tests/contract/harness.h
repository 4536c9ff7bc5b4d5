#pragma once

// What tests/contract/ shares: the list of loops, the fixture, and a Stage, a loop with a scripted
// handler that holds the loop to its contract. Tests wait for conditions; the only deadline is
// there to end a hang.

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "io/loops.h"
#include "io/null_loop.h"
#include "io/sockets.h"
#include "tests/contract/script.h"
#include "tests/loop_switches.h"

namespace contract {

struct Null {
  template <class H>
  using Loop = io::NullLoop<H>;
};

using Backends = testing::Types<io::Uring, io::Epoll, Null>;

template <class Backend>
using LoopOf = typename Script<Backend>::Loop;

static_assert(io::EventLoop<LoopOf<io::Uring>>);
static_assert(io::EventLoop<LoopOf<io::Epoll>>);
static_assert(io::EventLoop<LoopOf<Null>>);
static_assert(io::Handler<Script<io::Uring>, LoopOf<io::Uring>>);

template <class Backend>
inline constexpr bool kHasSockets = !std::is_same_v<Backend, Null>;

#ifdef __SANITIZE_THREAD__
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif

inline constexpr std::chrono::seconds kHang{60};
inline constexpr std::chrono::milliseconds kTurn{1};

// Skips a test that needs sockets, by the loop's name.
#define NEEDS_SOCKETS(why)                                                 \
  if (!::contract::kHasSockets<TypeParam>) {                               \
    GTEST_SKIP() << ::contract::LoopOf<TypeParam>::kName << ": " << (why); \
  }

// The transport that the whole suite runs over: the environment's RINGSIDE_TRANSPORT, "tcp",
// "mptcp" or "unix"; "tcp" where it isn't set.
inline std::string TransportName() {
  const char* name = std::getenv("RINGSIDE_TRANSPORT");
  return name == nullptr ? "tcp" : name;
}

// Whether each connection of the suite is to be one that asks for the kernel's receive timestamps:
// it receives in another way. The environment's RINGSIDE_RECEIVE_TIMESTAMPS.
inline bool AsksForTimestamps() { return std::getenv("RINGSIDE_RECEIVE_TIMESTAMPS") != nullptr; }

// Whether the connections of the suite, opened and accepted, are to take direct descriptors, where
// the loop has them: the environment's RINGSIDE_DIRECT_DESCRIPTORS.
inline bool AsksForDirectDescriptors() {
  return std::getenv("RINGSIDE_DIRECT_DESCRIPTORS") != nullptr;
}

// What the suite's environment makes of options: the features, too (tests/loop_switches.h).
template <class Backend>
io::LoopOptions WithEnvironment(io::LoopOptions options) {
  if (std::is_same_v<Backend, io::Uring> && AsksForDirectDescriptors()) {
    options.direct_descriptors = options.direct_accepts = 4096;
  }
  return loop_switches::Switched(std::move(options));
}

// Skips a test of what only TCP has: ports, resets, refused handshakes.
#define NEEDS_TCP(why)                                            \
  if (::contract::TransportName() != "tcp") {                     \
    GTEST_SKIP() << ::contract::TransportName() << ": " << (why); \
  }

// Whether a peer learns of an Abort() as a reset. To one on a Unix socket it is an end.
inline bool TransportResets() { return TransportName() != "unix"; }

// A free address of a transport; each call another one.
inline std::string AddressOn(const std::string& transport) {
  static std::atomic<int> number = 0;
  if (transport == "tcp") return "127.0.0.1:0";
  if (transport == "udp" || transport == "mptcp") return transport + "://127.0.0.1:0";
  return absl::StrCat(transport, ":@ringside-test-", getpid(), "-", number.fetch_add(1));
}
inline std::string AnyAddress() { return AddressOn(TransportName()); }

inline size_t OpenDescriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return std::distance(begin(all), end(all));
}

// A soft limit of file descriptors, for as long as this lives.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(rlim_t limit) {
    getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit lowered = {.rlim_cur = limit, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_NOFILE, &lowered);
  }
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;
  ~DescriptorLimit() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_;
};

inline rlim_t HardDescriptorLimit() {
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_max;
}

// Calls `turn` until `done`; false if that never came.
inline bool Repeat(const std::function<bool()>& done, const std::function<void()>& turn) {
  const auto deadline = std::chrono::steady_clock::now() + kHang;
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    turn();
  }
  return true;
}

// Whether a loop's tables have the sizes that the test gives, or those of the whole suite.
enum class Sizes { kAsTheSuite, kAsGiven };

// A loop and its script. When it goes, it shuts the loop down and checks what has to hold then.
template <class Backend>
class Stage {
 public:
  using Loop = LoopOf<Backend>;
  using Peer = typename Script<Backend>::Peer;

  explicit Stage(const io::LoopOptions& options = {}, Sizes sizes = Sizes::kAsTheSuite)
      : script_(options.recv_buffer_bytes), server(script_.server), client(script_.client) {
    const bool given = sizes == Sizes::kAsGiven;
    loop_.emplace(script_, given ? options : WithEnvironment<Backend>(options));
    const absl::Status opened = loop_->Open();
    EXPECT_TRUE(opened.ok()) << opened;
  }
  ~Stage() {
    server = client = {};  // what they refer to may be gone
    if (loop_) Shutdown();
    Destroy();
  }

  Loop& loop() { return *loop_; }
  const io::Counters& counters() const { return loop_->counters(); }
  Script<Backend>& script() { return script_; }
  std::vector<Peer*> servers() { return script_.Ends(true); }
  std::vector<Peer*> clients() { return script_.Ends(false); }

  io::Endpoint Listen(const std::string& at = AnyAddress(), const io::ListenOptions& options = {}) {
    const auto endpoint = loop_->Listen(*io::Resolve(at), options);
    EXPECT_TRUE(endpoint.ok()) << endpoint.status();
    return endpoint.value_or(io::Endpoint());
  }

  // What Connect() connects with.
  io::ConnectOptions connect = {.receive_timestamps = AsksForTimestamps()};

  // Connects `count` times, with tags from `tag` on.
  void Connect(const io::Endpoint& at, uint64_t tag = 0, int count = 1) {
    for (int i = 0; i < count; ++i) {
      const auto connection = loop_->Connect(at, tag + i, connect);
      EXPECT_TRUE(connection.ok()) << connection.status();
    }
  }

  void RunOnce(io::Nanos timeout = kTurn) {
    script_.SetRunning(true);
    const absl::Status status = loop_->RunOnce(timeout);
    script_.SetRunning(false);
    EXPECT_TRUE(status.ok()) << status;
  }

  // Runs the loop until `done`; false, and a failure that tells the state, if that never comes.
  bool RunUntil(const std::function<bool()>& done) {
    if (Repeat(done, [this] { RunOnce(); })) return true;
    ADD_FAILURE() << "hangs: " << State();
    return false;
  }
  bool RunUntilAllClosed() {
    return RunUntil([this] { return loop_->connections() == 0; });
  }

  // Checks that the loop sleeps while there is nothing to do: in a while in which no byte came or
  // left. (Some transports go on filling their buffers for long.) A loop that spins makes a hundred
  // thousand turns in this time; a slow machine makes fewer than a fast one.
  void ExpectRest() {
    uint64_t turns = 0;
    bool quiet = false;
    EXPECT_TRUE(Repeat([&] { return quiet; },
                       [&] {
                         const uint64_t moved = Moved(), before = counters().turns;
                         const auto until =
                             std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
                         while (std::chrono::steady_clock::now() < until) {
                           RunOnce(std::chrono::milliseconds(50));
                         }
                         quiet = Moved() == moved;
                         turns = counters().turns - before;
                       }))
        << "never rests: " << State();
    EXPECT_LT(turns, 100u) << "spins: " << State();
  }

  void Shutdown() {
    script_.SetRunning(true);
    loop_->Shutdown();
    script_.SetRunning(false);
    EXPECT_EQ(loop_->connections(), 0u);
    EXPECT_EQ(loop_->operations_in_kernel(), 0u);
    EXPECT_EQ(loop_->buffers_lent(), 0u);
    EXPECT_EQ(counters().stale_completions, 0u);
    EXPECT_EQ(counters().closed, script_.closes());
  }

  // Ends the loop without a Shutdown() of the test's own.
  void Destroy() {
    script_.SetRunning(true);
    loop_.reset();
    script_.SetRunning(false);
    EXPECT_EQ(script_.open(), 0u) << "connections without OnClose";
    for (const std::string& problem : script_.Problems()) ADD_FAILURE() << problem;
  }

  // What a server does that echoes until the client's FIN.
  void ServeEcho() {
    server.receive = [](Peer& peer, io::Bytes in) { peer.Send(in); };
    server.end = [](Peer& peer) { peer.Close(); };
  }

  // Checks that `in` continues the peer's stream.
  void Verify(Peer& peer, io::Bytes in) {
    const uint64_t at = peer.in.bytes();
    if (peer.in.Matches(in)) return;
    script_.Problem(
        absl::StrCat("connection ", peer.tag, ": wrong bytes among the ", in.size(), " at ", at));
    peer.Abort();
  }

 private:
  uint64_t Moved() const { return counters().received_bytes + counters().sent_bytes; }

  std::string State() const {
    const io::Counters& c = counters();
    return absl::StrCat(loop_->connections(), " connections, ", c.accepted, " accepted, ",
                        c.connected, " connected, ", c.closed, " closed, ", c.received_bytes,
                        " bytes received, ", c.sent_bytes, " sent, ", c.starved, " starved, ",
                        c.receive_pauses, " receive pauses, ", c.accept_pauses, " accept pauses, ",
                        loop_->operations_in_kernel(), " operations, ", loop_->buffers_lent(),
                        " buffers lent");
  }

  Script<Backend> script_;
  std::optional<Loop> loop_;

 public:
  typename Script<Backend>::Role &server, &client;
};

// Each test runs on each loop, and leaves no descriptor behind.
template <class Backend>
class Contract : public testing::Test {
 protected:
  void SetUp() override {
    const absl::Status available = LoopOf<Backend>::Probe();
    if (!available.ok()) GTEST_SKIP() << LoopOf<Backend>::kName << ": " << available;
    const absl::StatusOr<int> socket = io::OpenConnector(*io::Resolve(AnyAddress()), true);
    if (!socket.ok()) GTEST_SKIP() << TransportName() << ": " << socket.status();
    close(*socket);
    descriptors_ = OpenDescriptors();
  }
  void TearDown() override {
    if (IsSkipped()) return;
    EXPECT_TRUE(Repeat([this] { return OpenDescriptors() <= descriptors_; },
                       [] { std::this_thread::yield(); }))
        << OpenDescriptors() - descriptors_ << " descriptors are left open";
  }

 private:
  size_t descriptors_ = 0;
  const DescriptorLimit raised_{HardDescriptorLimit()};
};

struct LoopName {
  template <class Backend>
  static std::string GetName(int) {
    return std::string(LoopOf<Backend>::kName);
  }
};

TYPED_TEST_SUITE(Contract, Backends, LoopName);

}  // namespace contract
