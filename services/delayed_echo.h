#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "services/delay.h"
#include "services/echo.h"
#include "services/service.h"
#include "services/splitmix.h"

namespace services {

// Answers with what it received, after a time: a server that has something else to wait for.
struct DelayedEcho {
  static constexpr std::string_view kName = "delay";
  static constexpr std::string_view kRequest = "receive";  // or message_bytes bytes, where given
  static constexpr Exchange kExchange = Exchange::kRequestReply;

  // Proves that no reply came before it could.
  struct Tally {
    int64_t least_ns = 0;     // of the delay
    int64_t earliest_ns = 0;  // the shortest latency of those that were too early
    uint64_t early = 0;

    void Merge(const Tally& other) {
      if (other.early > 0) {
        earliest_ns = early > 0 ? std::min(earliest_ns, other.earliest_ns) : other.earliest_ns;
      }
      least_ns = std::max(least_ns, other.least_ns);
      early += other.early;
    }
    std::string Problem() const {
      if (early == 0) return "";
      return std::to_string(early) + " replies came before the delay of " +
             std::to_string(least_ns) + " ns had passed, the earliest after " +
             std::to_string(earliest_ns) + " ns";
    }
  };

  explicit DelayedEcho(const ServiceOptions& options)
      : delay(options.delay), message_bytes(options.message_bytes) {}

  struct Session {
    MessageCount messages;
  };

  uint32_t OnOpen(Session&, auto&) noexcept { return 0; }

  // The next delay. Any thread.
  std::chrono::nanoseconds Sample() noexcept {
    if (delay.kind == Delay::kFixed) return delay.a;
    return delay.Sample(SplitMix64(samples.fetch_add(1, std::memory_order_relaxed)));
  }

  uint32_t OnReceive(Session& session, Bytes in, auto& reply) noexcept {
    reply.WriteAfter(Sample(), in);
    return message_bytes == 0 ? 1 : session.messages.Add(in.size(), message_bytes);
  }

  uint32_t OnDatagram(Bytes in, auto& reply) noexcept {
    reply.WriteAfter(Sample(), in);
    return 1;
  }

  // An echo's, that no reply may reach before the least delay.
  struct Client : Echo::Client {
    explicit Client(const ServiceOptions& options) : Echo::Client(options) {
      tally.least_ns = options.delay.Least().count();
    }

    void OnLatency(int64_t ns) noexcept {
      if (ns >= tally.least_ns) return;
      tally.earliest_ns = tally.early > 0 ? std::min(tally.earliest_ns, ns) : ns;
      ++tally.early;
    }

    DelayedEcho::Tally tally;
  };

  const Delay delay;
  const uint64_t message_bytes;
  std::atomic<uint64_t> samples{0};
};

}  // namespace services
