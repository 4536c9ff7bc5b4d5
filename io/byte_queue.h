#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>

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
  static constexpr uint32_t kLarge = 16384 - sizeof(Block);

  BlockPool() = default;
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;
  ~BlockPool() {
    for (FreeList& list : lists_) Drop(list);
  }

  // A block for up to kLarge bytes, or, to hold one message, for as many as are asked for. nullptr:
  // there is no memory.
  [[nodiscard]] Block* Take(size_t bytes) noexcept {
    const uint32_t kind = KindFor(bytes);
    FreeList& list = lists_[kind];
    Block* block = list.head;
    if (block != nullptr) {
      list.head = block->next;
      kept_bytes_ -= block->capacity;
    } else {
      const size_t capacity = kind == kOversize ? bytes : CapacityOf(kind);
      block = static_cast<Block*>(std::malloc(sizeof(Block) + capacity));
      if (block == nullptr) return nullptr;
      block->capacity = static_cast<uint32_t>(capacity);
    }
    block->next = nullptr;
    block->begin = block->end = 0;
    return block;
  }

  void Return(Block* block) {
    const uint32_t kind = KindFor(block->capacity);
    FreeList& list = lists_[kind];
    if (kind == kOversize || kept_bytes_ + block->capacity > kKeptBytesMax) {
      std::free(block);
      return;
    }
    kept_bytes_ += block->capacity;
    block->next = list.head;
    list.head = block;
  }

 private:
  // Kind 0 is small; kind n has n pages, header included, so that little is allocated beyond what
  // was asked for.
  static constexpr uint32_t kPage = 4096;
  static constexpr uint32_t kOversize = (kLarge + sizeof(Block)) / kPage + 1;
  static constexpr size_t kKeptBytesMax = 1 << 20;  // of all kinds

  static uint32_t KindFor(size_t bytes) {
    if (bytes <= kSmall) return 0;
    return bytes > kLarge ? kOversize
                          : static_cast<uint32_t>((bytes + sizeof(Block) + kPage - 1) / kPage);
  }
  static size_t CapacityOf(uint32_t kind) {
    return kind == 0 ? kSmall : kind * kPage - sizeof(Block);
  }

  struct FreeList {
    Block* head = nullptr;
  };
  static void Drop(FreeList& list) {
    while (list.head != nullptr) {
      Block* next = list.head->next;
      std::free(list.head);
      list.head = next;
    }
  }
  size_t kept_bytes_ = 0;
  std::array<FreeList, kOversize + 1> lists_ = {};  // the last stays empty
};

// A first-in, first-out queue of bytes, or of messages. Front() stays where it is until consumed,
// whatever is appended meanwhile, so the kernel may read it. Its blocks belong to the pool: Clear()
// before the queue goes. One queue has either bytes or messages.
class ByteQueue {
 public:
  bool empty() const { return bytes_ == 0; }
  size_t bytes() const { return bytes_; }

  // False: there is no memory for all of them. Then some are there: the queue is good for Clear().
  [[nodiscard]] bool Append(Bytes in, BlockPool& pool) noexcept {
    bytes_ += in.size();
    while (!in.empty()) {
      if (tail_ == nullptr || tail_->end == tail_->capacity) {
        BlockPool::Block* block = pool.Take(std::min<size_t>(in.size(), BlockPool::kLarge));
        if (block == nullptr) {
          bytes_ -= in.size();
          return false;
        }
        (tail_ != nullptr ? tail_->next : head_) = block;
        tail_ = block;
      }
      const size_t room = std::min<size_t>(in.size(), tail_->capacity - tail_->end);
      std::memcpy(tail_->data() + tail_->end, in.data(), room);
      tail_->end += room;
      in = in.subspan(room);
    }
    return true;
  }

  // Appends one message, which Front() will give alone. For bytes(), each counts as the memory that
  // it takes. False: there is no memory, and nothing has changed. REQUIRES: !in.empty().
  [[nodiscard]] bool AppendMessage(Bytes in, BlockPool& pool) noexcept {
    BlockPool::Block* block = pool.Take(in.size());
    if (block == nullptr) return false;
    (tail_ != nullptr ? tail_->next : head_) = block;
    tail_ = block;
    std::memcpy(block->data(), in.data(), in.size());
    block->end = static_cast<uint32_t>(in.size());
    bytes_ += block->capacity;
    return true;
  }

  // Takes the first message away.
  void ConsumeMessage(BlockPool& pool) {
    BlockPool::Block* done = head_;
    bytes_ -= done->capacity;
    head_ = done->next;
    if (head_ == nullptr) tail_ = nullptr;
    pool.Return(done);
  }

  // The first bytes, as many as lie together; or the first message. REQUIRES: !empty().
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
