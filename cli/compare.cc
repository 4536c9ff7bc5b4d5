#include "bench/compare.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <memory>
#include <span>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "cli/arguments.h"
#include "cli/common.h"
#include "cli/compare_flags.h"
#include "cli/compare_plan.h"
#include "cli/matrix.h"
#include "cli/signals.h"
#include "cli/subcommands.h"
#include "cli/version.h"
#include "io/backends.h"
#include "report/environment_json.h"
#include "report/escape.h"
#include "report/export.h"
#include "report/files.h"
#include "report/format.h"
#include "report/text.h"
#include "stats/environment.h"

namespace cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kName = "compare";

// A line on a terminal, rewritten; elsewhere only the news.
class Progress {
 public:
  explicit Progress(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO)) {}
  void operator()(const bench::CompareProgress& progress) const {
    if (quiet_) return;
    if (!progress.note.empty()) {
      std::cerr << (terminal_ ? "\r\033[K" : "") << report::PlainText(progress.note) << "\n";
    } else if (terminal_) {
      std::cerr << "\r\033[K" << report::PlainLine(progress.scenario) << ": pair " << progress.pair << ", a look at "
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

// Writes the result: where the user says, or into a file of its own in results/, whoever else may
// be writing there. `path` gets its name.
absl::Status WriteResult(const std::string& text, const std::string& machine_id,
                         std::string* path) {
  std::error_code error;  // what can't be created can't be written to either
  if (!path->empty()) {
    const auto folder = std::filesystem::path(*path).parent_path();
    if (!folder.empty()) std::filesystem::create_directories(folder, error);
    return report::WriteFile(*path, text);
  }
  std::filesystem::create_directories("results", error);
  const std::string name =
      absl::StrCat("results/compare-", UtcTime("%Y%m%d-%H%M%S"), "-", machine_id.substr(0, 8));
  for (int number = 1;; ++number) {
    *path = absl::StrCat(name, number > 1 ? absl::StrCat("-", number) : "", ".json");
    const absl::Status written = report::WriteNewFile(*path, text);
    if (!absl::IsAlreadyExists(written)) return written;
  }
}

// An arm that got slower outweighs one that can't be told. An ablation finds out, and judges
// nobody.
int ExitCode(const Json& json) {
  if (json["kind"] == "ablation") return kExitOk;
  const bool passes = json["plan"]["inconclusive"] == "pass";
  int code = kExitOk;
  for (const Json& scenario : json["scenarios"]) {
    for (const Json& comparison : scenario["comparisons"]) {
      if (json["arms"][comparison["arm"].get<size_t>()]["role"] == "self-check") continue;
      const Json& verdict = comparison["verdict"];
      const std::string word =
          verdict.is_null() ? "cannot tell" : verdict["verdict"].get<std::string>();
      if (word == "slower") return kExitRegression;
      if (word == "cannot tell" && !passes) code = kExitCannotTell;
    }
  }
  return code;
}

void AddOrigin(const CompareFlags& f, const stats::Environment& environment, Json* json) {
  (*json)["version"] = RINGSIDE_VERSION;
  (*json)["revision"] = Revision();
  (*json)["arguments"] = Arguments(*f.flags);
  (*json)["time_utc"] = UtcTime("%Y-%m-%dT%H:%M:%SZ");
  (*json)["environment"] = report::EnvironmentJson(environment);
}

// What is written besides the result.
absl::StatusOr<std::vector<report::Destination>> Exports(const CompareFlags& f) {
  std::vector<report::Destination> destinations;
  for (const std::string& text : f.exports) {
    auto destination = report::FormatOf(text);
    if (!destination.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--export: ", std::string(destination.status().message())));
    }
    destinations.push_back(*std::move(destination));
  }
  return destinations;
}

absl::Status WriteExports(const std::vector<report::Destination>& destinations, const Json& json) {
  for (const report::Destination& destination : destinations) {
    const auto text = report::Render(destination.format, std::span(&json, 1));
    if (!text.ok()) return text.status();
    const absl::Status written = report::WriteFile(destination.path, *text);
    if (!written.ok()) return written;
  }
  return absl::OkStatus();
}

int WriteMatrix(const std::string& path) {
  if (std::filesystem::exists(path)) {
    return Fail(kName, absl::StrCat("--init: ", path, " is there already; name another"),
                kExitUsage);
  }
  const absl::Status written = report::WriteFile(path, ExampleMatrix());
  if (!written.ok()) return Fail(kName, written, kExitFailed);
  if (path != "-") std::cout << "play it with: ringside compare --matrix " << path << std::endl;
  return kExitOk;
}

int Run(CompareFlags& f) {
  if (!f.init.empty()) return WriteMatrix(f.init);
  auto options = PlanComparison(&f);
  if (!options.ok()) return Fail(kName, options.status(), kExitUsage);
  auto exports = Exports(f);
  if (!exports.ok()) return Fail(kName, exports.status(), kExitUsage);
  const absl::Status available = CheckAvailable(options->arms);
  if (!available.ok()) return Fail(kName, available, kExitSkipped);
  const absl::Status client = UseBackend(kName, &options->plan.client_backend);
  if (!client.ok()) return Fail(kName, client, kExitSkipped);

  const stats::Environment environment = stats::CollectEnvironment();
  Signals signals;
  options->plan.interrupt_fd = signals.fd();
  const Progress progress(f.quiet);
  Json json;
  bool interrupted = false;
  const absl::Status status = bench::Compare(*options, progress, &json, &interrupted);
  progress.Clear();
  AddOrigin(f, environment, &json);

  std::string output = f.output;
  const absl::Status written = WriteResult(json.dump(1) + "\n", environment.machine_id, &output);
  if (output != "-") std::cout << report::CompareText(json);
  if (!written.ok()) return Fail(kName, written, kExitFailed);
  if (f.output.empty()) {  // for a person: a page to look at, too
    const std::string page = std::filesystem::path(output).replace_extension(".html");
    exports->push_back({.format = "html", .path = page});
  }
  const absl::Status exported = WriteExports(*exports, json);
  if (output != "-") std::cout << "\nresult: " << output << "\n";
  for (const report::Destination& destination : *exports) {
    if (exported.ok() && output != "-") std::cout << "report: " << destination.path << "\n";
  }
  std::cout << std::flush;
  if (!exported.ok()) return Fail(kName, exported, kExitFailed);
  if (!status.ok()) return Fail(kName, status, kExitFailed);
  if (interrupted) return ExitBySignal(std::max(SIGINT, signals.Wait(-1, 0)));
  return ExitCode(json);
}

}  // namespace

Subcommand CompareCommand() {
  auto f = std::make_shared<CompareFlags>();
  return {.name = kName,
          .summary = "rounds of A against B, a verdict, a result file",
          .declare = [f](Flags& flags) { DeclareCompare(flags, *f); },
          .run = [f] { return Run(*f); }};
}

}  // namespace cli
