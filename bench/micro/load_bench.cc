// What the load generator adds to each request, besides verifying the reply.

#include <benchmark/benchmark.h>

#include <cstdint>

#include "loadgen/arrivals.h"
#include "loadgen/collector.h"
#include "loadgen/load.h"
#include "loadgen/recorder.h"

namespace {

// A request that took 30 us is answered: counted, and its latency recorded (open loop: twice). The
// clock goes on by 5 us a request, so intervals end as they do at 200,000 requests a second.
void RecorderAnswered(benchmark::State& state) {
  constexpr int64_t kBegin = 1'000'000'000;
  const bool open_loop = state.range(0) != 0;
  loadgen::LoadOptions options;
  if (open_loop) options.rate.segments = {{200'000, 200'000}};
  loadgen::LoadResult result;
  loadgen::Outbox outbox;
  loadgen::Recorder recorder(options, result, outbox);
  recorder.Begin(kBegin, loadgen::kNever, kBegin);
  int64_t now = kBegin + 30'000;
  for (auto _ : state) {
    now += 5'000;
    recorder.Answered({.scheduled_ns = now - 30'000, .sent_ns = now - 29'000}, now);
    benchmark::ClobberMemory();
  }
  if (result.requests != static_cast<uint64_t>(state.iterations())) {
    state.SkipWithError("not all were counted");
  }
}
BENCHMARK(RecorderAnswered)->ArgName("open_loop")->Arg(0)->Arg(1);

void ScheduleNext(benchmark::State& state, loadgen::Arrivals arrivals) {
  loadgen::Schedule schedule({.segments = {{100'000, 100'000}}}, {.arrivals = arrivals});
  for (auto _ : state) benchmark::DoNotOptimize(schedule.Next());
  if (schedule.Peek() == loadgen::kNever) state.SkipWithError("the plan came to an end");
}
BENCHMARK_CAPTURE(ScheduleNext, constant, loadgen::Arrivals::kConstant);
BENCHMARK_CAPTURE(ScheduleNext, poisson, loadgen::Arrivals::kPoisson);

}  // namespace
