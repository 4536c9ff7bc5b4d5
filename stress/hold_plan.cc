#include "stress/hold_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace stress {
namespace {

using Direct = HoldOptions::Direct;

constexpr double kPortsUsed = 0.95;  // of an address: somebody may have the others
constexpr double kTableUsed = 0.95;  // of a ring's descriptors: the kernel doesn't fill all evenly
constexpr uint32_t kThreadsMax = 1024;
constexpr uint64_t kTableMax = 1 << 20;  // IORING_MAX_FIXED_FILES, io_uring/filetable.h
constexpr uint64_t kServerConnectionsMax = 16'000'000;  // `ringside serve --connections-max`

uint64_t CeilDivide(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

bool CanBeDirect(const HoldOptions& options) {
  const bool server = options.target.at.has_value() || options.target.backend == "io_uring";
  return server && options.client_backend == "io_uring";
}

absl::StatusOr<bool> PlanDirect(const HoldOptions& options, uint64_t each, uint64_t descriptors) {
  if (options.direct == Direct::kYes && !CanBeDirect(options)) {
    return absl::InvalidArgumentError(
        "--direct: epoll has no direct descriptors; leave it out, or write --backend io_uring "
        "--client-backend io_uring");
  }
  if (options.direct != Direct::kAuto) return options.direct == Direct::kYes;
  return CanBeDirect(options) && each + kOtherDescriptors > descriptors;
}

absl::StatusOr<uint32_t> PlanThreads(const HoldOptions& options, bool direct, uint64_t each,
                                     uint64_t descriptors) {
  if (!direct) return std::max(1u, options.threads);
  const uint64_t table = std::min(descriptors, kTableMax);
  const auto used = static_cast<uint64_t>(static_cast<double>(table) * kTableUsed);
  const uint64_t needed = CeilDivide(each, std::max<uint64_t>(1, used));
  if (options.threads == 0 && needed <= kThreadsMax) return static_cast<uint32_t>(needed);
  if (options.threads >= needed) return options.threads;
  return absl::InvalidArgumentError(absl::StrCat(
      "--direct: RLIMIT_NOFILE bounds the table of each thread to ", table, " descriptors, so ",
      each, " connections of a process need ", needed, " threads; ",
      needed > kThreadsMax ? "write --processes 2 or more, or raise ulimit -n"
                           : "leave --threads out, or raise ulimit -n"));
}

// 127.0.0.1, .2, ..., without those that end in 0 or 255.
io::Endpoint LoopbackAddress(uint64_t number) {
  constexpr uint64_t kEach = 254;
  const uint64_t block = number / kEach;
  const auto at = io::Resolve(
      absl::StrCat("127.", block / 256 % 256, ".", block % 256, ".", number % kEach + 1, ":1"));
  return at.ok() ? at->WithPort(0) : io::Endpoint();
}

absl::Status PlanSources(const HoldOptions& options, uint64_t each,
                         const loadgen::LocalPorts& ports, bool to_loopback, HoldPlan* plan) {
  const size_t processes = plan->shares.size();
  if (!options.sources.empty()) {
    if (options.sources.size() < processes) {
      return absl::InvalidArgumentError(
          absl::StrCat("--source: ", processes, " processes need an address each, and there are ",
                       options.sources.size(), "; give more, or fewer --processes"));
    }
    for (size_t i = 0; i < options.sources.size(); ++i) {
      plan->shares[i % processes].sources.push_back(options.sources[i]);
    }
    return absl::OkStatus();
  }
  const size_t usable = ports.Usable().size();
  const auto used = static_cast<uint64_t>(static_cast<double>(usable) * kPortsUsed);
  if (!to_loopback || used == 0 || (processes == 1 && each <= used)) return absl::OkStatus();
  uint64_t next = 0;
  for (HoldShare& share : plan->shares) {
    for (uint64_t i = CeilDivide(each, used); i > 0; --i) {
      share.sources.push_back(LoopbackAddress(next++));
    }
  }
  return absl::OkStatus();
}

}  // namespace

size_t HoldPlan::sources() const {
  size_t sources = 0;
  for (const HoldShare& share : shares) sources += share.sources.size();
  return std::max<size_t>(1, sources);
}

absl::StatusOr<HoldPlan> PlanHold(const HoldOptions& options, uint64_t descriptors,
                                  const loadgen::LocalPorts& ports, bool to_loopback) {
  if (options.processes > options.connections) {
    return absl::InvalidArgumentError(absl::StrCat("--processes ", options.processes,
                                                   ": more than the ", options.connections,
                                                   " connections; write fewer"));
  }
  const uint64_t each = CeilDivide(options.connections, options.processes);
  const auto direct = PlanDirect(options, each, descriptors);
  if (!direct.ok()) return direct.status();
  const auto threads = PlanThreads(options, *direct, each, descriptors);
  if (!threads.ok()) return threads.status();
  HoldPlan plan = {.direct = *direct, .threads = *threads};
  for (uint32_t i = 0; i < options.processes; ++i) {
    const uint32_t share = options.connections / options.processes;
    plan.shares.push_back({.connections = share + (i < options.connections % options.processes)});
  }
  const absl::Status planned = PlanSources(options, each, ports, to_loopback, &plan);
  if (!planned.ok()) return planned;
  return plan;
}

std::vector<std::string> ServeFlagsOf(const HoldOptions& options, const HoldPlan& plan,
                                      const HoldShare& share, uint64_t descriptors) {
  // One more than there are: who comes besides (a probe of the user's) takes nobody's place.
  uint64_t most = share.connections + 1ull;
  std::vector<std::string> flags = {"--size",
                                    absl::StrCat(options.message_bytes, "B"),
                                    "--threads",
                                    absl::StrCat(plan.threads),
                                    "--connections-per-source",
                                    "0",
                                    "--idle-timeout",
                                    "0s"};
  if (plan.direct) {
    most = std::max(most, plan.threads * std::min(descriptors, kTableMax));
    flags.emplace_back("--direct");
  } else if (plan.threads > 1) {
    most *= 2;  // it divides them evenly among the threads, and the kernel doesn't
  }
  flags.insert(flags.end(),
               {"--connections-max", absl::StrCat(std::min(most, kServerConnectionsMax))});
  flags.insert(flags.end(), options.target.flags.begin(), options.target.flags.end());
  return flags;
}

}  // namespace stress
