#include "bench/round.h"

#include <algorithm>
#include <fstream>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/cpu_watch.h"
#include "bench/own_server.h"
#include "bench/rate_search.h"
#include "stats/cpu_clock.h"
#include "stats/steal.h"

namespace bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kLoadGraceNs = 30'000'000'000;  // beyond its window: connecting, draining
constexpr double kPaceHeld = 0.98;                // of what was asked for
constexpr double kServerBusy = 0.90;              // of a server thread's time: it is at its limit
constexpr int kObjectiveBroken = 3;               // exit code of `load --fail-if`
// A file of figures would be large for a percentile that few requests are behind.
constexpr const char* kPercentiles[] = {"p50", "p90", "p99", "p99_9"};

// How the load generator is asked to send.
struct Pace {
  double rate = 0;      // 0: closed loop, at full speed
  bool judged = false;  // against the scenario's objective
};

struct PartResult {
  Json load;
  double system_calls = std::nan("");  // of the server's whole life; NaN: it doesn't tell
  double memory_bytes = std::nan("");
  bool broken = false;  // the objective
  std::string void_why;
};

std::string Millis(int64_t ns) { return absl::StrFormat("%dms", ns / 1'000'000); }

// Whether the flag is among the words, by its long name or its short one.
bool Has(const std::vector<std::string>& words, const std::string& long_name,
         const std::string& short_name) {
  return std::any_of(words.begin(), words.end(), [&](const std::string& word) {
    return word == long_name || word.starts_with(long_name + "=") ||
           (!short_name.empty() && word.starts_with(short_name) && !word.starts_with("--"));
  });
}

// Whether the load generator says of itself that its CPU was its limit. One that spins has no
// idle time, which tells nothing.
bool AtItsLimit(const Json& load) {
  const Json accusations = load.value("accusations", Json::array());
  return std::any_of(accusations.begin(), accusations.end(),
                     [](const Json& one) { return one["code"] == "client_cpu_full"; });
}

// What is said of an arm or a scenario takes the place of what all have.
std::vector<std::string> LoadCommand(const Arm& arm, const Scenario& scenario,
                                     const RoundPlan& plan, const RunningServer& server,
                                     const Pace& pace) {
  std::vector<std::string> own = scenario.load;
  own.insert(own.end(), arm.load.begin(), arm.load.end());
  std::vector<std::string> argv = {OwnExecutable(), "load", server.address,
                                   "--json",        "-",    "--quiet"};
  const auto add = [&](const char* flag, const char* short_name, const std::string& value) {
    if (!Has(own, flag, short_name)) argv.insert(argv.end(), {flag, value});
  };
  add("--server-pid", "", absl::StrCat(server.process.pid()));
  add("--warmup", "", Millis(plan.warmup_ns));
  add("--duration", "-d", Millis(plan.window_ns));
  add("--seed", "", absl::StrCat(plan.seed));
  add("--backend", "-b", plan.client_backend);
  add("--connections", "-c", absl::StrCat(scenario.connections));
  if (scenario.depth > 1) add("--depth", "", absl::StrCat(scenario.depth));
  if (!scenario.service.empty()) add("--service", "", scenario.service);
  if (!scenario.size.empty()) add("--size", "-s", scenario.size);
  if (scenario.workload != "rr") add("--workload", "-w", scenario.workload);
  // A lost datagram is not to hold up its connection for longer than a window.
  if (IsDatagram(plan.transport)) add("--timeout", "", "100ms");
  if (pace.rate > 0) {
    add("--rate", "", absl::StrFormat("%.3f", pace.rate));
    add("--arrivals", "", scenario.arrivals);
  }
  if (pace.judged) add("--fail-if", "", scenario.objective_broken);
  argv.insert(argv.end(), own.begin(), own.end());
  return argv;
}

std::vector<std::string> ServeFlags(const Scenario& scenario) {
  std::vector<std::string> flags;
  if (!scenario.service.empty()) flags = {"--service", scenario.service};
  if (scenario.message_bytes != 0) {
    flags.insert(flags.end(), {"--size", absl::StrCat(scenario.message_bytes)});
  }
  if (scenario.threads != 0) {
    flags.insert(flags.end(), {"--threads", absl::StrCat(scenario.threads)});
  }
  return flags;
}

// The most memory that a process had resident: proc_pid_status(5).
double PeakMemory(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/status"));
  double kib = 0;
  for (std::string word; file >> word;) {
    if (word == "VmHWM:" && file >> kib) return kib * 1024;
  }
  return std::nan("");
}

// A fresh server and a fresh load generator, once.
absl::StatusOr<PartResult> PlayPart(const Arm& arm, const Scenario& scenario, const RoundPlan& plan,
                                    const Pace& pace, CpuWatch* watch) {
  watch->Begin();
  auto server =
      StartServer(arm, plan.transport, ServeFlags(scenario), plan.cpus.server, plan.interrupt_fd);
  if (!server.ok()) return server.status();
  auto load = Process::Start(LoadCommand(arm, scenario, plan, *server, pace), plan.cpus.client);
  if (!load.ok()) return load.status();
  const auto waited = load->Wait(plan.warmup_ns + plan.window_ns + kLoadGraceNs, plan.interrupt_fd);
  if (waited == Process::Waited::kInterrupted) return absl::CancelledError("interrupted");
  PartResult part;
  if (waited == Process::Waited::kTimeout) {
    part.void_why = "the load generator did not end";
  } else {
    part.load = Json::parse(load->Output(), nullptr, /*allow_exceptions=*/false);
    if (!part.load.is_object()) {
      return absl::InternalError(absl::StrCat("the load generator failed: ", load->Errors()));
    }
    if (!part.load["valid"].get<bool>()) part.void_why = load->Errors();
    part.broken = load->exit_code() == kObjectiveBroken;
  }
  watch->End(load->cpu_ns() + stats::ProcessTreeCpuNanos(server->process.pid()).value_or(0));
  part.memory_bytes = PeakMemory(server->process.pid());
  if (server->process.Wait(0, -1) == Process::Waited::kEnded) {
    return absl::InternalError(
        absl::StrCat("the server of arm '", arm.name, "' ended in mid-round, with exit code ",
                     server->process.exit_code(), ": ", server->process.Errors()));
  }
  auto system_calls = StopServer(arm, std::move(*server), plan.interrupt_fd);
  if (!system_calls.ok()) return system_calls.status();
  part.system_calls = *system_calls;
  return part;
}

double Number(const Json& json, const char* pointer) {
  const Json::json_pointer at(pointer);
  return json.contains(at) && json[at].is_number() ? json[at].get<double>() : std::nan("");
}

// A percentile, unless too few requests are behind it to bound it.
double Percentile(const Json& load, const char* name) {
  std::string level = name + 1;  // "99_9"
  for (char& c : level) {
    if (c == '_') c = '.';
  }
  for (const Json& interval : load["latency_ns"]["intervals_95"]) {
    if (interval["percentile"].get<double>() != std::stod(level)) continue;
    if (!interval["enough"].get<bool>()) return std::nan("");
  }
  return Number(load, absl::StrCat("/latency_ns/", name).c_str());
}

// Of the server's whole life, by the requests of that.
double SystemCalls(const PartResult& part) {
  const double requests = Number(part.load, "/requests_total");
  return requests > 0 ? part.system_calls / requests : std::nan("");
}

std::string Hdr(const Json& load) {
  const Json& times = load["latency_ns"];
  return times["count"].get<uint64_t>() > 0 ? times["hdr"].get<std::string>() : "";
}

std::vector<int> BothEnds(const CpuPlan& cpus) {
  std::vector<int> both = cpus.server;
  for (const int cpu : cpus.client) {
    if (std::find(both.begin(), both.end(), cpu) == both.end()) both.push_back(cpu);
  }
  return cpus.server.empty() || cpus.client.empty() ? std::vector<int>() : both;
}

// One round, part by part.
class Round {
 public:
  Round(const Arm& arm, const Scenario& scenario, const RoundPlan& plan)
      : arm_(arm), scenario_(scenario), plan_(plan), watch_(BothEnds(plan.cpus)) {}

  absl::StatusOr<RoundResult> Play(double* rate_guess) {
    const stats::CpuTimes before = stats::ReadCpuTimes();
    absl::Status status;
    if (scenario_.full) status = PlayFull();
    if (status.ok() && !Void() && scenario_.pace_rps > 0) status = PlayPaced();
    if (status.ok() && !Void() && !scenario_.objective.empty()) status = Search(rate_guess);
    if (!status.ok()) return status;
    result_.steal = stats::StealShare(before, stats::ReadCpuTimes());
    result_.others = watch_.others();
    // A pace may be missed because of others; what an end did wrong stays its own fault.
    const std::string disturbance = Disturbance();
    if (!disturbance.empty() && (!Void() || off_pace_)) {
      result_.void_why = disturbance;
      result_.disturbed = true;
    }
    return std::move(result_);
  }

 private:
  bool Void() const { return !result_.void_why.empty(); }

  std::string Disturbance() const {
    if (result_.steal > plan_.steal_max) {
      return absl::StrFormat("other machines took %.0f %% of the CPU time (--steal-max)",
                             result_.steal * 100);
    }
    if (result_.others > plan_.others_max) {
      return absl::StrFormat(
          "other processes had %.0f %% of the time of the CPUs that it is played on; end them, or "
          "keep them off these CPUs (--others-max)",
          result_.others * 100);
    }
    return "";
  }

  absl::StatusOr<PartResult> Part(const Pace& pace) {
    auto part = PlayPart(arm_, scenario_, plan_, pace, &watch_);
    if (!part.ok()) return part;
    result_.measured_ns += plan_.window_ns;
    result_.warmup_ns += plan_.warmup_ns;
    double& memory = result_.figures["server_memory_bytes"];
    memory = std::fmax(memory, part->memory_bytes);
    if (!part->load.is_object()) return part;
    for (const Json& counter : part->load["kernel"]["counters"]) {
      KernelChange& change = result_.kernel[counter["name"].get<std::string>()];
      change.delta += counter["delta"].get<int64_t>();
      change.meaning = counter["meaning"].get<std::string>();
    }
    return part;
  }

  absl::Status PlayFull() {
    auto part = Part({});
    if (!part.ok()) return part.status();
    result_.void_why = part->void_why;
    if (Void()) return absl::OkStatus();
    const Json& load = part->load;
    Figures& figures = result_.figures;
    figures["requests_per_s"] = Number(load, "/throughput_rps");
    for (const char* name : kPercentiles) {
      figures[absl::StrCat(name, "_ns")] = Percentile(load, name);
    }
    figures["full_server_cpu_us"] = Number(load, "/server/cpu_us_per_request");
    figures["full_client_cpu_us"] = Number(load, "/client/cpu_us_per_request");
    figures["full_server_syscalls"] = SystemCalls(*part);
    result_.full_hdr = Hdr(load);
    // At full speed one of the two is at its limit; it should be the server.
    const double server = Number(load, "/server/thread_share_max");
    result_.generator_bound = AtItsLimit(load) && !(server >= kServerBusy);
    const size_t gate = MetricIndex(scenario_.metric);
    if (result_.generator_bound && gate < kMetricCount && kMetrics[gate].part == Part::kFull &&
        IsOfBothEnds(kMetrics[gate])) {
      result_.void_why = absl::StrFormat(
          "the load generator was the limit: it used all of its CPU, the server %.0f %%; give it "
          "more threads (--load '-t 2') on CPUs of its own (--client-cpus), or judge what is the "
          "server's own (--metric full_server_cpu_us)",
          server * 100);
    }
    return absl::OkStatus();
  }

  absl::Status PlayPaced() {
    auto part = Part({.rate = scenario_.pace_rps});
    if (!part.ok()) return part.status();
    result_.void_why = part->void_why;
    if (Void()) return absl::OkStatus();
    const Json& load = part->load;
    Figures& figures = result_.figures;
    figures["server_cpu_us"] = Number(load, "/server/cpu_us_per_request");
    figures["client_cpu_us"] = Number(load, "/client/cpu_us_per_request");
    figures["server_syscalls"] = SystemCalls(*part);
    figures["achieved_rps"] = Number(load, "/pace/achieved_rps");
    for (const char* name : kPercentiles) {
      figures[absl::StrCat("paced_", name, "_ns")] = Percentile(load, name);
    }
    result_.paced_hdr = Hdr(load);
    // Where a rate was asked for, not to reach it is a finding.
    if (!scenario_.pace_fixed && !(figures["achieved_rps"] >= kPaceHeld * scenario_.pace_rps)) {
      result_.void_why = absl::StrFormat("the pace was not held: %.0f/s of %.0f/s",
                                         figures["achieved_rps"], scenario_.pace_rps);
      off_pace_ = true;
    }
    return absl::OkStatus();
  }

  // A try with errors doesn't keep the objective either: too high a rate brings them about.
  absl::Status Search(double* rate_guess) {
    const auto keeps = [&](double rate) -> absl::StatusOr<bool> {
      const auto part = Part({.rate = rate, .judged = true});
      if (!part.ok()) return part.status();
      return part->void_why.empty() && !part->broken &&
             Number(part->load, "/pace/achieved_rps") >= kPaceHeld * rate;
    };
    const auto found = HighestRate(*rate_guess, keeps);
    if (!found.ok()) return found.status();
    if (*found <= 0) {
      result_.void_why = absl::StrCat("no rate was found that keeps ", scenario_.objective);
      return absl::OkStatus();
    }
    result_.figures["rate_max"] = *rate_guess = *found;
    return absl::OkStatus();
  }

  const Arm& arm_;
  const Scenario& scenario_;
  const RoundPlan& plan_;
  CpuWatch watch_;
  RoundResult result_;
  bool off_pace_ = false;
};

}  // namespace

absl::StatusOr<double> FullSpeed(const Arm& arm, const Scenario& scenario, const RoundPlan& plan) {
  CpuWatch unused({});
  auto part = PlayPart(arm, scenario, plan, {}, &unused);
  if (!part.ok()) return part.status();
  if (!part->void_why.empty()) {
    return absl::InternalError(
        absl::StrCat("arm '", arm.name, "', ", scenario.name, ": ", part->void_why));
  }
  return part->load["throughput_rps"].get<double>();
}

absl::StatusOr<RoundResult> PlayRound(const Arm& arm, const Scenario& scenario,
                                      const RoundPlan& plan, double* rate_guess) {
  return Round(arm, scenario, plan).Play(rate_guess);
}

}  // namespace bench
