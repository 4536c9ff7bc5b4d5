#include "cli/live.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>

#include <nlohmann/json.hpp>

#include "absl/strings/str_split.h"
#include "cli/live_figures.h"
#include "loadgen/timeseries.h"
#include "tests/unit/descriptors.h"

namespace cli {
namespace {

using Phase = loadgen::LoadProgress::Phase;

constexpr int64_t kMs = 1'000'000, kOneSecond = 1000 * kMs;

loadgen::LoadOptions Options() {
  loadgen::LoadOptions options;
  options.at = *io::Resolve("127.0.0.1:9999");
  options.backend = "epoll";
  options.threads = 2;
  return options;
}

// Of 100 ms from `begin_ns`, with `requests` answered, each after `latency_ns`.
loadgen::Interval Interval(int64_t begin_ns, uint64_t requests, int64_t latency_ns) {
  loadgen::Interval interval;
  interval.number = static_cast<uint64_t>(begin_ns / (100 * kMs));
  interval.begin_ns = begin_ns;
  interval.length_ns = 100 * kMs;
  interval.requests = requests;
  interval.latency.Record(latency_ns, requests);
  return interval;
}

TEST(LiveFigures, SayWhatIsLoaded) {
  EXPECT_EQ(LiveFigures(Options()).State().title,
            "echo on 127.0.0.1:9999 (epoll), 64 × 64 B, closed loop");
  loadgen::LoadOptions options = Options();
  options.at = *io::Resolve("unix:/tmp/\xc3\xa9\x1b[2J.sock");
  options.rate.segments = {{1000, 1000}};
  options.depth = 8;
  options.requests = 10;  // fewer than connections
  const PanelState state = LiveFigures(options).State();
  EXPECT_EQ(state.title, "echo on unix:/tmp/???[2J.sock (epoll), 10 × 64 B, depth 8, open loop");
  EXPECT_EQ(state.wanted, 10u);
  options.service = "discard";
  EXPECT_FALSE(LiveFigures(options).State().has_latency);
}

TEST(LiveFigures, FollowThePhases) {
  LiveFigures figures(Options());
  figures.OnProgress({Phase::kConnecting, 0, 16}, kOneSecond, 0);
  EXPECT_EQ(figures.State().done, 0.25);
  EXPECT_EQ(figures.State().left_ns, -1);
  figures.OnProgress({Phase::kWarmup, 100, 64}, 2 * kOneSecond, 0);
  EXPECT_EQ(figures.State().done, 0);
  figures.OnProgress({Phase::kWarmup, 200, 64}, 2 * kOneSecond + 250 * kMs, 0);
  EXPECT_EQ(figures.State().done, 0.25);
  EXPECT_EQ(figures.State().left_ns, 750 * kMs);
  EXPECT_EQ(figures.State().rate_run, 0);
  figures.OnProgress({Phase::kMeasuring, 400, 64}, 3 * kOneSecond, 0);
  figures.OnProgress({Phase::kMeasuring, 2400, 64}, 5 * kOneSecond, 0);
  EXPECT_EQ(figures.State().done, 0.2);
  EXPECT_EQ(figures.State().left_ns, 8 * kOneSecond);
  EXPECT_EQ(figures.State().rate_now, 1000);
  EXPECT_EQ(figures.State().rate_run, 1000);
  figures.OnProgress({Phase::kMeasuring, 2400, 64}, 50 * kOneSecond, 0);  // longer than it should
  EXPECT_EQ(figures.State().done, 1);
  EXPECT_EQ(figures.State().left_ns, 0);
  figures.OnProgress({Phase::kDraining, 2400, 60}, 51 * kOneSecond, 0);
  EXPECT_EQ(figures.State().done, -1);
  EXPECT_EQ(figures.State().open, 60u);
}

TEST(LiveFigures, CountDownARunByCount) {
  loadgen::LoadOptions options = Options();
  options.requests = 1000;
  LiveFigures figures(options);
  figures.OnProgress({Phase::kMeasuring, 250, 64}, kOneSecond, 0);
  EXPECT_EQ(figures.State().done, 0.25);
  EXPECT_EQ(figures.State().left_requests, 750);
  EXPECT_EQ(figures.State().left_ns, -1);
}

TEST(LiveFigures, ShareTheCpuOfTheThreads) {
  LiveFigures figures(Options());  // of two threads
  figures.OnProgress({Phase::kWarmup, 0, 64}, kOneSecond, 0);
  EXPECT_EQ(figures.State().cpu_share, -1);
  figures.OnProgress({Phase::kWarmup, 0, 64}, 2 * kOneSecond, 1 * kOneSecond);
  EXPECT_EQ(figures.State().cpu_share, 0.5);
  figures.OnProgress({Phase::kWarmup, 0, 64}, 3 * kOneSecond,
                     3 * kOneSecond);  // the last second only
  EXPECT_EQ(figures.State().cpu_share, 1);
}

TEST(LiveFigures, TellTheLastSecondFromTheRun) {
  LiveFigures figures(Options());
  figures.OnProgress({Phase::kMeasuring, 0, 64}, kOneSecond, 0);
  for (int i = 0; i < 20; ++i) {
    figures.OnInterval(Interval(i * 100 * kMs, i < 10 ? 100 : 300, i < 10 ? 1000 : 2000));
  }
  const PanelState state = figures.State();
  EXPECT_EQ(state.rate_now, 3000);
  EXPECT_EQ(state.rate_run, 2000);
  EXPECT_EQ(state.last_second.count, 3000u);
  EXPECT_EQ(state.last_second.p50, 2000);
  EXPECT_EQ(state.run.count, 4000u);
  EXPECT_EQ(state.run.p99_9, 2000);
  EXPECT_EQ(state.rates.size(), 20u);
  EXPECT_EQ(state.rates.front(), 1000);
  EXPECT_EQ(state.rates.back(), 3000);
  // After a gap, what is older than a second is forgotten.
  figures.OnInterval(Interval(10 * kOneSecond, 50, 5000));
  EXPECT_EQ(figures.State().last_second.count, 50u);
  EXPECT_EQ(figures.State().rate_now, 500);
  EXPECT_EQ(figures.State().run.max, 5000);
}

TEST(LiveFigures, TellHowFarBehindAnOpenLoopIs) {
  loadgen::LoadOptions options = Options();
  options.rate.segments = {{2000, 2000}};
  LiveFigures figures(options);
  EXPECT_EQ(figures.State().offered_rps, 2000);
  figures.OnProgress({Phase::kMeasuring, 0, 64}, kOneSecond, 0);
  loadgen::Interval interval = Interval(0, 140, 1000);
  interval.offered = 200;
  interval.errors = 10;
  figures.OnInterval(interval);
  EXPECT_EQ(figures.State().errors, 10u);
  EXPECT_EQ(figures.State().offered_rps, 2000);
  EXPECT_EQ(figures.State().rate_now, 1400);
  EXPECT_EQ(figures.State().behind_ns, 25 * kMs);  // 50 at 2000 a second
  interval = Interval(100 * kMs, 400, 1000);       // caught up, with what was due before
  interval.offered = 200;
  figures.OnInterval(interval);
  EXPECT_EQ(figures.State().behind_ns, 0);
}

TEST(ChooseLive, IsSilentWithoutATerminal) {
  const pid_t child = unit_tests::InChild([] {
    int ends[2];
    if (pipe(ends) != 0 || dup2(ends[1], STDERR_FILENO) < 0) return 1;
    if (*ChooseLive("auto", false) != LiveMode::kOff) return 2;
    if (*ChooseLive("off", false) != LiveMode::kOff) return 3;
    if (*ChooseLive("json", true) != LiveMode::kJson) return 4;
    if (ChooseLive("panel", false).ok()) return 5;
    if (ChooseLive("banana", false).ok()) return 6;
    return 0;
  });
  EXPECT_EQ(unit_tests::ExitCodeOf(child), 0);
}

// Runs `body` with standard error as a pipe; returns what was written into it.
template <class Body>
std::string StderrOf(Body body) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const pid_t child = unit_tests::InChild([&] {
    std::signal(SIGPIPE, SIG_IGN);
    if (dup2(ends[1], STDERR_FILENO) < 0) return 1;
    body();
    return 0;
  });
  EXPECT_EQ(unit_tests::ExitCodeOf(child), 0);  // however much it writes: it never waits for us
  close(ends[1]);
  std::string text;
  char part[4096];
  for (ssize_t n; (n = read(ends[0], part, sizeof part)) > 0;) text.append(part, n);
  close(ends[0]);
  return text;
}

TEST(Live, WritesALineAnInterval) {
  loadgen::LoadOptions options = Options();
  options.rate.segments = {{1000, 1000}};
  const loadgen::Interval interval = Interval(0, 10, 1000);
  EXPECT_EQ(StderrOf([&] {
              Live live(options, LiveMode::kJson);
              live.OnProgress({Phase::kMeasuring, 10, 64});
              live.OnInterval(interval);
              live.Clear();
            }),
            loadgen::TimeseriesLine(interval, {.open_loop = true, .encode_histogram = {}}));
}

TEST(Live, LeavesOutLinesThatNobodyTakes) {
  constexpr int kLines = 2000;  // more than a pipe holds
  const std::string text = StderrOf([] {
    Live live(Options(), LiveMode::kJson);
    for (int i = 0; i < kLines; ++i) live.OnInterval(Interval(i * 100 * kMs, 10, 1000));
  });
  int lines = 0;
  for (const auto& line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    EXPECT_EQ(nlohmann::json::parse(std::string(line))["number"], lines);
    ++lines;
  }
  EXPECT_GT(lines, 10);
  EXPECT_LT(lines, kLines);
}

TEST(Live, IsSilentWhenItIsOff) {
  EXPECT_EQ(StderrOf([] {
              Live live(Options(), false);  // auto, and a pipe is no terminal
              if (live.interval_ms() != -1) std::fputs("to be shown", stderr);
              live.OnProgress({Phase::kMeasuring, 10, 64});
              live.OnInterval(Interval(0, 10, 1000));
              live.Clear();
            }),
            "");
}

}  // namespace
}  // namespace cli
