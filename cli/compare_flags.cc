#include "cli/compare_flags.h"

#include "bench/arm.h"
#include "bench/metrics.h"
#include "cli/common.h"
#include "io/backends.h"
#include "loadgen/load.h"
#include "loadgen/workload.h"

namespace cli {
namespace {

std::vector<std::string> MetricChoices() {
  std::vector<std::string> keys;
  for (const bench::Metric& metric : bench::kMetrics) keys.emplace_back(metric.key);
  return keys;
}

std::vector<std::string> WorkloadChoices() {
  return {loadgen::kWorkloadNames.begin(), loadgen::kWorkloadNames.end()};
}

void DeclareVerdict(Flags& flags, ScenarioFlags& f) {
  flags
      .Choice(
          "--metric", &f.metric, MetricChoices(),
          "what the verdict is about, the rest informs; default: server_cpu_us at the pace, else "
          "full_server_cpu_us, with --objective rate_max")
      .Percent("--margin PERCENT", &f.margin, {0.001, 1}, "the difference that matters");
}

void DeclareWhat(Flags& flags, ScenarioFlags& f) {
  flags
      .Choice("-w,--workload", &f.workload, WorkloadChoices(), "of the load generator, as the next")
      .Choice("--service", &f.service, loadgen::ServiceNames(),
              "what the servers answer; default: echo, for upload discard, for download chargen")
      .Count("-c,--connections", &f.connections, {1, 1'000'000}, "connections")
      .Text("-s,--size SIZES", &f.size, "of a request, as load takes it (64, 16KiB, 64..16KiB)")
      .Count("--depth", &f.depth, {1, 65536}, "requests in flight on each connection")
      .Count("--threads", &f.threads, {1, 1024}, "of our own servers")
      .Text("--load FLAGS", &f.load, "any other flags of load ('-t 2 --think 1ms')")
      .Rate("--pace RATE", &f.pace, {1, 1e9},
            "of the paced part, beside the one at full speed; lowered to 60 % of the slower arm's "
            "full speed")
      .Rate("--rate RATE", &f.rate, {1, 1e9},
            "instead of both: open loop at this rate, with its response times")
      .Choice("--arrivals", &f.arrivals, {"constant", "poisson", "bursts"},
              "of the paced part (bursts, where CPU time repeats best; with --rate and --objective "
              "poisson)")
      .Text("--objective CONDITION", &f.objective,
            "instead of all of these: the highest rate that keeps it, by search ('p99<1ms')");
}

}  // namespace

void DeclareScenario(Flags& flags, ScenarioFlags& f) {
  flags.Text("--name NAME", &f.name, "of the scenario");
  DeclareWhat(flags, f);
  DeclareVerdict(flags, f);
}

void DeclareCompare(Flags& flags, CompareFlags& f) {
  f.flags = &flags;
  flags.Group("Arms")
      .Repeated(
          "--arm ARM", &f.arms,
          "two or more; the first is what the others are compared with. A backend (epoll, "
          "io_uring), NAME=serve FLAGS, NAME=PATH serve FLAGS (another build), or NAME=COMMAND "
          "with "
          "{port} (any server on 127.0.0.1) or {address} (127.0.0.1:PORT, udp://127.0.0.1:PORT, "
          "unix:@NAME …, as --transport says); without it, epoll and io_uring")
      .Repeated("--arm-load NAME=FLAGS", &f.arm_loads, "flags of load for this arm alone")
      .Switch("--cross", &f.cross,
              "each backend of the server with each of the load generator: four arms")
      .Choice(
          "--ablate BACKEND", &f.ablate, io::BackendNames(),
          "our server with each feature of this backend switched in turn: what does it buy here?")
      .Switch("--self-check", &f.self_check,
              "the first arm once more: where it isn't the same as itself, nothing is judged")
      .Choice("--transport", &f.transport,
              {std::begin(bench::kTransports), std::end(bench::kTransports)},
              "what they are played over; seqpacket and unix-dgram are Unix sockets, too")
      .Text("--matrix FILE", &f.matrix,
            "arms and scenarios as TOML, and any of these flags (the command line wins)")
      .Text("--init FILE", &f.init, "write a matrix with comments, to begin with, and end")
      .Group("Scenario (without these: 64 × 64 B, 1000 × 64 B and 64 × 16 KiB)");
  DeclareWhat(flags, f.scenario);
  flags
      .Text("--sweep PARAMETER=VALUES", &f.sweep,
            "a scenario for each value of connections, size, depth, rate or threads: "
            "connections=1,8,64,512,4096")
      .Group("Verdict");
  DeclareVerdict(flags, f.scenario);
  flags
      .Duration("--budget TIME", &f.budget_ns, {1'000'000'000, 86'400'000'000'000},
                "after which it says what it can")
      .Count("--pairs", &f.pairs, {1, 80},
             "of rounds for each scenario, at most; looks at 10, 20, 40, 80")
      .Choice("--inconclusive", &f.inconclusive, {"pass", "fail"},
              "whether it fails (exit code 5) when it can't tell")
      .Percent("--steal-max PERCENT", &f.steal_max, {0, 1},
               "a round is void where other machines took more of the CPU time")
      .Percent("--others-max PERCENT", &f.others_max, {0, 1},
               "likewise where other processes had more of the CPUs that it is played on")
      .Group("Rounds")
      .Duration("--warmup TIME", &f.warmup_ns, {0, 60'000'000'000}, "of each part, not measured")
      .Duration("--window TIME", &f.window_ns, {10'000'000, 600'000'000'000},
                "measured, of each part")
      .Choice("--client-backend", &f.client_backend, BackendChoices(),
              "of the load generator, the same for all arms")
      .Text("--server-cpus LIST", &f.server_cpus, "where the servers run (default: the first CPU)")
      .Text("--client-cpus LIST", &f.client_cpus,
            "where the load generator runs (default: another core)")
      .Count("--seed", &f.seed, {1, ~0ull},
             "of the order within rounds and of their loads; without it, a random one")
      .Group("Output")
      .Text("-o,--output FILE", &f.output,
            "the result (default: results/compare-TIME-MACHINE.json, and its report as .html)")
      .Repeated("--export FILE", &f.exports,
                "a report besides, in the format of its ending, or FORMAT=FILE: see `ringside "
                "report --help`")
      .Switch("-q,--quiet", &f.quiet, "no progress")
      .Example("ringside compare", "epoll against io_uring in three scenarios")
      .Example("ringside compare --arm old='./ringside.old serve' --arm new=serve -c 256",
               "two builds")
      .Example("ringside compare --arm epoll --arm mine='./my_server --port {port}'",
               "any echo server against ours")
      .Example("ringside compare --ablate io_uring", "what each feature of io_uring buys here")
      .Example("ringside compare --sweep connections=1,8,64,512,4096", "a curve")
      .Example("ringside compare --objective 'p99<1ms' -c 256", "the highest rate that keeps it")
      .Example("ringside compare --matrix bench.toml --export junit=junit.xml", "in a pipeline");
}

}  // namespace cli
