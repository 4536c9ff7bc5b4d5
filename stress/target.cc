#include "stress/target.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "bench/cpus.h"
#include "stats/cpu_clock.h"
#include "stats/server_finder.h"
#include "stress/descriptors.h"
#include "stress/proc_fields.h"

namespace stress {
namespace {

constexpr int64_t kMetricsTimeoutNs = 5'000'000'000;

// The process behind an address, where it is of this machine and one.
pid_t FindPid(const io::Endpoint& at) {
  const auto pids = stats::FindListeners(at.address(), at.size(), at.type());
  return pids.ok() && pids->size() == 1 && pids->front() != getpid() ? pids->front() : 0;
}

Json Known(int64_t number) { return number < 0 ? Json() : Json(number); }

Json ToJson(const TargetUse& use) {
  return {{"cpu_ns", Known(use.cpu_ns)},
          {"rss_bytes", Known(use.rss_bytes)},
          {"pss_bytes", Known(use.pss_bytes)},
          {"descriptors", Known(use.descriptors)}};
}

}  // namespace

TargetUse UseOf(pid_t pid) {
  TargetUse use;
  if (pid <= 0) return use;
  const auto cpu = stats::ProcessTreeCpuNanos(pid);
  if (cpu.ok()) use.cpu_ns = *cpu;
  const auto rollup = stats::ReadProcFile(absl::StrCat("/proc/", pid, "/smaps_rollup"));
  if (rollup.ok()) {
    use.rss_bytes = FieldBytes(*rollup, "Rss:");
    use.pss_bytes = FieldBytes(*rollup, "Pss:");
  }
  use.descriptors = OpenDescriptors(pid);
  return use;
}

absl::StatusOr<Target> Target::Start(const TargetOptions& options, const Context& context) {
  Target target;
  if (options.at) {
    target.at_ = *options.at;
    target.pid_ = options.server_pid != 0 ? options.server_pid : FindPid(*options.at);
    return target;
  }
  static std::atomic<int> names{0};
  target.metrics_ = absl::StrCat("unix:@ringside-stress-", getpid(), "-", ++names);
  std::vector<std::string> command = {
      bench::OwnExecutable(), "serve",     options.address, "--json",    "--backend",
      options.backend,        "--service", options.service, "--metrics", target.metrics_};
  command.insert(command.end(), options.flags.begin(), options.flags.end());
  const bool pinned = std::any_of(
      options.flags.begin(), options.flags.end(),
      [](const std::string& flag) { return flag == "--cpus" || flag.starts_with("--cpus="); });
  const bench::CpuPlan cpus = pinned ? bench::CpuPlan() : bench::PlanCpus();
  auto server =
      bench::StartOwnServer(command, absl::StrCat("the server (", absl::StrJoin(command, " "), ")"),
                            cpus.server, context.interrupt_fd, options.nofile);
  if (!server.ok()) return server.status();
  auto at = io::Resolve(server->ready["address"].get<std::string>());
  if (!at.ok()) return at.status();
  target.at_ = *at;
  target.pid_ = server->process.pid();
  target.client_cpus_ = cpus.client;
  target.own_ = *std::move(server);
  target.ours_ = true;
  return target;
}

absl::StatusOr<loadgen::ServerMetrics> Target::Metrics() const {
  if (!ours()) {
    return absl::FailedPreconditionError("somebody's server: where its metrics are isn't known");
  }
  const auto from = loadgen::MetricsAddress::Parse(metrics_);
  if (!from.ok()) return from.status();
  return loadgen::ReadServerMetrics(*from, kMetricsTimeoutNs);
}

absl::StatusOr<Json> Target::Stop() {
  if (!own_) return Json();
  auto summary = bench::StopOwnServer(*std::move(own_), /*interrupt_fd=*/-1);
  own_.reset();
  return summary;
}

Json ToJson(const Target& target, const TargetUse& before, const TargetUse& after) {
  return {{"ours", target.ours()},
          {"address", target.at().ToString()},
          {"pid", target.pid() == 0 ? Json() : Json(target.pid())},
          {"before", ToJson(before)},
          {"after", ToJson(after)}};
}

}  // namespace stress
