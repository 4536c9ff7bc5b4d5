#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace loadgen {

// What a run does. The same few mechanisms make up all of them: who decides when a request is due
// (a reply, or a schedule), and what a connection is for (many requests, or one).
enum class Workload : uint8_t {
  kRequestReply,  // closed loop: each reply brings the next request
  kRate,          // open loop: a schedule says when requests are due, whatever the replies do
  kConnect,       // connect, one request, close; in closed or open loop
  kUpload,        // a stream to a sink
  kDownload,      // a stream from a source
  kDuplex,        // a stream there and back
  kHold,          // idle connections, with a request on each once a heartbeat
};

// As --workload takes them, in the order of the enumerators.
inline constexpr std::array<std::string_view, 7> kWorkloadNames = {
    "rr", "rate", "crr", "upload", "download", "duplex", "hold"};

constexpr std::string_view Name(Workload workload) {
  return kWorkloadNames[static_cast<size_t>(workload)];
}

constexpr std::optional<Workload> WorkloadOf(std::string_view name) {
  for (size_t i = 0; i < kWorkloadNames.size(); ++i) {
    if (name == kWorkloadNames[i]) return static_cast<Workload>(i);
  }
  return std::nullopt;
}

}  // namespace loadgen
