#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#include "io/bytes.h"

namespace io {

// Blocks of memory for bytes that wait to be sent. One pool a loop, no locks. Freed blocks are
// kept, up to a bound, so that a loop at a steady load doesn't allocate.
class BlockPool {
 public:
  struct Block {
    Block* next;
    uint32_t begin, end, capacity;
    std::byte* data() { return reinterpret_cast<std::byte*>(this + 1); }
  };
  static constexpr uint32_t kSmall = 2048 - sizeof(Block);
  static constexpr uint32_t kLarge = 65536;

  BlockPool() = default;
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;
  ~BlockPool() {
    Drop(small_);
    Drop(large_);
  }

  Block* Take(size_t bytes) {
    FreeList& list = bytes <= kSmall ? small_ : large_;
    Block* block = list.head;
    if (block != nullptr) {
      list.head = block->next;
      --list.size;
    } else {
      const uint32_t capacity = bytes <= kSmall ? kSmall : kLarge;
      block = static_cast<Block*>(std::malloc(sizeof(Block) + capacity));
      if (block == nullptr) throw std::bad_alloc();
      block->capacity = capacity;
    }
    block->next = nullptr;
    block->begin = block->end = 0;
    return block;
  }

  void Return(Block* block) {
    FreeList& list = block->capacity == kSmall ? small_ : large_;
    if (list.size == list.kept_max) {
      std::free(block);
      return;
    }
    block->next = list.head;
    list.head = block;
    ++list.size;
  }

 private:
  struct FreeList {
    uint32_t kept_max;
    uint32_t size = 0;
    Block* head = nullptr;
  };
  static void Drop(FreeList& list) {
    while (list.head != nullptr) {
      Block* next = list.head->next;
      std::free(list.head);
      list.head = next;
    }
  }
  FreeList small_{.kept_max = 4096};
  FreeList large_{.kept_max = 256};
};

// A first-in, first-out queue of bytes. Front() stays where it is until consumed, whatever is
// appended meanwhile, so the kernel may read it. Its blocks belong to the pool: Clear() before the
// queue goes.
class ByteQueue {
 public:
  bool empty() const { return bytes_ == 0; }
  size_t bytes() const { return bytes_; }

  void Append(Bytes in, BlockPool& pool) {
    bytes_ += in.size();
    while (!in.empty()) {
      if (tail_ == nullptr || tail_->end == tail_->capacity) {
        BlockPool::Block* block = pool.Take(in.size());
        (tail_ != nullptr ? tail_->next : head_) = block;
        tail_ = block;
      }
      const size_t room = std::min<size_t>(in.size(), tail_->capacity - tail_->end);
      std::memcpy(tail_->data() + tail_->end, in.data(), room);
      tail_->end += room;
      in = in.subspan(room);
    }
  }

  // The first bytes, as many as lie together. REQUIRES: !empty().
  Bytes Front() const { return {head_->data() + head_->begin, head_->end - head_->begin}; }

  // Takes `count` bytes away. REQUIRES: count <= Front().size().
  void Consume(size_t count, BlockPool& pool) {
    bytes_ -= count;
    head_->begin += count;
    if (head_->begin != head_->end) return;
    BlockPool::Block* done = head_;
    head_ = done->next;
    if (head_ == nullptr) tail_ = nullptr;
    pool.Return(done);
  }

  void Clear(BlockPool& pool) {
    while (head_ != nullptr) {
      BlockPool::Block* next = head_->next;
      pool.Return(head_);
      head_ = next;
    }
    tail_ = nullptr;
    bytes_ = 0;
  }

 private:
  BlockPool::Block *head_ = nullptr, *tail_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace io
