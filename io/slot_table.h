#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <vector>

namespace io {

// Connections by number. A slot's address never changes; slots are taken last-freed first, so that
// the table stays as small, and as warm in the cache, as the number of connections allows.
//
// Life of a slot: Take() -> the loop's operations name it -> Free(), once none does any more. Each
// Free() raises the slot's generation: what still names the old generation is stale, and Find()
// tells. T has members `index` and `generation` (uint32_t) and Reset().
template <class T>
class SlotTable {
 public:
  static constexpr uint32_t kGenerationBits = 24;
  static constexpr uint32_t kGenerationMask = (1u << kGenerationBits) - 1;

  explicit SlotTable(uint32_t slots_max) : slots_max_(slots_max) {}

  // A free slot, reset; nullptr when slots_max are taken, or where there is no memory for more.
  // Allocates when the table grows.
  T* Take() noexcept {
    if (free_.empty()) {
      if (!Ready()) return nullptr;
      T& slot = (*this)[size_];
      slot.index = size_++;
      ++taken_;
      return &slot;
    }
    T* slot = &(*this)[free_.back()];
    free_.pop_back();
    ++taken_;
    return slot;
  }

  // Whether Take() will give one: not full(), and there is memory.
  bool Ready() noexcept {
    if (!free_.empty()) return true;
    if (size_ == slots_max_) return false;
    if (size_ < chunks_.size() * kChunk) return true;
    try {
      free_.reserve(size_ + kChunk);  // first, so that Free() never allocates
      chunks_.push_back(std::make_unique<T[]>(kChunk));
    } catch (const std::bad_alloc&) {
      return false;
    }
    return true;
  }

  void Free(T& slot) noexcept {
    slot.generation = (slot.generation + 1) & kGenerationMask;
    slot.Reset();
    free_.push_back(slot.index);
    --taken_;
  }

  T& operator[](uint32_t index) { return chunks_[index / kChunk][index % kChunk]; }

  // The slot, or nullptr when that generation of it is gone.
  T* Find(uint32_t index, uint32_t generation) {
    if (index >= size_) return nullptr;
    T& slot = (*this)[index];
    return slot.generation == generation ? &slot : nullptr;
  }

  uint32_t size() const { return size_; }    // slots ever taken
  uint32_t taken() const { return taken_; }  // slots in use
  bool full() const { return taken_ == slots_max_; }

 private:
  static constexpr uint32_t kChunk = 1024;
  std::vector<std::unique_ptr<T[]>> chunks_;
  std::vector<uint32_t> free_;
  uint32_t size_ = 0, taken_ = 0, slots_max_;
};

}  // namespace io
