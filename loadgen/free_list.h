#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

namespace loadgen {

// Connections that could take a request, by slot; the one that waited longest is next. So in open
// loop all have their turn, and a due request goes to a connection that is free if there is any.
// Memory: 8 bytes a slot, at most two entries for each.
class FreeList {
 public:
  bool empty() const { return size_ == 0; }
  uint32_t front() const { return ring_[head_]; }

  void Push(uint32_t slot) {
    if (size_ == ring_.size()) Grow();
    const size_t at = head_ + size_++;
    ring_[at < ring_.size() ? at : at - ring_.size()] = slot;
  }

  // In an order that depends on the seed alone.
  void Shuffle(uint64_t seed) {
    std::vector<uint32_t> slots;
    for (; !empty(); Pop()) slots.push_back(front());
    std::mt19937_64 random(seed);
    for (size_t i = slots.size(); i > 1; --i) std::swap(slots[i - 1], slots[random() % i]);
    for (const uint32_t slot : slots) Push(slot);
  }

  void Pop() {
    head_ = head_ + 1 < ring_.size() ? head_ + 1 : 0;
    --size_;
  }

 private:
  void Grow() {
    std::vector<uint32_t> larger;
    larger.reserve(ring_.empty() ? 64 : ring_.size() * 2);
    for (size_t i = 0; i < size_; ++i) larger.push_back(ring_[(head_ + i) % ring_.size()]);
    larger.resize(larger.capacity());
    ring_ = std::move(larger);
    head_ = 0;
  }

  std::vector<uint32_t> ring_;
  size_t head_ = 0, size_ = 0;
};

}  // namespace loadgen
