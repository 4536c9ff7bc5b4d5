#include "bench/compare.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <random>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/common.h"
#include "cli/signals.h"
#include "cli/subcommands.h"
#include "cli/values.h"
#include "cli/version.h"
#include "io/backends.h"
#include "report/environment_json.h"
#include "report/files.h"
#include "report/format.h"
#include "report/text.h"
#include "stats/environment.h"

namespace cli {
namespace {

constexpr const char* kName = "compare";

struct CompareFlags {
  Flags* flags = nullptr;
  std::vector<std::string> arms;
  uint64_t connections = 64, message_bytes = 64, depth = 1;
  double pace = 0;
  std::string transport = "tcp";
  std::string metric = "server_cpu_us";
  double margin = 0.05;
  int64_t budget_ns = 300'000'000'000;
  uint64_t pairs = 80;
  int64_t warmup_ns = 150'000'000, window_ns = 400'000'000;
  std::string client_backend = "auto";
  std::string server_cpus, client_cpus;
  uint64_t seed = 0;
  std::string output;
  bool quiet = false;
};

std::vector<std::string> MetricChoices() {
  std::vector<std::string> keys;
  for (const bench::Metric& metric : bench::kMetrics) keys.emplace_back(metric.key);
  return keys;
}

void Declare(Flags& flags, CompareFlags& f) {
  f.flags = &flags;
  flags.Group("Arms")
      .Repeated(
          "--arm ARM", &f.arms,
          "twice, A and then B: a backend (epoll, io_uring), NAME=serve FLAGS, NAME=PATH serve "
          "FLAGS (another build), or NAME=COMMAND with {port} (any echo server on 127.0.0.1) or "
          "{address} (127.0.0.1:PORT, udp://127.0.0.1:PORT, unix:@NAME …, as --transport says); "
          "without it, epoll and io_uring")
      .Choice("--transport", &f.transport,
              {std::begin(bench::kTransports), std::end(bench::kTransports)},
              "what they are played over; seqpacket and unix-dgram are Unix sockets, too")
      .Group("Scenario (without these: 64 × 64 B, 1000 × 64 B and 64 × 16 KiB)")
      .Count("-c,--connections", &f.connections, {1, 1'000'000}, "connections")
      .Bytes("-s,--size SIZE", &f.message_bytes, {1, 1 << 30}, "of a request")
      .Count("--depth", &f.depth, {1, 65536}, "requests in flight on each connection")
      .Rate("--pace RATE", &f.pace, {1, 1e9},
            "of the paced part; lowered to 60 % of the slower arm's full speed")
      .Group("Verdict")
      .Choice("--metric", &f.metric, MetricChoices(), "what the verdict is about; the rest informs")
      .Percent("--margin PERCENT", &f.margin, {0.001, 1}, "the difference that matters")
      .Duration("--budget TIME", &f.budget_ns, {1'000'000'000, 86'400'000'000'000},
                "after which it says what it can")
      .Count("--pairs", &f.pairs, {1, 80},
             "of rounds for each scenario, at most; looks at 10, 20, 40, 80")
      .Group("Rounds")
      .Duration("--warmup TIME", &f.warmup_ns, {0, 60'000'000'000}, "of each part, not measured")
      .Duration("--window TIME", &f.window_ns, {10'000'000, 600'000'000'000},
                "measured, of each part")
      .Choice("--client-backend", &f.client_backend, BackendChoices(),
              "of the load generator, the same for both arms")
      .Text("--server-cpus LIST", &f.server_cpus, "where the servers run (default: the first CPU)")
      .Text("--client-cpus LIST", &f.client_cpus,
            "where the load generator runs (default: another core)")
      .Count("--seed", &f.seed, {1, ~0ull}, "of the order within pairs; without it, a random one")
      .Group("Output")
      .Text("-o,--output FILE", &f.output,
            "the result (default: results/compare-TIME-MACHINE.json)")
      .Switch("-q,--quiet", &f.quiet, "no progress")
      .Example("ringside compare", "epoll against io_uring in three scenarios")
      .Example("ringside compare --arm old='./ringside.old serve' --arm new=serve -c 256",
               "two builds")
      .Example("ringside compare --arm epoll --arm mine='./my_server --port {port}'",
               "any echo server against ours")
      .Example("ringside compare --transport udp -c 64 --pace 100k", "over UDP");
}

absl::StatusOr<std::vector<bench::Arm>> Arms(const CompareFlags& f) {
  std::vector<std::string> texts = f.arms;
  if (texts.empty()) texts = {"epoll", "io_uring"};
  if (texts.size() != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("--arm: ", texts.size(), " arms are given; give two, A and then B"));
  }
  std::vector<bench::Arm> arms;
  for (const std::string& text : texts) {
    auto arm = bench::ParseArm(text, io::BackendNames(), f.transport);
    if (!arm.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--arm: ", std::string(arm.status().message())));
    }
    arms.push_back(*arm);
  }
  if (arms[0].name == arms[1].name) arms[1].name += " again";
  return arms;
}

std::vector<bench::Scenario> Scenarios(const CompareFlags& f) {
  const bool own =
      f.flags->Given("connections") || f.flags->Given("size") || f.flags->Given("depth");
  const auto scenario = [&](uint64_t connections, uint64_t bytes, uint64_t depth, double pace) {
    std::string name = absl::StrCat(connections, " × ", report::FormatBytes(bytes));
    if (depth > 1) absl::StrAppend(&name, " × depth ", depth);
    return bench::Scenario{name, static_cast<uint32_t>(connections), bytes,
                           static_cast<uint32_t>(depth), f.pace > 0 ? f.pace : pace};
  };
  constexpr double kNoLimit = 1e9;
  if (own) return {scenario(f.connections, f.message_bytes, f.depth, kNoLimit)};
  return {scenario(64, 64, 1, 100'000), scenario(1000, 64, 1, 100'000),
          scenario(64, 16 * 1024, 1, 40'000)};
}

absl::StatusOr<bench::CpuPlan> Cpus(const CompareFlags& f) {
  bench::CpuPlan plan = bench::PlanCpus();
  for (const auto& [text, cpus] :
       {std::pair(&f.server_cpus, &plan.server), std::pair(&f.client_cpus, &plan.client)}) {
    if (text->empty()) continue;
    auto list = ParseCpuList(*text);
    if (!list.ok()) return list.status();
    *cpus = *list;
  }
  return plan;
}

// A line on a terminal, rewritten; elsewhere only the news.
class Progress {
 public:
  explicit Progress(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO)) {}
  void operator()(const bench::CompareProgress& progress) const {
    if (quiet_) return;
    if (!progress.note.empty()) {
      std::cerr << (terminal_ ? "\r\033[K" : "") << progress.note << "\n";
    } else if (terminal_) {
      std::cerr << "\r\033[K" << progress.scenario << ": pair " << progress.pair << ", a look at "
                << progress.next_look << "; at most "
                << report::FormatDuration((progress.left_ns + 999'999'999) / 1'000'000'000 *
                                          1'000'000'000)
                << " left" << std::flush;
    }
  }
  void Clear() const {
    if (!quiet_ && terminal_) std::cerr << "\r\033[K" << std::flush;
  }

 private:
  const bool quiet_, terminal_;
};

// What was typed behind the program's name, and what came from elsewhere as if it had been.
std::vector<std::string> Arguments(const Flags& flags) {
  std::ifstream file("/proc/self/cmdline");
  std::vector<std::string> words;
  for (std::string word; std::getline(file, word, '\0');) words.push_back(word);
  if (!words.empty()) words.erase(words.begin());
  for (const std::string& word : flags.SetAsTyped()) words.push_back(word);
  return words;
}

std::string UtcTime(const char* format) {
  const std::time_t now = std::time(nullptr);
  tm utc = {};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof(text), format, &utc);
  return text;
}

std::string DefaultOutput(const std::string& machine_id) {
  return absl::StrCat("results/compare-", UtcTime("%Y%m%d-%H%M%S"), "-", machine_id.substr(0, 8),
                      ".json");
}

// A scenario that got slower outweighs one that can't be told.
int ExitCode(const nlohmann::ordered_json& json) {
  int code = kExitOk;
  for (const auto& scenario : json["scenarios"]) {
    const std::string verdict = scenario["verdict"].is_null()
                                    ? "cannot tell"
                                    : scenario["verdict"]["verdict"].get<std::string>();
    if (verdict == "slower") return kExitRegression;
    if (verdict == "cannot tell") code = kExitCannotTell;
  }
  return code;
}

// Every backend that an arm of ours names has to run here: else the comparison is skipped.
absl::Status CheckBackends(const std::vector<bench::Arm>& arms) {
  for (const bench::Arm& arm : arms) {
    if (!arm.ringside) continue;
    for (const std::string& name : io::BackendNames()) {
      if (std::find(arm.command.begin(), arm.command.end(), name) == arm.command.end()) continue;
      const absl::Status status = io::ProbeBackend(name);
      if (!status.ok()) {
        return absl::UnavailableError(absl::StrCat("skipped: arm '", arm.name, "' needs ", name,
                                                   ", and ", std::string(status.message())));
      }
    }
  }
  return absl::OkStatus();
}

int Run(const CompareFlags& f) {
  auto arms = Arms(f);
  if (!arms.ok()) return Fail(kName, arms.status(), kExitUsage);
  const auto cpus = Cpus(f);
  if (!cpus.ok()) return Fail(kName, cpus.status(), kExitUsage);
  const absl::Status available = CheckBackends(*arms);
  if (!available.ok()) return Fail(kName, available, kExitSkipped);
  std::string client_backend = f.client_backend;
  const absl::Status client = UseBackend(kName, &client_backend);
  if (!client.ok()) return Fail(kName, client, kExitFailed);

  const stats::Environment environment = stats::CollectEnvironment();
  const std::string output = f.output.empty() ? DefaultOutput(environment.machine_id) : f.output;
  std::error_code error;
  const auto folder = std::filesystem::path(output).parent_path();
  if (!folder.empty()) std::filesystem::create_directories(folder, error);

  Signals signals;
  const bench::CompareOptions options = {.a = (*arms)[0],
                                         .b = (*arms)[1],
                                         .scenarios = Scenarios(f),
                                         .plan = {.cpus = *cpus,
                                                  .transport = f.transport,
                                                  .client_backend = client_backend,
                                                  .warmup_ns = f.warmup_ns,
                                                  .window_ns = f.window_ns,
                                                  .interrupt_fd = signals.fd()},
                                         .metric = f.metric,
                                         .margin = f.margin,
                                         .budget_ns = f.budget_ns,
                                         .pairs_max = static_cast<int>(f.pairs),
                                         .seed = f.seed != 0 ? f.seed : std::random_device()()};
  const Progress progress(f.quiet);
  nlohmann::ordered_json json;
  bool interrupted = false;
  const absl::Status status = bench::Compare(options, progress, &json, &interrupted);
  progress.Clear();

  json["version"] = RINGSIDE_VERSION;
  json["revision"] = Revision();
  json["arguments"] = Arguments(*f.flags);
  json["time_utc"] = UtcTime("%Y-%m-%dT%H:%M:%SZ");
  json["environment"] = report::EnvironmentJson(environment);
  const absl::Status written = report::WriteFile(output, json.dump(1) + "\n");
  if (output != "-") std::cout << report::CompareText(json);
  if (!written.ok()) return Fail(kName, written, kExitFailed);
  if (output != "-") std::cout << "\nresult: " << output << std::endl;
  if (!status.ok()) return Fail(kName, status, kExitFailed);
  if (interrupted) return ExitBySignal(std::max(SIGINT, signals.Wait(-1, 0)));
  return ExitCode(json);
}

}  // namespace

Subcommand CompareCommand() {
  auto f = std::make_shared<CompareFlags>();
  return {.name = kName,
          .summary = "rounds of A against B, a verdict, a result file",
          .declare = [f](Flags& flags) { Declare(flags, *f); },
          .run = [f] { return Run(*f); }};
}

}  // namespace cli
