#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "io/event_loop.h"
#include "server/responder.h"
#include "server/server.h"
#include "stats/cpu_clock.h"

namespace server {

enum class Phase { kServing, kDraining, kAborting };

// What the threads of a server share with the one that started it.
class Control {
 public:
  Phase phase() const { return phase_.load(std::memory_order_acquire); }
  void SetPhase(Phase phase) {
    phase_.store(phase, std::memory_order_release);
    const std::lock_guard lock(mutex_);
    for (auto& wake : wakes_) wake();
  }
  // A loop that SetPhase() has to wake; it stays until the threads are joined or Remove()d.
  size_t AddWake(std::function<void()> wake) {
    const std::lock_guard lock(mutex_);
    wakes_.push_back(std::move(wake));
    return wakes_.size() - 1;
  }
  void RemoveWake(size_t index) {
    const std::lock_guard lock(mutex_);
    wakes_[index] = [] {};
  }

 private:
  std::atomic<Phase> phase_{Phase::kServing};
  std::mutex mutex_;
  std::vector<std::function<void()>> wakes_;
};

// One thread's work: a loop with the service on it, from opening to the last close.
template <class Loop, class Service>
class Worker {
 public:
  Worker(const ServerOptions& options, Service& service, Control& control)
      : options_(options),
        control_(control),
        responder_(service),
        loop_(responder_, options.loop) {}

  absl::StatusOr<io::Endpoint> Open(const io::Endpoint& at, bool share_port) {
    absl::Status opened = loop_.Open();
    if (!opened.ok()) return opened;
    return loop_.Listen(at, {.backlog = options_.backlog, .reuse_port = share_port});
  }

  // Serves until the phase says otherwise, then drains. Fills `summary` also where it fails.
  absl::Status Run(ServerSummary* summary) {
    const size_t wake = control_.AddWake([this] { loop_.Wake(); });
    absl::Status status;
    while (status.ok() && control_.phase() == Phase::kServing) status = loop_.RunOnce(io::kForever);
    if (status.ok()) status = Drain(summary);
    control_.RemoveWake(wake);
    loop_.Shutdown();
    summary->io = loop_.counters();
    if constexpr (requires { loop_.features(); }) {
      summary->features = loop_.features().ToString();
    }
    summary->requests = responder_.requests();
    summary->cpu_ns = stats::ThreadCpuNanos();
    return status;
  }

 private:
  using Clock = std::chrono::steady_clock;
  // How often a drain looks at its deadline.
  static constexpr std::chrono::milliseconds kGlance{20};

  absl::Status Drain(ServerSummary* summary) {
    loop_.StopListening();
    summary->open_at_drain = loop_.connections();
    const auto deadline = Clock::now() + options_.drain_deadline;
    const auto in_time = [&] {
      return control_.phase() != Phase::kAborting && Clock::now() < deadline;
    };
    // What has arrived is answered before the FIN goes out.
    for (uint64_t seen = ~0ull; in_time() && loop_.counters().received_bytes != seen;) {
      seen = loop_.counters().received_bytes;
      const absl::Status status = loop_.RunOnce(io::Nanos::zero());
      if (!status.ok()) return status;
    }
    loop_.ForEachConnection([this](io::Connection& c) { loop_.End(c); });
    while (loop_.connections() > 0 && in_time()) {
      const absl::Status status = loop_.RunOnce(kGlance);
      if (!status.ok()) return status;
    }
    summary->aborted_at_deadline = loop_.connections();
    return absl::OkStatus();
  }

  const ServerOptions& options_;
  Control& control_;
  Responder<Service> responder_;
  Loop loop_;
};

}  // namespace server
