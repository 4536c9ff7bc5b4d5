#include "bench/round.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "stats/steal.h"

namespace bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kLoadGraceNs = 30'000'000'000;  // beyond its window: connecting, draining
constexpr double kPaceHeld = 0.98;                // of what was asked for
constexpr double kStealMax = 0.10;

struct Part {
  Json load;
  double server_syscalls = -1;
  std::string void_why;
};

std::string Seconds(int64_t ns) { return absl::StrFormat("%dms", ns / 1'000'000); }

std::vector<std::string> LoadCommand(const Scenario& scenario, const RoundPlan& plan,
                                     const RunningServer& server, double pace) {
  std::vector<std::string> argv = {OwnExecutable(),
                                   "load",
                                   server.address,
                                   "--service",
                                   plan.service,
                                   "--connections",
                                   absl::StrCat(scenario.connections),
                                   "--size",
                                   absl::StrCat(scenario.message_bytes, "B"),
                                   "--depth",
                                   absl::StrCat(scenario.depth),
                                   "--backend",
                                   plan.client_backend,
                                   "--warmup",
                                   Seconds(plan.warmup_ns),
                                   "--duration",
                                   Seconds(plan.window_ns),
                                   "--server-pid",
                                   absl::StrCat(server.process.pid()),
                                   "--json",
                                   "-",
                                   "--quiet"};
  // A lost datagram is not to hold up its connection for longer than a window.
  if (IsDatagram(plan.transport)) argv.insert(argv.end(), {"--timeout", "100ms"});
  if (pace > 0) {
    argv.insert(argv.end(), {"--rate", absl::StrFormat("%.3f", pace), "--arrivals", "bursts"});
  }
  return argv;
}

// A fresh server and a fresh load generator, once. pace 0: full speed.
absl::StatusOr<Part> PlayPart(const Arm& arm, const Scenario& scenario, const RoundPlan& plan,
                              double pace) {
  auto server =
      StartServer(arm, plan.transport, scenario.message_bytes, plan.cpus.server, plan.interrupt_fd);
  if (!server.ok()) return server.status();
  auto load = Process::Start(LoadCommand(scenario, plan, *server, pace), plan.cpus.client);
  if (!load.ok()) return load.status();
  const auto waited = load->Wait(plan.warmup_ns + plan.window_ns + kLoadGraceNs, plan.interrupt_fd);
  if (waited == Process::Waited::kInterrupted) return absl::CancelledError("interrupted");
  Part part;
  if (waited == Process::Waited::kTimeout) {
    part.void_why = "the load generator did not end";
  } else {
    part.load = Json::parse(load->Output(), nullptr, /*allow_exceptions=*/false);
    if (!part.load.is_object()) {
      return absl::InternalError(absl::StrCat("the load generator failed: ", load->Errors()));
    }
    if (!part.load["valid"].get<bool>()) part.void_why = load->Errors();
  }
  if (server->process.Wait(0, -1) == Process::Waited::kEnded) {
    return absl::InternalError(
        absl::StrCat("the server of arm '", arm.name, "' ended in mid-round, with exit code ",
                     server->process.exit_code(), ": ", server->process.Errors()));
  }
  auto syscalls = StopServer(arm, std::move(*server), plan.interrupt_fd);
  if (!syscalls.ok()) return syscalls.status();
  part.server_syscalls = *syscalls;
  return part;
}

double Number(const Json& json, const char* group, const char* name) {
  return json[group][name].get<double>();
}

}  // namespace

absl::StatusOr<double> FullSpeed(const Arm& arm, const Scenario& scenario, const RoundPlan& plan) {
  auto part = PlayPart(arm, scenario, plan, 0);
  if (!part.ok()) return part.status();
  if (!part->void_why.empty()) {
    return absl::InternalError(
        absl::StrCat("arm '", arm.name, "', ", scenario.name, ": ", part->void_why));
  }
  return part->load["throughput_rps"].get<double>();
}

absl::StatusOr<RoundResult> PlayRound(const Arm& arm, const Scenario& scenario,
                                      const RoundPlan& plan) {
  const stats::CpuTimes before = stats::ReadCpuTimes();
  RoundResult result;
  auto full = PlayPart(arm, scenario, plan, 0);
  if (!full.ok()) return full.status();
  result.void_why = full->void_why;
  if (!result.void_why.empty()) return result;
  auto paced = PlayPart(arm, scenario, plan, scenario.pace_rps);
  if (!paced.ok()) return paced.status();
  result.void_why = paced->void_why;
  if (!result.void_why.empty()) return result;

  result.full_server_syscalls = full->server_syscalls;
  result.requests_per_s = full->load["throughput_rps"].get<double>();
  result.p99_ns = Number(full->load, "latency_ns", "p99");
  result.full_server_cpu_us = Number(full->load, "server", "cpu_us_per_request");
  result.full_client_cpu_us = Number(full->load, "client", "cpu_us_per_request");
  result.server_cpu_us = Number(paced->load, "server", "cpu_us_per_request");
  result.client_cpu_us = Number(paced->load, "client", "cpu_us_per_request");
  result.server_syscalls = paced->server_syscalls;
  const double achieved = Number(paced->load, "pace", "achieved_rps");
  if (achieved < kPaceHeld * scenario.pace_rps) {
    result.void_why =
        absl::StrFormat("the pace was not held: %.0f/s of %.0f/s", achieved, scenario.pace_rps);
  }
  result.steal = stats::StealShare(before, stats::ReadCpuTimes());
  if (result.steal > kStealMax) {
    result.void_why = absl::StrFormat("others took %.0f %% of the CPU time", result.steal * 100);
  }
  return result;
}

}  // namespace bench
