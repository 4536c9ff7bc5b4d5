#include "cli/panel.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "report/escape.h"
#include "report/format.h"

namespace cli {
namespace {

using Phase = loadgen::LoadProgress::Phase;

constexpr int kWide = 60;  // from here on there is room for whole words
constexpr int kLabelWide = 13, kLabelNarrow = 8;
constexpr int kBarMax = 40, kBarMin = 6, kSparkMax = 60, kSparkMin = 6;
constexpr double kOnSchedule = 0.99;  // a rate below this share of the offered one is marked

constexpr char kBold[] = "\033[1m";
constexpr char kDim[] = "\033[2m";
constexpr char kGraph[] = "\033[36m";    // cyan
constexpr char kWarning[] = "\033[33m";  // yellow
constexpr char kAlarm[] = "\033[1;31m";  // bold red
constexpr char kPlain[] = "";
constexpr char kReset[] = "\033[0m";

bool BeginsCodePoint(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) != 0x80; }

// The first `columns` code points.
std::string Truncated(const std::string& text, int columns) {
  int seen = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (BeginsCodePoint(text[i]) && seen++ == columns) return text.substr(0, i);
  }
  return text;
}

std::string PadLeft(const std::string& text, int columns) {
  return std::string(std::max(0, columns - ColumnsOf(text)), ' ') + text;
}

std::string PadRight(const std::string& text, int columns) {
  return text + std::string(std::max(0, columns - ColumnsOf(text)), ' ');
}

// A line that is never wider than it may be.
class Line {
 public:
  Line(int columns, bool color) : left_(columns), color_(color) {}

  Line& Add(const std::string& text, const char* style = kPlain) {
    const std::string shown = Truncated(text, left_);
    if (shown.empty()) return *this;
    left_ -= ColumnsOf(shown);
    const bool styled = color_ && style[0] != '\0';
    absl::StrAppend(&text_, styled ? style : "", shown, styled ? kReset : "");
    return *this;
  }

  int left() const { return left_; }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  int left_;
  const bool color_;
};

// What every line of a panel of this width has in common.
struct Layout {
  int columns;
  bool color;

  bool wide() const { return columns >= kWide; }
  int label() const { return wide() ? kLabelWide : kLabelNarrow; }

  Line Labelled(const char* wide_name, const char* narrow_name) const {
    Line line(columns, color);
    line.Add(PadRight(wide() ? wide_name : narrow_name, label()), kDim);
    return line;
  }
};

const char* PhaseName(Phase phase, bool wide) {
  switch (phase) {
    case Phase::kConnecting:
      return wide ? "connecting" : "connect";
    case Phase::kWarmup:
      return wide ? "warming up" : "warm-up";
    case Phase::kMeasuring:
      return wide ? "measuring" : "measure";
    case Phase::kDraining:
      return wide ? "draining" : "drain";
  }
  return "";
}

// "6 s left", whole seconds; "" where nothing is known.
std::string Left(const PanelState& state) {
  constexpr int64_t kSecondNs = 1'000'000'000;
  if (state.left_requests >= 0) {
    return absl::StrCat(report::FormatCount(static_cast<uint64_t>(state.left_requests)), " left");
  }
  if (state.left_ns < 0) return "";
  const int64_t seconds = (state.left_ns + kSecondNs - 1) / kSecondNs;
  return absl::StrCat(seconds == 0 ? "0 s" : report::FormatDuration(seconds * kSecondNs), " left");
}

std::string Percent(double share) { return absl::StrFormat("%.0f %%", share * 100); }

// `share` of `columns`, to an eighth of a column.
std::string Bar(double share, int columns) {
  constexpr std::array<const char*, 8> kEighths = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const int eighths = static_cast<int>(std::clamp(share, 0.0, 1.0) * columns * 8);
  std::string bar;
  for (int i = 0; i < eighths / 8; ++i) bar += "█";
  bar += kEighths[eighths % 8];
  for (int i = (eighths + 7) / 8; i < columns; ++i) bar += "░";
  return bar;
}

std::string PhaseLine(const PanelState& state, const Layout& layout) {
  Line line = layout.Labelled(PhaseName(state.phase, true), PhaseName(state.phase, false));
  const std::string left = Left(state);
  if (state.done < 0) return line.Add(left).text();
  // Of a share of less than 100 % nothing is rounded to it.
  std::string tail = PadLeft(Percent(std::floor(state.done * 100) / 100), 6);
  if (!left.empty()) absl::StrAppend(&tail, ", ", left);
  const int columns = std::min(line.left() - ColumnsOf(tail), kBarMax);
  if (columns >= kBarMin) line.Add(Bar(state.done, columns), kGraph);
  return line.Add(tail).text();
}

std::string RateLine(const PanelState& state, const Layout& layout) {
  Line line = layout.Labelled("rate", "rate");
  line.Add(absl::StrCat(report::FormatRate(state.rate_now), " now"));
  if (state.rate_run > 0) line.Add(absl::StrCat(", ", report::FormatRate(state.rate_run), " run"));
  const int columns = std::min(line.left() - 2, kSparkMax);
  if (columns >= kSparkMin && !state.rates.empty()) {
    line.Add("  ").Add(Sparkline(state.rates, columns), kGraph);
  }
  return line.text();
}

std::string OfferedLine(const PanelState& state, const Layout& layout) {
  const double share = state.rate_now / state.offered_rps;
  Line line = layout.Labelled("offered", "offered");
  line.Add(report::FormatRate(state.offered_rps));
  line.Add(layout.wide() ? ", achieved " : ", ");
  line.Add(absl::StrFormat("%.1f %%", share * 100), share < kOnSchedule ? kWarning : kPlain);
  return line.Add(absl::StrCat(", ", report::FormatDuration(state.behind_ns), " behind")).text();
}

// The three lines on latency.
std::vector<std::string> LatencyLines(const PanelState& state, const Layout& layout) {
  struct Column {
    const char* name;
    int64_t PanelPercentiles::*value;
  };
  std::vector<Column> shown = {{"p50", &PanelPercentiles::p50},
                               {"p90", &PanelPercentiles::p90},
                               {"p99", &PanelPercentiles::p99},
                               {"p99.9", &PanelPercentiles::p99_9},
                               {"max", &PanelPercentiles::max}};
  constexpr int kCellMin = 8, kCellMax = 10;  // "12.3 ms", and a space before it
  const int room = layout.columns - layout.label();
  if (room < static_cast<int>(shown.size()) * kCellMin) shown.erase(shown.begin() + 1);
  const int cell = std::clamp(room / static_cast<int>(shown.size()), kCellMin, kCellMax);
  Line head = layout.Labelled("latency", "latency");
  Line second = layout.Labelled("  last 1 s", "last 1 s");
  Line run = layout.Labelled("  run", "run");
  for (const Column& column : shown) {
    head.Add(PadLeft(column.name, cell), kDim);
    const auto add = [&](const PanelPercentiles& of, Line* line) {
      line->Add(PadLeft(of.count > 0 ? report::FormatDuration(of.*column.value) : "–", cell));
    };
    add(state.last_second, &second);
    add(state.run, &run);
  }
  return {head.text(), second.text(), run.text()};
}

std::string ConnectionsLine(const PanelState& state, const Layout& layout) {
  Line line = layout.Labelled("connections", "open");
  line.Add(absl::StrCat(report::FormatCount(state.open), " of ", report::FormatCount(state.wanted),
                        layout.wide() ? " open, " : ", "));
  line.Add(absl::StrCat("errors ", report::FormatCount(state.errors)),
           state.errors > 0 ? kAlarm : kPlain);
  if (state.cpu_share < 0) return line.text();
  line.Add(absl::StrCat(layout.wide() ? ", client CPU " : ", CPU ", Percent(state.cpu_share)));
  const std::string of =
      absl::StrCat(" of ", state.threads, state.threads == 1 ? " thread" : " threads");
  if (layout.wide() && line.left() >= ColumnsOf(of)) line.Add(of);
  return line.text();
}

}  // namespace

int ColumnsOf(const std::string& text) {
  int columns = 0;
  bool escape = false;
  for (const char byte : text) {
    if (byte == '\033') escape = true;
    if (!escape && BeginsCodePoint(byte)) ++columns;
    if (escape && byte >= 'A' && byte <= 'z' && byte != '[') escape = false;
  }
  return columns;
}

std::string Sparkline(const std::vector<double>& rates, int columns) {
  constexpr std::array<const char*, 9> kLevels = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  const size_t shown = std::min<size_t>(rates.size(), std::max(0, columns));
  const auto first = rates.end() - static_cast<ptrdiff_t>(shown);
  const double largest = shown > 0 ? *std::max_element(first, rates.end()) : 0;
  std::string line;
  for (auto rate = first; rate != rates.end(); ++rate) {
    const double level = largest > 0 && *rate > 0 ? std::ceil(*rate / largest * 8) : 0;
    line += kLevels[static_cast<size_t>(std::clamp(level, 0.0, 8.0))];
  }
  return line;
}

std::string RenderPanel(const PanelState& state, int columns, bool color) {
  const Layout layout = {.columns = std::max(1, columns), .color = color};
  std::vector<std::string> lines = {
      Line(layout.columns, color).Add(report::PlainLine(state.title), kBold).text(),
      PhaseLine(state, layout), RateLine(state, layout)};
  if (state.offered_rps > 0) lines.push_back(OfferedLine(state, layout));
  if (state.has_latency) {
    for (std::string& line : LatencyLines(state, layout)) lines.push_back(std::move(line));
  }
  lines.push_back(ConnectionsLine(state, layout));
  return absl::StrJoin(lines, "\n");
}

std::string RenderLine(const PanelState& state, int columns) {
  std::string text = absl::StrCat(
      PhaseName(state.phase, true), ": ", report::FormatCount(state.open), " of ",
      report::FormatCount(state.wanted), " connections open, ", report::FormatRate(state.rate_now));
  const std::string left = Left(state);
  if (!left.empty()) absl::StrAppend(&text, ", ", left);
  if (state.errors > 0) absl::StrAppend(&text, ", errors ", report::FormatCount(state.errors));
  return Truncated(text, std::max(1, columns));
}

}  // namespace cli
