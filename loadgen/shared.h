#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "io/waker.h"
#include "loadgen/collector.h"
#include "loadgen/load.h"

namespace loadgen {

// Monotonic time in nanoseconds, fresh: never a cached loop time.
inline int64_t Now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

struct alignas(64) ThreadProgress {
  std::atomic<uint64_t> requests{0};
  std::atomic<uint64_t> open{0};
  std::atomic<int> phase{0};
};

struct ThreadResult {
  absl::Status status;
  LoadResult result;
  std::vector<uint64_t> requests_by_place;  // Places::Requests()
};

// What the threads of one class share.
struct Load::Class {
  explicit Class(LoadOptions its_options);

  LoadOptions options;
  std::vector<ThreadProgress> progress;
  std::vector<ThreadResult> results;
  std::vector<Outbox> outboxes;  // of the threads
  Collector collector;
  std::atomic<uint64_t> errors{0};
  std::atomic<bool> out_of_ports{false};
  std::function<std::string()> prove;  // the service's proof over all threads
};

// What the threads of one run share.
struct Load::Shared {
  std::vector<std::unique_ptr<Class>> classes;
  std::atomic<bool> interrupted{false};
  std::atomic<bool> too_many_errors{false};  // of some class: all end early, or none
  std::atomic<uint32_t> opening;             // threads that have not Arrived() yet
  std::atomic<int64_t> start_at{0};          // when the warm-up begins; 0: not known yet
  std::atomic<int64_t> window_begin{0};      // when measuring begins; 0: not known yet
  std::atomic<uint32_t> running{0};
  std::atomic<bool> gated{false};         // once all are open, Load::Go() is waited for
  std::atomic<bool> stop_opening{false};  // Load::StopOpening()
  std::atomic<bool> all_open{false};      // every thread has its loop, or has said why not
  WarmupWatch warmup;
  io::Waker ended;
  std::vector<std::thread> threads;
  std::mutex mutex;
  std::vector<std::function<void()>> wakes;  // of the loops that run

  // The window's begin is set first: who sees start_at sees it too.
  void StartClock() {
    const int64_t now = Now();
    const LoadOptions& options = classes.front()->options;
    if (!options.warmup_auto) window_begin.store(now + options.warmup_ns);
    start_at.store(now);
  }

  // An automatic warm-up ends so long after that is known: every thread learns it before, or the
  // last requests of its warm-up would be due in the window.
  static constexpr int64_t kNoticeNs = 20'000'000;

  // The begin of the window, once it is known, else 0. A warm-up that nobody watches ends by
  // itself.
  int64_t WindowBegin(int64_t now) {
    int64_t begin = window_begin.load(std::memory_order_acquire);
    if (begin == 0 && now >= start_at.load() + LoadOptions::kWarmupMaxNs) {
      if (window_begin.compare_exchange_strong(begin, now + kNoticeNs)) begin = now + kNoticeNs;
    }
    return begin;
  }
};

// A thread's part in a run, of which the others wait for two things: that it has arrived at the end
// of the opening, and that it has ended. Whatever way the thread goes, each happens exactly once:
// at the latest when this is destroyed. Made before the thread, and moved into it, so that it holds
// for one that can't be started, too.
class Load::Part {
 public:
  explicit Part(Shared& shared) : shared_(&shared) {}
  Part(Part&& other) noexcept
      : shared_(std::exchange(other.shared_, nullptr)), arrived_(other.arrived_) {}
  Part& operator=(Part&&) = delete;
  ~Part() {
    if (shared_ == nullptr) return;
    Arrive();
    if (shared_->running.fetch_sub(1) == 1) shared_->ended.Wake();
  }

  // The thread's opening is over: its connections are open, or it does without. The last thread
  // starts the clock for all. Safe to call again.
  void Arrive() {
    if (std::exchange(arrived_, true)) return;
    if (shared_->opening.fetch_sub(1) == 1 && !shared_->gated.load()) shared_->StartClock();
  }

 private:
  Shared* shared_;  // nullptr: another has taken it over
  bool arrived_ = false;
};

}  // namespace loadgen
