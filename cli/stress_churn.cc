#include <memory>
#include <utility>

#include "cli/load_values.h"
#include "cli/serve_flags.h"
#include "cli/stress_common.h"
#include "cli/subcommands.h"
#include "report/stress_text.h"
#include "stress/churn.h"

namespace cli {
namespace {

struct ChurnFlags {
  StressFlags all;
  uint64_t connections = 32, threads = 1, message_bytes = 64;
  double rate = 0;
  int64_t duration_ns = 10'000'000'000;
  std::string closes = "client";
  bool reset = false, backends = false;
  std::string sources;
};

void Declare(Flags& flags, ChurnFlags& f) {
  DeclareTarget(flags, f.all);
  flags.Switch("--backends", &f.backends, "our server on each of the backends, one after the other")
      .Group("Churn")
      .Count("-c,--connections", &f.connections, {1, 1'000'000}, "connections at the same time")
      .Count("-t,--threads", &f.threads, {1, 1024}, "of the load generator")
      .Rate("-r,--rate RATE", &f.rate, {0.01, 1e7},
            "connections a second; without it, as many as it goes")
      .Duration("-d,--duration TIME", &f.duration_ns, {10'000'000, 86'400'000'000'000},
                "for each backend")
      .Bytes("-s,--size", &f.message_bytes, {1, 1 << 20}, "of the request, where there is one")
      .Choice("--closes", &f.closes, {"client", "server"},
              "who closes first, and so keeps the address in TIME_WAIT; the server does so after a "
              "greeting (its service is greet, else echo)")
      .Switch("--reset", &f.reset, "the client closes with a reset (RST): nothing stays behind")
      .Text("--source LIST", &f.sources,
            "addresses to connect from, by turns (127.0.0.1,127.0.0.2): each has all ports");
  DeclareLimits(flags, f.all);
  flags
      .Example("ringside stress churn --backends",
               "what a connection costs on io_uring, and on epoll")
      .Example("ringside stress churn 9999 --rate 500 -d 2m",
               "does a server at port 9999 hold that rate, and do the ports last?")
      .Example("ringside stress churn --closes server", "TIME_WAIT is the server's");
}

absl::StatusOr<stress::ChurnOptions> Options(const ChurnFlags& f,
                                             const stress::TargetOptions& target,
                                             const std::string& client_backend) {
  if (f.reset && f.closes == "server") {
    return absl::InvalidArgumentError(
        "--reset: it is the client's way to close; leave out --closes server");
  }
  auto targets = EachBackend(f.all, target, f.backends);
  if (!targets.ok()) return targets.status();
  stress::ChurnOptions options = {.targets = *std::move(targets),
                                  .client_backend = client_backend,
                                  .connections = static_cast<uint32_t>(f.connections),
                                  .threads = static_cast<uint32_t>(f.threads),
                                  .message_bytes = f.message_bytes,
                                  .rate = f.rate,
                                  .duration_ns = f.duration_ns,
                                  .server_closes = f.closes == "server",
                                  .memory_floor_bytes = f.all.memory_floor_bytes};
  if (f.reset) options.ending = loadgen::Ending::kReset;
  if (!f.sources.empty()) {
    const auto ours = io::Resolve("127.0.0.1:1");  // where our own server listens
    if (!ours.ok()) return ours.status();
    auto sources = ParseSources(f.sources, target.at ? *target.at : *ours);
    if (!sources.ok()) return Named("--source", sources.status());
    options.sources = *std::move(sources);
  }
  return options;
}

int Run(const ChurnFlags& f) {
  return RunExperiment(
      f.all, {.name = "churn",
              .run = [&f](const stress::TargetOptions& target, const std::string& client_backend,
                          const stress::Context& context) -> absl::StatusOr<stress::Result> {
                const auto options = Options(f, target, client_backend);
                if (!options.ok()) return options.status();
                return stress::Churn(*options, context);
              },
              .rows = &report::ChurnRows});
}

}  // namespace

Subcommand StressChurnCommand() {
  auto f = std::make_shared<ChurnFlags>();
  return {.name = "stress churn",
          .summary = "connections that come and go: their rate, their cost, and the ports they use",
          .declare = [f](Flags& flags) { Declare(flags, *f); },
          .run = [f] { return Run(*f); }};
}

}  // namespace cli
