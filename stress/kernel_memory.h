#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "stats/kernel_counters.h"
#include "stress/result.h"

// What connections cost in the kernel. Nothing there is charged to a socket, so it is the change of
// the whole machine's counts while connections are opened: others' changes are in it.
// Sources: /proc/slabinfo (slabinfo(5); root only), /proc/meminfo and /proc/net/sockstat (proc(5)).
namespace stress {

struct KernelMemory {
  struct Cache {
    int64_t objects = 0;  // in use
    int64_t bytes = 0;    // of the cache's slabs, those objects or not
  };

  // A snapshot. `folder` stands in for /proc. What can't be read is left out.
  static KernelMemory Read(const std::string& folder = "/proc");

  int64_t available_bytes = -1;         // MemAvailable
  int64_t slab_bytes = -1;              // Slab of /proc/meminfo: all caches
  int64_t socket_buffer_bytes = -1;     // of TCP and UDP: "mem" of sockstat
  std::map<std::string, Cache> caches;  // by name; empty where only root may read them
  stats::KernelGauges gauges;
};

// The change between two snapshots: "available_bytes", "slab_bytes", "socket_buffer_bytes",
// "bytes_each" (slab and socket buffers, for one of `each`; null where 0 are asked for), and
// "caches", those that grew most first, at most 12. What a snapshot lacks is null.
Json ToJson(const KernelMemory& before, const KernelMemory& after, uint64_t each);

// What the kernel counted between its making and End(). One thread.
class KernelWatch {
 public:
  KernelWatch();
  stats::KernelDifference End() const;

 private:
  absl::StatusOr<stats::KernelCounters> before_;
};

namespace internal {
// The text of slabinfo, version 2.1.
std::map<std::string, KernelMemory::Cache> ParseSlabinfo(std::string_view text, int64_t page_bytes);
}  // namespace internal

}  // namespace stress
