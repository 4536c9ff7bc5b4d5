#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace io {

// Connections that a loop owes a look before it waits again: something was sent, closed, resumed or
// starved outside of their own event. First in, first out. Entries name slot and generation, so a
// connection that closed meanwhile is passed over.
class AttentionList {
 public:
  struct Entry {
    uint32_t index, generation;
  };

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }

  void Push(Entry entry) {
    if (size_ == ring_.size()) Grow();
    ring_[(head_ + size_++) & (ring_.size() - 1)] = entry;
  }

  Entry Pop() {
    const Entry entry = ring_[head_];
    head_ = (head_ + 1) & (ring_.size() - 1);
    --size_;
    return entry;
  }

 private:
  void Grow() {
    std::vector<Entry> larger(ring_.size() * 2);
    for (size_t i = 0; i < size_; ++i) larger[i] = ring_[(head_ + i) & (ring_.size() - 1)];
    ring_ = std::move(larger);
    head_ = 0;
  }
  std::vector<Entry> ring_ = std::vector<Entry>(256);  // a power of two
  size_t head_ = 0, size_ = 0;
};

}  // namespace io
