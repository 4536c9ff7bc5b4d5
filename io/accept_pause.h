#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "io/event_loop.h"

namespace io {

// Errors of accept(2) that are one peer's trouble: the next connection may be well, so accepting
// goes on. All others last, until somebody gives a descriptor or memory back (EMFILE, ENFILE,
// ENOBUFS, ENOMEM) or for ever, and would spin.
inline bool OnePeersTrouble(int error) {
  switch (error) {
    case ECONNABORTED:
    case EPERM:  // a firewall rule
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case EOPNOTSUPP:
    case ETIMEDOUT:
      return true;
    default:
      return false;
  }
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
