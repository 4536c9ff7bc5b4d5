#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "io/endpoint.h"

namespace stress {

// A socket of ours that listens and accepts nothing, or so many connections a second; to each that
// it accepts it sends one byte. It lets go of them when it goes.
class PlainListener {
 public:
  // accepts_per_s 0: none. Those that nobody waited for are not made up for later. Errors:
  // io::OpenListener()'s, and io::StartThread()'s.
  static absl::StatusOr<std::unique_ptr<PlainListener>> Start(const io::Endpoint& at, int backlog,
                                                              double accepts_per_s);
  ~PlainListener();
  PlainListener(const PlainListener&) = delete;
  PlainListener& operator=(const PlainListener&) = delete;

  const io::Endpoint& at() const { return at_; }
  // So far. Any thread.
  uint64_t accepted() const { return accepted_.load(std::memory_order_relaxed); }

 private:
  PlainListener(int fd, int stop_fd, const io::Endpoint& at, double accepts_per_s);
  void Run();
  void AcceptOne();

  const int fd_, stop_fd_;
  const io::Endpoint at_;
  const double accepts_per_s_;
  std::vector<int> peers_;
  std::atomic<uint64_t> accepted_{0};
  std::thread thread_;  // where it accepts any
};

}  // namespace stress
