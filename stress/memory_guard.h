#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "stress/result.h"

namespace stress {

// Memory that a program can still have without swapping, in bytes: MemAvailable of /proc/meminfo
// (proc(5), Linux 3.14), or what a control group of ours has left, where that is less. -1: neither
// is known. `root` stands in for /.
int64_t AvailableMemoryBytes(const std::string& root = "");

// Keeps a ramp from taking the machine's last memory. Asked before the ramp and at each step of it:
// some 50 us. One thread.
//
// MemAvailable takes nearly all of SReclaimable for memory that can be had. The inodes and
// directory entries of open sockets are in it, 1.1 KiB each, and can't (Linux 6.18: with 2,300,000
// connections the kernel was out of memory at 4 GiB available). So what SReclaimable has grown by
// since the guard was made is taken off.
class MemoryGuard {
 public:
  explicit MemoryGuard(uint64_t floor_bytes, std::string root = "");

  // The limit "memory floor" where less than the floor is available; nothing where there is enough,
  // or the kernel doesn't say.
  std::optional<Limit> Check();

  // The least that Check() saw; -1: it saw nothing.
  int64_t lowest_bytes() const { return lowest_bytes_; }

 private:
  const uint64_t floor_bytes_;
  const std::string root_;
  const int64_t reclaimable_bytes_;  // when it was made
  int64_t lowest_bytes_ = -1;
};

}  // namespace stress
