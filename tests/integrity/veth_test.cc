// Over a wire, or what is next to one: a veth(4) pair between two networks of the test's own. There
// are segments of 1,500 bytes, acknowledgements that take a moment, and no receiver that runs
// within the sender's call, as on loopback.

#include <sched.h>

#include <memory>
#include <optional>
#include <random>

#include "tests/integrity/peer.h"

namespace integrity {
namespace {

// A network that this thread is in, and one at the other end of a veth pair. Both have no name, and
// nobody else's interface is in them, so both go with the processes that hold them.
class TwoNetworks {
 public:
  TwoNetworks() {
    ours_before_ = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (ours_before_ < 0 || unshare(CLONE_NEWNET) != 0) {
      problem_ = absl::StrCat("no network namespace of its own: ", io::ErrnoName(errno));
      return;
    }
    entered_ = true;
    here_ = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (unshare(CLONE_NEWNET) == 0) there_ = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (there_ < 0) {
      problem_ = absl::StrCat("no second network namespace: ", io::ErrnoName(errno));
      return;
    }
    // A process of its own holds the other network for ip(8), which finds it by number.
    holder_.emplace(cli_tests::Start({"sleep", "infinity"}));
    Enter(here_);
    const std::string name = absl::StrCat("rs", getpid());
    const std::string holder = std::to_string(holder_->pid());
    Ip({"link", "add", name, "type", "veth", "peer", "name", name + "p", "netns", holder});
    Up(name, "10.231.0.1/24");
    Enter(there_);
    Up(name + "p", "10.231.0.2/24");
    Enter(here_);
  }
  TwoNetworks(const TwoNetworks&) = delete;
  TwoNetworks& operator=(const TwoNetworks&) = delete;
  ~TwoNetworks() {
    if (entered_) Enter(ours_before_);
    for (const int fd : {ours_before_, here_, there_}) {
      if (fd >= 0) close(fd);
    }
  }

  const std::string& problem() const { return problem_; }  // "": both are there, and we in the one

  // Starts a server in the other network.
  std::unique_ptr<Server> Start(const std::string& backend) {
    Enter(there_);
    auto server =
        std::make_unique<Server>(std::vector<std::string>{"--backend", backend}, "10.231.0.2:0");
    Enter(here_);
    return server;
  }

 private:
  static void Enter(int network) {
    ASSERT_EQ(setns(network, CLONE_NEWNET), 0) << io::ErrnoName(errno);
  }
  void Ip(std::vector<std::string> arguments) {
    if (!problem_.empty()) return;
    arguments.insert(arguments.begin(), "ip");
    const cli_tests::Ended ended = cli_tests::RunToEnd(arguments);
    if (ended.exit_code != 0) problem_ = "ip " + arguments[1] + ": " + ended.err;
  }
  void Up(const std::string& name, const std::string& address) {
    Ip({"addr", "add", address, "dev", name});
    Ip({"link", "set", name, "up"});
  }

  int ours_before_ = -1, here_ = -1, there_ = -1;
  bool entered_ = false;
  std::optional<bench::Process> holder_;
  std::string problem_;
};

class Veth : public EachBackend {
 protected:
  void SetUp() override {
    EachBackend::SetUp();
    if (IsSkipped()) return;
    if (geteuid() != 0) GTEST_SKIP() << "only root may make networks";
    if (!cli_tests::Installed("ip")) GTEST_SKIP() << "iproute2 is not installed";
    networks_ = std::make_unique<TwoNetworks>();
    if (!networks_->problem().empty()) GTEST_SKIP() << networks_->problem();
    server_ = networks_->Start(GetParam());
    at_ = *io::Resolve("10.231.0.2:" + server_->port());
  }

  // Ends the server: it has received and sent as much as the peers did, without an error.
  void ExpectAllEchoed(const std::deque<Peer>& peers) {
    uint64_t bytes = 0;
    for (const Peer& peer : peers) {
      EXPECT_EQ(peer.problem(), "");
      EXPECT_EQ(peer.error(), 0) << io::ErrnoName(peer.error());
      EXPECT_EQ(peer.received(), peer.sent());
      EXPECT_TRUE(peer.ended());
      bytes += peer.sent();
    }
    const Json summary = StopAndCheck(*server_, peers.size());
    EXPECT_EQ(summary["bytes"]["received"], bytes);
    EXPECT_EQ(summary["bytes"]["sent"], bytes);
    EXPECT_EQ(summary["errors"]["total"], 0) << summary["errors"];
  }

  // Whether a peer has no more to hope for.
  static bool Over(const Peer& peer) {
    return peer.ended() || peer.error() != 0 || !peer.problem().empty();
  }

  std::unique_ptr<TwoNetworks> networks_;
  std::unique_ptr<Server> server_;
  io::Endpoint at_;
};

INSTANTIATE_TEST_SUITE_P(Backends, Veth, testing::Values("epoll", "io_uring"), BackendName);

TEST_P(Veth, LargeMessagesOnManyConnectionsAtOnce) {
  constexpr int kPeers = 16;
  constexpr uint64_t kMessage = 300'000, kMessages = 10;
  std::deque<Peer> peers;
  for (int i = 0; i < kPeers; ++i) {
    Peer& peer = peers.emplace_back(i);
    peer.Open();
    peer.Connect(at_);
  }
  // The message that is under way: the next goes out when it has come back.
  const auto target = [&](const Peer& peer) {
    return std::min(peer.received() / kMessage + 1, kMessages) * kMessage;
  };
  ASSERT_TRUE(Serve(
      peers,
      [&](Peer& peer) -> short {
        if (Over(peer)) return 0;
        return peer.sent() < target(peer) ? POLLIN | POLLOUT : POLLIN;
      },
      [&](Peer& peer, short events) {
        if (events & POLLOUT) peer.SendUntil(target(peer));
        if (events & ~POLLOUT) peer.Receive();
        if (peer.received() == kMessages * kMessage && !peer.ended()) peer.Finish();
      }));
  for (const Peer& peer : peers) EXPECT_EQ(peer.received(), kMessages * kMessage);
  ExpectAllEchoed(peers);
}

TEST_P(Veth, APeerThatReadsWhenItHasSentAll) {
  constexpr uint64_t kBytes = 8 << 20;
  std::deque<Peer> peers;
  Peer& peer = peers.emplace_back(1);
  peer.Open();
  peer.Set(SOL_SOCKET, SO_SNDBUFFORCE, 2 * kBytes);  // holds all that the server doesn't take yet
  peer.Connect(at_);
  ASSERT_TRUE(Serve(
      peers, [&](Peer& p) -> short { return p.sent() < kBytes && p.error() == 0 ? POLLOUT : 0; },
      [&](Peer& p, short) { p.SendUntil(kBytes); }));
  ASSERT_EQ(peer.sent(), kBytes);
  peer.Finish();
  EXPECT_EQ(peer.received(), 0u);
  std::mt19937_64 random(1);
  ASSERT_TRUE(Serve(
      peers, [&](Peer& p) -> short { return Over(p) ? 0 : POLLIN; },
      [&](Peer& p, short) { p.Receive(1 + random() % 5'000); }));
  ExpectAllEchoed(peers);
}

TEST_P(Veth, APeerWithTheSmallestBuffers) {
  constexpr uint64_t kBytes = kSanitized ? 200'000 : 1'000'000;
  std::deque<Peer> peers;
  for (int i = 0; i < 4; ++i) {
    Peer& peer = peers.emplace_back(i);
    peer.Open(i % 2 == 0 ? 1 : 0, i / 2 == 0 ? 1 : 0);  // one of each, both, none
    peer.Connect(at_);
  }
  ASSERT_TRUE(Serve(
      peers,
      [&](Peer& peer) -> short {
        if (Over(peer)) return 0;
        return peer.sent() < kBytes ? POLLIN | POLLOUT : POLLIN;
      },
      [&](Peer& peer, short events) {
        if (events & POLLOUT) {
          peer.SendUntil(kBytes);
          if (peer.sent() == kBytes) peer.Finish();
        }
        if (events & ~POLLOUT) peer.Receive();
      }));
  for (const Peer& peer : peers) EXPECT_EQ(peer.received(), kBytes);
  ExpectAllEchoed(peers);
}

}  // namespace
}  // namespace integrity
