#pragma once

#include <atomic>
#include <cstdint>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RINGSIDE_SANITIZED 1
#else
#define RINGSIDE_SANITIZED 0
#endif

// This program's malloc() and its kind, unless a sanitizer has its own.
namespace allocation {

extern std::atomic<uint64_t> allocations;  // calls so far

// The allocations numbered `first` (1 is the next) to first + times - 1 fail. 0 times: none does.
void Fail(uint64_t first, uint64_t times);
// How many have failed since.
uint64_t Failed();

}  // namespace allocation
