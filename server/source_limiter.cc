#include "server/source_limiter.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cassert>
#include <cstring>

#include "absl/hash/hash.h"

namespace server {
namespace {

uint64_t BigEndian(const uint8_t* bytes, size_t size) {
  uint64_t value = 0;
  for (size_t i = 0; i < size; ++i) value = value << 8 | bytes[i];
  return value;
}

}  // namespace

SourceKey SourceKey::Of(const sockaddr* peer) noexcept {
  if (peer->sa_family == AF_INET) {
    sockaddr_in in;
    std::memcpy(&in, peer, sizeof(in));
    return {ntohl(in.sin_addr.s_addr), 0, Kind::kV4};
  }
  if (peer->sa_family != AF_INET6) return {};
  sockaddr_in6 in6;
  std::memcpy(&in6, peer, sizeof(in6));
  const uint8_t* bytes = in6.sin6_addr.s6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) return {BigEndian(bytes + 12, 4), 0, Kind::kV4};
  if (IN6_IS_ADDR_LINKLOCAL(&in6.sin6_addr)) {
    return {BigEndian(bytes + 8, 8), in6.sin6_scope_id, Kind::kLinkLocal};
  }
  return {BigEndian(bytes, 8), 0, Kind::kV6};
}

SourceLimiter::Shard& SourceLimiter::ShardOf(const SourceKey& key) {
  // The map takes the lower bits of the same hash: the upper ones leave it all of its slots.
  return shards_[static_cast<uint64_t>(absl::Hash<SourceKey>()(key)) >> 60];
}

bool SourceLimiter::Admit(const sockaddr* peer, SourceKey* key) {
  static_assert(kShards == 16, "ShardOf() takes 4 bits");
  *key = {};
  if (limit_ == 0) return true;
  const SourceKey source = SourceKey::Of(peer);
  if (source.kind == SourceKey::Kind::kNone) return true;
  Shard& shard = ShardOf(source);
  {
    const std::lock_guard<std::mutex> lock(shard.mutex);
    // A refused source has connections: looking it up makes no entry that would stay at 0.
    uint32_t& connections = shard.connections[source];
    if (connections < limit_) {
      ++connections;
      *key = source;
      return true;
    }
  }
  refused_.fetch_add(1, std::memory_order_relaxed);
  return false;
}

void SourceLimiter::Release(const SourceKey& key) noexcept {
  if (key.kind == SourceKey::Kind::kNone) return;
  Shard& shard = ShardOf(key);
  const std::lock_guard<std::mutex> lock(shard.mutex);
  const auto it = shard.connections.find(key);
  assert(it != shard.connections.end());
  if (it != shard.connections.end() && --it->second == 0) shard.connections.erase(it);
}

size_t SourceLimiter::sources() const {
  size_t sum = 0;
  for (const Shard& shard : shards_) {
    const std::lock_guard<std::mutex> lock(shard.mutex);
    sum += shard.connections.size();
  }
  return sum;
}

}  // namespace server
