#include "cli/panel.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace cli {
namespace {

using Phase = loadgen::LoadProgress::Phase;

// In closed loop, in the middle of the measured window.
PanelState Measuring() {
  return {.title = "echo on 127.0.0.1:9999 (io_uring), 64 × 64 B, closed loop",
          .phase = Phase::kMeasuring,
          .done = 0.455,
          .left_ns = 5'450'000'000,
          .rate_now = 152'300,
          .rate_run = 149'100,
          .rates = {0, 20'000, 40'000, 80'000, 120'000, 160'000, 152'000, 158'000, 1, 160'000},
          .last_second = {152'300, 410'000, 520'000, 980'000, 2'100'000, 12'300'000},
          .run = {671'000, 405'000, 515'000, 1'010'000, 2'340'000, 31'000'000},
          .open = 64,
          .wanted = 64,
          .cpu_share = 0.973,
          .threads = 1};
}

PanelState Late() {
  PanelState state = Measuring();
  state.title = "echo on unix:/run/echo.sock (epoll), 1,000 × 16 KiB, depth 4, open loop";
  state.offered_rps = 160'000;
  state.behind_ns = 12'340'000;
  state.errors = 3;
  state.open = 997;
  state.wanted = 1000;
  state.threads = 2;
  return state;
}

std::string Join(const std::vector<std::string>& lines) { return absl::StrJoin(lines, "\n"); }

TEST(RenderPanel, OfAClosedLoop) {
  EXPECT_EQ(RenderPanel(Measuring(), 100, false),
            Join({
                "echo on 127.0.0.1:9999 (io_uring), 64 × 64 B, closed loop",
                "measuring    ██████████████████▏░░░░░░░░░░░░░░░░░░░░░  45 %, 6 s left",
                "rate         152k/s now, 149k/s run   ▁▂▄▆███▁█",
                "latency             p50       p90       p99     p99.9       max",
                "  last 1 s       410 µs    520 µs    980 µs    2.1 ms   12.3 ms",
                "  run            405 µs    515 µs   1.01 ms   2.34 ms     31 ms",
                "connections  64 of 64 open, errors 0, client CPU 97 % of 1 thread",
            }));
}

TEST(RenderPanel, OfAnOpenLoopThatIsLate) {
  EXPECT_EQ(RenderPanel(Late(), 80, false),
            Join({
                "echo on unix:/run/echo.sock (epoll), 1,000 × 16 KiB, depth 4, open loop",
                "measuring    ██████████████████▏░░░░░░░░░░░░░░░░░░░░░  45 %, 6 s left",
                "rate         152k/s now, 149k/s run   ▁▂▄▆███▁█",
                "offered      160k/s, achieved 95.2 %, 12.3 ms behind",
                "latency             p50       p90       p99     p99.9       max",
                "  last 1 s       410 µs    520 µs    980 µs    2.1 ms   12.3 ms",
                "  run            405 µs    515 µs   1.01 ms   2.34 ms     31 ms",
                "connections  997 of 1,000 open, errors 3, client CPU 97 % of 2 threads",
            }));
}

TEST(RenderPanel, InSixtyColumns) {
  EXPECT_EQ(RenderPanel(Late(), 60, false),
            Join({
                "echo on unix:/run/echo.sock (epoll), 1,000 × 16 KiB, depth 4",
                "measuring    ██████████████░░░░░░░░░░░░░░░░░  45 %, 6 s left",
                "rate         152k/s now, 149k/s run   ▁▂▄▆███▁█",
                "offered      160k/s, achieved 95.2 %, 12.3 ms behind",
                "latency            p50      p90      p99    p99.9      max",
                "  last 1 s      410 µs   520 µs   980 µs   2.1 ms  12.3 ms",
                "  run           405 µs   515 µs  1.01 ms  2.34 ms    31 ms",
                "connections  997 of 1,000 open, errors 3, client CPU 97 %",
            }));
}

TEST(RenderPanel, InFortyColumns) {
  EXPECT_EQ(RenderPanel(Late(), 40, false), Join({
                                                "echo on unix:/run/echo.sock (epoll), 1,0",
                                                "measure ███████▎░░░░░░░░  45 %, 6 s left",
                                                "rate    152k/s now, 149k/s run  ▂▄▆███▁█",
                                                "offered 160k/s, 95.2 %, 12.3 ms behind",
                                                "latency      p50     p99   p99.9     max",
                                                "last 1 s  410 µs  980 µs  2.1 ms 12.3 ms",
                                                "run       405 µs 1.01 ms 2.34 ms   31 ms",
                                                "open    997 of 1,000, errors 3, CPU 97 %",
                                            }));
}

TEST(RenderPanel, BeforeAnythingIsMeasured) {
  PanelState state = Measuring();
  state.phase = Phase::kConnecting;
  state.done = 0.25;
  state.left_ns = -1;
  state.rate_now = state.rate_run = 0;
  state.rates.clear();
  state.last_second = state.run = {};
  state.open = 16;
  state.cpu_share = -1;
  EXPECT_EQ(RenderPanel(state, 80, false),
            Join({
                "echo on 127.0.0.1:9999 (io_uring), 64 × 64 B, closed loop",
                "connecting   ██████████░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░  25 %",
                "rate         0/s now",
                "latency             p50       p90       p99     p99.9       max",
                "  last 1 s            –         –         –         –         –",
                "  run                 –         –         –         –         –",
                "connections  16 of 64 open, errors 0",
            }));
}

TEST(RenderPanel, OfARunByCountWithoutReplies) {
  PanelState state = Measuring();
  state.left_ns = -1;
  state.left_requests = 1'234'567;
  state.done = 0.9999;
  state.has_latency = false;
  EXPECT_EQ(RenderPanel(state, 80, false),
            Join({
                "echo on 127.0.0.1:9999 (io_uring), 64 × 64 B, closed loop",
                "measuring    ███████████████████████████████████████▉  99 %, 1,234,567 left",
                "rate         152k/s now, 149k/s run   ▁▂▄▆███▁█",
                "connections  64 of 64 open, errors 0, client CPU 97 % of 1 thread",
            }));
  state.phase = Phase::kDraining;
  state.done = -1;
  state.left_requests = -1;
  EXPECT_TRUE(absl::StrContains(RenderPanel(state, 80, false), "\ndraining     \nrate"));
}

TEST(RenderPanel, ColoursWhatMatters) {
  const std::string plain = RenderPanel(Measuring(), 80, true);
  EXPECT_TRUE(absl::StartsWith(plain, "\033[1mecho on 127.0.0.1:9999"));
  EXPECT_TRUE(absl::StrContains(plain, "\033[36m████"));
  EXPECT_TRUE(absl::StrContains(plain, ", errors 0,"));
  const std::string late = RenderPanel(Late(), 80, true);
  EXPECT_TRUE(absl::StrContains(late, "\033[1;31merrors 3\033[0m"));
  EXPECT_TRUE(absl::StrContains(late, "\033[33m95.2 %\033[0m"));
  PanelState on_schedule = Late();
  on_schedule.rate_now = 0.995 * on_schedule.offered_rps;
  EXPECT_FALSE(absl::StrContains(RenderPanel(on_schedule, 80, true), "\033[33m"));
}

// What two terminals would show: `text` without its escapes.
std::string WithoutEscapes(const std::string& text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\033') {
      plain += text[i];
    } else {
      i = text.find('m', i);
    }
  }
  return plain;
}

TEST(RenderPanel, NeverWrapsNorGrows) {
  PanelState full = Late();
  full.title = std::string(300, 't');
  full.rates.assign(1000, 1e6);
  full.rate_now = full.rate_run = 999'999'999;
  full.open = full.wanted = full.errors = 18'446'744'073'709'551'615u;
  full.last_second = full.run = {1,
                                 3'599'000'000'000,
                                 3'599'000'000'000,
                                 3'599'000'000'000,
                                 3'599'000'000'000,
                                 3'599'000'000'000};
  for (const PanelState& state : {Measuring(), Late(), full}) {
    for (int columns = 1; columns <= 200; ++columns) {
      const std::string panel = RenderPanel(state, columns, false);
      const std::vector<std::string> lines = absl::StrSplit(panel, '\n');
      EXPECT_LE(lines.size(), static_cast<size_t>(kPanelRows));
      for (const std::string& line : lines) EXPECT_LE(ColumnsOf(line), columns) << line;
      EXPECT_EQ(WithoutEscapes(RenderPanel(state, columns, true)), panel);
      EXPECT_LE(ColumnsOf(RenderLine(state, columns)), columns);
    }
  }
}

TEST(RenderLine, SaysTheSameInAFewWords) {
  EXPECT_EQ(RenderLine(Measuring(), 100), "measuring: 64 of 64 connections open, 152k/s, 6 s left");
  EXPECT_EQ(RenderLine(Late(), 100),
            "measuring: 997 of 1,000 connections open, 152k/s, 6 s left, errors 3");
  EXPECT_EQ(RenderLine(Late(), 20), "measuring: 997 of 1,");
}

TEST(Sparkline, IsInProportionToTheLargest) {
  EXPECT_EQ(Sparkline({0, 1, 2, 3, 4, 5, 6, 7, 8}, 9), " ▁▂▃▄▅▆▇█");
  EXPECT_EQ(Sparkline({1000, 0.001, 1000}, 3), "█▁█");
  EXPECT_EQ(Sparkline({8, 1, 2}, 2), "▄█");  // what isn't shown doesn't count
  EXPECT_EQ(Sparkline({0, 0}, 2), "  ");
  EXPECT_EQ(Sparkline({}, 5), "");
  EXPECT_EQ(Sparkline({1, 2}, 0), "");
}

TEST(ColumnsOf, CountsCodePointsWithoutEscapes) {
  EXPECT_EQ(ColumnsOf(""), 0);
  EXPECT_EQ(ColumnsOf("12 µs × ▁█"), 10);
  EXPECT_EQ(ColumnsOf("\033[1;31mab\033[0mc"), 3);
}

}  // namespace
}  // namespace cli
