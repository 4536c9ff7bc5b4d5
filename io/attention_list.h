#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>
#include <vector>

namespace io {

// Connections that a loop owes a look before it waits again: something was sent, closed, resumed or
// starved outside of their own event. First in, first out. Entries name slot and generation, so a
// connection that closed meanwhile is passed over. Where there is no memory for an entry, it is
// lost, and the list says so: the loop then looks at all of its slots, each of which knows whether
// it is listed.
class AttentionList {
 public:
  struct Entry {
    uint32_t index, generation;
  };

  bool empty() const { return size_ == 0 && !lost_; }
  size_t size() const { return size_; }

  void Push(Entry entry) noexcept {
    if (size_ == ring_.size() && !Grow()) {
      lost_ = true;
      return;
    }
    ring_[(head_ + size_++) & (ring_.size() - 1)] = entry;
  }

  // Whether entries were lost since the last call.
  bool TakeLost() { return std::exchange(lost_, false); }

  Entry Pop() {
    const Entry entry = ring_[head_];
    head_ = (head_ + 1) & (ring_.size() - 1);
    --size_;
    return entry;
  }

 private:
  bool Grow() noexcept {
    std::vector<Entry> larger;
    try {
      larger.resize(ring_.size() * 2);
    } catch (const std::bad_alloc&) {
      return false;
    }
    for (size_t i = 0; i < size_; ++i) larger[i] = ring_[(head_ + i) & (ring_.size() - 1)];
    ring_ = std::move(larger);
    head_ = 0;
    return true;
  }
  std::vector<Entry> ring_ = std::vector<Entry>(256);  // a power of two
  size_t head_ = 0, size_ = 0;
  bool lost_ = false;
};

}  // namespace io
