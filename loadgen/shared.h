#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "io/waker.h"
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

// What the threads of one run share.
struct Load::Shared {
  std::atomic<bool> interrupted{false};
  std::atomic<uint32_t> opening;     // threads whose connections are not all answered yet
  std::atomic<int64_t> start_at{0};  // when the warm-up begins; 0: not known yet
  std::atomic<uint32_t> running{0};
  io::Waker ended;
  std::vector<std::thread> threads;
  std::vector<ThreadProgress> progress;
  std::vector<ThreadResult> results;
  std::mutex mutex;
  std::vector<std::function<void()>> wakes;       // of the loops that run
  std::function<std::string(LoadResult*)> prove;  // the service's proof over all threads

  // The last thread to have its connections open starts the clock for all.
  void Opened() {
    if (opening.fetch_sub(1) == 1) start_at.store(Now());
  }
};

}  // namespace loadgen
