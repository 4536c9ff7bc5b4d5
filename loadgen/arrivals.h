#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "absl/status/status.h"
#include "services/splitmix.h"

namespace loadgen {

// A time that never comes; the length of what has no end.
inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

// A part of a plan: the rate goes in a straight line from one value to another.
struct RateSegment {
  double begin_rate = 0, end_rate = 0;  // requests per second
  int64_t length_ns = kNever;
};

// How many requests per second are due, over time.
struct RatePlan {
  static constexpr double kRateMin = 0.001, kRateMax = 1e9;  // of rates above 0

  std::vector<RateSegment> segments;

  // InvalidArgument, with one sentence on what is wrong and what would be right: no segment; a rate
  // that is neither 0 nor from kRateMin to kRateMax; a length that isn't above 0; one without end
  // that isn't the last, or that is a ramp; no request at all.
  absl::Status Check() const;

  // Each rate `factor` times as high.
  RatePlan Times(double factor) const;

  int64_t length_ns() const;  // kNever where there is no end
};

enum class Arrivals {
  kConstant,  // evenly spaced: one whenever the cumulative rate reaches a whole number, 0 included
  kPoisson,   // independent of each other (open arrivals of many users)
  kBursts,    // as kConstant, but `burst` at a time, at 1/burst of the rate
};

// When the requests of one thread are due, of several that share a plan's. Over all threads, and
// whatever their number, constant arrivals and bursts are the plan's; Poisson arrivals are a
// Poisson process at its rate, as the threads' own are independent of each other. The same
// arguments give the same times.
//
// Memory doesn't grow with the number of arrivals: the next one is computed when it is asked for,
// from exact fractions (constant rates) or from its number (ramps), so times never drift. They are
// rounded down to a nanosecond. One thread.
class Schedule {
 public:
  static constexpr uint32_t kThreadsMax = 4096;
  static constexpr uint32_t kBurstMax = 1'000'000;

  struct Options {
    Arrivals arrivals = Arrivals::kConstant;
    uint32_t burst = 1;                // of kBursts. REQUIRES: 1 to kBurstMax
    uint64_t seed = 0;                 // of kPoisson
    uint32_t thread = 0, threads = 1;  // REQUIRES: thread < threads <= kThreadsMax
  };

  // REQUIRES: plan.Check().ok()
  Schedule(const RatePlan& plan, const Options& options);

  // When the thread's next arrival is due, in nanoseconds since the plan began, never before the
  // last one; kNever when there are no more.
  int64_t Peek() const noexcept { return next_; }

  // The same, and goes on to the one after it.
  int64_t Next() noexcept {
    const int64_t due = next_;
    options_.arrivals == Arrivals::kPoisson ? AdvanceRandom() : AdvanceEven();
    return due;
  }

  // How many of the thread's arrivals are due before so many nanoseconds have passed: exactly, or,
  // of kPoisson, the expected number. It may be asked about any time.
  double CountUntil(int64_t ns) const;

 private:
  // A segment of the plan, with what can be computed beforehand. Constant arrivals are bursts of
  // one; `groups` are bursts, numbered over the whole plan and all threads.
  struct Part {
    int64_t begin_ns, length_ns;  // with an end: of the last one, kNever's
    double begin_rate, slope;     // per ns, and per ns^2
    double count;                 // of requests, over its length
    bool flat;
    uint64_t first_group, end_group;  // that are due in it
    long double offset;               // in groups: from its begin to its first one's number
    // Of flat ones: a time is a number of ns and `remainder` times 1/divisor ns. The first group
    // is due `first` after the begin; two are `interval` apart.
    uint64_t divisor;
    unsigned __int128 interval;  // in 1/divisor ns
    unsigned __int128 first;     // likewise
    // Steps between the thread's groups: these come in two sizes, one group apart.
    uint64_t step_ns[2], step_remainder[2];
  };

  void AdvanceEven() noexcept {
    in_burst_ += burst_step_;
    const bool carry = in_burst_ >= burst_;
    if (carry) in_burst_ -= burst_;
    const uint64_t step = group_step_ + carry;
    if (step == 0) return;  // in the same burst
    group_ += step;
    if (group_ >= end_group_) [[unlikely]]
      return EnterEven();
    const Part& part = parts_[part_];
    if (!part.flat) {
      next_ = std::max(next_, TimeOnRamp(part, group_));
      return;
    }
    remainder_ += part.step_remainder[carry];
    next_ += static_cast<int64_t>(part.step_ns[carry]);
    if (remainder_ >= part.divisor) {
      remainder_ -= part.divisor;
      ++next_;
    }
  }

  void AdvanceRandom() noexcept {
    if (part_ >= parts_.size()) {
      next_ = kNever;
      return;
    }
    due_ += Exponential();
    if (due_ >= parts_[part_].count) [[unlikely]] {
      if (!EnterRandom()) return;
    }
    const Part& part = parts_[part_];
    const double ns = part.flat ? due_ / part.begin_rate : Invert(part, due_);
    next_ = std::max(next_, TimeIn(part, ns));
  }

  // A step of the whole plan's cumulative rate that brings one arrival to this thread.
  double Exponential() noexcept {
    const uint64_t random = services::SplitMix64(random_++);
    return -std::log(static_cast<double>((random >> 11) + 1) * 0x1p-53) * threads_;
  }

  // How long after a ramp's begin the cumulative rate is `count`: the stable form of the quadratic
  // equation's solution.
  template <class Real>
  static Real Invert(const Part& part, Real count) noexcept {
    const Real rate = part.begin_rate;
    const Real root = std::sqrt(std::max<Real>(0, rate * rate + 2 * part.slope * count));
    return count <= 0 ? 0 : 2 * count / (rate + root);
  }

  int64_t TimeOnRamp(const Part& part, uint64_t group) const noexcept {
    const long double groups = static_cast<long double>(group - part.first_group) + part.offset;
    const long double ns = Invert<long double>(part, groups * burst_);
    return TimeIn(part, ns);
  }

  // The time so long after the part's begin, which rounding doesn't lead beyond its end.
  template <class Real>
  static int64_t TimeIn(const Part& part, Real ns) noexcept {
    const bool beyond = ns >= static_cast<Real>(part.length_ns);
    return part.begin_ns + (beyond ? part.length_ns - 1 : static_cast<int64_t>(ns));
  }

  void AddPart(const RateSegment& segment, int64_t begin_ns, long double* count);
  void PlanFlat(Part& part, double rate) const;
  void EnterEven() noexcept;
  bool EnterRandom() noexcept;
  int64_t TimeOf(const Part& part, uint64_t group) const noexcept;
  uint64_t GroupsUntil(int64_t ns) const;
  double ExpectedUntil(int64_t ns) const;

  Options options_;
  std::vector<Part> parts_;  // those with requests
  size_t part_ = 0;          // the current one
  int64_t next_ = 0;
  // kConstant and kBursts: the thread's arrivals are every threads-th, which is group_step_ groups
  // and burst_step_ requests further on.
  uint32_t burst_, burst_step_, in_burst_ = 0;
  uint64_t group_step_, group_ = 0, end_group_ = 0;
  uint64_t remainder_ = 0;
  // kPoisson
  double threads_;
  uint64_t random_ = 0;
  double due_ = 0;  // requests of all threads since the part's begin, at the next arrival
};

}  // namespace loadgen
