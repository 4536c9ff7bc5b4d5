#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/live_figures.h"
#include "cli/output_lines.h"
#include "cli/screen.h"
#include "loadgen/interval.h"
#include "loadgen/load.h"

namespace cli {

enum class LiveMode { kOff, kPanel, kJson };

// What --live takes: auto, off, panel, json.
std::vector<std::string> LiveChoices();

// The mode of a choice. auto is the panel where stderr is a terminal and the run isn't `quiet`; the
// other choices mean what they say, also in a quiet run. InvalidArgument: a panel without a
// terminal.
absl::StatusOr<LiveMode> ChooseLive(const std::string& choice, bool quiet);

// How a run goes, on stderr while it runs. A panel (cli/panel.h) is in one line on terminals of
// fewer than 8 rows and where TERM is dumb or not set, and has colours but where NO_COLOR is set
// (https://no-color.org). As JSON, each interval is a line, "ringside.interval/1" as in
// loadgen/timeseries.h without hdr; one that its reader has no room for is left out, which its
// `number` shows. The calls belong to one thread, the main thread.
class Live {
 public:
  Live(const loadgen::LoadOptions& options, LiveMode mode);
  // --live auto.
  Live(const loadgen::LoadOptions& options, bool quiet);

  // How often OnProgress() is due, as poll(2) takes it; -1 where it shows nothing.
  int interval_ms() const { return mode_ == LiveMode::kPanel ? kRedrawMs : -1; }

  // Redraws the panel, at most five times a second.
  void OnProgress(const loadgen::LoadProgress& progress);
  // The next interval, of a class where there are several: writes its line, or lets the panel know,
  // which shows rates only where there are classes.
  void OnInterval(const loadgen::Interval& interval, const std::string& of_class = "");
  // Removes the panel and shows the cursor: before anything else is printed, and before an _exit().
  void Clear();

 private:
  static constexpr int kRedrawMs = 200;

  void WriteJson(const loadgen::Interval& interval, const std::string& of_class);

  LiveMode mode_;
  const bool open_loop_;
  const bool plain_;  // a terminal without escapes
  const bool color_;
  int64_t drawn_at_ns_ = 0;  // 0: not yet
  std::optional<LiveFigures> figures_;
  std::optional<Screen> screen_;
  const NonblockingStream stream_;  // stderr, for JSON
};

}  // namespace cli
