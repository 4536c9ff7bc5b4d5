#include "stress/slow_peers.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "io/epoll_loop.h"
#include "io/threads.h"

namespace stress {
namespace {

constexpr std::byte kFill{'s'};  // what they send, and so all that may come back

constexpr size_t kSliceBytes = 64 * 1024;

int64_t MonotonicNanos() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

}  // namespace

// One loop's peers.
class SlowPeers::Handler {
 public:
  using Loop = io::EpollLoop<Handler>;

  Handler(const SlowOptions& options, Shared& shared)
      : options_(options),
        shared_(shared),
        slice_(kind() == SlowKind::kHalfClose ? options.message_bytes : kSliceBytes, kFill),
        loop_(*this, {.recv_buffer_bytes = kind() == SlowKind::kTrickle ? 1u : 64u * 1024}) {}

  absl::Status Open() {
    absl::Status status;
    if (!options_.cpus.empty()) status = io::PinThread(options_.cpus.front());
    if (status.ok()) status = loop_.Open();
    return status;
  }

  void Wake() { loop_.Wake(); }

  absl::Status Run(const std::atomic<bool>& stop) {
    absl::Status status;
    int64_t next_byte = MonotonicNanos() + options_.trickle_every_ns;
    while (status.ok() && !stop.load()) {
      while (begun_ < options_.peers && connecting_ < kConnectsInFlight && status.ok()) {
        status = ConnectOne();
      }
      int64_t wait = kGlanceNs;
      if (kind() == SlowKind::kTrickle) {
        const int64_t now = MonotonicNanos();
        if (now >= next_byte) {
          next_byte = now + options_.trickle_every_ns;
          loop_.ForEachConnection([this](io::Connection& c) { loop_.ResumeReceive(c); });
        }
        wait = std::clamp<int64_t>(next_byte - now, 0, wait);
      }
      if (status.ok()) status = loop_.RunOnce(io::Nanos(wait));
      shared_.sent.store(loop_.counters().sent_bytes, std::memory_order_relaxed);
    }
    stopping_ = true;
    loop_.Shutdown();
    return status;
  }

  void OnOpen(Loop& loop, io::Connection& c) noexcept {
    --connecting_;
    Add(shared_.opened);
    if (peers_.size() <= c.index) peers_.resize(c.index + 1);
    peers_[c.index] = {.open = true};
    if (kind() == SlowKind::kNeverRead) loop.PauseReceive(c);
    loop.SendStable(c, slice_);
    if (kind() == SlowKind::kHalfClose) loop.End(c);
  }

  void OnReceive(Loop& loop, io::Connection& c, io::Bytes in) noexcept {
    const auto wrong = in.size() - static_cast<size_t>(std::count(in.begin(), in.end(), kFill));
    Add(shared_.received, in.size());
    if (wrong > 0) Add(shared_.corrupt, wrong);
    Peer& peer = peers_[c.index];
    peer.received += in.size();
    if (kind() == SlowKind::kTrickle) loop.PauseReceive(c);
    if (kind() != SlowKind::kHalfClose || peer.received != slice_.size()) return;
    Add(shared_.answered);
  }

  // A peer that half-closed stays where it is: it is the server's turn to be done with it.
  void OnEnd(Loop& loop, io::Connection& c) noexcept {
    NoteClosed(peers_[c.index]);
    if (kind() != SlowKind::kHalfClose) loop.Abort(c);
  }

  void OnDrained(Loop& loop, io::Connection& c) noexcept {
    if (kind() != SlowKind::kHalfClose) loop.SendStable(c, slice_);
  }

  void OnClose(Loop&, io::Connection& c, int) noexcept {
    const bool was_open = c.index < peers_.size() && peers_[c.index].open;
    if (stopping_) return;
    if (was_open) {
      NoteClosed(peers_[c.index]);
      peers_[c.index] = {};
    } else {
      --connecting_;
      Add(shared_.failed);
    }
  }

 private:
  struct Peer {
    bool open = false, closed = false;
    uint64_t received = 0;
  };

  static constexpr uint32_t kConnectsInFlight = 256;  // no more: not to overflow a backlog
  static constexpr int64_t kGlanceNs = 100'000'000;   // at what others may have changed

  SlowKind kind() const { return options_.kind; }

  static void Add(std::atomic<uint64_t>& count, uint64_t more = 1) {
    count.fetch_add(more, std::memory_order_relaxed);
  }

  void NoteClosed(Peer& peer) {
    if (!peer.closed) Add(shared_.closed);
    peer.closed = true;
  }

  absl::Status ConnectOne() {
    const auto connection = loop_.Connect(options_.at, begun_);
    if (!connection.ok()) return connection.status();
    ++begun_;
    ++connecting_;
    return absl::OkStatus();
  }

  const SlowOptions& options_;
  Shared& shared_;
  const std::vector<std::byte> slice_;  // what is sent, again and again
  std::vector<Peer> peers_;             // by slot
  Loop loop_;
  uint32_t begun_ = 0, connecting_ = 0;
  bool stopping_ = false;
};

absl::Status SlowPeers::Start() {
  std::promise<absl::Status> ready;
  auto opened = ready.get_future();
  const absl::Status started = io::StartThread(
      "the slow peers", [this, ready = std::move(ready)]() mutable { Run(std::move(ready)); },
      &thread_);
  return started.ok() ? opened.get() : started;
}

void SlowPeers::Run(std::promise<absl::Status> ready) {
  Handler handler(options_, shared_);
  const absl::Status opened = handler.Open();
  if (opened.ok()) wake_ = [&handler] { handler.Wake(); };
  const bool ok = opened.ok();
  ready.set_value(opened);
  if (!ok) return;
  problem_ = handler.Run(stop_);
  may_end_.get_future().wait();
}

absl::Status SlowPeers::Stop() {
  if (!thread_.joinable()) return problem_;
  stop_.store(true);
  if (wake_) wake_();
  may_end_.set_value();
  thread_.join();
  return problem_;
}

SlowCounts SlowPeers::counts() const {
  const auto of = [](const std::atomic<uint64_t>& count) {
    return count.load(std::memory_order_relaxed);
  };
  return {.opened = of(shared_.opened),
          .failed = of(shared_.failed),
          .closed_by_server = of(shared_.closed),
          .answered = of(shared_.answered),
          .sent_bytes = of(shared_.sent),
          .received_bytes = of(shared_.received),
          .corrupt_bytes = of(shared_.corrupt)};
}

}  // namespace stress
