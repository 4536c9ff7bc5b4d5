#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "cli/common.h"
#include "cli/outputs.h"
#include "cli/subcommands.h"
#include "report/export.h"
#include "report/files.h"
#include "report/history.h"
#include "report/json_text.h"
#include "report/merge.h"
#include "report/result.h"

namespace cli {
namespace {

constexpr const char* kReport = "report";

struct ReportFlags {
  std::vector<std::string> files;
  std::string format, output = "-", arm;
  std::string history;
  bool merge = false;
};

std::vector<std::string> FormatNames() {
  std::vector<std::string> names;
  for (const report::Format& format : report::Formats()) names.emplace_back(format.name);
  return names;
}

// "text (what the terminal shows), ..."
std::string FormatHelp() {
  std::string help = "what to write (default: by the ending of --output, else text):";
  for (const report::Format& format : report::Formats()) {
    absl::StrAppend(&help, help.ends_with(":") ? " " : "; ", format.name, ", ", format.summary);
  }
  return help;
}

void Declare(Flags& flags, ReportFlags& f) {
  flags.Positionals("FILE", &f.files, "results that `compare` or `load` wrote; - is standard input")
      .Group("Output")
      .Choice("-f,--format FORMAT", &f.format, FormatNames(), FormatHelp())
      .Text("-o,--output FILE", &f.output, "where to, - is standard output")
      .Text("--history PATH", &f.history,
            "all results of `compare` in this directory, by time, with where they changed: text, "
            "csv or json")
      .Text("--arm NAME", &f.arm,
            "gbench, hgrm: this arm only, without its name, to compare two such files")
      .Switch("--merge", &f.merge,
              "results of `load` on several hosts, or of several runs, as one: histograms are "
              "added and percentiles taken from the sum")
      .Example("ringside report results/compare.json", "a result as `compare` printed it")
      .Example("ringside report results/compare.json -o summary.md", "for a pull request")
      .Example("ringside report results/*.json -f csv", "every figure, for a spreadsheet");
}

// "compare.md" is Markdown, "-" is text.
absl::StatusOr<std::string> Choose(const ReportFlags& f) {
  if (!f.format.empty()) return f.format;
  if (f.output == "-") return std::string("text");
  const auto destination = report::FormatOf(f.output);
  if (!destination.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--output: ", destination.status().message(), "; or name one with --format"));
  }
  return destination->format;
}

// All results in a directory; what is something else is left out, what is damaged is named.
absl::StatusOr<std::vector<nlohmann::ordered_json>> ReadAll(const std::string& directory) {
  std::error_code error;
  std::vector<std::string> paths;
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code unknown;  // a FIFO would be waited for
    if (entry->path().extension() == ".json" && entry->is_regular_file(unknown)) {
      paths.push_back(entry->path());
    }
  }
  if (error) {
    return absl::NotFoundError(absl::StrCat("--history: can't read ", directory, ": ",
                                            error.message(), "; name a directory of results"));
  }
  std::sort(paths.begin(), paths.end());
  std::vector<nlohmann::ordered_json> results;
  for (const std::string& path : paths) {
    auto result = report::ReadResult(path);
    if (result.ok()) {
      results.push_back(std::move(*result));
    } else if (!absl::IsUnimplemented(result.status())) {
      Fail(kReport, absl::StrCat("left out: ", result.status().message()), kExitOk);
    }
  }
  return results;
}

int RunHistory(const ReportFlags& f, const std::string& format) {
  report::OutputFile file;
  if (!f.files.empty() || f.merge || !f.arm.empty()) {
    return Fail(kReport, "--history takes a directory and no files, --merge or --arm", kExitUsage);
  }
  if (format != "text" && format != "csv" && format != "json") {
    return Fail(kReport, "--history is written as text, csv or json", kExitUsage);
  }
  const absl::Status opened = OpenOutputs(kReport, {{"--output", f.output, &file}});
  if (!opened.ok()) return OutputsFailed(kReport, opened);
  const auto results = ReadAll(f.history);
  if (!results.ok()) return Fail(kReport, results.status(), kExitFailed);
  const nlohmann::ordered_json history = report::HistoryJson(*results);
  if (history["series"].empty()) {
    return Fail(kReport, absl::StrCat("--history: there is no result of `compare` in ", f.history),
                kExitFailed);
  }
  const absl::Status written = file.Write(format == "text"  ? report::HistoryText(history)
                                          : format == "csv" ? report::HistoryCsv(history)
                                                            : report::JsonText(history, 1) + "\n");
  return written.ok() ? kExitOk : Fail(kReport, written, kExitFailed);
}

int Run(const ReportFlags& f) {
  const auto format = Choose(f);
  if (!format.ok()) return Fail(kReport, format.status(), kExitUsage);
  if (!f.history.empty()) return RunHistory(f, *format);
  if (f.files.empty()) {
    return Fail(kReport, "name the result to report on: ringside report FILE.json", kExitUsage);
  }
  if (!f.arm.empty() && *format != "gbench" && *format != "hgrm") {
    return Fail(kReport, "--arm is for --format gbench and hgrm: others show all arms", kExitUsage);
  }
  report::OutputFile output;
  const absl::Status opened = OpenOutputs(kReport, {{"--output", f.output, &output}});
  if (!opened.ok()) return OutputsFailed(kReport, opened);
  std::vector<nlohmann::ordered_json> results;
  for (const std::string& file : f.files) {
    auto result = report::ReadResult(file);
    if (!result.ok()) return Fail(kReport, result.status(), kExitFailed);
    results.push_back(std::move(*result));
  }
  if (f.merge) {
    auto merged = report::MergeLoads(results);
    if (!merged.ok()) return Fail(kReport, merged.status(), kExitUsage);
    results.assign(1, std::move(*merged));
  }
  const auto text = report::Render(*format, results, {.arm = f.arm});
  if (!text.ok()) {
    return Fail(kReport, text.status(),
                absl::IsInvalidArgument(text.status()) ? kExitUsage : kExitFailed);
  }
  const absl::Status written = output.Write(*text);
  return written.ok() ? kExitOk : Fail(kReport, written, kExitFailed);
}

}  // namespace

Subcommand ReportCommand() {
  auto f = std::make_shared<ReportFlags>();
  return {.name = kReport,
          .summary = "results as text, Markdown, CSV, JUnit and more",
          .declare = [f](Flags& flags) { Declare(flags, *f); },
          .run = [f] { return Run(*f); }};
}

}  // namespace cli
