#pragma once

#include <cstdint>
#include <vector>

namespace loadgen {

// How many requests each of a thread's connections had, where one that ends is opened again: a
// place is had by one connection after the other, and their requests are the place's. (Each by
// itself would look starved beside one that was never opened again.) One thread's.
class Places {
 public:
  explicit Places(uint32_t places) : requests_(places, kNever) {
    for (uint32_t place = places; place > 0; --place) free_.push_back(place - 1);
  }

  // For a connection that is begun. There may be more of them than there are places.
  uint32_t Take() {
    if (free_.empty()) {
      requests_.push_back(kNever);
      free_.push_back(static_cast<uint32_t>(requests_.size() - 1));
    }
    const uint32_t place = free_.back();
    free_.pop_back();
    if (requests_[place] == kNever) requests_[place] = 0;
    return place;
  }

  // That connection is gone, and had so many requests.
  void Return(uint32_t place, uint64_t requests) {
    requests_[place] += requests;
    free_.push_back(place);
  }

  // Of each place that was ever had. REQUIRES: all are returned.
  std::vector<uint64_t> Requests() const {
    std::vector<uint64_t> had;
    for (const uint64_t requests : requests_) {
      if (requests != kNever) had.push_back(requests);
    }
    return had;
  }

 private:
  static constexpr uint64_t kNever = ~uint64_t{0};
  std::vector<uint64_t> requests_;
  std::vector<uint32_t> free_;
};

}  // namespace loadgen
