#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "bench/compare.h"
#include "bench/compare_json.h"
#include "bench/record.h"
#include "bench/verdict.h"
#include "report/result.h"
#include "stats/hdr_codec.h"
#include "stats/histogram.h"

// Results to report on: those in results/, and comparisons as `compare` itself writes them, of
// figures drawn here.
namespace report_tests {

using Json = nlohmann::ordered_json;

inline std::string FileText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A file in the tests' folder, gone with this.
class TemporaryFile {
 public:
  TemporaryFile(const std::string& name, const std::string& text)
      : path_(testing::TempDir() + "ringside_report_" + std::to_string(getpid()) + "_" + name) {
    std::ofstream(path_, std::ios::binary) << text;
  }
  ~TemporaryFile() { std::filesystem::remove(path_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

// What a sample is like.
struct SampleOptions {
  std::string baseline = "epoll", arm = "io_uring", scenario = "64 × 64 B";
  double slower_by = 1;  // the arm's CPU time and latency, as a factor
  double noise = 0.01;
  bool void_round = false;  // one of the rounds
  bool inconclusive_passes = false;
};

// Rounds of two arms, with latencies of a known distribution.
inline bench::Record SampleRecord(const SampleOptions& sample) {
  bench::Record record;
  record.scenario.name = sample.scenario;
  record.scenario.pace_rps = 100'000;
  record.scenario.metric = "server_cpu_us";
  std::mt19937_64 random(7);
  std::lognormal_distribution<double> latency(11, 0.4);
  std::normal_distribution<double> noise(1, sample.noise);
  for (size_t i = 0; i < (sample.void_round ? 21 : 20); ++i) {
    bench::Block block;
    block.begin_s = static_cast<double>(i) * 2.2;
    block.order = i % 2 == 0 ? std::vector<size_t>{0, 1} : std::vector<size_t>{1, 0};
    for (size_t arm = 0; arm < 2; ++arm) {
      const double factor = arm == 0 ? 1 : sample.slower_by;
      stats::Histogram full;
      for (int j = 0; j < 2000; ++j) full.Record(static_cast<int64_t>(latency(random) * factor));
      bench::RoundResult round;
      round.figures["server_cpu_us"] = 5 * factor * noise(random);
      round.figures["requests_per_s"] = 200'000 / factor * noise(random);
      round.figures["p50_ns"] = static_cast<double>(full.Percentile(50));
      round.figures["p99_ns"] = static_cast<double>(full.Percentile(99));
      round.figures["server_memory_bytes"] = 4'000'000;
      round.full_hdr = stats::EncodeHdr(full);
      if (sample.void_round && i == 3 && arm == 1) round.void_why = "the pace was not held\n";
      block.arms.emplace_back(std::move(round));
    }
    record.blocks.push_back(std::move(block));
  }
  return record;
}

// A "ringside.compare/2".
inline Json Sample(const SampleOptions& sample = {}) {
  bench::CompareOptions options;
  options.arms = {{.name = sample.baseline, .command = {"serve", "--backend", "epoll"}},
                  {.name = sample.arm, .command = {"serve", "--backend", "io_uring"}}};
  options.arms[0].role = bench::Role::kBaseline;
  options.plan.client_backend = "epoll";
  options.inconclusive_passes = sample.inconclusive_passes;
  bench::Record record = SampleRecord(sample);
  bench::Comparison comparison = {.arm = 1};
  comparison.judgement = bench::Judge(
      bench::LogRatios(record, 1, bench::MetricIndex("server_cpu_us")), 0.05, true, true);
  comparison.judged = comparison.done = true;
  record.comparisons.push_back(comparison);
  Json json = bench::ResultJson(options, {record}, {60'000'000'000, 32'000'000'000, 8'000'000'000});
  json["interrupted"] = false;
  json["problem"] = nullptr;
  json["version"] = "0.1.0";
  json["revision"] = "0123456789ab";
  json["arguments"] = {"compare"};
  json["time_utc"] = "2026-11-20T20:37:36Z";
  json["environment"] = {
      {"machine_id", "7ba519c93b6bd496"}, {"machine", {{"cpu", "a CPU | of `two` cores"}}},
      {"system", {{"os", "Debian"}}},     {"limits", Json::object()},
      {"sysctls", Json::object()},        {"build", Json::object()}};
  return json;
}

// As `ringside report` would get it.
inline Json Read(const Json& json) {
  auto result = report::ParseResult("sample.json", json.dump());
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *result : Json();
}

// RFC 4180, by its grammar.
inline std::vector<std::vector<std::string>> ParseCsv(const std::string& text) {
  std::vector<std::vector<std::string>> rows(1, std::vector<std::string>(1));
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    std::string& field = rows.back().back();
    if (quoted && text[i] == '"' && i + 1 < text.size() && text[i + 1] == '"') {
      field += text[i++];
    } else if (text[i] == '"') {
      quoted = !quoted;
    } else if (!quoted && text[i] == ',') {
      rows.back().emplace_back();
    } else if (!quoted && text.compare(i, 2, "\r\n") == 0) {
      rows.emplace_back(1);
      ++i;
    } else {
      field += text[i];
    }
  }
  rows.pop_back();
  return rows;
}

}  // namespace report_tests
