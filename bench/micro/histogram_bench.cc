#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "stats/histogram.h"

namespace {

// Latencies as a loopback server gives them: log-normal around 30 us, three quarters within a
// factor of two, the slowest around 10 ms.
std::vector<int64_t> Latencies() {
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> latency(10.3, 0.7);
  std::vector<int64_t> values(1 << 14);
  for (int64_t& value : values) value = static_cast<int64_t>(latency(random));
  values[values.size() / 2] = 10'000'000;
  return values;
}

stats::Histogram Filled() {
  stats::Histogram histogram;
  for (const int64_t value : Latencies()) histogram.Record(value);
  return histogram;
}

void HistogramRecord(benchmark::State& state) {
  const std::vector<int64_t> latencies = Latencies();
  stats::Histogram histogram;
  size_t i = 0;
  for (auto _ : state) {
    histogram.Record(latencies[i++ & (latencies.size() - 1)]);
    benchmark::ClobberMemory();
  }
  benchmark::DoNotOptimize(histogram.count());
}
BENCHMARK(HistogramRecord);

void HistogramMerge(benchmark::State& state) {
  const stats::Histogram one = Filled();
  stats::Histogram all;
  for (auto _ : state) {
    all.Merge(one);
    benchmark::ClobberMemory();
  }
}
BENCHMARK(HistogramMerge);

void HistogramPercentile(benchmark::State& state) {
  const stats::Histogram histogram = Filled();
  for (auto _ : state) benchmark::DoNotOptimize(histogram.Percentile(99.9));
}
BENCHMARK(HistogramPercentile);

void HistogramConfidence(benchmark::State& state) {
  stats::Histogram histogram = Filled();
  for (int i = 0; i < 10; ++i) histogram.Merge(stats::Histogram(histogram));
  for (auto _ : state) benchmark::DoNotOptimize(histogram.Confidence(99.9));
}
BENCHMARK(HistogramConfidence);

}  // namespace
