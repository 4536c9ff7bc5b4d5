#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "io/event_loop.h"

namespace io {

// When to leave a socket of datagrams alone for a moment. An error that it reports is mostly gone
// with the report, and what waits behind it can be received. One that comes again, with nothing
// received meanwhile, lasts (ENOMEM, ENOBUFS of a machine without memory, or an error of ours), and
// would spin: then receiving pauses, at first for a millisecond, and for longer while it goes on.
class DatagramPause {
 public:
  bool active() const { return active_; }
  // A receive failed. Whether receiving pauses from now on.
  bool Failed(int error) {
    // In io_uring ENOBUFS also says that no buffer is left: some have to come back first.
    const int in_a_row = error == ENOBUFS ? kForBuffers : kForErrors;
    if (++failures_ < in_a_row) return false;
    active_ = true;
    until_ = Clock::now() + pause_;
    pause_ = std::min(2 * pause_, kLongest);
    return true;
  }
  void Received() {
    failures_ = 0;
    pause_ = kFirst;
  }
  bool Due() const { return active_ && Clock::now() >= until_; }
  void Clear() { active_ = false; }
  // A wait must not outlast the pause.
  Nanos Clip(Nanos timeout) const {
    if (!active_) return timeout;
    return std::min(timeout, std::max<Nanos>(until_ - Clock::now(), Nanos::zero()));
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr int kForErrors = 2, kForBuffers = 16;
  static constexpr std::chrono::milliseconds kFirst{1}, kLongest{50};
  bool active_ = false;
  int failures_ = 0;  // in a row
  std::chrono::milliseconds pause_ = kFirst;
  Clock::time_point until_;
};

}  // namespace io
