// Echo under all faults at once and under each alone, seed by seed.

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "io/errors.h"
#include "tests/faults/echo_workload.h"
#include "tests/faults/rig.h"

namespace faults {
namespace {

// The transports of connections. Of messages, none is longer than a receive buffer.
const std::vector<std::string> kTransports = {"tcp", "unix", "unix-seqpacket"};
constexpr size_t kMessageMax = 16 * 1024;

template <class Backend>
class EchoFaults : public BackendTest<Backend> {
 protected:
  // `workload` over each transport, as far as its faults can befall it.
  static std::vector<Workload> OverEachTransport(const Workload& workload) {
    std::vector<Workload> all;
    for (const std::string& transport : kTransports) {
      Workload& one = all.emplace_back(workload);
      one.transport = transport;
      if (transport != "unix-seqpacket") continue;
      one.message_max = std::min<size_t>(kMessageMax, one.options.recv_buffer_bytes);
    }
    return all;
  }

  // Under faults that a connection survives, each byte of each life comes back.
  static void ExpectAllEchoed(const Workload& workload, uint64_t seeds) {
    for (const Workload& one : OverEachTransport(workload)) {
      SCOPED_TRACE(one.transport);
      ExpectAllEchoedOver(one, seeds);
      if (testing::Test::HasFailure()) return;
    }
  }

 private:
  static void ExpectAllEchoedOver(const Workload& workload, uint64_t seeds) {
    uint64_t faults = 0;
    for (const uint64_t seed : Seeds(seeds)) {
      SCOPED_TRACE("RINGSIDE_FAULT_SEED=" + std::to_string(seed));
      const Outcome outcome = RunEcho<Backend>(workload, seed);
      EXPECT_EQ(outcome.completed, workload.lives);
      const std::map<int, int> all_well = {{0, workload.lives}};
      EXPECT_EQ(outcome.server_closes, all_well);
      EXPECT_EQ(outcome.client_closes, all_well);
      faults += outcome.server_faults->log().size();
      if (testing::Test::HasFailure()) return;
    }
    EXPECT_TRUE(faults > 0 || !CanHappen(workload)) << "nothing was tested";
  }

  // No kernel shortens a message.
  static bool CanHappen(const Workload& workload) {
    Plan others = workload.server;
    others.short_transfer = 0;
    const Plan none = {};
    return workload.transport != "unix-seqpacket" || others != none;
  }
};

TYPED_TEST_SUITE(EchoFaults, Backends, BackendNames);

TYPED_TEST(EchoFaults, ShortTransfers) {
  this->ExpectAllEchoed({.server = {.short_transfer = 0.3}}, 3);
}

TYPED_TEST(EchoFaults, InterruptedCalls) {
  this->ExpectAllEchoed({.server = {.interrupted = 0.3}}, 3);
}

TYPED_TEST(EchoFaults, NotReadyAlthoughReady) {
  this->ExpectAllEchoed({.server = {.not_ready = 0.3}}, 3);
}

TYPED_TEST(EchoFaults, WaitsThatEndForNothing) {
  this->ExpectAllEchoed({.server = {.waits = 0.4}}, 3);
}

TYPED_TEST(EchoFaults, DelayedAndReordered) {
  this->ExpectAllEchoed({.server = {.delayed = 0.4}}, 3);
}

TYPED_TEST(EchoFaults, AcceptFails) {
  this->ExpectAllEchoed(
      {.server = {.ends_early = 0.5, .aborted = 0.4, .exhausted = 0.05}, .messages = 4}, 3);
}

TYPED_TEST(EchoFaults, ReceivesEndEarlyOrFindNoBuffer) {
  const Plan plan = {.short_transfer = 0.1, .no_buffers = 0.3, .ends_early = 0.3, .delayed = 0.1};
  if (!std::is_same_v<TypeParam, Uring>) GTEST_SKIP() << "the kernel takes no buffers of epoll's";
  this->ExpectAllEchoed({.server = plan}, 3);
}

TYPED_TEST(EchoFaults, EverythingAtOnce) {
  this->ExpectAllEchoed({.server = Benign(0.08), .client = Benign(0.04), .messages = 20}, 20);
}

TYPED_TEST(EchoFaults, ManyMessages) {
  this->ExpectAllEchoed({.server = Benign(0.05), .lives = 32, .messages = 400}, 1);
}

TYPED_TEST(EchoFaults, TinyRings) {
  Workload workload = {.server = Benign(0.1), .messages = 20};
  workload.options.submission_entries = 4;
  workload.options.completion_entries = 8;
  this->ExpectAllEchoed(workload, 5);
}

TYPED_TEST(EchoFaults, FewSmallBuffersAndATightBound) {
  Workload workload = {.server = Benign(0.1), .messages = 10, .message_max = 50'000};
  workload.options.recv_buffer_bytes = 512;
  workload.options.recv_buffers = 4;
  workload.options.pending_bytes_max = 2000;
  this->ExpectAllEchoed(workload, 5);
}

TYPED_TEST(EchoFaults, MoreClientsThanSlots) {
  Workload workload = {.server = Benign(0.1), .lives = 64, .messages = 5};
  workload.options.connections_max = 32;  // just enough: the loop stops accepting all the time
  this->ExpectAllEchoed(workload, 3);
}

// Both ends take direct descriptors, over TCP. The server's table is just large enough: it stops
// accepting all the time.
TYPED_TEST(EchoFaults, DirectDescriptors) {
  if (!std::is_same_v<TypeParam, Uring>) GTEST_SKIP() << "epoll has none";
  Workload workload = {.server = Benign(0.1), .client = Benign(0.04), .lives = 64, .messages = 10};
  workload.server.aborted = 0.2;
  workload.options.direct_accepts = 32;
  workload.options.direct_descriptors = 40;  // one is free only when its close has completed
  if (const absl::Status opened = Rig<Uring>::TryOpen(workload.options); !opened.ok()) {
    GTEST_SKIP() << opened;
  }
  this->ExpectAllEchoed(workload, 10);
}

// Connections are lost at random. Each dies of an errno that was injected, once; the others don't
// notice.
TYPED_TEST(EchoFaults, LostConnections) {
  int lost = 0, completed = 0;
  Workload common = {.server = Benign(0.05), .client = Benign(0.02), .messages = 20};
  common.server.fatal = 0.002;
  common.client.fatal = 0.0005;
  const std::vector<Workload> workloads = this->OverEachTransport(common);
  for (const uint64_t seed : Seeds(30)) {
    const Workload& workload = workloads[seed % workloads.size()];
    SCOPED_TRACE(workload.transport + ", RINGSIDE_FAULT_SEED=" + std::to_string(seed));
    const Outcome outcome = RunEcho<TypeParam>(workload, seed);
    lost += outcome.lost;
    completed += outcome.completed;
    EXPECT_EQ(outcome.lost + outcome.completed, workload.lives);
    const std::set<int> lost_by = {0, ECONNRESET, ETIMEDOUT, EPIPE, ECONNREFUSED, ENETUNREACH};
    for (const auto& closes : {outcome.server_closes, outcome.client_closes}) {
      for (const auto& [error, times] : closes) {
        EXPECT_TRUE(lost_by.contains(error)) << io::ErrnoSymbol(error) << " x " << times;
      }
    }
    // Resets come from the other end too; these come from nowhere else.
    const auto injected = [](const Injector& faults, int error) {
      return static_cast<int>(faults.injected(error));
    };
    for (const auto& [closes, faults] : {std::pair(outcome.server_closes, outcome.server_faults),
                                         std::pair(outcome.client_closes, outcome.client_faults)}) {
      for (const int error : {ETIMEDOUT, ECONNREFUSED, ENETUNREACH}) {
        const auto found = closes.find(error);
        EXPECT_LE(found == closes.end() ? 0 : found->second, injected(*faults, error))
            << io::ErrnoSymbol(error);
      }
    }
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(lost, 0);
  EXPECT_GT(completed, 0);
}

}  // namespace
}  // namespace faults
