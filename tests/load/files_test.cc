#include <csignal>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <sstream>

#include "absl/strings/str_split.h"
#include "stats/hdr_codec.h"
#include "tests/load/drive.h"
#include "tests/tier.h"

// What a run leaves behind, whole or cut off: files that programs read.
namespace load_tests::files {
namespace {

std::string ReadAll(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::vector<Json> Lines(const std::string& text) {
  std::vector<Json> lines;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    lines.push_back(Json::parse(line));
  }
  return lines;
}

// Everything named "hdr" below decodes to the count beside it; how many there were.
int ExpectHistogramsDecode(const Json& json) {
  int found = 0;
  if (json.is_object() && json.contains("hdr")) {
    ++found;
    const auto decoded = stats::DecodeHdr(json["hdr"].get<std::string>());
    EXPECT_TRUE(decoded.ok()) << decoded.status();
    if (decoded.ok()) {
      EXPECT_EQ(decoded->count(), Number(json["count"]));
    }
  }
  if (json.is_structured()) {
    for (const Json& below : json) found += ExpectHistogramsDecode(below);
  }
  return found;
}

uint64_t SumOf(const Json& json, const std::string& column) {
  const Json& columns = json["series"]["columns"];
  const auto at = std::find(columns.begin(), columns.end(), column) - columns.begin();
  uint64_t sum = 0;
  for (const Json& row : json["series"]["rows"]) sum += Number(row[static_cast<size_t>(at)]);
  return sum;
}

uint64_t SumOf(const std::vector<Json>& lines, const std::string& key) {
  uint64_t sum = 0;
  for (const Json& line : lines) sum += Number(line[key]);
  return sum;
}

struct Files {
  std::string json = Scratch("run.json"), series = Scratch("run.jsonl"), hgrm = Scratch("run.hgrm");

  ~Files() {
    for (const std::string& path : {json, series, hgrm}) std::filesystem::remove(path);
  }
  Args flags() const { return {"--json", json, "--timeseries", series, "--hgrm", hgrm}; }
};

// All three agree with each other.
void ExpectWhole(const Files& files) {
  const Json json = Json::parse(ReadAll(files.json));
  EXPECT_EQ(SumOf(json, "requests"), Number(json["requests"]));
  EXPECT_GE(ExpectHistogramsDecode(json), 4);
  const std::vector<Json> lines = Lines(ReadAll(files.series));
  EXPECT_EQ(SumOf(lines, "requests"), Number(json["requests"]));
  uint64_t latencies = 0, last = 0;
  for (const Json& line : lines) {
    EXPECT_EQ(line["schema"], "ringside.interval/1");
    latencies += Number(line["latency_ns"]["count"]);
    if (&line != &lines.front()) {
      EXPECT_GT(Number(line["number"]), last);
    }
    last = Number(line["number"]);
    const auto decoded = stats::DecodeHdr(line["hdr"].get<std::string>());
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(decoded->count(), Number(line["latency_ns"]["count"]));
  }
  EXPECT_EQ(latencies, Number(json["latency_ns"]["count"]));
  const std::string hgrm = ReadAll(files.hgrm);
  EXPECT_NE(hgrm.find("Value"), std::string::npos);
  std::ostringstream total;
  total << "Total count    = " << std::setw(12) << Number(json["latency_ns"]["count"]);
  EXPECT_NE(hgrm.find(total.str()), std::string::npos) << hgrm;
}

TEST(Files, AgreeWithEachOther) {
  LEFT_TO_ALL();
  Serving server({"127.0.0.1:0"});
  for (const std::string& backend : Backends()) {
    for (const Args& how : {Args{"-d", "250ms", "--warmup", "0s"}, Args{"-n", "3000"},
                            Args{"-d", "250ms", "--warmup", "0s", "--rate", "2k"},
                            Args{"-d", "250ms", "--warmup", "50ms", "-t", "2"}}) {
      SCOPED_TRACE(backend + " " + how[0] + " " + how.back());
      Files files;
      const Ended ended = Ringside(Args{"load", server.address(), "--backend", backend, "-c", "4",
                                        "-q", "--interval", "50ms"} +
                                   how + files.flags());
      EXPECT_EQ(ended.exit_code, 0) << ended.err;
      EXPECT_EQ(ended.out, "");
      ExpectWhole(files);
      const Json json = Json::parse(ReadAll(files.json));
      if (json.contains("pace")) {
        EXPECT_EQ(SumOf(json, "offered"), Number(json["pace"]["offered"]));
      }
    }
  }
}

TEST(Files, AreWholeAfterASignal) {
  Serving server({"127.0.0.1:0"});
  for (const std::string& backend : Backends()) {
    for (const auto& [signal, code] : {std::pair(SIGINT, 130), std::pair(SIGTERM, 143)}) {
      SCOPED_TRACE(backend + " " + std::to_string(code));
      Files files;
      bench::Process load =
          StartLoad(Args{server.address(), "--backend", backend, "-c", "4", "-d", "1h", "--warmup",
                         "0s", "--interval", "50ms", "--fail-if", "requests>0", "--strict"} +
                    files.flags());
      ASSERT_TRUE(serve_tests::Until([&] { return !ReadAll(files.series).empty(); }));
      load.Signal(signal);
      const Ended ended = cli_tests::WaitFor(load);
      EXPECT_EQ(ended.exit_code, code);
      EXPECT_EQ(ended.err.find("fail-if"), std::string::npos) << ended.err;
      const Json json = Json::parse(ReadAll(files.json));
      EXPECT_EQ(json["interrupted"], true);
      EXPECT_EQ(json["verdict"]["kind"], "incomplete");
      EXPECT_EQ(json["errors"]["total"], 0) << json["errors"];
      ExpectWhole(files);
    }
  }
}

TEST(Files, OfAMixNameTheClass) {
  Serving server({"127.0.0.1:0"});
  Files files;
  const Ended ended =
      Ringside(Args{"load", server.address(), "-d", "150ms", "--warmup", "0s", "--interval", "50ms",
                    "--mix", "one: -c 2", "--mix", "two: -c 3 -s 1KiB"} +
               files.flags());
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  const Json json = Json::parse(ReadAll(files.json));
  const std::vector<Json> lines = Lines(ReadAll(files.series));
  for (const Json& row : json["classes"]) {
    std::vector<Json> its;
    for (const Json& line : lines) {
      if (line["class"] == row["name"]) its.push_back(line);
    }
    EXPECT_EQ(SumOf(its, "requests"), Number(row["requests"]));
    EXPECT_EQ(SumOf(row, "requests"), Number(row["requests"]));
    EXPECT_GE(ExpectHistogramsDecode(row), 4);
    EXPECT_NE(ended.out.find(row["name"].get<std::string>()), std::string::npos) << ended.out;
  }
}

TEST(Files, SayBeforeTheRunWhereTheyCanNotBe) {
  const std::string nowhere = Scratch("missing") + "/run";
  for (const char* flag : {"--timeseries", "--json", "--hgrm"}) {
    const Ended ended = Ringside({"load", "127.0.0.1:9", "-d", "1h", "-q", flag, nowhere});
    EXPECT_EQ(ended.exit_code, 2) << flag;
    EXPECT_NE(ended.err.find(nowhere), std::string::npos) << ended.err;
    EXPECT_NE(ended.err.find("ENOENT"), std::string::npos) << ended.err;
  }
}

TEST(Files, LiveJsonIsALineAnInterval) {
  Serving server({"127.0.0.1:0"});
  const Ended ended = Ringside({"load", server.address(), "-c", "4", "-d", "300ms", "--warmup",
                                "0s", "--interval", "50ms", "--live", "json", "--json", "-"});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  const Json json = Json::parse(ended.out);
  const std::vector<Json> lines = Lines(ended.err);
  EXPECT_EQ(SumOf(lines, "requests"), Number(json["requests"]));
  for (const Json& line : lines) {
    EXPECT_EQ(line["schema"], "ringside.interval/1");
    for (const char* key : {"number", "begin_s", "length_s", "offered_rps", "achieved_rps",
                            "requests", "errors", "connections", "bytes_received", "bytes_sent"}) {
      EXPECT_TRUE(line.contains(key)) << key;
    }
    for (const char* key : {"count", "min", "p50", "p90", "p99", "p99_9", "max"}) {
      EXPECT_TRUE(line["latency_ns"].contains(key)) << key;
    }
    EXPECT_FALSE(line.contains("hdr"));
    EXPECT_TRUE(line["offered_rps"].is_null());
  }
}

}  // namespace
}  // namespace load_tests::files
