#include "cli/stress_common.h"

#include <unistd.h>

#include <csignal>
#include <iostream>
#include <memory>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "bench/process.h"
#include "cli/arguments.h"
#include "cli/common.h"
#include "cli/output_lines.h"
#include "cli/outputs.h"
#include "cli/serve_flags.h"
#include "cli/signals.h"
#include "cli/subcommands.h"
#include "cli/target_guard.h"
#include "cli/version.h"
#include "io/backends.h"
#include "io/threads.h"
#include "report/environment_json.h"
#include "report/files.h"
#include "report/json_text.h"
#include "report/stress_text.h"
#include "stats/environment.h"

namespace cli {
namespace {

using Json = nlohmann::ordered_json;

// The first flag that says how our own server is to be, where there is somebody's.
absl::Status CheckOwnFlags(const StressFlags& f) {
  if (f.address.empty()) {
    if (f.server_pid == 0) return absl::OkStatus();
    return absl::InvalidArgumentError(
        "--server-pid: our own server's process is known; give ADDRESS, too, or leave it out");
  }
  for (const char* name : {"self", "backend", "serve-flags"}) {
    if (!f.flags->Given(name)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--", name,
                     ": is about our own server, and ADDRESS is somebody's; leave out "
                     "one of the two"));
  }
  return absl::OkStatus();
}

absl::StatusOr<stress::TargetOptions> MakeTarget(const StressFlags& f) {
  const absl::Status consistent = CheckOwnFlags(f);
  if (!consistent.ok()) return consistent;
  stress::TargetOptions target = {.server_pid = static_cast<pid_t>(f.server_pid),
                                  .backend = f.backend};
  if (!f.serve_flags.empty()) {
    auto words = bench::SplitWords(f.serve_flags);
    if (!words.ok()) return Named("--serve-flags", words.status());
    target.flags = *std::move(words);
  }
  if (f.address.empty()) return target;
  const auto at = ChooseTarget("stress", f.address, f.owned);
  if (!at.ok()) return at.status();
  target.at = *at;
  return target;
}

// What of a result is the program's to say.
Json Complete(const StressFlags& f, const stress::Result& result) {
  Json json = stress::ToJson(result);
  json["revision"] = Revision();
  json["arguments"] = Arguments(*f.flags);
  json["time_utc"] = UtcTime("%Y-%m-%dT%H:%M:%SZ");
  json["environment"] = report::EnvironmentJson(stats::CollectEnvironment());
  return json;
}

// A line on a terminal, rewritten; elsewhere nothing.
std::function<void(const std::string&)> Progress(bool quiet) {
  if (quiet || isatty(STDERR_FILENO) == 0) return [](const std::string&) {};
  // What a terminal that is stopped (Ctrl-S) has no room for is left out.
  const auto terminal = std::make_shared<NonblockingStream>(STDERR_FILENO);
  return [terminal](const std::string& line) { (void)terminal->Write("\r\033[K" + line); };
}

int ExitCode(const std::string& name, const stress::Result& result, Signals& signals) {
  if (result.interrupted) return ExitBySignal(std::max(SIGINT, signals.Take()));
  if (!result.problem.empty()) return Fail(name, result.problem, kExitFailed);
  if (!result.limit) return kExitOk;
  return Fail(name,
              absl::StrCat("stopped by a limit, ", result.limit->name, " (", result.limit->value,
                           "); to raise it: ", result.limit->mend),
              kExitThreshold);
}

}  // namespace

void DeclareTarget(Flags& flags, StressFlags& f) {
  f.flags = &flags;
  flags
      .Positional("ADDRESS", &f.address,
                  "a server of yours: 9999 (loopback), HOST:PORT, [IPV6]:PORT; without it, one of "
                  "ours is started")
      .Group("Server")
      .Switch("--self", &f.self, "one of ours, started for it on a CPU of its own (the default)")
      .Choice("-b,--backend", &f.backend, BackendChoices(),
              "our server's event loop; auto is io_uring where it runs, else epoll")
      .Text("--serve-flags FLAGS", &f.serve_flags,
            "more flags for our server, as `ringside serve --help` has them")
      .Count("--server-pid", &f.server_pid, {1, 1 << 22},
             "the process at ADDRESS, where it can't be found by that");
}

void DeclareLimits(Flags& flags, StressFlags& f) {
  flags.Group("Safety")
      .Bytes("--memory-floor SIZE", &f.memory_floor_bytes, {0, 1ull << 50},
             "stop when less memory than this is available on this machine")
      .Switch("--i-own-this-target", &f.owned, "ADDRESS may be a public one: it is yours")
      .Group("Output")
      .Choice("--client-backend", &f.client_backend, BackendChoices(),
              "the event loop that connects")
      .Text("--json FILE", &f.json, "the whole result as JSON; -: on stdout, instead of the text")
      .Switch("-q,--quiet", &f.quiet, "no progress and no text");
}

absl::StatusOr<std::vector<stress::TargetOptions>> EachBackend(const StressFlags& f,
                                                               const stress::TargetOptions& target,
                                                               bool backends) {
  if (!backends) return std::vector<stress::TargetOptions>{target};
  if (target.at) {
    return absl::InvalidArgumentError(
        "--backends: is about our own server, and ADDRESS is somebody's; leave out one of the two");
  }
  if (f.flags->Given("backend")) {
    return absl::InvalidArgumentError("--backends: are all of them; leave out --backend");
  }
  std::vector<stress::TargetOptions> each;
  for (const std::string& backend : io::BackendNames()) {
    if (!io::ProbeBackend(backend).ok()) continue;
    each.push_back(target);
    each.back().backend = backend;
  }
  return each;
}

int RunExperiment(const StressFlags& f, const Experiment& experiment) {
  const std::string name = absl::StrCat("stress ", experiment.name);
  auto target = MakeTarget(f);
  if (!target.ok()) return Fail(name, target.status(), kExitUsage);
  report::OutputFile file;
  const absl::Status opened = OpenOutputs(name, {{"--json", f.json, &file}});
  if (!opened.ok()) return OutputsFailed(name, opened);
  std::string client_backend = f.client_backend;
  std::string fallback;
  absl::Status available = UseBackend(name, &client_backend, &fallback, kLoopsAtOnce);
  if (available.ok() && !target->at) {
    available = UseBackend(name, &target->backend, &fallback, kLoopsAtOnce);
  }
  if (!available.ok()) return Fail(name, available, kExitSkipped);
  (void)io::AllowDescriptors(~0u);  // as many as the hard limit gives; fewer is no error here

  Signals signals;
  const stress::Context context = {.interrupt_fd = signals.fd(), .note = Progress(f.quiet)};
  const auto result = experiment.run(*target, client_backend, context);
  context.note("");
  if (absl::IsCancelled(result.status())) return ExitBySignal(std::max(SIGINT, signals.Take()));
  if (!result.ok()) {
    const bool usage = absl::IsInvalidArgument(result.status());
    return Fail(name, result.status(), usage ? kExitUsage : StartFailed(result.status()));
  }
  Json json = Complete(f, *result);
  json["backend_fallback"] = fallback.empty() ? Json() : Json(fallback);
  const absl::Status written = file.Write(report::JsonText(json, 2) + "\n");
  if (!f.quiet && f.json != "-") Print(name, report::StressText(json, experiment.rows(json)));
  if (!written.ok()) return Fail(name, written, kExitFailed);
  return ExitCode(name, *result, signals);
}

Subcommand StressGroup() {
  return {.name = "stress",
          .summary =
              "experiments at the limits: backlogs, descriptors, a million connections, churn, "
              "slow peers"};
}

}  // namespace cli
