#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "cli/common.h"
#include "cli/live.h"
#include "cli/load_flags.h"
#include "cli/outputs.h"
#include "cli/shortfalls.h"
#include "cli/signals.h"
#include "cli/subcommands.h"
#include "cli/target_guard.h"
#include "io/backends.h"
#include "loadgen/evidence.h"
#include "loadgen/load_json.h"
#include "loadgen/server_witness.h"
#include "loadgen/timeseries.h"
#include "report/files.h"
#include "report/hgrm.h"
#include "report/json_text.h"
#include "report/reader.h"
#include "report/text.h"
#include "stats/hdr_codec.h"
#include "stats/server_finder.h"

namespace cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kLoad = "load";

absl::Status Named(const char* flag, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(flag, ": ", std::string(status.message())));
}

// All that is decided before the first connection.
struct Plan {
  std::vector<loadgen::LoadOptions> classes;
  std::vector<Threshold> thresholds;
  LiveMode live = LiveMode::kOff;
  std::optional<loadgen::ServerWitness> server;
};

absl::StatusOr<Plan> MakePlan(const LoadFlags& f) {
  Plan plan;
  auto classes = LoadClasses(f);
  if (!classes.ok()) return classes.status();
  plan.classes = *std::move(classes);
  for (const std::string& text : f.fail_if) {
    auto threshold = ParseThreshold(text);
    if (!threshold.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--fail-if: ", std::string(threshold.status().message())));
    }
    plan.thresholds.push_back(*std::move(threshold));
  }
  if (!f.server_metrics.empty()) {
    auto from = loadgen::MetricsAddress::Parse(f.server_metrics);
    if (!from.ok()) return Named("--server-metrics", from.status());
    plan.server.emplace(*std::move(from));
  }
  const auto live = ChooseLive(f.live, f.quiet);
  if (!live.ok()) return live.status();
  plan.live = *live;
  return plan;
}

// Who listens at the address, where that is this machine and one process: its CPU time belongs
// beside the figures. 0: nobody can be named.
pid_t ServerPid(const io::Endpoint& at) {
  const auto pids = stats::FindListeners(at.address(), at.size(), at.type());
  return pids.ok() && pids->size() == 1 && pids->front() != getpid() ? pids->front() : 0;
}

// A descriptor for each connection; those without count in their thread's table, which may not be
// larger than RLIMIT_NOFILE either.
absl::Status AllowConnections(const std::vector<loadgen::LoadOptions>& classes) {
  uint64_t connections = 0, threads = 0, table = 0;
  for (const loadgen::LoadOptions& options : classes) {
    if (options.loop.direct_descriptors == 0) connections += options.connections;
    table = std::max<uint64_t>(table, options.loop.direct_descriptors);
    threads += options.threads;
  }
  const uint64_t descriptors = std::max(stats::DescriptorsOf(connections, threads), table);
  const bool direct = connections == 0;
  const absl::Status allowed = AllowDescriptors(
      {.connections = connections, .threads = threads, .direct = direct}, descriptors);
  if (allowed.ok()) return allowed;
  return absl::ResourceExhaustedError(
      absl::StrCat(direct ? absl::StrCat("--direct: a thread's table of ", table,
                                         " (smaller with more threads, -t)")
                          : absl::StrCat("-c ", connections),
                   ": ", std::string(allowed.message())));
}

// What watches a run while it goes: the terminal, the time series, and the machine.
class Watch {
 public:
  Watch(Plan& plan, bool server_is_here, loadgen::TimeseriesWriter& series)
      : live_(Shown(plan.classes), plan.live),
        series_(series),
        witness_(plan.classes.front().server_pid, server_is_here),
        server_(plan.server ? &*plan.server : nullptr) {
    for (const loadgen::LoadOptions& options : plan.classes) {
      formats_.push_back({.name = options.name,
                          .open_loop = options.open_loop(),
                          .encode_histogram = stats::EncodeHdr});
      interval_ns_ = options.interval_ns;
    }
    witness_.RunBegins();
  }

  // How often to Look().
  int interval_ms() const {
    return static_cast<int>(std::clamp<int64_t>(interval_ns_ / 1'000'000, 10, 100));
  }

  void Look(loadgen::Load& load) {
    load.Collect([this](size_t of, const loadgen::Interval& interval) { Pass(of, interval); });
    const loadgen::LoadProgress progress = load.Progress();
    constexpr auto kMeasuring = loadgen::LoadProgress::Phase::kMeasuring;
    if (progress.phase >= kMeasuring && !measuring_) {
      measuring_ = true;
      witness_.WindowBegins();
      if (server_ != nullptr) server_->WindowBegins();
    }
    if (progress.phase > kMeasuring) {
      witness_.WindowEnds();
      if (server_ != nullptr) server_->WindowEnds();
    }
    live_.OnProgress(progress);
  }

  void Pass(size_t of, const loadgen::Interval& interval) {
    series_.Add(interval, formats_[of]);
    live_.OnInterval(interval, formats_[of].name);
  }

  void Clear() { live_.Clear(); }
  // After the run: also gives the results what only the server knows.
  loadgen::Evidence Evidence(const Plan& plan, std::vector<loadgen::LoadResult>* results) {
    loadgen::Evidence evidence = witness_.RunEnds();
    if (server_ != nullptr) evidence.reconciliation = server_->RunEnds(plan.classes, results);
    return evidence;
  }

 private:
  // Of several classes, the panel shows the connections and requests of all.
  static loadgen::LoadOptions Shown(const std::vector<loadgen::LoadOptions>& classes) {
    loadgen::LoadOptions shown = classes.front();
    for (size_t i = 1; i < classes.size(); ++i) {
      shown.connections += classes[i].connections;
      shown.threads += classes[i].threads;
    }
    return shown;
  }

  Live live_;
  loadgen::TimeseriesWriter& series_;
  loadgen::Witness witness_;
  loadgen::ServerWitness* const server_;  // nullptr: nobody is asked
  bool measuring_ = false;
  int64_t interval_ns_ = 0;
  std::vector<loadgen::TimeseriesFormat> formats_;
};

// Waits for the end of the run; returns the signal that ended it early, or 0.
int WaitForEnd(loadgen::Load& load, Signals& signals, Watch& watch) {
  int signal = 0;
  while (true) {
    const int event = signals.Wait(load.ended_fd(), watch.interval_ms());
    if (event == Signals::kReadable) break;
    if (event == Signals::kTimeout) {
      watch.Look(load);
      continue;
    }
    if (signal != 0) {  // the second one ends at once
      watch.Clear();
      _exit(ExitBySignal(event));
    }
    signal = event;
    load.Interrupt();
  }
  watch.Clear();
  return signal;
}

std::optional<double> Percentile(const loadgen::LoadOptions& options,
                                 const loadgen::LoadResult& result, std::string_view times,
                                 double percentile) {
  const stats::Histogram* histogram = nullptr;
  if (times == "connect") histogram = &result.connect;
  if (times == "response" && options.open_loop()) histogram = &result.latency;
  if (times == "service") histogram = options.open_loop() ? &result.service : &result.latency;
  if (histogram == nullptr || histogram->count() == 0) return std::nullopt;
  return static_cast<double>(histogram->Percentile(percentile));
}

// Prints what was breached; returns the exit code that follows. Of several classes, each is judged.
int JudgeThresholds(const Plan& plan, const std::vector<loadgen::LoadResult>& results,
                    const Json& json) {
  int exit_code = kExitOk;
  for (size_t i = 0; i < plan.classes.size(); ++i) {
    const Json& one = json.contains("classes") ? json["classes"][i] : json;
    const std::string who = plan.classes[i].name.empty() ? "" : plan.classes[i].name + ": ";
    for (const Threshold& threshold : plan.thresholds) {
      const auto outcome =
          EvaluateThreshold(threshold, one, [&](std::string_view times, double percentile) {
            return Percentile(plan.classes[i], results[i], times, percentile);
          });
      if (!outcome.ok()) return Fail(kLoad, outcome.status(), kExitFailed);
      if (outcome->breached) exit_code = Fail(kLoad, who + outcome->line, kExitThreshold);
    }
  }
  return exit_code;
}

// With --strict, what the run has to say against itself fails it.
int JudgeStrictly(const Json& json) {
  int exit_code = kExitOk;
  const auto judge = [&](report::Reader one) {
    for (const report::Reader accusation : one["accusations"]) {
      exit_code = Fail(kLoad, absl::StrCat("--strict: ", accusation["text"].get<std::string>()),
                       kExitThreshold);
    }
  };
  const report::Reader run = json;
  if (!run.contains("classes")) judge(run);
  for (const report::Reader one : run["classes"]) judge(one);
  return exit_code;
}

// What the run leaves besides its text.
struct Files {
  report::OutputFile json, hgrm;
  loadgen::TimeseriesWriter series;
};

absl::Status OpenFiles(const LoadFlags& f, Files* files) {
  report::OutputFile series;
  const absl::Status opened = OpenOutputs(kLoad, {{"--json", f.json, &files->json},
                                                  {"--timeseries", f.timeseries, &series},
                                                  {"--hgrm", f.hgrm, &files->hgrm}});
  if (opened.ok()) files->series.Begin(std::move(series));
  return opened;
}

// Each is written, though another couldn't be; the first failure.
absl::Status WriteFiles(const Json& json, const std::vector<loadgen::LoadResult>& results,
                        Files* files) {
  absl::Status status = files->json.Write(report::JsonText(json, 2) + "\n");
  if (files->hgrm.is_open()) {
    stats::Histogram all;
    for (const loadgen::LoadResult& result : results) all.Merge(result.latency);
    status.Update(files->hgrm.Write(report::HgrmText(report::DistributionOf(all))));
  }
  status.Update(files->series.Close());
  return status;
}

// Gives the classes for which any backend will do another one, where `started` says that theirs
// can't run. False: there is none.
bool TakeOtherBackends(const LoadFlags& f, const std::vector<bool>& any_backend,
                       const absl::Status& started, std::vector<loadgen::LoadOptions>* classes) {
  bool taken = false;
  for (size_t i = 0; i < classes->size(); ++i) {
    loadgen::LoadOptions& options = (*classes)[i];
    if (!any_backend[i] || options.loop.direct_descriptors != 0) continue;
    if (!SetLoop(f.loop, io::NextBackend(options.backend), &options.loop).ok()) return false;
    taken |= FallBack(kLoad, started, &options.backend, &options.backend_fallback);
  }
  return taken;
}

int Run(const LoadFlags& f) {
  auto plan = MakePlan(f);
  if (!plan.ok()) return Fail(kLoad, plan.status(), kExitUsage);
  Files files;
  const absl::Status opened = OpenFiles(f, &files);
  if (!opened.ok()) return OutputsFailed(kLoad, opened);
  std::vector<bool> any_backend;
  for (loadgen::LoadOptions& options : plan->classes) {
    any_backend.push_back(options.backend == "auto");
    const absl::Status backend = UseBackend(kLoad, &options.backend, &options.backend_fallback);
    if (!backend.ok()) return Fail(kLoad, backend, kExitSkipped);
    const absl::Status loop = SetLoop(f.loop, options.backend, &options.loop);
    if (!loop.ok()) return Fail(kLoad, loop, kExitUsage);
  }
  const absl::Status allowed = AllowConnections(plan->classes);
  if (!allowed.ok()) return Fail(kLoad, allowed, kExitFailed);
  const io::Endpoint at = plan->classes.front().at;
  const bool here = IsThisMachine(at);
  if (here && f.server_pid == 0) {
    const pid_t pid = ServerPid(at);
    for (loadgen::LoadOptions& options : plan->classes) options.server_pid = pid;
  }

  if (plan->server) {
    const absl::Status asked = Named("--server-metrics", plan->server->RunBegins());
    if (!asked.ok()) return Fail(kLoad, asked, kExitFailed);
  }
  Signals signals;
  Watch watch(*plan, here, files.series);
  auto load = std::make_unique<loadgen::Load>(plan->classes);
  absl::Status started = load->Start();
  while (!started.ok() && TakeOtherBackends(f, any_backend, started, &plan->classes)) {
    load = std::make_unique<loadgen::Load>(plan->classes);
    started = load->Start();
  }
  if (!started.ok()) return Fail(kLoad, started, StartFailed(started));
  plan->classes = load->classes();
  const int signal = WaitForEnd(*load, signals, watch);
  std::vector<loadgen::LoadResult> results;
  const absl::Status status = load->Wait(
      &results, [&](size_t of, const loadgen::Interval& interval) { watch.Pass(of, interval); });
  const loadgen::Evidence evidence = watch.Evidence(*plan, &results);

  const bool one = plan->classes.size() == 1;
  const Json json = one ? loadgen::ToJson(plan->classes[0], results[0], evidence)
                        : loadgen::MixToJson(plan->classes, results, evidence);
  const absl::Status written = WriteFiles(json, results, &files);  // before anything is printed
  if (!f.quiet && f.json != "-") {
    Print(kLoad, one ? report::LoadText(json) : report::MixText(json));
  }
  if (!written.ok()) return Fail(kLoad, written, kExitFailed);
  if (signal != 0) return ExitBySignal(signal);
  if (!status.ok()) return Fail(kLoad, status, kExitFailed);
  const int breached = JudgeThresholds(*plan, results, json);
  if (!report::Reader(json)["valid"].get<bool>())
    return Fail(kLoad, report::LoadFailure(json), kExitFailed);
  if (breached != kExitOk) return breached;
  return f.strict ? JudgeStrictly(json) : kExitOk;
}

}  // namespace

Subcommand LoadCommand() {
  auto f = std::make_shared<LoadFlags>();
  return {.name = kLoad,
          .summary = "the load generator: throughput, latency, every byte verified",
          .declare = [f](Flags& flags) { DeclareLoad(flags, *f); },
          .run = [f] { return Run(*f); }};
}

}  // namespace cli
