#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
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
// the reply until send() in PopDue() has returned, and is free again then, as long as the free ones
// hold less than kFreeBytesMax. So a queue at a steady load doesn't allocate.
class DelayQueue {
 public:
  static constexpr int64_t kNever = INT64_MAX;

  DelayQueue() = default;
  DelayQueue(const DelayQueue&) = delete;
  DelayQueue& operator=(const DelayQueue&) = delete;

  bool empty() const { return heap_.empty(); }
  size_t size() const { return heap_.size(); }
  // Of memory that the waiting replies hold: at least their bytes, at most twice that or 64.
  size_t bytes() const { return bytes_; }

  // Copies `reply`, which may be empty, for the connection (or whatever the caller tells apart by
  // two numbers) `index`, `generation`.
  void Add(int64_t due_ns, uint32_t index, uint32_t generation, io::Bytes reply) {
    const uint32_t size_class = SizeClass(reply.size());
    Buffer buffer = Take(size_class);
    if (!reply.empty()) std::memcpy(buffer.get(), reply.data(), reply.size());
    bytes_ += ClassBytes(size_class);
    heap_.push_back({due_ns, next_++, reply.size(), index, generation, std::move(buffer)});
    std::push_heap(heap_.begin(), heap_.end(), Later);
  }

  // When the first reply is due; kNever where none waits.
  int64_t NextDue() const { return heap_.empty() ? kNever : heap_.front().due_ns; }

  // Calls send(index, generation, reply) for each reply that is due by `now_ns`, in order, the
  // reply in one piece and lent for the call. send() may Add(): what is due by then leaves as well.
  template <class F>
  void PopDue(int64_t now_ns, F send) {
    while (NextDue() <= now_ns) {
      std::pop_heap(heap_.begin(), heap_.end(), Later);
      Entry entry = std::move(heap_.back());
      heap_.pop_back();
      const uint32_t size_class = SizeClass(entry.size);
      bytes_ -= ClassBytes(size_class);
      send(entry.index, entry.generation, io::Bytes(entry.buffer.get(), entry.size));
      Return(size_class, std::move(entry.buffer));
    }
  }

 private:
  using Buffer = std::unique_ptr<std::byte[]>;
  static constexpr size_t kFreeBytesMax = 16 << 20;
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

  void Return(uint32_t size_class, Buffer buffer) {
    if (free_bytes_ + ClassBytes(size_class) > kFreeBytesMax) return;
    free_bytes_ += ClassBytes(size_class);
    free_[size_class].push_back(std::move(buffer));
  }

  std::vector<Entry> heap_;  // the first to leave in front
  std::array<std::vector<Buffer>, 64> free_;
  size_t bytes_ = 0, free_bytes_ = 0;
  uint64_t next_ = 0;
};

}  // namespace server
