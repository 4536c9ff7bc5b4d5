#include "bench/compare.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
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
#include "cli/output_lines.h"
#include "cli/outputs.h"
#include "cli/signals.h"
#include "cli/subcommands.h"
#include "cli/version.h"
#include "io/backends.h"
#include "report/environment_json.h"
#include "report/escape.h"
#include "report/export.h"
#include "report/files.h"
#include "report/format.h"
#include "report/json_text.h"
#include "report/text.h"
#include "stats/environment.h"

namespace cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kName = "compare";

// A line on a terminal, rewritten; elsewhere only the news. Who doesn't read it (Ctrl-S, a pipe
// that is full) doesn't stop the comparison with the arms running.
class Progress {
 public:
  explicit Progress(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO)) {}
  void operator()(const bench::CompareProgress& progress) const {
    if (quiet_) return;
    if (!progress.note.empty()) {
      output_->Write(
          absl::StrCat(terminal_ ? "\r\033[K" : "", report::PlainText(progress.note), "\n"));
    } else if (terminal_) {
      output_->Write(absl::StrCat(
          "\r\033[K", report::PlainLine(progress.scenario), ": pair ", progress.pair,
          ", a look at ", progress.next_look, "; at most ",
          report::FormatDuration((progress.left_ns + 999'999'999) / 1'000'000'000 * 1'000'000'000),
          " left"));
    }
  }
  void Clear() const {
    if (quiet_) return;
    if (terminal_) output_->Write("\r\033[K");
    (void)output_->Flush(std::chrono::seconds(1));
  }

 private:
  const bool quiet_, terminal_;
  const std::shared_ptr<OutputLines> output_ =  // shared by copies
      std::make_shared<OutputLines>(STDERR_FILENO, absl::StrCat("ringside ", kName));
};

// What a comparison leaves.
struct Files {
  report::OutputFile result;  // not open: a file of its own in results/
  std::vector<report::OutputFile> exports;
};

absl::Status CreateFolder(const std::filesystem::path& folder) {
  std::error_code error;
  if (!folder.empty()) std::filesystem::create_directories(folder, error);
  return error ? report::CannotWrite(folder, error.value()) : absl::OkStatus();
}

// Tries every path before the first round.
absl::Status OpenFiles(const CompareFlags& f, const std::vector<report::Destination>& exports,
                       Files* files) {
  report::OutputFile trial;
  const bool own = f.output.empty();
  const absl::Status folder =
      CreateFolder(own ? "results" : std::filesystem::path(f.output).parent_path());
  if (!folder.ok()) {
    return absl::Status(folder.code(),
                        absl::StrCat("--output: ", std::string(folder.message()),
                                     own ? " (results/ is where results are without it)" : ""));
  }
  files->exports.resize(exports.size());
  const std::string in_results = absl::StrCat("results/compare-", getpid(), ".json");
  std::vector<OutputPath> all = {
      {"--output", own ? in_results : f.output, own ? &trial : &files->result}};
  for (size_t i = 0; i < exports.size(); ++i) {
    all.push_back({"--export", exports[i].path, &files->exports[i]});
  }
  return OpenOutputs(kName, all);
}

// Writes the result: where the user says, or into a file of its own in results/, whoever else may
// be writing there. `path` gets its name.
absl::Status WriteResult(const std::string& text, const std::string& machine_id, Files* files,
                         std::string* path) {
  if (!path->empty()) return files->result.Write(text);
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

// Each is written, though another couldn't be; the first failure.
absl::Status WriteExports(const std::vector<report::Destination>& destinations, const Json& json,
                          Files* files) {
  absl::Status status;
  for (size_t i = 0; i < destinations.size(); ++i) {
    const auto text = report::Render(destinations[i].format, std::span(&json, 1));
    status.Update(text.ok() ? files->exports[i].Write(*text) : text.status());
  }
  return status;
}

int WriteMatrix(const std::string& path) {
  std::error_code error;
  const auto there = std::filesystem::status(path, error);
  // A device or a pipe can be written through; a file would be lost.
  const bool through = path == "-" || (exists(there) && !is_regular_file(there));
  const absl::Status written = through ? report::WriteFile(path, ExampleMatrix())
                                       : report::WriteNewFile(path, ExampleMatrix());
  if (absl::IsAlreadyExists(written)) {
    return Fail(kName, absl::StrCat("--init: ", path, " is there already; name another"),
                kExitUsage);
  }
  if (!written.ok()) return OutputsFailed(kName, written);
  if (!through) Print(kName, absl::StrCat("play it with: ringside compare --matrix ", path, "\n"));
  return kExitOk;
}

int Run(CompareFlags& f) {
  if (!f.init.empty()) return WriteMatrix(f.init);
  auto options = PlanComparison(&f);
  if (!options.ok()) return Fail(kName, options.status(), kExitUsage);
  auto exports = Exports(f);
  if (!exports.ok()) return Fail(kName, exports.status(), kExitUsage);
  Files files;
  const absl::Status opened = OpenFiles(f, *exports, &files);
  if (!opened.ok()) return OutputsFailed(kName, opened);
  const absl::Status available = CheckAvailable(options->arms);
  if (!available.ok()) return Fail(kName, available, kExitSkipped);
  const absl::Status client = UseBackend(kName, &options->plan.client_backend,
                                         &options->plan.client_backend_fallback, kLoopsAtOnce);
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
  const absl::Status written =
      WriteResult(report::JsonText(json, 1) + "\n", environment.machine_id, &files, &output);
  absl::Status exported;
  if (written.ok() && f.output.empty()) {  // for a person: a page to look at, too
    const std::string page = std::filesystem::path(output).replace_extension(".html");
    exports->push_back({.format = "html", .path = page});
    exported = files.exports.emplace_back().Open(page);
  }
  exported.Update(WriteExports(*exports, json, &files));
  if (output != "-") {
    std::string text = report::CompareText(json);
    if (written.ok()) absl::StrAppend(&text, "\nresult: ", output, "\n");
    for (const report::Destination& destination : *exports) {
      if (exported.ok()) absl::StrAppend(&text, "report: ", destination.path, "\n");
    }
    Print(kName, text);
  }
  if (!written.ok()) return Fail(kName, written, kExitFailed);
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
