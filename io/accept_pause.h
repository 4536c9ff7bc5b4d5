#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "io/event_loop.h"

namespace io {

// Errors of accept(2) that last until somebody gives something back.
inline bool OutOfResources(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

// Accepting pauses when no descriptor, memory or slot is left. It resumes when a connection of ours
// closed, or, since the descriptor that comes free may be another's, after a moment.
class AcceptPause {
 public:
  bool active() const { return active_; }
  void Start() {
    active_ = true;
    until_ = Clock::now() + kRetry;
  }
  void Clear() { active_ = false; }
  bool Due() const { return active_ && Clock::now() >= until_; }
  // A wait must not outlast the pause.
  Nanos Clip(Nanos timeout) const { return active_ ? std::min<Nanos>(timeout, kRetry) : timeout; }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kRetry{50};
  bool active_ = false;
  Clock::time_point until_;
};

}  // namespace io
