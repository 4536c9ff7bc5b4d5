#include "cli/live.h"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <string>
#include <string_view>

#include "loadgen/timeseries.h"
#include "stats/cpu_clock.h"

namespace cli {
namespace {

int64_t Now() {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string_view Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool KnowsNoEscapes() {
  const std::string_view term = Environment("TERM");
  return term.empty() || term == "dumb";
}

LiveMode Auto(bool quiet) {
  return !quiet && isatty(STDERR_FILENO) ? LiveMode::kPanel : LiveMode::kOff;
}

}  // namespace

std::vector<std::string> LiveChoices() { return {"auto", "off", "panel", "json"}; }

absl::StatusOr<LiveMode> ChooseLive(const std::string& choice, bool quiet) {
  if (choice == "auto") return Auto(quiet);
  if (choice == "json") return LiveMode::kJson;
  if (choice == "off") return LiveMode::kOff;
  if (choice != "panel") {
    return absl::InvalidArgumentError("--live takes auto, off, panel or json");
  }
  if (isatty(STDERR_FILENO)) return LiveMode::kPanel;
  return absl::InvalidArgumentError(
      "--live panel needs a terminal, and standard error is none; use --live json, or leave it "
      "out");
}

Live::Live(const loadgen::LoadOptions& options, LiveMode mode)
    : mode_(mode),
      open_loop_(options.open_loop()),
      plain_(KnowsNoEscapes()),
      color_(!plain_ && Environment("NO_COLOR").empty()),
      stream_(STDERR_FILENO) {
  if (mode_ != LiveMode::kPanel) return;
  figures_.emplace(options);
  screen_.emplace(STDERR_FILENO, plain_);
}

Live::Live(const loadgen::LoadOptions& options, bool quiet) : Live(options, Auto(quiet)) {}

void Live::OnProgress(const loadgen::LoadProgress& progress) {
  if (mode_ != LiveMode::kPanel) return;
  const int64_t now = Now();
  if (drawn_at_ns_ != 0 && now - drawn_at_ns_ < kRedrawMs * int64_t{1'000'000}) return;
  drawn_at_ns_ = now;
  // Drawing is not part of the load.
  figures_->OnProgress(progress, now, stats::OwnCpuNanos() - stats::ThreadCpuNanos());
  const Screen::Size size = screen_->size();
  const bool line = plain_ || size.rows < kPanelRows;
  screen_->Draw(line ? RenderLine(figures_->State(), size.columns - 1)
                     : RenderPanel(figures_->State(), size.columns, color_));
}

void Live::OnInterval(const loadgen::Interval& interval, const std::string& of_class) {
  if (mode_ == LiveMode::kPanel && of_class.empty()) figures_->OnInterval(interval);
  if (mode_ == LiveMode::kJson) WriteJson(interval, of_class);
}

void Live::Clear() {
  if (mode_ == LiveMode::kPanel) screen_->Clear();
}

// A reader that stands still must not hold up the run, so nothing waits for it. A pipe takes up to
// PIPE_BUF bytes, 4096, as a whole or not at all (pipe(7)), which is more than a line has.
void Live::WriteJson(const loadgen::Interval& interval, const std::string& of_class) {
  const std::string line = loadgen::TimeseriesLine(
      interval, {.name = of_class, .open_loop = open_loop_, .encode_histogram = {}});
  for (size_t done = 0; done < line.size();) {
    const ssize_t n = stream_.Write(std::string_view(line).substr(done));
    if (n >= 0) {
      done += static_cast<size_t>(n);
    } else if (errno == EAGAIN) {  // no room after all
      return;
    } else if (errno != EINTR) {  // EPIPE: its reader has gone; ENOSPC, EIO: nobody can be told
      mode_ = LiveMode::kOff;
      return;
    }
  }
}

}  // namespace cli
