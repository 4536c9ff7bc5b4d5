#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <span>
#include <utility>
#include <vector>

#include "services/splitmix.h"

namespace services {

// How large each request of each connection is: one size, or a distribution of sizes. A size is a
// pure function of the connection, the request's number on it, and a seed: whoever sends and
// whoever verifies agree without storing anything. Immutable but for set_seed(); any thread.
//
// Every distribution is a set of ranges of sizes with a probability each, drawn by the alias method
// (Walker: An efficient method for generating discrete random variables with general distributions,
// 1977; Vose: A linear algorithm, 1991), and even within a range. Continuous distributions are
// rounded to the nearest byte and truncated to 1..kMax, and to what isn.t rarer than 1 in 10^12:
// sizes beyond are drawn again, not cut.
// Their ranges hold one size each up to 128, and further up are below 1.6 % wide; a range has
// exactly its share of the distribution.
class SizePlan {
 public:
  static constexpr uint32_t kMax = 1 << 20;                   // the largest size, where sizes vary
  static constexpr double kShapeMin = 0.01, kShapeMax = 100;  // of LogNormal and Pareto

  // A size, or one of Weighted()'s.
  struct Weight {
    uint32_t bytes;
    double weight;  // relative to the others'
  };

  // 0: the user of the plan knows the size (ServiceOptions::message_bytes).
  SizePlan() = default;

  static SizePlan Fixed(uint32_t bytes) {
    SizePlan plan;
    plan.min_ = plan.max_ = bytes;
    plan.mean_ = bytes;
    return plan;
  }

  // From least to most, both included. REQUIRES: 1 <= least <= most <= kMax.
  static SizePlan Uniform(uint32_t least, uint32_t most) {
    return FromRanges({{least, most - least + 1, 1.0}});
  }

  // REQUIRES: not empty, sizes from 1 to kMax, weights finite and not negative, one above 0.
  static SizePlan Weighted(std::span<const Weight> weights) {
    std::vector<Range> ranges;
    for (const Weight& one : weights) ranges.push_back({one.bytes, 1, one.weight});
    return FromRanges(std::move(ranges));
  }

  // Of that mean, before the truncation. REQUIRES: mean from 1 to kMax.
  static SizePlan Exponential(double mean) {
    return FromSurvival([mean](double size) { return std::exp(-size / mean); });
  }

  // The logarithm is normal, with that standard deviation. REQUIRES: median from 1 to kMax, sigma
  // from kShapeMin to kShapeMax.
  static SizePlan LogNormal(double median, double sigma) {
    return FromSurvival([median, sigma](double size) {
      return 0.5 * std::erfc(std::log(size / median) / (sigma * std::numbers::sqrt2));
    });
  }

  // Larger than `size` with probability (least/size)^alpha. REQUIRES: least from 1 to kMax, alpha
  // from kShapeMin to kShapeMax.
  static SizePlan Pareto(double least, double alpha) {
    return FromSurvival(
        [least, alpha](double size) { return size <= least ? 1 : std::pow(least / size, alpha); });
  }

  void set_seed(uint64_t seed) { seed_ = SplitMix64(seed); }

  bool varies() const noexcept { return !columns_.empty(); }
  uint32_t Min() const noexcept { return min_; }  // no size is below
  uint32_t Max() const noexcept { return max_; }  // no size is above
  double Mean() const noexcept { return mean_; }  // of what is drawn: truncated, rounded

  // The size of request number `request`, counted from 0, of a connection: from Min() to Max().
  uint32_t At(uint64_t connection, uint64_t request) const noexcept {
    return columns_.empty() ? max_ : Draw(Start(connection) + request * kStep);
  }

  // The same for one request after another: Start() is the first one's place, Step() moves a place
  // to the next one's, and AtPlace() is the size there.
  uint64_t Start(uint64_t connection) const noexcept { return seed_ + connection * kConnection; }
  static void Step(uint64_t& place) noexcept { place += kStep; }
  uint32_t AtPlace(uint64_t place) const noexcept { return columns_.empty() ? max_ : Draw(place); }

 private:
  // A connection's places are splitmix64's states, each connection's begin elsewhere. The second
  // factor is one of Steele and Vigna: Computationally easy, spectrally good multipliers, 2022.
  static constexpr uint64_t kStep = 0x9e3779b97f4a7c15;
  static constexpr uint64_t kConnection = 0xd1342543de82ef95;
  static constexpr double kNever = 0x1p-40;  // what is less probable is left out
  static constexpr int kRangesLog2 = 6;      // ranges between a power of two and the next

  // Sizes from `least` on, so many, each as likely as the others.
  struct Range {
    uint32_t least, count;
    double weight;
  };
  // Two ranges that share a column of the alias table: the first is taken below `threshold`.
  struct Column {
    uint64_t threshold;  // of 2^32
    std::array<uint32_t, 2> least, count;
  };

  uint32_t Draw(uint64_t place) const noexcept {
    const uint64_t random = SplitMix64(place);
    const uint64_t scaled = (random >> 32) * columns_.size();
    const Column& column = columns_[scaled >> 32];
    const bool second = (scaled & 0xffffffff) >= column.threshold;
    return column.least[second] +
           static_cast<uint32_t>(((random & 0xffffffff) * column.count[second]) >> 32);
  }

  // `survival(size)` is the probability of more than `size`, for sizes that are not rounded yet.
  template <class F>
  static SizePlan FromSurvival(F&& survival) {
    std::vector<Range> ranges;
    for (uint32_t least = 1; least <= kMax;) {
      const int wide = std::max(0, static_cast<int>(std::bit_width(least)) - 1 - kRangesLog2);
      const uint32_t count = std::min(uint32_t{1} << wide, kMax - least + 1);
      const double weight = survival(least - 0.5) - survival(least + count - 0.5);
      if (weight > kNever) ranges.push_back({least, count, weight});
      least += count;
    }
    return FromRanges(std::move(ranges));
  }

  static SizePlan FromRanges(std::vector<Range> ranges) {
    SizePlan plan;
    std::erase_if(ranges, [](const Range& range) { return range.weight <= 0; });
    double total = 0, sum = 0;
    plan.min_ = UINT32_MAX;
    for (const Range& range : ranges) {
      total += range.weight;
      sum += range.weight * (range.least + (range.count - 1) / 2.0);
      plan.min_ = std::min(plan.min_, range.least);
      plan.max_ = std::max(plan.max_, range.least + range.count - 1);
    }
    plan.mean_ = sum / total;
    if (plan.min_ == plan.max_) return Fixed(plan.max_);
    for (Range& range : ranges) range.weight *= static_cast<double>(ranges.size()) / total;
    plan.columns_ = Columns(ranges);
    return plan;
  }

  // Vose's construction. The mean weight is 1.
  static std::vector<Column> Columns(std::vector<Range>& ranges) {
    std::vector<Column> columns(ranges.size());
    std::vector<size_t> small, large;
    for (size_t i = 0; i < ranges.size(); ++i) {
      columns[i] = {uint64_t{1} << 32,
                    {ranges[i].least, ranges[i].least},
                    {ranges[i].count, ranges[i].count}};
      (ranges[i].weight < 1 ? small : large).push_back(i);
    }
    while (!small.empty() && !large.empty()) {
      const size_t at = small.back(), other = large.back();
      small.pop_back();
      columns[at].threshold = static_cast<uint64_t>(ranges[at].weight * 0x1p32);
      columns[at].least[1] = ranges[other].least;
      columns[at].count[1] = ranges[other].count;
      ranges[other].weight -= 1 - ranges[at].weight;
      if (ranges[other].weight >= 1) continue;
      large.pop_back();
      small.push_back(other);
    }
    return columns;  // what is left over has weight 1, but for rounding
  }

  std::vector<Column> columns_;  // empty: every size is max_
  uint64_t seed_ = SplitMix64(0);
  uint32_t min_ = 0, max_ = 0;
  double mean_ = 0;
};

// Counts messages of a plan's sizes in a connection's stream, however it is cut. REQUIRES: no size
// is 0.
struct VaryingCount {
  uint64_t place = 0;            // in the plan: of the current message
  uint32_t bytes = 0, left = 0;  // of the current message: all, and those that haven't come

  void Begin(const SizePlan& plan, uint64_t connection) noexcept {
    place = plan.Start(connection);
    bytes = left = plan.AtPlace(place);
  }

  // So many bytes came: returns how many messages they complete.
  uint32_t Add(uint64_t came, const SizePlan& plan) noexcept {
    uint32_t complete = 0;
    for (; came >= left; ++complete) {
      came -= left;
      SizePlan::Step(place);
      bytes = left = plan.AtPlace(place);
    }
    left -= static_cast<uint32_t>(came);
    return complete;
  }
};

}  // namespace services
