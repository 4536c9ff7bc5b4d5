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
  std::vector<uint64_t> requests_by_connection;
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
  std::atomic<uint32_t> opening;         // threads whose connections are not all answered yet
  std::atomic<int64_t> start_at{0};      // when the warm-up begins; 0: not known yet
  std::atomic<int64_t> window_begin{0};  // when measuring begins; 0: not known yet
  std::atomic<uint32_t> running{0};
  std::atomic<bool> gated{false};         // once all are open, Load::Go() is waited for
  std::atomic<bool> stop_opening{false};  // Load::StopOpening()
  std::atomic<bool> all_open{false};      // every thread has its loop, or has said why not
  WarmupWatch warmup;
  io::Waker ended;
  std::vector<std::thread> threads;
  std::mutex mutex;
  std::vector<std::function<void()>> wakes;  // of the loops that run

  // The last thread to have its connections open starts the clock for all. The window's begin is
  // set first: who sees start_at sees it too.
  void Opened() {
    if (opening.fetch_sub(1) == 1 && !gated.load()) StartClock();
  }

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

}  // namespace loadgen
