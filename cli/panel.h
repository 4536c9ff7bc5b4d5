#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "loadgen/load.h"

// How a run of load looks while it runs.
namespace cli {

// Latencies of some part of a run, in ns; none where count is 0.
struct PanelPercentiles {
  uint64_t count = 0;
  int64_t p50 = 0, p90 = 0, p99 = 0, p99_9 = 0, max = 0;
};

// What there is to see, at one moment.
struct PanelState {
  std::string title;  // what is loaded; each code point is one column wide
  loadgen::LoadProgress::Phase phase = loadgen::LoadProgress::Phase::kConnecting;
  double done = -1;            // the share of the phase that is over, 0 to 1; below 0: not known
  int64_t left_ns = -1;        // of the phase; below 0: not known
  int64_t left_requests = -1;  // of a run by count; below 0: it is one by time
  double rate_now = 0;         // answered a second, in about the last second
  double rate_run = 0;         // and in the measured window so far; 0: it has not begun
  std::vector<double> rates;   // of the last intervals, oldest first
  bool has_latency = true;     // false: the service has no replies to wait for
  PanelPercentiles last_second, run;
  uint64_t open = 0, wanted = 0;  // connections
  uint64_t errors = 0;
  double offered_rps = 0;  // requests due a second, in about the last second; 0: closed loop
  int64_t behind_ns = 0;   // how much time of that load is due and not answered
  double cpu_share = -1;   // of the client's threads' time, in about the last second; below 0: not
                           // known
  uint32_t threads = 1;
};

// The most lines that RenderPanel() makes.
inline constexpr int kPanelRows = 8;

// A panel of at most kPanelRows lines, joined by newlines, each at most `columns` wide, in UTF-8;
// with `color`, with escapes of ECMA-48 (SGR), which are no columns. Below 60 columns labels and
// figures are fewer and shorter.
std::string RenderPanel(const PanelState& state, int columns, bool color);

// The same in one line and few words, without escapes: for terminals that can no more.
std::string RenderLine(const PanelState& state, int columns);

// One block character a rate, from ▁ to █ in proportion to the largest, and a space for 0: the last
// `columns` of them.
std::string Sparkline(const std::vector<double>& rates, int columns);

// The columns of a UTF-8 text whose code points are one column wide each; escapes have none.
int ColumnsOf(const std::string& text);

}  // namespace cli
