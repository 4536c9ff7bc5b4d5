#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/stress_common.h"
#include "cli/subcommands.h"
#include "report/stress_text.h"
#include "stress/fds.h"

namespace cli {
namespace {

struct FdsFlags {
  StressFlags all;
  bool backends = false;
  uint64_t nofile = 256, connections = 8, message_bytes = 64, beyond = 64;
  double rate = 100;
  int64_t hold_ns = 3'000'000'000, patience_ns = 5'000'000'000;
};

void Declare(Flags& flags, FdsFlags& f) {
  DeclareTarget(flags, f.all);
  flags
      .Switch("--backends", &f.backends,
              "our server on each of the backends, one after the other (without --backend, the "
              "default)")
      .Count("--server-nofile", &f.nofile, {64, 1 << 20},
             "RLIMIT_NOFILE of our server; another's is read from /proc/PID/limits")
      .Group("Descriptors")
      .Count("-c,--connections", &f.connections, {1, 10'000},
             "that are there before all others, and ask at a steady rate")
      .Rate("-r,--rate RATE", &f.rate, {0.01, 100'000}, "requests a second of each of these")
      .Bytes("-s,--size", &f.message_bytes, {1, 16 * 1024}, "of a request")
      .Count("--beyond", &f.beyond, {1, 100'000},
             "connections that come when no descriptor is left")
      .Duration("-d,--hold TIME", &f.hold_ns, {100'000'000, 3'600'000'000'000},
                "for how long it stays at the limit: half of it without requests, half with")
      .Duration("--patience TIME", &f.patience_ns, {10'000'000, 3'600'000'000'000},
                "an answer, or a descriptor given back, is waited for no longer");
  DeclareLimits(flags, f.all);
  flags.Example("ringside stress fds", "our server on each backend, with 256 descriptors")
      .Example("ringside stress fds --backend epoll --server-nofile 1024 --beyond 200",
               "more of both, on epoll")
      .Example("ringside stress fds 9999 --server-pid 4711",
               "an echo server at port 9999; mind that our own limit is to be larger than its");
}

absl::StatusOr<stress::FdsOptions> FdsOptionsOf(const FdsFlags& f,
                                                const stress::TargetOptions& target,
                                                const std::string& client_backend) {
  if (target.at && f.all.flags->Given("server-nofile")) {
    return absl::InvalidArgumentError(
        "--server-nofile: is about our own server, and ADDRESS is somebody's; leave out one of the "
        "two");
  }
  if (target.at && target.at->is_datagram()) {
    return absl::InvalidArgumentError(
        "ADDRESS: datagrams take no descriptor of the server; give a stream's");
  }
  const bool each = f.backends || (!target.at && !f.all.flags->Given("backend"));
  auto targets = EachBackend(f.all, target, each);
  if (!targets.ok()) return targets.status();
  return stress::FdsOptions{.targets = *std::move(targets),
                            .client_backend = client_backend,
                            .server_nofile = f.nofile,
                            .connections = static_cast<uint32_t>(f.connections),
                            .rate = f.rate,
                            .message_bytes = static_cast<uint32_t>(f.message_bytes),
                            .beyond = static_cast<uint32_t>(f.beyond),
                            .hold_ns = f.hold_ns,
                            .patience_ns = f.patience_ns,
                            .memory_floor_bytes = f.all.memory_floor_bytes};
}

int Run(const FdsFlags& f) {
  return RunExperiment(
      f.all, {.name = "fds",
              .run = [&f](const stress::TargetOptions& target, const std::string& client_backend,
                          const stress::Context& context) -> absl::StatusOr<stress::Result> {
                const auto options = FdsOptionsOf(f, target, client_backend);
                if (!options.ok()) return options.status();
                return stress::Fds(*options, context);
              },
              .rows = &report::FdsRows});
}

}  // namespace

Subcommand StressFdsCommand() {
  auto f = std::make_shared<FdsFlags>();
  return {.name = "stress fds",
          .summary = "a server that runs out of descriptors: who is served, and does it spin?",
          .declare = [f](Flags& flags) { Declare(flags, *f); },
          .run = [f] { return Run(*f); }};
}

}  // namespace cli
