#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "io/bytes.h"

namespace server {

// Replies that wait for their time: those of one thread, copied. Which is due first leaves first;
// of those that are due at the same time, the one that was added first. So replies of a connection
// keep their order if none is due before an earlier one, which is the caller's to see to, as is a
// bound on bytes().
//
// A buffer's life: Add() takes one from the free ones of its size class, or allocates it; it holds
// the reply until send() in PopDue() has returned, or Forget() found its connection gone, and is
// free again then, as long as the free ones hold less than kFreeBytesMax. So a queue at a steady
// load doesn't allocate.
//
// Replies of a connection that closed are told by Forget(). They are looked for once they are more
// than the others, in number or in memory: so they never hold more than the others do, and a close
// costs no more than its own replies did.
class DelayQueue {
 public:
  static constexpr int64_t kNever = INT64_MAX;

  DelayQueue() = default;
  DelayQueue(const DelayQueue&) = delete;
  DelayQueue& operator=(const DelayQueue&) = delete;

  // Without those that were forgotten.
  bool empty() const { return size() == 0; }
  size_t size() const { return heap_.size() - dead_; }
  // Of memory that is held by all that wait: of each, Cost().
  size_t bytes() const { return bytes_; }
  // What a reply of so many bytes holds: at most twice its bytes, or 64, and what tells its time.
  static size_t Cost(size_t bytes) { return ClassBytes(SizeClass(bytes)) + sizeof(Entry); }

  // Copies `reply`, which may be empty, and `more` behind it, for the connection (or whatever the
  // caller tells apart by two numbers) `index`, `generation`. False: there is no memory for it.
  [[nodiscard]] bool Add(int64_t due_ns, uint32_t index, uint32_t generation, io::Bytes reply,
                         io::Bytes more = {}) noexcept {
    const size_t size = reply.size() + more.size();
    try {
      Buffer buffer = Take(SizeClass(size));
      if (!reply.empty()) std::memcpy(buffer.get(), reply.data(), reply.size());
      if (!more.empty()) std::memcpy(buffer.get() + reply.size(), more.data(), more.size());
      heap_.push_back({due_ns, next_, size, index, generation, std::move(buffer)});
    } catch (const std::bad_alloc&) {
      return false;
    }
    ++next_;
    bytes_ += Cost(size);
    std::push_heap(heap_.begin(), heap_.end(), Later);
    return true;
  }

  // So many of those that wait, which cost so much in all, are nobody's any more: alive(index,
  // generation) says false of them from now on, and true of all others.
  template <class F>
  void Forget(size_t count, size_t cost, F alive) {
    dead_ += count;
    dead_bytes_ += cost;
    if (dead_ > size() || dead_bytes_ > bytes_ - dead_bytes_) Compact(alive);
  }

  // When the first reply is due; kNever where none waits.
  int64_t NextDue() const { return heap_.empty() ? kNever : heap_.front().due_ns; }

  // Calls send(index, generation, reply) for each reply that is due by `now_ns`, in order, the
  // reply in one piece and lent for the call. send() may Add(): what is due by then leaves as well.
  // It returns whether that reply was somebody's: false for those that were forgotten.
  template <class F>
  void PopDue(int64_t now_ns, F send) {
    while (NextDue() <= now_ns) {
      std::pop_heap(heap_.begin(), heap_.end(), Later);
      Entry entry = std::move(heap_.back());
      heap_.pop_back();
      bytes_ -= Cost(entry.size);
      if (!send(entry.index, entry.generation, io::Bytes(entry.buffer.get(), entry.size))) {
        --dead_;
        dead_bytes_ -= Cost(entry.size);
      }
      Return(SizeClass(entry.size), std::move(entry.buffer));
    }
  }

 private:
  using Buffer = std::unique_ptr<std::byte[]>;
  static constexpr size_t kFreeBytesMax = 16 << 20;
  static constexpr size_t kRoomMin = 4096;       // entries, for which room is always kept
  static constexpr uint32_t kSmallestClass = 6;  // 64 bytes

  struct Entry {
    int64_t due_ns;
    uint64_t sequence;
    size_t size;
    uint32_t index, generation;
    Buffer buffer;
  };

  static bool Later(const Entry& a, const Entry& b) {
    return std::pair(a.due_ns, a.sequence) > std::pair(b.due_ns, b.sequence);
  }

  // Buffers have sizes that are powers of two: of class n, 2^n bytes.
  static uint32_t SizeClass(size_t bytes) {
    return std::max<uint32_t>(kSmallestClass, std::bit_width(std::max<size_t>(bytes, 1) - 1));
  }
  static size_t ClassBytes(uint32_t size_class) { return size_t{1} << size_class; }

  Buffer Take(uint32_t size_class) {
    std::vector<Buffer>& free = free_[size_class];
    if (free.empty()) {
      return std::make_unique_for_overwrite<std::byte[]>(ClassBytes(size_class));
    }
    Buffer buffer = std::move(free.back());
    free.pop_back();
    free_bytes_ -= ClassBytes(size_class);
    return buffer;
  }

  void Return(uint32_t size_class, Buffer buffer) noexcept {
    if (free_bytes_ + ClassBytes(size_class) > kFreeBytesMax) return;
    try {
      free_[size_class].push_back(std::move(buffer));
      free_bytes_ += ClassBytes(size_class);
    } catch (const std::bad_alloc&) {  // then it isn't kept
    }
  }

  // Drops what is dead, and the room that it took.
  template <class F>
  void Compact(F alive) {
    auto kept = heap_.begin();
    for (Entry& entry : heap_) {
      if (!alive(entry.index, entry.generation)) {
        bytes_ -= Cost(entry.size);
        Return(SizeClass(entry.size), std::move(entry.buffer));
      } else if (&*kept == &entry) {
        ++kept;
      } else {
        *kept++ = std::move(entry);
      }
    }
    heap_.erase(kept, heap_.end());
    std::make_heap(heap_.begin(), heap_.end(), Later);
    dead_ = dead_bytes_ = 0;
    if (heap_.capacity() > kRoomMin && heap_.size() < heap_.capacity() / 4) heap_.shrink_to_fit();
  }

  std::vector<Entry> heap_;  // the first to leave in front
  std::array<std::vector<Buffer>, 64> free_;
  size_t bytes_ = 0, free_bytes_ = 0;
  size_t dead_ = 0, dead_bytes_ = 0;  // of those that wait: what was forgotten, and what it costs
  uint64_t next_ = 0;
};

}  // namespace server
