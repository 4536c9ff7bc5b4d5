#include "loadgen/timeseries.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <iterator>
#include <string>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "tests/unit/descriptors.h"

namespace loadgen {
namespace {

Interval Sample() {
  Interval interval = {.number = 7,
                       .begin_ns = 700'000'000,
                       .length_ns = 100'000'000,
                       .offered = 12,
                       .requests = 10,
                       .errors = 1,
                       .connections = 64,
                       .bytes_received = 640,
                       .bytes_sent = 768,
                       .latency = {}};
  interval.latency.Record(1000, 9);
  interval.latency.Record(2000, 1);
  return interval;
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(TimeseriesLine, HasEveryFigureOfTheInterval) {
  EXPECT_EQ(TimeseriesLine(Sample(), {.open_loop = true, .encode_histogram = {}}),
            "{\"schema\":\"ringside.interval/1\",\"number\":7,\"begin_s\":0.7,\"length_s\":0.1,"
            "\"offered_rps\":120.0,\"achieved_rps\":100.0,\"requests\":10,\"errors\":1,"
            "\"connections\":64,\"bytes_received\":640,\"bytes_sent\":768,\"latency_ns\":"
            "{\"count\":10,\"min\":1000,\"p50\":1000,\"p90\":1000,\"p99\":2000,\"p99_9\":2000,"
            "\"max\":2000}}\n");
}

TEST(TimeseriesLine, ClaimsNothingThatIsNotKnown) {
  const auto json = nlohmann::json::parse(TimeseriesLine(Interval()));
  EXPECT_TRUE(json["offered_rps"].is_null());
  EXPECT_EQ(json["achieved_rps"], 0);  // of an interval of no length
  EXPECT_EQ(json["latency_ns"]["count"], 0);
  for (const char* key : {"min", "p50", "p90", "p99", "p99_9", "max"}) {
    EXPECT_TRUE(json["latency_ns"][key].is_null()) << key;
  }
  EXPECT_FALSE(json.contains("hdr"));
}

TEST(TimeseriesLine, HasTheHistogramWhereItIsEncoded) {
  const TimeseriesFormat format = {.open_loop = false,
                                   .encode_histogram = [](const stats::Histogram& histogram) {
                                     return "count=" + std::to_string(histogram.count());
                                   }};
  const std::string line = TimeseriesLine(Sample(), format);
  EXPECT_EQ(nlohmann::json::parse(line)["hdr"], "count=10");
  EXPECT_EQ(line.find('\n'), line.size() - 1);
}

report::OutputFile Opened(const std::string& path) {
  report::OutputFile file;
  EXPECT_TRUE(file.Open(path).ok()) << path;
  return file;
}

class TimeseriesWriterTest : public unit_tests::LeavesNothingOpen {};

TEST_F(TimeseriesWriterTest, HasEachLineInTheFileAtOnce) {
  const std::string path = InFolder("intervals.jsonl");
  std::ofstream(path) << "what was there before";
  TimeseriesWriter writer;
  writer.Begin(Opened(path));
  EXPECT_EQ(ReadAll(path), "what was there before");  // until there is something else
  const std::string line = TimeseriesLine(Sample());
  writer.Add(Sample(), {});
  EXPECT_EQ(ReadAll(path), line);
  writer.Add(Sample(), {});
  EXPECT_EQ(ReadAll(path), line + line);
  EXPECT_TRUE(writer.Close().ok());
  EXPECT_TRUE(writer.Close().ok());
  writer.Add(Sample(), {});  // closed: goes nowhere
  EXPECT_EQ(ReadAll(path), line + line);
}

TEST_F(TimeseriesWriterTest, IsAnEmptyFileWithoutIntervals) {
  const std::string path = InFolder("intervals.jsonl");
  std::ofstream(path) << "what was there before";
  {
    TimeseriesWriter unused;  // the run never came to its end
    unused.Begin(Opened(path));
  }
  EXPECT_EQ(ReadAll(path), "what was there before");
  TimeseriesWriter writer;
  writer.Begin(Opened(path));
  EXPECT_TRUE(writer.Close().ok());
  EXPECT_EQ(ReadAll(path), "");
}

TEST_F(TimeseriesWriterTest, TellsTheFirstFailureOnceAtTheEnd) {
  TimeseriesWriter writer;
  writer.Begin(Opened("/dev/full"));
  writer.Add(Sample(), {});
  writer.Add(Sample(), {});
  const absl::Status status = writer.Close();
  EXPECT_EQ(status.message(),
            "writing intervals to '/dev/full' failed after 0 lines: ENOSPC (No space left on "
            "device); make room, or choose another path");
  EXPECT_TRUE(writer.Close().ok());
}

TEST_F(TimeseriesWriterTest, EndsTheFileWithAWholeLine) {
  const std::string path = InFolder("intervals.jsonl");
  const std::string line = TimeseriesLine(Sample());
  const pid_t child = unit_tests::InChild([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlim_t room = line.size() * 5 / 2;
    const rlimit limit = {.rlim_cur = room, .rlim_max = room};
    TimeseriesWriter writer;
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    writer.Begin(Opened(path));
    for (int i = 0; i < 4; ++i) writer.Add(Sample(), {});
    const std::string problem(writer.Close().message());
    return absl::StrContains(problem, "failed after 2 lines: EFBIG") ? 0 : 2;
  });
  EXPECT_EQ(unit_tests::ExitCodeOf(child), 0);
  EXPECT_EQ(ReadAll(path), line + line);
}

TEST_F(TimeseriesWriterTest, TellsThatItsReaderHasGone) {
  const pid_t child = unit_tests::InChild([&] {
    std::signal(SIGPIPE, SIG_IGN);
    int ends[2];
    if (pipe(ends) != 0 || dup2(ends[1], STDOUT_FILENO) < 0) return 1;
    close(ends[0]);
    TimeseriesWriter writer;
    writer.Begin(Opened("-"));
    writer.Add(Sample(), {});
    const std::string problem(writer.Close().message());
    return absl::StrContains(problem, "EPIPE (Broken pipe); its reader has gone") ? 0 : 3;
  });
  EXPECT_EQ(unit_tests::ExitCodeOf(child), 0);
}

}  // namespace
}  // namespace loadgen
