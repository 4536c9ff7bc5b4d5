#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <future>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "io/endpoint.h"

// Peers that make a server wait.
namespace stress {

enum class SlowKind : uint8_t {
  kNeverRead,  // sends for as long as it is let, and never reads
  kTrickle,    // sends likewise, and reads a byte at a time
  kHalfClose,  // sends one request and its FIN, reads the answer, and doesn't close
};

// As --kind takes them, in the order of the enumerators.
inline constexpr std::array<std::string_view, 3> kSlowKindNames = {"never-read", "trickle",
                                                                   "half-close"};
constexpr std::string_view Name(SlowKind kind) { return kSlowKindNames[static_cast<size_t>(kind)]; }

struct SlowOptions {
  io::Endpoint at;  // of a server that echoes; a stream
  SlowKind kind = SlowKind::kNeverRead;
  uint32_t peers = 50;
  uint64_t message_bytes = 64;             // the request of kHalfClose
  int64_t trickle_every_ns = 100'000'000;  // from a byte to the next
  std::vector<int> cpus;                   // the first is where its thread runs; empty: anywhere
};

// What became of them so far.
struct SlowCounts {
  uint64_t opened = 0, failed = 0;  // to connect
  uint64_t closed_by_server = 0;    // by a FIN or a reset
  uint64_t answered = 0;            // got all of their answer: kHalfClose
  uint64_t sent_bytes = 0, received_bytes = 0;
  uint64_t corrupt_bytes = 0;  // received, that were not what was sent
};

// So many slow peers on an epoll loop in a thread of their own: the server can't tell by what loop
// it is neglected. Made, started and stopped by one thread.
class SlowPeers {
 public:
  explicit SlowPeers(SlowOptions options) : options_(std::move(options)) {}
  ~SlowPeers() { (void)Stop(); }
  SlowPeers(const SlowPeers&) = delete;
  SlowPeers& operator=(const SlowPeers&) = delete;

  // Starts them. Fails where there is no loop or no descriptor.
  absl::Status Start();
  // Ends them with resets, and returns when they are gone: OK, or why their thread had to end
  // before (no descriptor was left). Safe to call again.
  absl::Status Stop();

  SlowCounts counts() const;
  const SlowOptions& options() const { return options_; }

 private:
  class Handler;
  void Run(std::promise<absl::Status> ready);

  struct Shared {
    std::atomic<uint64_t> opened{0}, failed{0}, closed{0}, answered{0};
    std::atomic<uint64_t> sent{0}, received{0}, corrupt{0};
  };

  const SlowOptions options_;
  Shared shared_;
  std::atomic<bool> stop_{false};
  std::function<void()> wake_;  // the loop; set before Start() returns
  std::thread thread_;
  absl::Status problem_;        // the thread's, until it is joined
  std::promise<void> may_end_;  // Stop() has no more use for the loop
};

}  // namespace stress
