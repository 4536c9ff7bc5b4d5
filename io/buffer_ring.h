#pragma once

#include <liburing.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace io {

// The receive buffers of one ring (io_uring_register_buf_ring(3), Linux 5.19).
//
// Life of a buffer: idle -> Provide: in the ring, the kernel's -> a completion names it: lent, ours
// -> Recycle: back in the ring, or idle. At each moment in_ring() + lent() + idle = count().
//
// The kernel takes buffers from the ring in order, so each of them is written to in turn: a ring of
// many large buffers walks through all the cache. So the ring is kept just as full as the load
// needs: buffers beyond the target wait on a stack, the one used last on top. The target doubles
// when the ring ran dry, and follows the highest use that was seen in a while, with a quarter to
// spare. The memory of buffers that were idle all that while goes back to the kernel, some at a
// time.
//
// A buffer may come back in pieces: where it is filled by several receives (incremental), or
// several are filled by one (a bundle; the kernel takes them in the order in which they were
// added). Then TakePiece() says where each lies, each is to be recycled, and the last one of a
// buffer gives it back.
class BufferRing {
 public:
  static constexpr uint32_t kCountMax = 32768;  // the kernel's limit

  BufferRing() = default;
  BufferRing(const BufferRing&) = delete;
  BufferRing& operator=(const BufferRing&) = delete;
  ~BufferRing();

  enum class Filled { kAtOnce, kIncrementally };

  // Maps `count` buffers of `bytes` each and registers them as buffer group `group`. Returns 0, or
  // an errno: of mmap(2) where mapped() says no, else of the registration.
  int Open(io_uring* ring, uint16_t group, uint32_t count, uint32_t bytes,
           Filled filled = Filled::kAtOnce);
  bool mapped() const { return ring_ != nullptr && data_ != nullptr; }
  void Close(io_uring* ring);
  // Begins anew, with all buffers, where it can't be known any more which of them the kernel took.
  // REQUIRES: no receive is in the kernel, and lent() is 0. Returns 0, or an errno: then it is
  // closed for good.
  int Restart(io_uring* ring);
  bool open() const { return registered_; }
  uint16_t group() const { return group_; }

  std::byte* buffer(uint16_t id) { return data_ + static_cast<size_t>(id) * bytes_; }

  // The kernel gave buffer `id` to a completion.
  void OnLent() {
    --in_ring_;
    ++lent_;
    ++taken_;
  }

  struct Piece {
    std::byte* data;
    uint32_t size;
    uint16_t next;  // the buffer that follows this one, where the completion has more bytes
  };
  // Of a completion that has `bytes` from buffer `id` on: those in this buffer.
  Piece TakePiece(uint16_t id, uint32_t bytes) {
    State& state = states_[id];
    const Piece piece = {buffer(id) + state.filled, std::min(bytes, bytes_ - state.filled),
                         state.next};
    state.filled += piece.size;
    if (incremental_ && state.filled < bytes_) {
      ++state.references;  // beside the kernel's
    } else {
      OnLent();  // the kernel's becomes ours
    }
    return piece;
  }

  // Somebody more has to Recycle() the buffer.
  void Retain(uint16_t id) { ++states_[id].references; }

  // Gives a lent buffer back. The kernel sees it after Publish().
  void Recycle(uint16_t id) {
    if (--states_[id].references > 0) return;
    --lent_;
    if (in_ring_ < target_) {
      Add(id);
    } else {
      idle_.push_back(id);
    }
  }

  // The ring ran dry: provides more, as far as there are any.
  void Grow();

  // Lets the kernel see what was given back, and now and then adapts the target.
  void Publish() {
    used_peak_ = std::max(used_peak_, taken_ + lent_);
    taken_ = 0;
    if (added_ != 0) {
      io_uring_buf_ring_advance(ring_, added_);
      added_ = 0;
    }
    if (++publishes_ == kAdaptEvery) Adapt();
  }

  uint32_t count() const { return count_; }
  uint32_t in_ring() const { return in_ring_; }
  uint32_t lent() const { return lent_; }
  uint32_t target() const { return target_; }
  // So many are lent that to lend one for longer than a callback would starve others, or let peers
  // that don't read hold too much memory.
  bool low() const { return lent_ >= lend_max_; }

 private:
  static constexpr uint32_t kTargetMin = 16, kTargetFirst = 64;
  static constexpr uint32_t kAdaptEvery = 1024;

  struct State {
    uint32_t filled = 0;
    uint32_t references = 0;  // the kernel, or whoever has it, and each further piece
    uint16_t next = 0;        // was added after it
  };

  void Add(uint16_t id) {
    states_[id] = {.references = 1};
    states_[last_].next = id;
    last_ = id;
    io_uring_buf_ring_add(ring_, buffer(id), bytes_, id, mask_, added_++);
    ++in_ring_;
  }
  int Register(io_uring* ring);
  void Begin();
  void Fill();
  void Adapt();
  void Release();

  bool incremental_ = false;
  bool registered_ = false;
  uint16_t last_ = 0;
  std::vector<State> states_;
  io_uring_buf_ring* ring_ = nullptr;
  std::byte* data_ = nullptr;
  uint32_t entries_ = 0, count_ = 0, bytes_ = 0;
  int mask_ = 0, added_ = 0;
  uint32_t in_ring_ = 0, lent_ = 0, target_ = 0, lend_max_ = 0;
  uint16_t group_ = 0;
  uint32_t taken_ = 0;      // by the kernel, since the last Publish()
  uint32_t used_peak_ = 0;  // most in use between two Publish(), since the last Adapt()
  uint32_t publishes_ = 0;
  std::vector<uint16_t> idle_;
  size_t clean_ = 0;                           // so many at the bottom of idle_ have no memory
  size_t idle_least_ = 0;                      // the fewest that were idle since the last Adapt()
  static constexpr size_t kReleasesMax = 256;  // an Adapt()
};

}  // namespace io
