#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

#include "loadgen/arrivals.h"
#include "services/delay.h"
#include "services/splitmix.h"

namespace loadgen {

// Connections that think before their next request (closed loop). One thread's.
class Thoughts {
 public:
  Thoughts(const services::Delay& times, uint64_t seed) : times_(times), random_(seed) {}

  bool any() const { return times_ != services::Delay{.a = std::chrono::nanoseconds(0)}; }
  bool empty() const { return waiting_.empty(); }
  void Clear() { waiting_ = {}; }

  // A connection begins to think; it is told again by the two numbers.
  void Begin(uint32_t index, uint32_t generation, int64_t now_ns) {
    random_ += 0x9e3779b97f4a7c15;  // splitmix64's states
    waiting_.push(
        {now_ns + times_.Sample(services::SplitMix64(random_)).count(), index, generation});
  }

  // When the first has thought enough; kNever where none thinks.
  int64_t Next() const { return waiting_.empty() ? kNever : waiting_.top().due_ns; }

  // Calls f(index, generation) for each that has.
  template <class F>
  void PopDue(int64_t now_ns, F&& f) {
    while (Next() <= now_ns) {
      const One one = waiting_.top();
      waiting_.pop();
      f(one.index, one.generation);
    }
  }

 private:
  struct One {
    int64_t due_ns;
    uint32_t index, generation;
    bool operator>(const One& other) const { return due_ns > other.due_ns; }
  };

  const services::Delay times_;
  uint64_t random_;
  std::priority_queue<One, std::vector<One>, std::greater<>> waiting_;
};

}  // namespace loadgen
