#include "io/buffer_ring.h"

#include <sys/mman.h>

#include <bit>
#include <cerrno>

#include "io/uring_abi.h"
#include "io/uring_memory.h"

namespace io {
namespace {

void* Map(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

}  // namespace

BufferRing::~BufferRing() {
  if (ring_ != nullptr) munmap(ring_, entries_ * sizeof(io_uring_buf));
  if (data_ != nullptr) munmap(data_, static_cast<size_t>(count_) * bytes_);
}

int BufferRing::Open(io_uring* ring, uint16_t group, uint32_t count, uint32_t bytes,
                     Filled filled) {
  group_ = group;
  count_ = std::min(count, kCountMax);
  bytes_ = bytes;
  entries_ = std::bit_ceil(count_);
  mask_ = static_cast<int>(entries_ - 1);
  ring_ = static_cast<io_uring_buf_ring*>(Map(entries_ * sizeof(io_uring_buf)));
  data_ = static_cast<std::byte*>(Map(static_cast<size_t>(count_) * bytes_));
  if (!mapped()) return errno;
  incremental_ = filled == Filled::kIncrementally;
  if (const int error = Register(ring)) return error;
  states_.resize(count_);
  idle_.reserve(count_);
  lend_max_ = std::max(count_ / 8, std::min(64u, count_ - std::max(1u, count_ / 4)));
  Begin();
  clean_ = idle_.size();
  return 0;
}

// Returns 0, or an errno.
int BufferRing::Register(io_uring* ring) {
  io_uring_buf_reg registration = {};
  registration.ring_addr = reinterpret_cast<uint64_t>(ring_);
  registration.ring_entries = entries_;
  registration.bgid = group_;
  if (incremental_) SetBufferRingFlags(registration, kBufferRingIncremental);
  if (const int error = RegisterBufferRing(ring, &registration)) return error;
  registered_ = true;
  io_uring_buf_ring_init(ring_);
  return 0;
}

// With all buffers idle: provides the first.
void BufferRing::Begin() {
  idle_.clear();
  for (uint32_t id = count_; id-- > 0;) idle_.push_back(static_cast<uint16_t>(id));
  in_ring_ = lent_ = taken_ = used_peak_ = 0;
  added_ = 0;
  last_ = 0;
  clean_ = idle_least_ = 0;
  target_ = std::min(count_, kTargetFirst);
  Fill();
  Publish();
}

int BufferRing::Restart(io_uring* ring) {
  io_uring_unregister_buf_ring(ring, group_);
  registered_ = false;
  if (const int error = Register(ring)) return error;
  Begin();
  return 0;
}

void BufferRing::Close(io_uring* ring) {
  if (registered_) io_uring_unregister_buf_ring(ring, group_);
  registered_ = false;
}

void BufferRing::Fill() {
  while (in_ring_ < target_ && !idle_.empty()) {
    const uint16_t id = idle_.back();
    idle_.pop_back();
    Add(id);
  }
  clean_ = std::min(clean_, idle_.size());
  idle_least_ = std::min(idle_least_, idle_.size());
}

void BufferRing::Grow() {
  target_ = std::min(count_, target_ * 2);
  Fill();
}

void BufferRing::Adapt() {
  const uint32_t wanted = used_peak_ + used_peak_ / 4 + kTargetMin / 2;
  target_ = std::clamp(wanted, std::min(kTargetMin, count_), count_);
  used_peak_ = 0;
  publishes_ = 0;
  Release();
  Fill();
}

// Those at the bottom of the stack were not taken since the last time. Only where buffers are whole
// pages: the kernel rounds up, and would take of the next one's.
void BufferRing::Release() {
  constexpr uint32_t kPage = 4096;
  if (bytes_ % kPage != 0) return;
  for (size_t released = 0; clean_ < idle_least_ && released < kReleasesMax; ++released) {
    madvise(buffer(idle_[clean_++]), bytes_, MADV_DONTNEED);
  }
  idle_least_ = idle_.size();
}

}  // namespace io
