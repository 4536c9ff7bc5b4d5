#include "loadgen/arrivals.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace loadgen {
namespace {

using Wide = unsigned __int128;

constexpr double kSecond = 1e9;

bool IsRate(double rate) {
  return rate == 0 || (rate >= RatePlan::kRateMin && rate <= RatePlan::kRateMax);
}

absl::Status Wrong(const std::string& what, const char* want) {
  return absl::InvalidArgumentError(absl::StrCat(what, "; ", want));
}

Wide CeilDiv(Wide a, Wide b) { return (a + b - 1) / b; }

}  // namespace

absl::Status RatePlan::Check() const {
  bool any = false;
  for (size_t i = 0; i < segments.size(); ++i) {
    const auto& [begin_rate, end_rate, length_ns] = segments[i];
    for (const double rate : {begin_rate, end_rate}) {
      if (!IsRate(rate)) {
        return Wrong(absl::StrCat("a rate of ", rate, " requests per second is out of range"),
                     "use 0 for a pause, or 0.001 to 1G");
      }
      any = any || rate > 0;
    }
    if (length_ns <= 0) {
      return Wrong(absl::StrCat("part ", i + 1, " of the rates has no length"),
                   "give each part a time above 0");
    }
    if (length_ns < kNever) continue;
    if (begin_rate != end_rate) {
      return Wrong("a ramp has no length", "say in which time it gets there, as in 10k:100k/60s");
    }
    if (i + 1 < segments.size()) {
      return Wrong(absl::StrCat("part ", i + 1, " of the rates has no length"),
                   "only the last one may lack it, as in 10k/10s,50k");
    }
  }
  return any ? absl::OkStatus() : Wrong("no request is ever due", "give a rate above 0");
}

RatePlan RatePlan::Times(double factor) const {
  RatePlan plan = *this;
  for (RateSegment& segment : plan.segments) {
    segment.begin_rate *= factor;
    segment.end_rate *= factor;
  }
  return plan;
}

int64_t RatePlan::length_ns() const {
  int64_t total = 0;
  for (const RateSegment& segment : segments) {
    if (segment.length_ns >= kNever - total) return kNever;
    total += segment.length_ns;
  }
  return total;
}

Schedule::Schedule(const RatePlan& plan, const Options& options)
    : options_(options),
      burst_(options.arrivals == Arrivals::kBursts ? options.burst : 1),
      burst_step_(options.threads % burst_),
      in_burst_(options.thread % burst_),
      group_step_(options.threads / burst_),
      group_(options.thread / burst_),
      threads_(options.threads),
      random_(services::SplitMix64(services::SplitMix64(options.seed) + options.thread)) {
  int64_t begin_ns = 0;
  long double count = 0;
  for (const RateSegment& segment : plan.segments) {
    const int64_t length = std::min(segment.length_ns, kNever - begin_ns);
    AddPart({segment.begin_rate, segment.end_rate, length}, begin_ns, &count);
    begin_ns += length;
  }
  if (options_.arrivals == Arrivals::kPoisson) {
    AdvanceRandom();
  } else {
    EnterEven();
  }
}

void Schedule::AddPart(const RateSegment& segment, int64_t begin_ns, long double* count) {
  const auto& [begin_rate, end_rate, length_ns] = segment;
  if ((begin_rate == 0 && end_rate == 0) || length_ns == 0) return;
  Part part = {.begin_ns = begin_ns, .length_ns = length_ns};
  part.flat = begin_rate == end_rate;
  part.begin_rate = begin_rate / kSecond;
  part.slope = (end_rate - begin_rate) / kSecond / static_cast<double>(length_ns);
  const long double mean = (static_cast<long double>(begin_rate) + end_rate) / 2;
  const long double before = *count / burst_;
  *count += mean * length_ns / kSecond;
  part.count = static_cast<double>(mean * length_ns / kSecond);
  // A group belongs to the part in which it is due. The numbers go on where the last part's ended,
  // even where rounding lets the cumulative rate say otherwise by one.
  part.first_group = parts_.empty() ? 0 : parts_.back().end_group;
  part.offset = std::max(0.0L, static_cast<long double>(part.first_group) - before);
  if (part.flat) {
    PlanFlat(part, begin_rate);
  } else {
    const auto end = static_cast<uint64_t>(std::ceil(*count / burst_));
    part.end_group = std::max(part.first_group, end);
  }
  parts_.push_back(part);
}

// A rate is a binary fraction, mantissa * 2^exponent, so an interval is one of 1/mantissa ns. All
// products stay below 2^127: a rate is at least 2^-10, a burst below 2^20, threads at most 2^12.
void Schedule::PlanFlat(Part& part, double rate) const {
  int exponent = 0;
  part.divisor = static_cast<uint64_t>(std::frexp(rate, &exponent) * 0x1p53);
  const Wide second = Wide{1'000'000'000} << (53 - exponent);  // of one request
  part.interval = second * burst_;
  if (part.offset == std::floor(part.offset)) {
    part.first = part.interval * static_cast<uint64_t>(part.offset);
  } else {
    const long double ns = part.offset * burst_ * kSecond / rate;
    const auto whole = static_cast<uint64_t>(ns);
    const auto rest = static_cast<uint64_t>((ns - whole) * part.divisor);
    part.first = Wide{whole} * part.divisor + rest;
  }
  const Wide end = Wide(part.length_ns) * part.divisor;
  const Wide groups = part.first >= end ? 0 : CeilDiv(end - part.first, part.interval);
  part.end_group = part.first_group + static_cast<uint64_t>(groups);
  for (const int carry : {0, 1}) {
    const Wide step = part.interval * (group_step_ + carry);
    // A step that leads beyond the part is never taken.
    part.step_ns[carry] = static_cast<uint64_t>(std::min<Wide>(step / part.divisor, kNever));
    part.step_remainder[carry] = static_cast<uint64_t>(step % part.divisor);
  }
}

// Goes to the part of the thread's next group.
void Schedule::EnterEven() noexcept {
  while (part_ < parts_.size() && group_ >= parts_[part_].end_group) ++part_;
  if (part_ == parts_.size()) {
    next_ = kNever;
    end_group_ = 0;  // whoever asks again comes here again
    group_ = 0;
    return;
  }
  const Part& part = parts_[part_];
  end_group_ = part.end_group;
  next_ = TimeOf(part, group_);
  if (!part.flat) return;
  const Wide due = part.first + part.interval * (group_ - part.first_group);
  remainder_ = static_cast<uint64_t>(due % part.divisor);
}

// Goes to the part of the thread's next arrival, as the process has no memory: what of the last
// step leads beyond a part's end is taken in the next one. False: there is none.
bool Schedule::EnterRandom() noexcept {
  while (due_ >= parts_[part_].count) {
    due_ -= parts_[part_].count;
    if (++part_ == parts_.size()) {
      next_ = kNever;
      return false;
    }
  }
  return true;
}

int64_t Schedule::TimeOf(const Part& part, uint64_t group) const noexcept {
  if (!part.flat) return TimeOnRamp(part, group);
  const Wide due = part.first + part.interval * (group - part.first_group);
  return part.begin_ns + static_cast<int64_t>(due / part.divisor);
}

double Schedule::CountUntil(int64_t ns) const {
  if (options_.arrivals == Arrivals::kPoisson) return ExpectedUntil(ns) / threads_;
  const uint64_t groups = GroupsUntil(ns);
  // The thread's of arrivals 0 to groups * burst - 1.
  const Wide all = Wide{groups} * burst_;
  if (all <= options_.thread) return 0;
  return static_cast<double>(CeilDiv(all - options_.thread, options_.threads));
}

// How many groups, of all threads, are due before that.
uint64_t Schedule::GroupsUntil(int64_t ns) const {
  uint64_t groups = 0;
  for (const Part& part : parts_) {
    if (part.begin_ns >= ns) break;
    uint64_t least = part.first_group, end = part.end_group;
    while (least < end) {  // the first that is not due before
      const uint64_t middle = least + (end - least) / 2;
      if (TimeOf(part, middle) < ns) {
        least = middle + 1;
      } else {
        end = middle;
      }
    }
    groups = least;
  }
  return groups;
}

double Schedule::ExpectedUntil(int64_t ns) const {
  double count = 0;
  for (const Part& part : parts_) {
    if (part.begin_ns >= ns) break;
    const auto t = static_cast<double>(std::min(ns - part.begin_ns, part.length_ns));
    count += t * (part.begin_rate + part.slope * t / 2);
  }
  return count;
}

}  // namespace loadgen
