#pragma once

#include <cstdint>
#include <vector>

namespace loadgen {

// When a request was due, and when it was sent. In closed loop both are the same.
struct RequestTimes {
  int64_t scheduled_ns;
  int64_t sent_ns;
};

// The times of the requests in flight on streams, whose replies come in the order of the requests:
// a ring of `depth` for each slot, which the caller tells apart by the oldest one's place.
class TimesTable {
 public:
  explicit TimesTable(uint32_t depth) : depth_(depth) {}

  void Resize(size_t slots) {
    if (slots * depth_ > times_.size()) times_.resize(slots * depth_);
  }

  // The `i`-th after the oldest of a slot. REQUIRES: oldest, i < depth.
  RequestTimes& At(uint32_t slot, uint32_t oldest, uint32_t i) {
    const uint32_t place = oldest + i;
    return times_[size_t{slot} * depth_ + (place < depth_ ? place : place - depth_)];
  }

 private:
  const uint32_t depth_;
  std::vector<RequestTimes> times_;
};

}  // namespace loadgen
