#include <gtest/gtest.h>
#include <unistd.h>

#include "report/export.h"
#include "report/schema.h"
#include "tests/cli/ringside.h"
#include "tests/report/sample.h"
#include "tests/tier.h"

// Result files as they are found: whole, old, too new, cut off, damaged, or something else.
namespace report_tests {
namespace {

std::string ErrorOf(const std::string& text) {
  const auto result = report::ParseResult("x.json", text);
  return result.ok() ? "none" : std::string(result.status().message());
}

TEST(ReadResult, TakesWhatCompareWrites) {
  const Json json = Sample();
  EXPECT_EQ(report::CheckSchema(json), absl::OkStatus());
  EXPECT_EQ(Read(json), json);
}

TEST(ReadResult, SaysWhatIsNoResult) {
  EXPECT_EQ(ErrorOf(" \n"), "x.json: the file is empty; what wrote it was stopped");
  EXPECT_EQ(ErrorOf("{\"schema\": \"ringside.compare/3\"}"),
            "x.json: ringside.compare/3 was made by a newer ringside; use its report");
  EXPECT_NE(ErrorOf("{\n\"a\":\n1, nonsense}").find("not JSON: line 3 is damaged"),
            std::string::npos);
  EXPECT_NE(ErrorOf("hello").find("not JSON: line 1"), std::string::npos);
  EXPECT_NE(ErrorOf("[1, 2]").find("not a result of ringside"), std::string::npos);
  EXPECT_NE(ErrorOf("{\"context\": {}}").find("not a result of ringside"), std::string::npos);
  EXPECT_NE(ErrorOf("{\"schema\": 7}").find("not a result of ringside"), std::string::npos);
  EXPECT_NE(
      ErrorOf("{\"schema\": \"ringside.doctor/1\"}").find("of ringside.doctor/1 there are no"),
      std::string::npos);
}

TEST(ReadResult, SaysWhereAResultIsCutOff) {
  const std::string whole = Sample().dump(1);
  for (const double share : {0.1, 0.5, 0.9}) {
    const std::string error =
        ErrorOf(whole.substr(0, static_cast<size_t>(static_cast<double>(whole.size()) * share)));
    EXPECT_NE(error.find("cut off in line "), std::string::npos) << error;
  }
}

// Anything may be named: what no parser and no report can take is a sentence, and soon.
TEST(ReadResult, HasBoundsForWhatItReads) {
  EXPECT_EQ(ErrorOf("{\n\"a\":1e999}"),
            "x.json: damaged: line 2 has a number that is out of range, which no result has");
  for (const char* open : {"[", "{\"a\":"}) {
    std::string deep = "{\"schema\": \"ringside.load/1\",\n\"a\": ";
    for (int i = 0; i < 200'000; ++i) deep += open;
    EXPECT_EQ(ErrorOf(deep),
              "x.json: damaged: line 2 has more than 64 levels of nesting, which no result has");
  }
  EXPECT_NE(ErrorOf(std::string(200'000, '[')).find("line 1 has more than 64"), std::string::npos);
  std::string wide = "{\"schema\": \"ringside.load/1\"";
  for (int i = 0; i < 2000; ++i) wide += ", \"m" + std::to_string(i) + "\": 0";
  EXPECT_NE(ErrorOf(wide + "}").find("more than 1,000 members"), std::string::npos);
  EXPECT_NE(ErrorOf("{\"schema\": \"ringside.load/1\", \"address\": \"\xfc\"}").find("not JSON"),
            std::string::npos);
  EXPECT_NE(ErrorOf(std::string("{\"schema\": \0}", 14)).find("not JSON"), std::string::npos);
  EXPECT_NE(ErrorOf("{\"schema\": \"ringside.load/-1\"}").find("no schema"), std::string::npos);
  EXPECT_NE(ErrorOf("{\"schema\": \"ringside.interval/1\"}\n{\"schema\": \"ringside.interval/2\"}")
                .find("line 2 has another schema"),
            std::string::npos);
}

TEST(ReadResult, NamesThePlaceThatIsWrong) {
  const auto broken = [](const char* pointer, const Json& value) {
    static const Json whole = Sample();
    Json json = whole;
    json[Json::json_pointer(pointer)] = value;
    return ErrorOf(json.dump());
  };
  EXPECT_EQ(broken("/scenarios/0/rounds/3/arms/1/p99_ns", "fast"),
            "x.json: damaged: scenarios[0].rounds[3].arms[1].p99_ns: a number or null is wanted");
  EXPECT_EQ(broken("/arms", 7), "x.json: damaged: arms: an array is wanted");
  EXPECT_EQ(broken("/plan/seed", -1), "x.json: damaged: plan.seed: an integer from 0 is wanted");
  EXPECT_EQ(broken("/scenarios/0/metric", "speed"),
            "x.json: damaged: scenarios[0].metric: speed is not in metrics");
  EXPECT_EQ(broken("/scenarios/0/comparisons/0/arm", 9),
            "x.json: damaged: scenarios[0].comparisons[0].arm: 1 is wanted");
  EXPECT_EQ(broken("/scenarios", Json::array()),
            "x.json: damaged: scenarios: at least one is wanted");
  EXPECT_EQ(broken("/plan/window_s", 1e12),
            "x.json: damaged: plan.window_s: a number from 0 to 9e9 is wanted");
  EXPECT_EQ(broken("/arms/0/name", std::string(100'000, 'x')),
            "x.json: damaged: arms[0].name: text of at most 1,000 bytes is wanted");
  EXPECT_EQ(broken("/scenarios/0/arms/1/latency/full/p99", nullptr),
            "x.json: damaged: scenarios[0].arms[1].latency.full.p99: a number is wanted, as of any "
            "count");
  EXPECT_EQ(broken("/scenarios/0/arms/1/latency/full/count", 3),
            "x.json: damaged: scenarios[0].arms[1].latency.full.count: as many as hdr has are "
            "wanted");
  EXPECT_NE(broken("/scenarios/0/rounds/3/arms/1/hdr/full", "HISTFAAAnonsense")
                .find("damaged: scenarios[0].rounds[3].arms[1].hdr.full: not an HdrHistogram"),
            std::string::npos);
  EXPECT_EQ(broken("/metrics/p99 {x}", Sample()["metrics"]["p99_ns"]),
            "x.json: damaged: metrics: a name in it is no word of ASCII letters, digits and _");
  Json json = Sample();
  json["plan"].erase("transport");
  EXPECT_EQ(ErrorOf(json.dump()), "x.json: damaged: plan.transport is missing");
}

TEST(ReadResult, BringsOldResultsUpToDate) {
  LEFT_TO_ALL();
  size_t old = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(RINGSIDE_SOURCE_DIR) + "/results")) {
    if (entry.path().extension() != ".json") continue;
    const Json before = Json::parse(FileText(entry.path()));
    if (before.value("schema", "") != "ringside.compare/1") continue;
    ++old;
    const auto after = report::ReadResult(entry.path());
    ASSERT_TRUE(after.ok()) << after.status();
    EXPECT_EQ((*after)["schema"], "ringside.compare/2");
    for (size_t i = 0; i < before["scenarios"].size(); ++i) {
      const Json &was = before["scenarios"][i], &is = (*after)["scenarios"][i];
      EXPECT_EQ(is["comparisons"][0]["verdict"]["ratio"], was["verdict"]["ratio"]);
      EXPECT_EQ(is["arms"][1]["medians"]["p99_ns"], was["medians"]["p99_ns"]["b"]);
      EXPECT_EQ(is["rounds"].size(), was["pairs"].size() + was["void_pairs"].size());
    }
    for (const auto& [key, metric] : (*after)["metrics"].items()) {
      ASSERT_LT(bench::MetricIndex(key), bench::kMetricCount) << key;
      EXPECT_EQ(metric["label"], bench::kMetrics[bench::MetricIndex(key)].label);
      EXPECT_EQ(metric["unit"], bench::kMetrics[bench::MetricIndex(key)].unit);
    }
  }
  EXPECT_GT(old, 10u);
}

TEST(FormatOf, IsByNameOrEnding) {
  const auto format = [](const std::string& text) {
    const auto destination = report::FormatOf(text);
    return destination.ok() ? destination->format + " " + destination->path : "none";
  };
  EXPECT_EQ(format("junit=out.txt"), "junit out.txt");
  EXPECT_EQ(format("a/b.md"), "markdown a/b.md");
  EXPECT_EQ(format("x.gbench.json"), "gbench x.gbench.json");
  EXPECT_EQ(format("x.json"), "json x.json");
  EXPECT_EQ(format("a=b.csv"), "csv a=b.csv");
  EXPECT_EQ(format("junit="), "none");
  EXPECT_EQ(format("x.pdf"), "none");
  EXPECT_NE(report::FormatOf("x.pdf").status().message().find("junit"), std::string::npos);
}

TEST(ReportCommand, SaysWhatIsWrong) {
  using cli_tests::Ringside;
  EXPECT_EQ(Ringside({"report"}).exit_code, 2);
  EXPECT_EQ(Ringside({"report", "/nowhere/x.json"}).exit_code, 1);
  EXPECT_EQ(Ringside({"report", testing::TempDir()}).exit_code, 1);
  const TemporaryFile file("good.json", Sample().dump());
  EXPECT_EQ(Ringside({"report", file.path(), "-o", "/nowhere/x.md"}).exit_code, 2);
  EXPECT_EQ(Ringside({"report", file.path(), "-o", "x.pdf"}).exit_code, 2);
  EXPECT_EQ(Ringside({"report", file.path(), "--arm", "epoll"}).exit_code, 2);
  EXPECT_EQ(Ringside({"report", file.path(), "--merge"}).exit_code, 2);
  EXPECT_EQ(Ringside({"report", file.path(), "-f", "gbench", "--arm", "nobody"}).exit_code, 2);
  const auto ended = Ringside({"report", file.path()});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_NE(ended.out.find("io_uring is the same as epoll"), std::string::npos) << ended.out;
}

}  // namespace
}  // namespace report_tests
