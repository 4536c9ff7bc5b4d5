#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>

#include "report/export.h"
#include "report/merge.h"
#include "tests/cli/ringside.h"
#include "tests/report/runs.h"
#include "tests/report/sample.h"
#include "tests/tier.h"

// Each format, read by the tool that it is for; where that isn't installed, skipped by its name.
namespace report_tests {
namespace {

using cli_tests::Installed;
using cli_tests::RunToEnd;

std::string Rendered(const std::string& format, const Json& result,
                     const report::RenderOptions& options = {}) {
  const auto text = report::Render(format, {&result, 1}, options);
  EXPECT_TRUE(text.ok()) << format << ": " << text.status();
  return text.ok() ? *text : "";
}

// Names with all that is special to some format.
SampleOptions Nasty() {
  return {.baseline = "a|b `c` <d> & \"e\"", .arm = "x,y\"z\" ]]> \\", .scenario = "s, \"t\"\n|"};
}

// ---- csv ----

TEST(Csv, HasEveryFigureOfEveryRound) {
  SampleOptions sample = Nasty();
  sample.void_round = true;
  const Json result = Read(Sample(sample));
  const auto rows = ParseCsv(Rendered("csv", result));
  ASSERT_GT(rows.size(), 1u);
  const auto& head = rows[0];
  const auto column = [&](const char* name) {
    return std::find(head.begin(), head.end(), name) - head.begin();
  };
  size_t voids = 0;
  for (size_t i = 1; i < rows.size(); ++i) {
    ASSERT_EQ(rows[i].size(), head.size()) << i;
    EXPECT_EQ(rows[i][column("scenario")], sample.scenario);
    const bool first = rows[i][column("arm")] == sample.baseline;
    if (!first) {
      EXPECT_EQ(rows[i][column("arm")], sample.arm);
    }
    const Json& round = result["scenarios"][0]["rounds"][std::stoi(rows[i][column("round")]) - 1];
    EXPECT_EQ(std::stod(rows[i][column("value")]),
              round["arms"][first ? 0 : 1][rows[i][column("metric")]].get<double>());
    voids += rows[i][column("void")] == "the pace was not held";
  }
  EXPECT_EQ(rows.size() - 1, 21 * 2 * result["metrics"].size());
  EXPECT_EQ(voids, result["metrics"].size());
}

TEST(Csv, HasRunsOfLoad) {
  const auto rows = ParseCsv(Rendered("csv", Read(LoadRuns().open)));
  for (const auto& row : rows) ASSERT_EQ(row.size(), rows[0].size());
  const auto series = report::ParseResult("series.jsonl", LoadRuns().timeseries);
  ASSERT_TRUE(series.ok()) << series.status();
  EXPECT_GT(ParseCsv(Rendered("csv", *series)).size(), 10u);
}

// ---- junit ----

std::string XPath(const std::string& xml, const std::string& expression) {
  const TemporaryFile file("junit.xml", xml);
  const auto ended = RunToEnd({"xmllint", "--nonet", "--xpath", expression, file.path()});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  return ended.out.substr(0, ended.out.find('\n'));
}

TEST(Junit, TellsVerdictsAsTestCases) {
  if (!Installed("xmllint")) GTEST_SKIP() << "xmllint is not installed";
  const auto count = [](const SampleOptions& sample, const std::string& element) {
    return XPath(Rendered("junit", Read(Sample(sample))),
                 "count(/testsuites/testsuite/testcase/" + element + ")");
  };
  SampleOptions slower = Nasty();
  slower.slower_by = 1.5;
  EXPECT_EQ(count(slower, "failure"), "1");
  EXPECT_EQ(XPath(Rendered("junit", Read(Sample(slower))), "string(/testsuites/@failures)"), "1");
  EXPECT_EQ(count({}, "failure"), "0");
  EXPECT_EQ(count({}, "system-out"), "1");
  SampleOptions unclear = {.slower_by = 1.02, .noise = 0.1};
  EXPECT_EQ(count(unclear, "failure"), "1");
  unclear.inconclusive_passes = true;
  EXPECT_EQ(count(unclear, "failure"), "0");
  EXPECT_EQ(count(unclear, "skipped"), "1");
  Json problem = Sample();
  problem["problem"] = "arm 'x' died: \x1b[31m]]> & so on\n";
  EXPECT_EQ(XPath(Rendered("junit", Read(problem)), "count(//testcase/error)"), "1");
}

// ---- gbench ----

// What compare.py prints; it is Debian's, and so is the Python that has scipy.
constexpr const char* kComparePy = "/usr/share/benchmark/compare.py";
bool ComparePyIsHere() {
  return std::filesystem::exists(kComparePy) &&
         RunToEnd({"/usr/bin/python3", "-c", "import scipy.stats"}).exit_code == 0;
}

// The change that it sees in a row, in its first column of figures.
double ChangeOf(const std::string& out, const std::string& row) {
  std::istringstream lines(out);
  for (std::string line; std::getline(lines, line);) {
    if (line.find(row) == std::string::npos) continue;
    std::istringstream rest(line.substr(line.find(row) + row.size()));
    double change = std::nan("");
    rest >> change;
    return change;
  }
  return std::nan("");
}

TEST(Gbench, IsReadByComparePyAndLowerIsBetter) {
  LEFT_TO_ALL();
  if (!ComparePyIsHere()) GTEST_SKIP() << "compare.py (libbenchmark-tools) is not installed";
  const Json result = Read(Sample({.slower_by = 1.25, .void_round = true}));
  const TemporaryFile both("both.json", Rendered("gbench", result));
  const TemporaryFile a("a.json", Rendered("gbench", result, {.arm = "epoll"}));
  const TemporaryFile b("b.json", Rendered("gbench", result, {.arm = "io_uring"}));
  for (const std::vector<std::string>& mode :
       {std::vector<std::string>{"filters", both.path(), "epoll", "io_uring"},
        std::vector<std::string>{"benchmarks", a.path(), b.path()}}) {
    std::vector<std::string> command = {"/usr/bin/python3", kComparePy, "--no-color"};
    command.insert(command.end(), mode.begin(), mode.end());
    const auto ended = RunToEnd(command);
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    const std::string arm = mode[0] == "filters" ? "/[epoll vs. io_uring]" : "";
    for (const char* row : {"server_cpu_us", "requests_per_s_as_ns_per_request"}) {
      const double change = ChangeOf(ended.out, std::string(row) + arm + "_mean");
      EXPECT_NEAR(change, 0.25, 0.03) << mode[0] << " " << row << "\n" << ended.out;
    }
    EXPECT_NE(ended.out.find("_pvalue"), std::string::npos) << "no U test\n" << ended.out;
  }
}

// ---- openmetrics ----

TEST(OpenMetrics, IsWithoutFaultForPromtool) {
  if (!Installed("promtool")) GTEST_SKIP() << "promtool is not installed";
  const auto check = [](const Json& result) {
    const std::string page = Rendered("openmetrics", result);
    EXPECT_TRUE(page.ends_with("\n# EOF\n"));
    const TemporaryFile file("page.prom", page);
    const auto ended = RunToEnd({"sh", "-c", "exec promtool check metrics <" + file.path()});
    EXPECT_EQ(ended.exit_code, 0) << ended.out << ended.err;
    EXPECT_EQ(ended.err, "");
  };
  check(Read(Sample(Nasty())));
  check(Read(LoadRuns().closed));
  check(Read(LoadRuns().open));
}

// ---- markdown ----

TEST(Markdown, BeginsWithTheVerdictAndLetsNoNameBreakItsTables) {
  SampleOptions sample = Nasty();
  sample.slower_by = 1.5;
  const std::string text = Rendered("markdown", Read(Sample(sample)));
  EXPECT_TRUE(text.starts_with("### ❌ ")) << text;
  std::istringstream lines(text);
  size_t columns = 0, rows = 0;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("|")) {
      columns = 0;
      continue;
    }
    size_t bars = 0;
    for (size_t i = 0; i < line.size(); ++i) {
      if (line[i] == '\\') {
        ++i;
      } else {
        bars += line[i] == '|';
      }
    }
    if (columns == 0) columns = bars;
    EXPECT_EQ(bars, columns) << line;
    EXPECT_EQ(line.find("<d>"), std::string::npos);
    ++rows;
  }
  EXPECT_GT(rows, 5u);
  EXPECT_TRUE(Rendered("markdown", Read(Sample())).starts_with("### ➖ "));
  EXPECT_TRUE(Rendered("markdown", Read(Sample({.slower_by = 0.7}))).starts_with("### ✅ "));
  EXPECT_NE(Rendered("markdown", Read(LoadRuns().closed)).find("requests/s"), std::string::npos);
}

// ---- hgrm, hlog ----

constexpr const char* kHdrJar = "/usr/share/java/hdrhistogram.jar";

TEST(Hlog, IsReadByHdrHistogramsOwnReader) {
  LEFT_TO_ALL();
  if (!Installed("java") || !Installed("javac") || !std::filesystem::exists(kHdrJar)) {
    GTEST_SKIP() << "libhdrhistogram-java or a JDK is not installed";
  }
  const Json result = Read(Sample({.void_round = true}));
  const auto series = report::ParseResult("series.jsonl", LoadRuns().timeseries);
  ASSERT_TRUE(series.ok()) << series.status();
  const std::vector<Json> loads = {Read(LoadRuns().closed), *series};
  const auto more = report::Render("hlog", loads);
  ASSERT_TRUE(more.ok()) << more.status();
  const TemporaryFile file(
      "x.hlog", Rendered("hlog", result) + more->substr(more->find("Histogram\"\n") + 11));
  const auto ended = RunToEnd(
      {"java", "-cp", kHdrJar,
       std::string(RINGSIDE_SOURCE_DIR) + "/tests/report/HdrLogPercentiles.java", file.path()});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  std::istringstream lines(ended.out);
  const auto expect = [&](const std::string& tag, const std::string& hdr) {
    std::string read_tag;
    uint64_t count = 0;
    int64_t values[4] = {};
    lines >> read_tag >> count;
    for (int64_t& value : values) lines >> value;
    const auto histogram = stats::DecodeHdr(hdr);
    ASSERT_TRUE(histogram.ok()) << histogram.status();
    EXPECT_EQ(read_tag, tag);
    EXPECT_EQ(count, histogram->count());
    constexpr double kPercentiles[] = {50, 90, 99, 99.9};
    for (int i = 0; i < 4; ++i) {
      const auto ours = static_cast<double>(histogram->Percentile(kPercentiles[i]));
      EXPECT_NEAR(static_cast<double>(values[i]), ours, ours / 1000) << tag;
    }
  };
  for (const Json& round : result["scenarios"][0]["rounds"]) {
    for (size_t arm = 0; arm < 2; ++arm) {
      if (!round["arms"][arm]["void"].is_null()) continue;
      expect(arm == 0 ? "epoll/full" : "io_uring/full", round["arms"][arm]["hdr"]["full"]);
    }
  }
  expect("null", loads[0]["latency_ns"]["hdr"]);
  for (const Json& interval : loads[1]["intervals"]) expect("null", interval["hdr"]);
}

TEST(Hgrm, IsOfOneDistribution) {
  LEFT_TO_ALL();
  const Json result = Read(Sample());
  EXPECT_FALSE(report::Render("hgrm", {&result, 1}).ok());  // of two arms
  const std::string text = Rendered("hgrm", result, {.arm = "epoll"});
  EXPECT_NE(text.find("Total count    =        40000"), std::string::npos) << text;
  EXPECT_NE(Rendered("hgrm", Read(LoadRuns().closed)).find("#[Mean"), std::string::npos);
  const Json old =
      *report::ReadResult(std::string(RINGSIDE_SOURCE_DIR) + "/results/epoll-io_uring-no-pti.json");
  EXPECT_FALSE(report::Render("hgrm", {&old, 1}).ok());  // has no histograms
  EXPECT_FALSE(report::Render("hlog", {&old, 1}).ok());
}

// ---- svg ----

TEST(Svg, IsAPictureOrSaysWhatToInstall) {
  const std::vector<Json> results = {Read(Sample(Nasty())), Read(LoadRuns().open)};
  for (const Json& result : results) {
    const auto picture = report::Render("svg", {&result, 1});
    if (!Installed("gnuplot")) {
      EXPECT_NE(picture.status().message().find("gnuplot-nox"), std::string::npos);
      continue;
    }
    ASSERT_TRUE(picture.ok()) << picture.status();
    EXPECT_NE(picture->find("<path"), std::string::npos);
    if (!Installed("xmllint")) continue;
    EXPECT_EQ(XPath(*picture, "local-name(/*)"), "svg");
  }
}

// A name is text to gnuplot, never a command.
TEST(Svg, RunsNothingThatANameSays) {
  if (!Installed("gnuplot")) GTEST_SKIP() << "gnuplot is not installed";
  const TemporaryFile bait("bait", "");
  const std::string remove = "system('rm " + bait.path() + "')";
  Json result = Sample({.baseline = "'\n" + remove + "\n'",
                        .arm = "`rm " + bait.path() + "`",
                        .scenario = "a\\'; " + remove + " #"});
  const auto picture = report::Render("svg", {&result, 1});
  EXPECT_TRUE(picture.ok()) << picture.status();
  EXPECT_TRUE(std::filesystem::exists(bait.path()));
}

// ---- merging ----

TEST(Merge, AddsHistogramsAndNeverAveragesPercentiles) {
  const Json &a = LoadRuns().closed, &b = LoadRuns().again;
  const std::vector<Json> runs = {a, b};
  const auto merged = report::MergeLoads(runs);
  ASSERT_TRUE(merged.ok()) << merged.status();
  stats::Histogram sum = *stats::DecodeHdr(a["latency_ns"]["hdr"].get<std::string>());
  sum.Merge(*stats::DecodeHdr(b["latency_ns"]["hdr"].get<std::string>()));
  const Json& latency = (*merged)["latency_ns"];
  EXPECT_EQ(latency["count"], sum.count());
  EXPECT_EQ(latency["hdr"], stats::EncodeHdr(sum));
  EXPECT_EQ(latency["p99"], std::min(sum.Percentile(99), latency["max"].get<int64_t>()));
  EXPECT_EQ(latency["max"], std::max(a["latency_ns"]["max"], b["latency_ns"]["max"]));
  EXPECT_EQ(latency["min"], std::min(a["latency_ns"]["min"], b["latency_ns"]["min"]));
  EXPECT_EQ((*merged)["requests"], a["requests"].get<uint64_t>() + b["requests"].get<uint64_t>());
  EXPECT_DOUBLE_EQ((*merged)["throughput_rps"].get<double>(),
                   a["throughput_rps"].get<double>() + b["throughput_rps"].get<double>());
  EXPECT_EQ(Read(*merged), *merged);
  EXPECT_FALSE(Rendered("text", *merged).empty());
}

TEST(Merge, RefusesWhatHasNoSum) {
  const std::vector<Json> unlike = {LoadRuns().closed, LoadRuns().open};
  EXPECT_FALSE(report::MergeLoads(unlike).ok());
  const std::vector<Json> compared = {Sample(), Sample()};
  EXPECT_FALSE(report::MergeLoads(compared).ok());
  EXPECT_FALSE(report::MergeLoads({&unlike[0], 1}).ok());
  std::vector<Json> damaged = {LoadRuns().closed, LoadRuns().again};
  damaged[1]["latency_ns"]["hdr"] = "HISTFAAAnonsense";
  EXPECT_FALSE(report::MergeLoads(damaged).ok());
}

}  // namespace
}  // namespace report_tests
