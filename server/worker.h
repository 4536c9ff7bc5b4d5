#pragma once

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
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

enum class Phase : uint8_t {
  kWaiting,  // not accepting yet
  kServing,
  kRetiring,  // a successor accepts; serving those that are connected
  kDraining,
  kAborting,
};

// How the thread that started a server and its workers talk.
class Control {
 public:
  explicit Control(uint32_t threads) : wakes_(threads), reports_(threads), late_(threads) {}

  Phase phase() const { return phase_.load(std::memory_order_acquire); }
  void SetPhase(Phase phase) {
    phase_.store(phase, std::memory_order_release);
    changed_.notify_all();
    WakeAll();
  }
  // Back to kWaiting, with no reports. REQUIRES: no worker runs.
  void Reset() {
    const std::lock_guard lock(mutex_);
    phase_.store(Phase::kWaiting, std::memory_order_release);
    std::fill(reports_.begin(), reports_.end(), Reported());
  }
  // Waits while the phase is kWaiting. For workers.
  void AwaitServing() {
    std::unique_lock lock(mutex_);
    while (phase() == Phase::kWaiting) changed_.wait_for(lock, std::chrono::milliseconds(20));
  }

  // A worker's: how it is woken, until {} is given.
  void SetWake(uint32_t thread, std::function<void()> wake) {
    const std::lock_guard lock(mutex_);
    wakes_[thread] = std::move(wake);
  }

  // A worker reports when it sees a number that it has not reported for.
  uint64_t asked() const { return asked_.load(std::memory_order_relaxed); }
  void Report(uint32_t thread, uint64_t asked, bool listening, ServerSummary summary) {
    {
      const std::lock_guard lock(mutex_);
      reports_[thread] = {asked, listening, std::move(summary)};
      late_[thread] = false;
    }
    changed_.notify_all();
  }

  struct Reported {
    uint64_t asked = 0;
    bool listening = true;
    ServerSummary summary;
  };
  // Asks every worker for a report, and waits for them until `patience` has passed. Who let it pass
  // isn't waited for again until it has answered: a worker that hangs costs one patience.
  std::vector<Reported> AskAll(std::chrono::milliseconds patience) {
    const uint64_t asked = asked_.fetch_add(1) + 1;
    WakeAll();
    std::unique_lock lock(mutex_);
    const auto answered = [&](size_t i) { return reports_[i].asked >= asked; };
    changed_.wait_for(lock, patience, [&] {
      for (size_t i = 0; i < reports_.size(); ++i) {
        if (!answered(i) && !late_[i]) return false;
      }
      return true;
    });
    for (size_t i = 0; i < reports_.size(); ++i) late_[i] = !answered(i);
    return reports_;
  }
  // What each reported last, without asking.
  std::vector<Reported> Last() {
    const std::lock_guard lock(mutex_);
    return reports_;
  }

 private:
  void WakeAll() {
    const std::lock_guard lock(mutex_);
    for (const auto& wake : wakes_) {
      if (wake) wake();
    }
  }

  std::atomic<Phase> phase_{Phase::kWaiting};
  std::atomic<uint64_t> asked_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::function<void()>> wakes_;
  std::vector<Reported> reports_;
  std::vector<bool> late_;  // did not answer in time, and has not answered since
};

// One thread's work: a loop with the services on it, from opening to the last close.
template <template <class> class LoopFor>
class Worker {
 public:
  using Loop = LoopFor<Responder>;

  Worker(Common& common, Control& control, uint32_t thread)
      : common_(common),
        control_(control),
        thread_(thread),
        busy_poll_(common.options.busy_poll),
        responder_(common, thread),
        loop_(responder_, common.options.loop) {}

  absl::Status Open() { return loop_.Open(); }

  // Serves on `sockets`, which are the loop's from now on, until the phase says otherwise, then
  // drains. Fills `summary` also where it fails.
  absl::Status Run(const std::vector<io::ListenOptions>& sockets, ServerSummary* summary) {
    control_.AwaitServing();
    control_.SetWake(thread_, [this] { loop_.Wake(); });
    absl::Status status;
    for (const io::ListenOptions& socket : sockets) {
      if (status.ok() && control_.phase() == Phase::kServing) {
        status = loop_.Listen(common_.listeners[socket.tag].at, socket).status();
      } else {
        close(socket.fd);
      }
    }
    while (status.ok() && control_.phase() <= Phase::kServing) status = Turn();
    if (status.ok() && control_.phase() == Phase::kRetiring) status = Retire();
    const uint64_t open = loop_.connections();
    uint64_t aborted = 0;
    if (status.ok()) status = Drain(&aborted);
    control_.SetWake(thread_, {});
    loop_.Shutdown();
    *summary = Summary();
    summary->open = open;
    summary->aborted_at_deadline = aborted;
    control_.Report(thread_, UINT64_MAX, false, *summary);
    return status;
  }

 private:
  using Clock = std::chrono::steady_clock;
  // How often a drain looks at its deadline.
  static constexpr std::chrono::milliseconds kGlance{20};

  // A turn of the loop, and what is due besides.
  absl::Status Turn(io::Nanos at_most = io::kForever) {
    if (control_.asked() != reported_) {
      reported_ = control_.asked();
      control_.Report(thread_, reported_, loop_.listening() > 0, Summary());
    }
    io::Nanos timeout = at_most;
    const int64_t next = responder_.NextTick();
    if (next != Responder::kNever) {
      timeout = std::min(timeout, io::Nanos(std::max<int64_t>(0, next - Responder::Now())));
    }
    const absl::Status status = loop_.RunOnce(busy_poll_ ? io::Nanos::zero() : timeout);
    if (responder_.NextTick() != Responder::kNever) {
      const int64_t now = Responder::Now();
      if (now >= responder_.NextTick()) responder_.Tick(loop_, now);
    }
    return status;
  }

  ServerSummary Summary() const {
    ServerSummary summary;
    summary.io = loop_.counters();
    summary.features = loop_.features().ToString();
    if (busy_poll_) summary.features += ", busy poll";
    summary.requests = responder_.requests();
    summary.refusals = responder_.refusals();
    summary.refusals.no_memory += summary.io.no_memory;
    summary.open = loop_.connections();
    summary.delayed = responder_.delayed();
    summary.delayed_bytes = responder_.delayed_bytes();
    summary.cpu_ns = stats::ThreadCpuNanos();
    return summary;
  }

  absl::Status Retire() {
    loop_.RetireListeners();
    absl::Status status;
    while (status.ok() && control_.phase() == Phase::kRetiring &&
           (loop_.connections() > 0 || loop_.waiting() > 0 || loop_.listening() > 0 ||
            responder_.delayed() > 0)) {
      status = Turn();
    }
    return status;
  }

  absl::Status Drain(uint64_t* aborted) {
    const auto deadline = Clock::now() + common_.options.drain_deadline;
    const auto in_time = [&] {
      return control_.phase() != Phase::kAborting && Clock::now() < deadline;
    };
    // What has arrived is answered before the FIN goes out; datagrams before their sockets close.
    absl::Status status = loop_.RunOnce(io::Nanos::zero());
    loop_.RetireListeners();
    for (uint64_t seen = ~0ull;
         status.ok() && in_time() && loop_.counters().received_bytes != seen;) {
      seen = loop_.counters().received_bytes;
      status = loop_.RunOnce(io::Nanos::zero());
    }
    while (status.ok() && in_time() && responder_.delayed() > 0) status = Turn(kGlance);
    loop_.StopListening();
    loop_.ForEachConnection([this](io::Connection& c) { responder_.End(loop_, c); });
    while (status.ok() && in_time() && loop_.connections() > 0) status = Turn(kGlance);
    *aborted = loop_.connections();
    return status;
  }

  Common& common_;
  Control& control_;
  const uint32_t thread_;
  const bool busy_poll_;
  Responder responder_;
  Loop loop_;
  uint64_t reported_ = 0;
};

}  // namespace server
