#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/common.h"
#include "cli/load_values.h"
#include "cli/serve_flags.h"
#include "cli/stress_common.h"
#include "cli/subcommands.h"
#include "report/stress_text.h"
#include "stress/hold.h"

namespace cli {
namespace {

struct HoldFlags {
  StressFlags all;
  uint64_t connections = 10'000, processes = 1, threads = 0, message_bytes = 64;
  double connect_rate = 0, heartbeat_rate = 1'000;
  int64_t connect_timeout_ns = 10'000'000'000, hold_ns = 5'000'000'000;
  bool direct = false, no_direct = false;
  std::string sources;
};

void Declare(Flags& flags, HoldFlags& f) {
  DeclareTarget(flags, f.all);
  flags.Group("Hold")
      .Count("-c,--connections", &f.connections, {1, 15'000'000}, "connections, all open at once")
      .Rate("--connect-rate RATE", &f.connect_rate, {0.01, 1e7},
            "open so many a second; without it, as many as it goes")
      .Duration("--connect-timeout TIME", &f.connect_timeout_ns, {10'000'000, 3'600'000'000'000},
                "the ramp is over when nobody was answered for so long")
      .Duration("--hold TIME", &f.hold_ns, {10'000'000, 86'400'000'000'000},
                "keep them for so long, once all are open")
      .Rate("--heartbeat-rate RATE", &f.heartbeat_rate, {0.01, 1e7},
            "requests a second meanwhile, of all together, on one after the other in random order")
      .Bytes("-s,--size", &f.message_bytes, {1, 1 << 20}, "of a request")
      .Group("Beyond one process's descriptors")
      .Switch("--direct", &f.direct,
              "io_uring: connections take direct descriptors, which RLIMIT_NOFILE bounds for each "
              "thread only; at both ends, or for ADDRESS at ours. Without it: where there are more "
              "than RLIMIT_NOFILE")
      .Switch("--no-direct", &f.no_direct, "file descriptors, however many connections there are")
      .Count("--processes", &f.processes, {1, 1024},
             "at each end, each with its own RLIMIT_NOFILE: each of ours has a server of its own, "
             "at a port of its own")
      .Count("-t,--threads", &f.threads, {0, 1024},
             "event loops of a process, at each end; 0: one, with --direct as many as it needs")
      .Text("--source LIST", &f.sources,
            "addresses to connect from, by turns (127.0.0.1,127.0.0.2): each has all ports. "
            "Without it, to 127.0.0.1: as many of 127.0.0.1, 127.0.0.2, ... as there have to be");
  DeclareLimits(flags, f.all);
  flags
      .Example("ringside stress hold -c 100k",
               "what a connection costs in memory, and whether idle ones slow the others down")
      .Example("ringside stress hold --backend epoll --client-backend epoll -c 100k --processes 6",
               "epoll: file descriptors, of several processes")
      .Example("ringside stress hold 9999 -c 5k --connect-rate 1k --hold 1m",
               "does a server at port 9999 keep them all?");
}

absl::StatusOr<stress::HoldOptions> Options(const HoldFlags& f, const stress::TargetOptions& target,
                                            const std::string& client_backend) {
  if (f.direct && f.no_direct) {
    return absl::InvalidArgumentError("--direct and --no-direct: leave out one of the two");
  }
  const auto ours = io::Resolve("127.0.0.1:1");  // where our own server listens
  if (!ours.ok()) return ours.status();
  const io::Endpoint& at = target.at ? *target.at : *ours;
  if (at.is_unix() || at.is_datagram()) {
    return absl::InvalidArgumentError(absl::StrCat(
        at.ToString(), ": hold is about TCP connections; write HOST:PORT, or [IPV6]:PORT"));
  }
  using Direct = stress::HoldOptions::Direct;
  stress::HoldOptions options = {.target = target,
                                 .client_backend = client_backend,
                                 .connections = static_cast<uint32_t>(f.connections),
                                 .connect_rate = f.connect_rate,
                                 .connect_timeout_ns = f.connect_timeout_ns,
                                 .hold_ns = f.hold_ns,
                                 .heartbeat_rate = f.heartbeat_rate,
                                 .message_bytes = f.message_bytes,
                                 .processes = static_cast<uint32_t>(f.processes),
                                 .threads = static_cast<uint32_t>(f.threads),
                                 .memory_floor_bytes = f.all.memory_floor_bytes};
  if (f.direct) options.direct = Direct::kYes;
  if (f.no_direct) options.direct = Direct::kNo;
  if (f.sources.empty()) return options;
  auto sources = ParseSources(f.sources, at);
  if (!sources.ok()) return Named("--source", sources.status());
  options.sources = *std::move(sources);
  return options;
}

int Run(const HoldFlags& f) {
  return RunExperiment(
      f.all, {.name = "hold",
              .run = [&f](const stress::TargetOptions& target, const std::string& client_backend,
                          const stress::Context& context) -> absl::StatusOr<stress::Result> {
                const auto options = Options(f, target, client_backend);
                if (!options.ok()) return options.status();
                return stress::Hold(*options, context);
              },
              .rows = &report::HoldRows});
}

}  // namespace

Subcommand StressHoldCommand() {
  auto f = std::make_shared<HoldFlags>();
  return {.name = "stress hold",
          .summary = "so many connections at once: how fast they open, and what each costs",
          .declare = [f](Flags& flags) { Declare(flags, *f); },
          .run = [f] { return Run(*f); }};
}

}  // namespace cli
