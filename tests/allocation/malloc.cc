#include "tests/allocation/malloc.h"

#include <cerrno>
#include <cstddef>

namespace allocation {

std::atomic<uint64_t> allocations{0};

namespace {

std::atomic<uint64_t> fail_from{~0ull}, fail_before{0}, failed{0};

// Counts an allocation; whether it is to fail.
[[maybe_unused]] bool Fails() {
  const uint64_t nth = allocations.fetch_add(1, std::memory_order_relaxed) + 1;
  if (nth < fail_from || nth >= fail_before) return false;
  ++failed;
  errno = ENOMEM;
  return true;
}

}  // namespace

void Fail(uint64_t first, uint64_t times) {
  failed = 0;
  fail_from = times == 0 ? ~0ull : allocations + first;
  fail_before = times == 0 ? 0 : allocations + first + times;
}

uint64_t Failed() { return failed; }

}  // namespace allocation

#if !RINGSIDE_SANITIZED
// glibc's own names for the allocator, so that ours can count and pass on.
// NOLINTBEGIN(readability-*): the C library's names
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* malloc(size_t bytes) { return allocation::Fails() ? nullptr : __libc_malloc(bytes); }
void* calloc(size_t count, size_t bytes) {
  return allocation::Fails() ? nullptr : __libc_calloc(count, bytes);
}
void* realloc(void* old, size_t bytes) {
  return allocation::Fails() ? nullptr : __libc_realloc(old, bytes);
}
}
// NOLINTEND(readability-*)
#endif
