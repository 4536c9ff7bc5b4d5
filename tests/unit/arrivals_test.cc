#include "loadgen/arrivals.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace loadgen {
namespace {

using Wide = unsigned __int128;
constexpr int64_t kSecond = 1'000'000'000;

RatePlan Flat(double rate, int64_t length_ns = kNever) { return {{{rate, rate, length_ns}}}; }

Schedule Constant(const RatePlan& plan) { return {plan, {}}; }

// When request k is due at a constant rate, in exact arithmetic; REQUIRES: rate * 2^40 is a whole
// number.
int64_t Exact(double rate, uint64_t k) {
  const auto scaled = static_cast<Wide>(rate * 0x1p40);
  EXPECT_EQ(static_cast<double>(scaled), rate * 0x1p40);
  return static_cast<int64_t>(Wide{k} * kSecond * (Wide{1} << 40) / scaled);
}

std::vector<int64_t> All(Schedule schedule, size_t most = SIZE_MAX) {
  std::vector<int64_t> times;
  while (times.size() < most && schedule.Peek() != kNever) times.push_back(schedule.Next());
  return times;
}

// All threads' arrivals before `end_ns`, in order.
std::vector<int64_t> Union(const RatePlan& plan, Schedule::Options options, uint32_t threads,
                           int64_t end_ns = kNever) {
  std::vector<int64_t> times;
  options.threads = threads;
  for (options.thread = 0; options.thread < threads; ++options.thread) {
    Schedule schedule(plan, options);
    while (schedule.Peek() < end_ns) times.push_back(schedule.Next());
  }
  std::sort(times.begin(), times.end());
  return times;
}

TEST(ConstantArrivals, AreEvenlySpaced) {
  const std::vector<int64_t> expected = {0, 333'333'333, 666'666'666, 1'000'000'000, 1'333'333'333};
  EXPECT_EQ(All(Constant(Flat(3)), 5), expected);
  EXPECT_EQ(All(Constant(Flat(3, kSecond))).size(), 3u);
  EXPECT_EQ(All(Constant(Flat(3, kSecond + 1))).size(), 4u);
}

TEST(ConstantArrivals, AreExactAfterABillion) {
  for (const double rate : {33'333.3, 1e6 / 3, 7.0, 999'999'937.0}) {
    Schedule schedule = Constant(Flat(rate));
    constexpr uint64_t kArrivals = 1'000'000;  // by each of 1000 threads
    Schedule share(Flat(rate), {.thread = 3, .threads = 1000});
    for (uint64_t i = 0; i < kArrivals; ++i) share.Next();
    EXPECT_EQ(share.Peek(), Exact(rate, 1000 * kArrivals + 3)) << rate;
    for (uint64_t i = 0; i < 100'000; ++i) ASSERT_EQ(schedule.Next(), Exact(rate, i)) << rate;
  }
}

TEST(ConstantArrivals, OfAllThreadsAreTheWholePlans) {
  const RatePlan plan = {{{33'333.3, 33'333.3, kSecond / 3},
                          {0, 0, 1000},
                          {100, 70'000, kSecond},
                          {1234.5, 1234.5, kSecond / 7},
                          {9000, 0, kSecond / 2}}};
  const std::vector<int64_t> expected = All(Constant(plan));
  EXPECT_EQ(expected.size(), 11'112u + 35'050u + 176u + 2250u);
  for (uint32_t threads = 1; threads <= 7; ++threads) {
    EXPECT_EQ(Union(plan, {}, threads), expected) << threads;
    EXPECT_EQ(Union(plan, {.arrivals = Arrivals::kBursts, .burst = 1}, threads), expected);
  }
}

TEST(ConstantArrivals, OfOneThreadAreEvenlySpacedToo) {
  Schedule schedule(Flat(4000), {.thread = 2, .threads = 4});
  for (int64_t i = 0; i < 1000; ++i) EXPECT_EQ(schedule.Next(), 500'000 + i * 1'000'000);
}

TEST(ConstantArrivals, GoOnThroughSteps) {
  // Half an arrival is left over at the first step, and due in half a second at 1 per second.
  const RatePlan plan = {{{3, 3, kSecond / 2}, {1, 1, 2 * kSecond}, {10, 10, kSecond / 5}}};
  const std::vector<int64_t> expected = {
      0, 333'333'333, 1'000'000'000, 2'000'000'000, 2'550'000'000, 2'650'000'000};
  EXPECT_EQ(All(Constant(plan)), expected);
}

TEST(ConstantArrivals, PauseAtRateZero) {
  const RatePlan plan = {{{0, 0, kSecond}, {2, 2, kSecond}, {0, 0, kSecond}, {4, 4, kSecond / 2}}};
  const std::vector<int64_t> expected = {kSecond, kSecond * 3 / 2, 3 * kSecond, 3'250'000'000};
  EXPECT_EQ(All(Constant(plan)), expected);
  const RatePlan ends = {{{1, 1, 2 * kSecond}, {0, 0, kNever}}};
  EXPECT_EQ(All(Constant(ends)), (std::vector<int64_t>{0, kSecond}));
}

TEST(Schedule, EndsForEver) {
  for (const Arrivals arrivals : {Arrivals::kConstant, Arrivals::kPoisson, Arrivals::kBursts}) {
    Schedule schedule(Flat(10, kSecond), {.arrivals = arrivals, .burst = 3});
    for (int i = 0; i < 100; ++i) schedule.Next();
    for (int i = 0; i < 10; ++i) EXPECT_EQ(schedule.Next(), kNever);
    EXPECT_EQ(schedule.Peek(), kNever);
  }
  // Fewer arrivals than threads.
  Schedule idle(Flat(1, kSecond), {.thread = 1, .threads = 2});
  EXPECT_EQ(idle.Peek(), kNever);
  EXPECT_EQ(idle.CountUntil(kNever), 0);
}

TEST(Schedule, KeepsRatesFromOneInAThousandSecondsToABillionPerSecond) {
  for (const double rate : {0.001, 0.3, 1.0, 1e3, 1e6, 1e9}) {
    Schedule even = Constant(Flat(rate));
    Schedule poisson(Flat(rate), {.arrivals = Arrivals::kPoisson});
    constexpr int kArrivals = 100'000;
    int64_t due = 0;
    for (int i = 0; i < kArrivals; ++i) {
      even.Next();
      const int64_t next = poisson.Next();
      EXPECT_GE(next, due);
      due = next;
    }
    EXPECT_NEAR(static_cast<double>(even.Peek()), kArrivals / rate * 1e9, 1) << rate;
    const double mean = static_cast<double>(due) / kArrivals;
    EXPECT_NEAR(mean * rate / 1e9, 1, 5 / std::sqrt(kArrivals)) << rate;
  }
  // To the end of time: the last arrival is still before kNever.
  Schedule slow = Constant({{{0, 0, kNever - 1000}, {1e9, 1e9, kNever}}});
  int64_t due = 0, count = 0;
  while (slow.Peek() != kNever) due = slow.Next(), ++count;
  EXPECT_EQ(count, 1000);
  EXPECT_EQ(due, kNever - 1);
}

TEST(Ramps, HaveTheirIntegral) {
  for (const auto& [from, to] : {std::pair(0.0, 20'000.0), {20'000.0, 0.0}, {5000.0, 15'000.0}}) {
    const RatePlan plan = {{{from, to, 10 * kSecond}}};
    const Schedule schedule = Constant(plan);
    const std::vector<int64_t> times = All(schedule);
    EXPECT_EQ(times.size(), 100'000u) << from;
    EXPECT_TRUE(std::is_sorted(times.begin(), times.end()));
    EXPECT_LT(times.back(), 10 * kSecond);
    for (int tenth = 1; tenth <= 10; ++tenth) {
      const double t = tenth;
      const double expected = from * t + (to - from) / 10 * t * t / 2;
      const int64_t end = tenth * kSecond;
      const auto due = std::lower_bound(times.begin(), times.end(), end) - times.begin();
      EXPECT_NEAR(static_cast<double>(due), expected, 1.0001);
      EXPECT_EQ(schedule.CountUntil(end), static_cast<double>(due));
    }
  }
}

TEST(Ramps, MeetTheirNeighboursWithoutAGap) {
  const RatePlan plan = {
      {{1000, 1000, kSecond}, {1000, 50'000, kSecond}, {50'000, 50'000, kSecond}}};
  const std::vector<int64_t> times = All(Constant(plan));
  EXPECT_EQ(times.size(), 1000u + 25'500u + 50'000u);
  for (size_t i = 1; i < times.size(); ++i) {
    const int64_t gap = times[i] - times[i - 1];
    EXPECT_LE(gap, i <= 1001 ? 1'000'000 : times[i] < 2 * kSecond + 20'000 ? 990'000 : 20'001) << i;
    EXPECT_GE(gap, 19'999) << i;
  }
}

TEST(Ramps, InPoissonArrivalsHaveTheirIntegral) {
  const RatePlan plan = {{{0, 200'000, kSecond}, {200'000, 0, kSecond}}};
  const Schedule::Options options = {.arrivals = Arrivals::kPoisson, .seed = 5};
  const std::vector<int64_t> times = Union(plan, options, 3);
  double expected = 0;
  for (int64_t t = kSecond / 10; t <= 2 * kSecond; t += kSecond / 10) {
    expected = 0;
    for (uint32_t i = 0; i < 3; ++i) {
      expected +=
          Schedule(plan, {.arrivals = Arrivals::kPoisson, .thread = i, .threads = 3}).CountUntil(t);
    }
    const auto due = std::lower_bound(times.begin(), times.end(), t) - times.begin();
    EXPECT_NEAR(static_cast<double>(due), expected, 5 * std::sqrt(expected)) << t;
  }
  EXPECT_NEAR(expected, 200'000, 1e-6);
}

// The gaps between times, in means.
std::vector<double> Gaps(const std::vector<int64_t>& times, double rate) {
  std::vector<double> gaps;
  for (size_t i = 1; i < times.size(); ++i) {
    gaps.push_back(static_cast<double>(times[i] - times[i - 1]) * rate / 1e9);
  }
  return gaps;
}

TEST(PoissonArrivals, HaveExponentialGapsWithAnyNumberOfThreads) {
  constexpr double kRate = 12'345.6;
  for (const uint32_t threads : {1, 2, 7}) {
    const Schedule::Options options = {.arrivals = Arrivals::kPoisson, .seed = threads};
    std::vector<double> gaps = Gaps(Union(Flat(kRate), options, threads, 20 * kSecond), kRate);
    const auto n = static_cast<double>(gaps.size());
    EXPECT_NEAR(n, 20 * kRate, 4 * std::sqrt(20 * kRate));
    double sum = 0, squares = 0, products = 0;
    for (size_t i = 0; i < gaps.size(); ++i) {
      sum += gaps[i];
      squares += gaps[i] * gaps[i];
      if (i > 0) products += (gaps[i] - 1) * (gaps[i - 1] - 1);
    }
    const double mean = sum / n;
    EXPECT_NEAR(mean, 1, 4 / std::sqrt(n));
    EXPECT_NEAR(squares / n - mean * mean, 1, 4 * std::sqrt(8 / n));
    EXPECT_NEAR(products / n, 0, 4 / std::sqrt(n)) << "gaps depend on the last one";
    std::sort(gaps.begin(), gaps.end());
    double distance = 0;
    for (size_t i = 0; i < gaps.size(); ++i) {
      const double expected = 1 - std::exp(-gaps[i]);
      distance = std::max({distance, expected - i / n, (i + 1) / n - expected});
    }
    EXPECT_LT(distance * std::sqrt(n), 1.95) << "Kolmogorov-Smirnov, one in 1000";
  }
}

TEST(PoissonArrivals, AreTheSameForTheSameSeed) {
  const auto times = [](uint64_t seed, uint32_t thread) {
    return All({Flat(1000),
                {.arrivals = Arrivals::kPoisson, .seed = seed, .thread = thread, .threads = 2}},
               1000);
  };
  EXPECT_EQ(times(1, 0), times(1, 0));
  EXPECT_NE(times(1, 0), times(2, 0));
  EXPECT_NE(times(1, 0), times(1, 1));
}

TEST(PoissonArrivals, CarryNothingOverAPause) {
  const RatePlan plan = {{{1000, 1000, kSecond}, {0, 0, kSecond}, {1000, 1000, kSecond}}};
  double first = 0, before = 0;
  constexpr int kRuns = 2000;
  for (uint64_t seed = 0; seed < kRuns; ++seed) {
    const std::vector<int64_t> times = All({plan, {.arrivals = Arrivals::kPoisson, .seed = seed}});
    const auto resumed = std::lower_bound(times.begin(), times.end(), kSecond);
    ASSERT_NE(resumed, times.end());
    EXPECT_GE(*resumed, 2 * kSecond);
    EXPECT_LT(times.back(), 3 * kSecond);
    first += static_cast<double>(*resumed - 2 * kSecond) / kRuns;
    before += static_cast<double>(resumed - times.begin()) / kRuns;
  }
  EXPECT_NEAR(first, 1e6, 4e6 / std::sqrt(kRuns));
  EXPECT_NEAR(before, 1000, 4 * std::sqrt(1000.0 / kRuns));
}

TEST(Bursts, ComeTogetherEvenlySpaced) {
  const Schedule::Options options = {.arrivals = Arrivals::kBursts, .burst = 3};
  const std::vector<int64_t> expected = {0,           0,           0,          300'000'000,
                                         300'000'000, 300'000'000, 600'000'000};
  EXPECT_EQ(All({Flat(10), options}, 7), expected);
  for (const RatePlan& plan :
       {Flat(70'001, kSecond), RatePlan{{{100, 50'000, kSecond}, {50'000, 1, kSecond}}}}) {
    for (const uint32_t burst : {2, 5, 1000, 100'000}) {
      const Schedule::Options sized = {.arrivals = Arrivals::kBursts, .burst = burst};
      const std::vector<int64_t> alone = All({plan, sized});
      ASSERT_GT(alone.size(), 0u);
      EXPECT_EQ(alone.size() % burst, 0u);
      for (size_t i = 0; i < alone.size(); ++i) ASSERT_EQ(alone[i], alone[i / burst * burst]);
      for (uint32_t threads = 2; threads <= 7; ++threads) {
        EXPECT_EQ(Union(plan, sized, threads), alone) << burst << " " << threads;
      }
    }
  }
}

TEST(Schedule, CountsExactlyWhatIsDue) {
  const RatePlan plan = {{{33.3, 33.3, 3 * kSecond},
                          {0, 0, kSecond},
                          {10, 90, kSecond},
                          {0.7, 0.7, 10 * kSecond},
                          {20, 20, kNever}}};
  for (const uint32_t burst : {0, 1, 4}) {
    for (uint32_t thread = 0; thread < 3; ++thread) {
      const Schedule schedule(plan,
                              {.arrivals = burst > 0 ? Arrivals::kBursts : Arrivals::kConstant,
                               .burst = burst,
                               .thread = thread,
                               .threads = 3});
      const std::vector<int64_t> times = All(schedule, 200);
      for (size_t i = 0; i < times.size(); ++i) {
        const auto before = std::lower_bound(times.begin(), times.end(), times[i]) - times.begin();
        EXPECT_EQ(schedule.CountUntil(times[i]), static_cast<double>(before));
        if (i + 1 < times.size() && times[i + 1] > times[i]) {
          EXPECT_EQ(schedule.CountUntil(times[i] + 1), static_cast<double>(i + 1));
        }
      }
      EXPECT_EQ(schedule.CountUntil(0), 0);
      EXPECT_EQ(schedule.CountUntil(-5), 0);
    }
  }
  Schedule fast(Flat(1e9), {.thread = 1, .threads = 2});
  EXPECT_EQ(fast.CountUntil(3'600'000'000'000), 1.8e12);
}

TEST(RatePlan, SaysWhatIsWrong) {
  const auto problem = [](const RatePlan& plan) { return std::string(plan.Check().message()); };
  EXPECT_EQ(problem(Flat(5)), "");
  EXPECT_EQ(problem(Flat(0.001)), "");
  EXPECT_EQ(problem(Flat(1e9, 1)), "");
  EXPECT_EQ(problem({{{0, 5, 100}, {0, 0, 5}}}), "");
  EXPECT_EQ(problem({}), "no request is ever due; give a rate above 0");
  EXPECT_EQ(problem(Flat(0)), "no request is ever due; give a rate above 0");
  for (const double rate : {-1.0, 0.0009, 1.1e9, double{INFINITY}, double{NAN}}) {
    EXPECT_NE(problem(Flat(rate)).find("is out of range; use 0 for a pause"), std::string::npos);
  }
  EXPECT_EQ(problem({{{5, 5, 0}}}),
            "part 1 of the rates has no length; give each part a time above 0");
  EXPECT_EQ(problem({{{5, 5, 10}, {5, 5, kNever}, {5, 5, 10}}}),
            "part 2 of the rates has no length; only the last one may lack it, as in 10k/10s,50k");
  EXPECT_EQ(problem({{{5, 6, kNever}}}),
            "a ramp has no length; say in which time it gets there, as in 10k:100k/60s");
}

TEST(RatePlan, IsScaledAndMeasured) {
  const RatePlan plan = {{{1, 2, 10}, {3, 3, 20}}};
  const RatePlan twice = plan.Times(2);
  EXPECT_EQ(twice.segments[0].begin_rate, 2);
  EXPECT_EQ(twice.segments[0].end_rate, 4);
  EXPECT_EQ(twice.segments[1].length_ns, 20);
  EXPECT_EQ(plan.length_ns(), 30);
  EXPECT_EQ(Flat(1).length_ns(), kNever);
  EXPECT_EQ((RatePlan{{{1, 1, kNever - 1}, {1, 1, 2}}}).length_ns(), kNever);
}

}  // namespace
}  // namespace loadgen
