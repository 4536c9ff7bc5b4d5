#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/stress_common.h"
#include "cli/subcommands.h"
#include "report/stress_text.h"
#include "stress/slow.h"

namespace cli {
namespace {

struct SlowFlags {
  StressFlags all;
  std::string kind = "all";
  uint64_t peers = 50, connections = 4, message_bytes = 64;
  double rate = 0;
  int64_t duration_ns = 5'000'000'000, every_ns = 100'000'000;
  bool backends = false;
};

std::vector<std::string> Kinds() {
  std::vector<std::string> names = {"all"};
  for (const std::string_view name : stress::kSlowKindNames) names.emplace_back(name);
  return names;
}

void Declare(Flags& flags, SlowFlags& f) {
  DeclareTarget(flags, f.all);
  flags.Switch("--backends", &f.backends, "our server on each of the backends, one after the other")
      .Group("Slow peers")
      .Choice(
          "--kind", &f.kind, Kinds(),
          "never-read: send for as long as they are let, and never read; trickle: likewise, but "
          "read a byte at a time; half-close: one request and a FIN, then stay; all, in turn")
      .Count("-n,--peers", &f.peers, {1, 1'000'000}, "slow peers")
      .Duration("--trickle-every TIME", &f.every_ns, {1'000'000, 3'600'000'000'000},
                "from a byte that trickle reads to the next")
      .Group("Good client")
      .Count("-c,--connections", &f.connections, {1, 1'000'000}, "its connections")
      .Rate("-r,--rate RATE", &f.rate, {0.01, 1e9},
            "its requests a second; without it, each answer brings the next")
      .Duration("-d,--duration TIME", &f.duration_ns, {10'000'000, 86'400'000'000'000},
                "measured without the slow peers, and again with them")
      .Bytes("-s,--size", &f.message_bytes, {1, 1 << 20}, "of a request, the slow peers' too");
  DeclareLimits(flags, f.all);
  flags.Example("ringside stress slow --backends", "every kind, at both of our servers")
      .Example("ringside stress slow --kind never-read --serve-flags '--stall-timeout 2s'",
               "does the server close them?")
      .Example("ringside stress slow 9999 --kind trickle -n 1k",
               "a thousand at an echo server at port 9999");
}

absl::StatusOr<stress::SlowExperiment> OptionsOf(const SlowFlags& f,
                                                 const stress::TargetOptions& target,
                                                 const std::string& client_backend) {
  auto targets = EachBackend(f.all, target, f.backends);
  if (!targets.ok()) return targets.status();
  if (target.at && target.at->is_datagram()) {
    return absl::InvalidArgumentError(
        "ADDRESS: over datagrams nobody waits for a slow peer; give a stream's");
  }
  stress::SlowExperiment options = {.targets = *std::move(targets),
                                    .peers = static_cast<uint32_t>(f.peers),
                                    .trickle_every_ns = f.every_ns,
                                    .client_backend = client_backend,
                                    .connections = static_cast<uint32_t>(f.connections),
                                    .rate = f.rate,
                                    .message_bytes = f.message_bytes,
                                    .duration_ns = f.duration_ns,
                                    .memory_floor_bytes = f.all.memory_floor_bytes};
  for (size_t i = 0; i < stress::kSlowKindNames.size(); ++i) {
    if (f.kind != "all" && f.kind != stress::kSlowKindNames[i]) continue;
    options.kinds.push_back(static_cast<stress::SlowKind>(i));
  }
  return options;
}

int Run(const SlowFlags& f) {
  return RunExperiment(
      f.all, {.name = "slow",
              .run = [&f](const stress::TargetOptions& target, const std::string& client_backend,
                          const stress::Context& context) -> absl::StatusOr<stress::Result> {
                const auto options = OptionsOf(f, target, client_backend);
                if (!options.ok()) return options.status();
                return stress::Slow(*options, context);
              },
              .rows = &report::SlowRows});
}

}  // namespace

Subcommand StressSlowCommand() {
  auto f = std::make_shared<SlowFlags>();
  return {.name = "stress slow",
          .summary = "peers that make a server wait, and what a good client notices of them",
          .declare = [f](Flags& flags) { Declare(flags, *f); },
          .run = [f] { return Run(*f); }};
}

}  // namespace cli
