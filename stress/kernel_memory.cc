#include "stress/kernel_memory.h"

#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "stress/proc_fields.h"

namespace stress {
namespace {

constexpr size_t kCachesShown = 12;

Json Change(int64_t before, int64_t after) {
  return before < 0 || after < 0 ? Json() : Json(after - before);
}

Json Caches(const KernelMemory& before, const KernelMemory& after) {
  std::vector<std::pair<std::string, KernelMemory::Cache>> grown;
  for (const auto& [name, cache] : after.caches) {
    const auto earlier = before.caches.find(name);
    if (earlier == before.caches.end()) continue;
    const int64_t bytes = cache.bytes - earlier->second.bytes;
    if (bytes > 0) grown.push_back({name, {cache.objects - earlier->second.objects, bytes}});
  }
  std::stable_sort(grown.begin(), grown.end(),
                   [](const auto& a, const auto& b) { return a.second.bytes > b.second.bytes; });
  grown.resize(std::min(grown.size(), kCachesShown));
  Json json = Json::array();
  for (const auto& [name, cache] : grown) {
    json.push_back({{"name", name}, {"objects", cache.objects}, {"bytes", cache.bytes}});
  }
  return json;
}

}  // namespace

namespace internal {

std::map<std::string, KernelMemory::Cache> ParseSlabinfo(std::string_view text,
                                                         int64_t page_bytes) {
  // name active_objs num_objs objsize objperslab pagesperslab : tunables a b c : slabdata
  // active_slabs num_slabs sharedavail
  constexpr size_t kActive = 1, kPagesPerSlab = 5, kSlabs = 14, kWords = 16;
  std::map<std::string, KernelMemory::Cache> caches;
  for (const std::string_view line : stats::Lines(text)) {
    const auto words = stats::Words(line);
    if (words.size() < kWords || words[0].starts_with("#")) continue;
    const auto active = stats::ParseNumber<int64_t>(words[kActive]);
    const auto pages = stats::ParseNumber<int64_t>(words[kPagesPerSlab]);
    const auto slabs = stats::ParseNumber<int64_t>(words[kSlabs]);
    if (!active || !pages || !slabs) continue;
    caches[std::string(words[0])] = {.objects = *active, .bytes = *slabs * *pages * page_bytes};
  }
  return caches;
}

}  // namespace internal

KernelMemory KernelMemory::Read(const std::string& folder) {
  const int64_t page_bytes = sysconf(_SC_PAGESIZE);
  KernelMemory memory;
  if (const auto text = stats::ReadProcFile(folder + "/meminfo"); text.ok()) {
    memory.available_bytes = FieldBytes(*text, "MemAvailable:");
    memory.slab_bytes = FieldBytes(*text, "Slab:");
  }
  if (const auto text = stats::ReadProcFile(folder + "/slabinfo"); text.ok()) {
    memory.caches = internal::ParseSlabinfo(*text, page_bytes);
  }
  if (const auto counters = stats::KernelCounters::Read(folder + "/self/net"); counters.ok()) {
    memory.gauges = counters->gauges;
    const int64_t pages = std::max<int64_t>(0, memory.gauges.tcp_memory_pages) +
                          std::max<int64_t>(0, memory.gauges.udp_memory_pages);
    if (memory.gauges.tcp_memory_pages >= 0) memory.socket_buffer_bytes = pages * page_bytes;
  }
  return memory;
}

Json ToJson(const KernelMemory& before, const KernelMemory& after, uint64_t each) {
  const Json slab = Change(before.slab_bytes, after.slab_bytes);
  const Json buffers = Change(before.socket_buffer_bytes, after.socket_buffer_bytes);
  Json bytes_each;
  if (each > 0 && !slab.is_null() && !buffers.is_null()) {
    bytes_each = static_cast<double>(slab.get<int64_t>() + buffers.get<int64_t>()) / each;
  }
  return {{"available_bytes", Change(before.available_bytes, after.available_bytes)},
          {"slab_bytes", slab},
          {"socket_buffer_bytes", buffers},
          {"bytes_each", bytes_each},
          {"caches", Caches(before, after)}};
}

KernelWatch::KernelWatch() : before_(stats::KernelCounters::Read()) {}

stats::KernelDifference KernelWatch::End() const {
  const auto after = stats::KernelCounters::Read();
  if (!before_.ok() || !after.ok()) return {};
  return stats::Difference(*before_, *after);
}

}  // namespace stress
