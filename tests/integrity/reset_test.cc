// Connections that are reset while their replies are under way. Their descriptors, slots and
// buffers go to the next ones at once: whoever gets one must not get a byte of who had it before.

#include <iostream>
#include <memory>
#include <random>
#include <vector>

#include "tests/integrity/peer.h"
#include "tests/tier.h"

namespace integrity {
namespace {

using Resets = EachBackend;
INSTANTIATE_TEST_SUITE_P(Backends, Resets, testing::Values("epoll", "io_uring"), BackendName);

const uint64_t kConnections = kSanitized ? 5'000 : tier::Tenth(50'000);
constexpr size_t kAtOnce = 256;
constexpr uint64_t kSourcesMax = 8;

// What one connection does: sends, reads a part of the echo, sends more, and resets.
struct Plan {
  uint64_t first, read, more;
};

class Churn {
 public:
  explicit Churn(const io::Endpoint& at) : at_(at) {}

  // Plays all connections; false where one hangs or got what isn't its own.
  bool Run() {
    while (ended_ < kConnections) {
      while (live_.size() < kAtOnce && begun_ < kConnections) {
        if (!Begin()) return false;
      }
      if (!Turn()) return false;
    }
    return true;
  }

  uint64_t read_bytes() const { return read_bytes_; }
  uint64_t unread_bytes() const { return unread_bytes_; }

 private:
  struct Live {
    std::unique_ptr<Peer> peer;
    Plan plan;
    uint64_t number;
  };

  bool Begin() {
    const uint64_t number = begun_++;
    Live& live = live_.emplace_back();
    live.number = number;
    live.peer = std::make_unique<Peer>(number);
    live.peer->Open();
    live.peer->BindTo(absl::StrCat("127.0.0.", 2 + number % kSourcesMax));
    live.peer->Connect(at_);
    // Of any order of magnitude, up to what a socket takes at once.
    const uint64_t first = 1 + random_() % (64u << random_() % 10);
    live.peer->SendUntil(first);
    live.plan = {
        .first = live.peer->sent(), .read = 1 + random_() % first, .more = random_() % 16'384};
    live.plan.read = std::min(live.plan.read, live.plan.first);
    return Well(live);
  }

  bool Turn() {
    polled_.clear();
    for (const Live& live : live_) polled_.push_back({live.peer->fd(), POLLIN, 0});
    if (poll(polled_.data(), polled_.size(), kHangMs) <= 0) {
      ADD_FAILURE() << "hangs: " << live_.size() << " connections wait for the rest of their echo";
      return false;
    }
    for (size_t i = polled_.size(); i-- > 0;) {
      if (polled_[i].revents != 0 && !Continue(i)) return false;
    }
    return true;
  }

  bool Continue(size_t i) {
    Live& live = live_[i];
    live.peer->Receive(live.plan.read - live.peer->received());
    if (!Well(live)) return false;
    if (live.peer->received() < live.plan.read) return true;
    live.peer->SendUntil(live.plan.first + live.plan.more);  // the reset comes into its echo
    read_bytes_ += live.peer->received();
    unread_bytes_ += live.peer->sent() - live.peer->received();
    live.peer->Reset();
    ++ended_;
    std::swap(live_[i], live_.back());
    live_.pop_back();
    return true;
  }

  bool Well(const Live& live) {
    const Peer& peer = *live.peer;
    if (peer.problem().empty() && peer.error() == 0 && !peer.ended()) return true;
    ADD_FAILURE() << "connection " << live.number << " of " << kConnections << ": "
                  << (!peer.problem().empty() ? peer.problem()
                      : peer.ended()          ? "ended by the server"
                                              : io::ErrnoName(peer.error()))
                  << ", after " << peer.received() << " bytes";
    return false;
  }

  const io::Endpoint at_;
  std::mt19937_64 random_{1};
  std::vector<Live> live_;
  std::vector<pollfd> polled_;
  uint64_t begun_ = 0, ended_ = 0, read_bytes_ = 0, unread_bytes_ = 0;
};

TEST_P(Resets, NoConnectionGetsAByteThatIsNotItsOwn) {
  Server server({"--backend", GetParam()});
  Churn churn(*io::Resolve("127.0.0.1:" + server.port()));
  EXPECT_TRUE(churn.Run());
  std::cout << GetParam() << ": " << kConnections << " connections reset; " << churn.read_bytes()
            << " bytes compared, " << churn.unread_bytes() << " under way\n";
  const Json summary = StopAndCheck(server, kConnections);
  EXPECT_GE(summary["bytes"]["sent"], churn.read_bytes());
}

}  // namespace
}  // namespace integrity
