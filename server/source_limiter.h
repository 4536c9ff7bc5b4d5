#pragma once

#include <sys/socket.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "absl/container/flat_hash_map.h"

namespace server {

// What counts as one source of connections: an IPv4 address; the /64 of an IPv6 address, since one
// host owns all of it and may come from any address within; and a link-local IPv6 address by
// itself, since all hosts of a link share fe80::/64. IPv4-mapped IPv6 addresses are IPv4. Default:
// no source, as of an AF_UNIX peer. A value that a connection's session keeps.
struct SourceKey {
  enum class Kind : uint8_t { kNone, kV4, kV6, kLinkLocal };

  uint64_t address = 0;    // IPv4; the upper half of IPv6; the lower half of a link-local address
  uint32_t interface = 0;  // of a link-local address: its scope
  Kind kind = Kind::kNone;

  // What `peer` counts as; as long as its family's structure. A family without addresses: kNone.
  static SourceKey Of(const sockaddr* peer) noexcept;

  friend bool operator==(const SourceKey& a, const SourceKey& b) {
    return a.address == b.address && a.interface == b.interface && a.kind == b.kind;
  }
  template <class H>
  friend H AbslHashValue(H h, const SourceKey& key) {
    return H::combine(std::move(h), key.address, key.interface, static_cast<uint8_t>(key.kind));
  }
};
static_assert(sizeof(SourceKey) <= 16);

// Counts the open connections of each source and refuses those beyond the limit. One for all
// threads of a server: SO_REUSEPORT spreads a source's connections over them. Thread-safe. Memory:
// about 24 bytes for each source that is connected at once, at the most there ever were.
class SourceLimiter {
 public:
  // At most `limit` connections a source; 0: any number, and nothing is counted.
  explicit SourceLimiter(uint32_t limit) : limit_(limit) {}
  SourceLimiter(const SourceLimiter&) = delete;
  SourceLimiter& operator=(const SourceLimiter&) = delete;

  // Counts a connection of `peer`, which `*key` then stands for until Release(). False: the source
  // has as many as it may; the refusal is counted, and `*key` is none. A peer without an address
  // (AF_UNIX) is always admitted, its key is none.
  bool Admit(const sockaddr* peer, SourceKey* key);

  // The connection that `key` was given for is closed. Nothing happens for a key that is none.
  // REQUIRES: once for each Admit() that returned true.
  void Release(const SourceKey& key) noexcept;

  // Connections that were not admitted.
  uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }
  // Sources with a connection, at some moment of the call.
  size_t sources() const;

  uint32_t limit() const { return limit_; }

 private:
  // Threads that accept at once seldom meet in one of these.
  static constexpr size_t kShards = 16;
  struct alignas(64) Shard {
    mutable std::mutex mutex;
    absl::flat_hash_map<SourceKey, uint32_t> connections;  // none is 0
  };

  Shard& ShardOf(const SourceKey& key);

  const uint32_t limit_;
  std::atomic<uint64_t> refused_ = 0;
  Shard shards_[kShards];
};

}  // namespace server
