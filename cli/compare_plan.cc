#include "cli/compare_plan.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "bench/own_server.h"
#include "cli/common.h"
#include "cli/load_flags.h"
#include "cli/load_values.h"
#include "cli/loop_flags.h"
#include "cli/matrix.h"
#include "cli/serve_flags.h"
#include "cli/settings.h"
#include "cli/thresholds.h"
#include "cli/values.h"
#include "io/backends.h"
#include "io/event_loop.h"
#include "report/format.h"

namespace cli {
namespace {

constexpr double kNoLimit = 1e9;  // of a pace: the arms' full speed decides
// What `compare` says to the load generator itself.
constexpr const char* kOurs[] = {"--json",       "--timeseries", "--hgrm",     "--live",
                                 "--quiet",      "--duration",   "--requests", "--warmup",
                                 "--server-pid", "--fail-if",    "--strict",   "--mix",
                                 "--config",     "--rate",       "--arrivals"};
// Flags that make a scenario of their own in place of the usual ones.
constexpr const char* kOwn[] = {"connections", "size",    "depth",     "threads",
                                "rate",        "service", "objective", "workload"};
constexpr const char* kOursOfServe[] = {"ADDRESS", "--json", "--service", "--size"};
constexpr const char* kSweepable[] = {"connections", "size", "depth", "rate", "threads"};

absl::Status Wrong(const std::string& what) { return absl::InvalidArgumentError(what); }

absl::Status Prefixed(const std::string& before, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(before, ": ", std::string(status.message())));
}

// ---- arms ---------------------------------------------------------------------------------------

// The flags of an arm's server.
struct ArmServer {
  ServeFlags f;
  Flags flags;
};

bool IsOurs(const bench::Arm& arm) {
  return arm.ringside && arm.command[0] == bench::OwnExecutable();
}

// Flags for our own programs are taken apart here, so that a mistake is found before anything
// starts.
absl::Status ReadServeFlags(const bench::Arm& arm, ArmServer* server) {
  DeclareServe(server->flags, server->f);
  bool help = false;
  const std::vector<std::string> words(arm.command.begin() + 2, arm.command.end());
  if (const auto mistake = server->flags.Parse("serve", words, &help)) return Wrong(*mistake);
  if (help) return Wrong("--help is for the command line");
  for (const char* flag : kOursOfServe) {
    if (server->flags.Given(flag))
      return Wrong(absl::StrCat(flag, " is what compare itself says to serve"));
  }
  io::LoopOptions unused;
  return SetLoop(server->f.loop, server->f.backend, &unused);
}

// The words of load's flags, as typed; none that `compare` gives itself.
absl::StatusOr<std::vector<std::string>> LoadWords(const std::string& text) {
  auto words = bench::SplitWords(text);
  if (!words.ok()) return words.status();
  LoadFlags load;
  Flags flags;
  DeclareLoad(flags, load);
  bool help = false;
  if (const auto mistake = flags.Parse("load", *words, &help)) return Wrong(*mistake);
  if (help) return Wrong("--help is for the command line");
  for (const char* flag : kOurs) {
    if (flags.Given(flag)) return Wrong(absl::StrCat(flag, " is what compare itself says to load"));
  }
  if (flags.Given("ADDRESS")) {
    return Wrong(absl::StrCat("'", load.address, "' is no flag; an address is the arm's own"));
  }
  return words;
}

absl::StatusOr<bench::Arm> MakeArm(const std::string& text, const std::string& load,
                                   const CompareFlags& f) {
  auto arm = bench::ParseArm(text, io::BackendNames(), f.transport);
  if (!arm.ok()) return arm.status();
  if (ArmServer serve; IsOurs(*arm)) {
    const absl::Status read = ReadServeFlags(*arm, &serve);
    if (!read.ok()) return Prefixed(absl::StrCat("arm '", arm->name, "'"), read);
  }
  auto words = LoadWords(load);
  if (!words.ok()) return Prefixed(absl::StrCat("load of arm '", arm->name, "'"), words.status());
  arm->load = *std::move(words);
  return arm;
}

// "io_uring/epoll": the server on the first, the load generator on the second.
absl::StatusOr<std::vector<bench::Arm>> CrossedArms(const CompareFlags& f) {
  std::vector<bench::Arm> arms;
  for (const char* server : {"epoll", "io_uring"}) {
    for (const char* client : {"epoll", "io_uring"}) {
      auto arm = MakeArm(absl::StrCat(server, "/", client, "=serve --backend ", server),
                         absl::StrCat("--backend ", client), f);
      if (!arm.ok()) return arm.status();
      arms.push_back(*std::move(arm));
    }
  }
  return arms;
}

// Our server as it is, and once with each feature of the backend switched. What this kernel lacks
// is left out.
absl::StatusOr<std::vector<bench::Arm>> AblationArms(const CompareFlags& f) {
  const std::string base = absl::StrCat("serve --backend ", f.ablate);
  auto first = MakeArm(f.ablate, "", f);
  if (!first.ok()) return first.status();
  std::vector<bench::Arm> arms = {*std::move(first)};
  for (const io::LoopFeature& feature : io::FeaturesOf(f.ablate)) {
    if (!io::FeatureAvailable(f.ablate, feature.name).ok()) continue;
    const std::string change = feature.on_by_default ? "off" : "on";
    auto arm = MakeArm(absl::StrCat(feature.on_by_default ? "no " : "", feature.name, "=", base,
                                    " ", absl::StrJoin(feature.flags, " ")),
                       "", f);
    if (!arm.ok()) return arm.status();
    arm->feature = feature.name;
    arm->change = change;
    arms.push_back(*std::move(arm));
  }
  return arms;
}

absl::Status AddArmLoads(const CompareFlags& f, std::vector<bench::Arm>* arms) {
  for (const std::string& text : f.arm_loads) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('=', 1));
    const auto named = std::find_if(arms->begin(), arms->end(),
                                    [&](const bench::Arm& arm) { return arm.name == parts.first; });
    if (named == arms->end()) {
      std::vector<std::string> names;
      for (const bench::Arm& arm : *arms) names.push_back(arm.name);
      return Wrong(absl::StrCat(
          "--arm-load: there is no arm '", parts.first, "'",
          Hint(parts.first, names, absl::StrCat("it is one of ", absl::StrJoin(names, ", ")))));
    }
    const auto words = LoadWords(parts.second);
    if (!words.ok()) return Prefixed(absl::StrCat("--arm-load ", parts.first), words.status());
    named->load.insert(named->load.end(), words->begin(), words->end());
  }
  return absl::OkStatus();
}

// An arm that is given twice is another one.
void NameApart(std::vector<bench::Arm>* arms) {
  std::set<std::string> names;
  for (bench::Arm& arm : *arms) {
    while (!names.insert(arm.name).second) arm.name += " again";
  }
}

absl::StatusOr<std::vector<bench::Arm>> TypedArms(const CompareFlags& f, const Matrix& matrix) {
  std::vector<bench::Arm> arms;
  for (const std::string& text : f.arms) {
    auto arm = MakeArm(text, "", f);
    if (!arm.ok()) return Prefixed("--arm", arm.status());
    arms.push_back(*std::move(arm));
  }
  if (!arms.empty()) return arms;
  for (const MatrixArm& typed : matrix.arms) {
    auto arm = MakeArm(typed.text, typed.load, f);
    if (!arm.ok()) return Prefixed(typed.origin, arm.status());
    arms.push_back(*std::move(arm));
  }
  if (!arms.empty()) return arms;
  for (const char* backend : {"epoll", "io_uring"}) {
    auto arm = MakeArm(backend, "", f);
    if (!arm.ok()) return arm.status();
    arms.push_back(*std::move(arm));
  }
  return arms;
}

absl::StatusOr<std::vector<bench::Arm>> Arms(const CompareFlags& f, const Matrix& matrix) {
  if (f.cross && !f.arms.empty()) {
    return Wrong("--cross has arms of its own; leave out --arm, or --cross");
  }
  if (!f.ablate.empty() && (f.cross || !f.arms.empty() || !matrix.arms.empty())) {
    return Wrong("--ablate has arms of its own; leave out the others");
  }
  auto arms = !f.ablate.empty() ? AblationArms(f) : f.cross ? CrossedArms(f) : TypedArms(f, matrix);
  if (!arms.ok()) return arms;
  if (arms->size() < 2) {
    return Wrong(absl::StrCat("one arm alone ('", (*arms)[0].name,
                              "') is no comparison; give two or more, the first is what the others "
                              "are compared with"));
  }
  NameApart(&*arms);
  const absl::Status added = AddArmLoads(f, &*arms);
  if (!added.ok()) return added;
  if (f.self_check) {
    bench::Arm again = arms->front();
    again.name += " itself";
    again.role = bench::Role::kSelfCheck;
    arms->push_back(std::move(again));
  }
  arms->front().role = bench::Role::kBaseline;
  return arms;
}

// ---- scenarios ----------------------------------------------------------------------------------

// The condition under which `load --fail-if` says that the objective isn't kept.
absl::StatusOr<std::string> Broken(const std::string& objective) {
  const auto threshold = ParseThreshold(objective);
  if (!threshold.ok()) return threshold.status();
  using Operator = Threshold::Operator;
  const char* opposite = threshold->op == Operator::kLess        ? ">="
                         : threshold->op == Operator::kLessEqual ? ">"
                         : threshold->op == Operator::kGreater   ? "<="
                                                                 : "<";
  const size_t at = threshold->text.find_first_of("<>");
  const size_t value = threshold->text.find_first_not_of("<>=", at);
  return absl::StrCat(threshold->text.substr(0, at), opposite, threshold->text.substr(value));
}

std::string DefaultServiceOf(const std::string& workload) {
  if (workload == "upload") return "discard";
  if (workload == "download") return "chargen";
  return "echo";
}

bool HasPace(const std::string& workload) { return workload == "rr" || workload == "crr"; }

std::string NameOf(const bench::Scenario& scenario, const ScenarioFlags& f) {
  if (!f.name.empty()) return f.name;
  std::string name = absl::StrCat(
      scenario.connections, " × ",
      scenario.message_bytes != 0 ? report::FormatBytes(scenario.message_bytes) : scenario.size);
  if (scenario.workload != "rr") name = absl::StrCat(scenario.workload, " ", name);
  if (scenario.depth > 1) absl::StrAppend(&name, " × depth ", scenario.depth);
  if (f.rate > 0) absl::StrAppend(&name, " at ", report::FormatRate(f.rate));
  if (!f.objective.empty()) absl::StrAppend(&name, ", ", f.objective);
  return name;
}

absl::Status CheckParts(const ScenarioFlags& f) {
  const int parts = (f.pace > 0) + (f.rate > 0) + !f.objective.empty();
  if (parts > 1) {
    return Wrong("--pace, --rate and --objective each say how requests are paced; leave two out");
  }
  if (parts > 0 && !HasPace(f.workload)) {
    return Wrong(absl::StrCat("--workload ", f.workload,
                              " has no pace; leave out --pace, --rate and --objective"));
  }
  if (f.workload == "rate") return Wrong("--workload rate is --rate here; write --rate 100k");
  return absl::OkStatus();
}

// What the verdict is about, if the scenario has it.
absl::Status SetMetric(const ScenarioFlags& f, bench::Scenario* scenario) {
  scenario->metric = !f.metric.empty()              ? f.metric
                     : !scenario->objective.empty() ? "rate_max"
                     : scenario->pace_rps > 0       ? "server_cpu_us"
                                                    : "full_server_cpu_us";
  const bench::Part part = bench::kMetrics[bench::MetricIndex(scenario->metric)].part;
  const bool has = part == bench::Part::kFull     ? scenario->full
                   : part == bench::Part::kPaced  ? scenario->pace_rps > 0
                   : part == bench::Part::kSearch ? !scenario->objective.empty()
                                                  : true;
  if (has) return absl::OkStatus();
  return Wrong(absl::StrCat("--metric ", scenario->metric, " can't be known here: there is ",
                            part == bench::Part::kFull     ? "no part at full speed"
                            : part == bench::Part::kSearch ? "no --objective"
                                                           : "no paced part (--pace, --rate)",
                            "; choose another"));
}

absl::StatusOr<bench::Scenario> MakeScenario(const ScenarioFlags& f, double x) {
  const absl::Status parts = CheckParts(f);
  if (!parts.ok()) return parts;
  bench::Scenario scenario;
  scenario.x = x;
  scenario.workload = f.workload;
  scenario.connections = static_cast<uint32_t>(f.connections);
  scenario.depth = static_cast<uint32_t>(f.depth);
  scenario.threads = static_cast<uint32_t>(f.threads);
  auto words = LoadWords(f.load);
  if (!words.ok()) return Prefixed("--load", words.status());
  scenario.load = *std::move(words);
  const bool foreign = std::any_of(scenario.load.begin(), scenario.load.end(),
                                   [](const auto& word) { return word.starts_with("--request"); });
  scenario.service = !f.service.empty() ? f.service : foreign ? "" : DefaultServiceOf(f.workload);
  scenario.size = foreign ? "" : f.size.empty() ? "64B" : f.size;
  scenario.message_bytes = 0;
  if (!scenario.size.empty()) {
    const auto sizes = ParseSizes(scenario.size);
    if (!sizes.ok()) return Prefixed("--size", sizes.status());
    if (!sizes->varies()) scenario.message_bytes = sizes->Max();
  }
  scenario.margin = f.margin;
  scenario.arrivals = !f.arrivals.empty()                  ? f.arrivals
                      : f.rate > 0 || !f.objective.empty() ? "poisson"
                                                           : "bursts";
  if (f.rate > 0) {
    scenario.pace_rps = f.rate;
    scenario.pace_fixed = true;
    scenario.full = false;
  } else if (!f.objective.empty()) {
    auto broken = Broken(f.objective);
    if (!broken.ok()) return Prefixed("--objective", broken.status());
    scenario.objective = f.objective;
    scenario.objective_broken = *std::move(broken);
    scenario.full = false;
  } else if (HasPace(f.workload)) {
    scenario.pace_rps = f.pace > 0 ? f.pace : kNoLimit;
  }
  scenario.name = NameOf(scenario, f);
  const absl::Status metric = SetMetric(f, &scenario);
  if (!metric.ok()) return metric;
  return scenario;
}

// ---- sweeps -------------------------------------------------------------------------------------

// Sets what is swept, and tells it as a number.
absl::StatusOr<double> SetSwept(const std::string& parameter, const std::string& text,
                                ScenarioFlags* f) {
  if (parameter == "size") {
    const auto bytes = ParseBytes(text);
    if (!bytes.ok()) return bytes.status();
    if (*bytes == 0) return Wrong("a request has at least one byte");
    f->size = text;
    return static_cast<double>(*bytes);
  }
  if (parameter == "rate") {
    const auto rate = ParseRate(text);
    if (!rate.ok()) return rate.status();
    if (*rate < 1) return Wrong(absl::StrCat(text, " is too slow to measure; write 1 or more"));
    f->rate = *rate;
    return *rate;
  }
  const auto count = ParseCount(text);
  if (!count.ok()) return count.status();
  const uint64_t most = parameter == "connections" ? 1'000'000
                        : parameter == "depth"     ? 65536
                                                   : 1024;
  if (*count == 0 || *count > most) {
    return Wrong(absl::StrCat(text, " is out of range; write 1 to ", report::FormatCount(most)));
  }
  (parameter == "connections" ? f->connections
   : parameter == "depth"     ? f->depth
                              : f->threads) = *count;
  return static_cast<double>(*count);
}

absl::Status AddSweep(const CompareFlags& f, bench::CompareOptions* options) {
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(f.sweep, absl::MaxSplits('=', 1));
  const std::vector<std::string> known(std::begin(kSweepable), std::end(kSweepable));
  if (std::find(known.begin(), known.end(), parts.first) == known.end()) {
    return Wrong(absl::StrCat(
        "--sweep: '", parts.first, "' can't be swept",
        Hint(parts.first, known, absl::StrCat("it is one of ", absl::StrJoin(known, ", "))),
        " Write PARAMETER=VALUE,VALUE,..."));
  }
  if (f.flags->Given(parts.first)) {
    return Wrong(absl::StrCat("--", parts.first, " is what --sweep sets; leave it out"));
  }
  bench::Sweep sweep = {.parameter = parts.first, .values = {}};
  for (const std::string& value :
       std::vector<std::string>(absl::StrSplit(parts.second, ',', absl::SkipEmpty()))) {
    ScenarioFlags one = f.scenario;
    const auto x = SetSwept(parts.first, value, &one);
    if (!x.ok()) return Prefixed(absl::StrCat("--sweep ", parts.first), x.status());
    auto scenario = MakeScenario(one, *x);
    if (!scenario.ok()) return scenario.status();
    if (parts.first == "threads") absl::StrAppend(&scenario->name, " × threads ", value);
    sweep.values.push_back(*x);
    options->scenarios.push_back(*std::move(scenario));
  }
  if (sweep.values.size() < 2) {
    return Wrong("--sweep: a curve has at least two values; write --sweep connections=1,8,64");
  }
  options->sweep = std::move(sweep);
  return absl::OkStatus();
}

// Those that are played where nobody says which.
absl::Status AddUsual(const CompareFlags& f, bench::CompareOptions* options) {
  struct Usual {
    uint64_t connections;
    const char* size;
    double pace;
  };
  std::vector<Usual> usual = {{64, "64B", 100'000}, {1000, "64B", 100'000}, {64, "16KiB", 40'000}};
  if (options->ablation) usual = {{64, "64B", 100'000}, {64, "16KiB", 40'000}};
  for (const Usual& one : usual) {
    ScenarioFlags flags = f.scenario;
    flags.connections = one.connections;
    flags.size = one.size;
    if (flags.rate == 0 && flags.objective.empty() && flags.pace == 0 && HasPace(flags.workload)) {
      flags.pace = one.pace;
    }
    auto scenario = MakeScenario(flags, std::nan(""));
    if (!scenario.ok()) return scenario.status();
    options->scenarios.push_back(*std::move(scenario));
  }
  return absl::OkStatus();
}

absl::Status AddScenarios(const CompareFlags& f, const Matrix& matrix,
                          bench::CompareOptions* options) {
  if (!f.sweep.empty()) {
    if (!matrix.scenarios.empty()) {
      return Wrong("--sweep makes scenarios, and the matrix has some; leave one of them out");
    }
    return AddSweep(f, options);
  }
  for (const MatrixScenario& typed : matrix.scenarios) {
    auto scenario = MakeScenario(typed.flags, std::nan(""));
    if (!scenario.ok()) return Prefixed(typed.origin, scenario.status());
    options->scenarios.push_back(*std::move(scenario));
  }
  if (!options->scenarios.empty()) return absl::OkStatus();
  const bool own = std::any_of(std::begin(kOwn), std::end(kOwn),
                               [&](const char* flag) { return f.flags->Given(flag); });
  if (!own) return AddUsual(f, options);
  auto scenario = MakeScenario(f.scenario, std::nan(""));
  if (!scenario.ok()) return scenario.status();
  options->scenarios.push_back(*std::move(scenario));
  return absl::OkStatus();
}

// Reports tell scenarios apart by their names.
absl::Status CheckNames(const std::vector<bench::Scenario>& scenarios) {
  std::set<std::string> names;
  for (const bench::Scenario& scenario : scenarios) {
    if (names.insert(scenario.name).second) continue;
    return Wrong(absl::StrCat("there are two scenarios '", scenario.name,
                              "'; give one another name (name = \"...\")"));
  }
  return absl::OkStatus();
}

// An ablation has many arms, and asks one question of each: what costs time and answers another is
// left out, so that there are twice as many pairs.
void SparePartsThatNobodyJudges(std::vector<bench::Scenario>* scenarios) {
  for (bench::Scenario& scenario : *scenarios) {
    const bench::Part part = bench::kMetrics[bench::MetricIndex(scenario.metric)].part;
    if (part == bench::Part::kPaced) scenario.full = false;
  }
}

// A scenario's threads are every server's of ours.
absl::Status CheckThreads(const bench::CompareOptions& options) {
  const auto sets = [](const std::string& word) {
    return word == "--threads" || word.starts_with("--threads=") ||
           (word.starts_with("-t") && !word.starts_with("--"));
  };
  if (std::all_of(options.scenarios.begin(), options.scenarios.end(),
                  [](const bench::Scenario& scenario) { return scenario.threads == 0; })) {
    return absl::OkStatus();
  }
  for (const bench::Arm& arm : options.arms) {
    if (!arm.ringside || std::none_of(arm.command.begin() + 2, arm.command.end(), sets)) continue;
    return Wrong(absl::StrCat("arm '", arm.name,
                              "' has --threads of its own, and so has a scenario; leave one out"));
  }
  return absl::OkStatus();
}

absl::StatusOr<bench::CpuPlan> Cpus(const CompareFlags& f) {
  bench::CpuPlan plan = bench::PlanCpus();
  for (const auto& [flag, text, cpus] :
       {std::tuple("--server-cpus", &f.server_cpus, &plan.server),
        std::tuple("--client-cpus", &f.client_cpus, &plan.client)}) {
    if (text->empty()) continue;
    auto list = ParseCpuList(*text);
    if (!list.ok()) return Prefixed(flag, list.status());
    *cpus = *list;
  }
  return plan;
}

}  // namespace

absl::StatusOr<bench::CompareOptions> PlanComparison(CompareFlags* f) {
  Matrix matrix;
  if (!f->matrix.empty()) {
    auto read = ReadMatrix(f->matrix, f);
    if (!read.ok()) return read.status();
    matrix = *std::move(read);
  }
  bench::CompareOptions options;
  options.ablation = !f->ablate.empty();
  auto arms = Arms(*f, matrix);
  if (!arms.ok()) return arms.status();
  options.arms = *std::move(arms);
  const auto cpus = Cpus(*f);
  if (!cpus.ok()) return cpus.status();
  absl::Status status = AddScenarios(*f, matrix, &options);
  if (status.ok()) status = CheckNames(options.scenarios);
  if (status.ok()) status = CheckThreads(options);
  if (!status.ok()) return status;
  if (options.ablation) SparePartsThatNobodyJudges(&options.scenarios);
  options.plan.cpus = *cpus;
  options.plan.transport = f->transport;
  options.plan.client_backend = f->client_backend;
  options.plan.warmup_ns = f->warmup_ns;
  options.plan.window_ns = f->window_ns;
  options.plan.steal_max = f->steal_max;
  options.plan.others_max = f->others_max;
  options.budget_ns = f->budget_ns;
  options.pairs_max = static_cast<int>(f->pairs);
  options.seed = f->seed != 0 ? f->seed : std::random_device()();
  options.inconclusive_passes = f->inconclusive == "pass";
  return options;
}

absl::Status CheckAvailable(const std::vector<bench::Arm>& arms) {
  for (const bench::Arm& arm : arms) {
    std::vector<std::string> words = arm.load;
    if (arm.ringside) words.insert(words.end(), arm.command.begin(), arm.command.end());
    for (const std::string& name : io::BackendNames()) {
      if (std::find(words.begin(), words.end(), name) == words.end()) continue;
      const absl::Status status = io::ProbeBackend(name, kLoopsAtOnce);
      if (!status.ok()) {
        return absl::UnavailableError(absl::StrCat("skipped: arm '", arm.name, "' needs ", name,
                                                   ", and ", std::string(status.message())));
      }
    }
    ArmServer serve;
    if (!IsOurs(arm) || !ReadServeFlags(arm, &serve).ok()) continue;
    std::string why;
    const std::string backend = io::ChooseBackend(serve.f.backend, &why);
    const absl::Status available = CheckLoopAvailable(serve.f.loop, backend);
    if (!available.ok()) {
      return absl::UnavailableError(
          absl::StrCat("skipped: arm '", arm.name, "': ", std::string(available.message())));
    }
  }
  return absl::OkStatus();
}

}  // namespace cli
