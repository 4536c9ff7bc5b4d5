#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <new>

#include "io/endpoint.h"
#include "io/event_loop.h"

namespace io {

// Connects to Unix sockets whose backlog was full. connect(2) says EAGAIN then, and no event ever
// tells that there is room (and a blocking connect of io_uring would hold a kernel thread each): so
// they are tried again, every millisecond.
class ConnectRetries {
 public:
  bool empty() const { return attempts_.empty(); }
  // False: there is no memory for it.
  [[nodiscard]] bool Add(const Endpoint& at, const Connection& c) noexcept {
    try {
      attempts_.push_back({at, c.index, c.generation});
    } catch (const std::bad_alloc&) {
      return false;
    }
    return true;
  }
  // A wait must not outlast the next try.
  Nanos Clip(Nanos timeout) const { return empty() ? timeout : std::min<Nanos>(timeout, kRetry); }

  // Calls again(at, index, generation) for each, which may Add() it anew.
  template <class F>
  void TakeAll(F again) {
    for (size_t count = attempts_.size(); count > 0; --count) {
      const Attempt attempt = attempts_.front();
      attempts_.pop_front();
      again(attempt.at, attempt.index, attempt.generation);
    }
  }

 private:
  struct Attempt {
    Endpoint at;
    uint32_t index, generation;
  };
  static constexpr std::chrono::milliseconds kRetry{1};
  std::deque<Attempt> attempts_;
};

}  // namespace io
