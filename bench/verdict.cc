#include "bench/verdict.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace bench {
namespace {

// Larger means out of reach; it also keeps the estimate an int.
constexpr double kPairsMax = 1e6;

// `low` and `high` bound the logarithm of how much better B is, `margin` is logarithmic too.
Verdict Decide(double low, double high, double margin, bool is_last_look) {
  if (low > margin) return Verdict::kFaster;
  if (high < -margin) return Verdict::kSlower;
  if (low > -margin && high < margin) return Verdict::kSame;
  if (is_last_look && (low > 0 || high < 0)) return Verdict::kSmallDifference;
  return Verdict::kCannotTell;
}

// How many pairs, in all, would make the interval narrow enough for another verdict: one that
// leaves out 0, or one that stays within the margin, whichever is nearer.
double PairsNeeded(double estimate, double half_width, double margin, int pairs) {
  const double distance = std::abs(estimate);
  const double narrow = std::max(distance, margin - distance);
  return pairs * std::pow(half_width / narrow, 2);
}

int MorePairs(double estimate, double half_width, double margin, int pairs) {
  const int* next_look = std::upper_bound(std::begin(kLooks), std::end(kLooks), pairs);
  const int at_least = next_look == std::end(kLooks) ? pairs + 1 : *next_look;
  if (!std::isfinite(half_width)) return at_least - pairs;
  const double needed = std::ceil(PairsNeeded(estimate, half_width, margin, pairs));
  // Written so that a needed number that isn't one (0 / 0) ends at the cap.
  const double capped = needed < kPairsMax ? needed : kPairsMax;
  return std::max(static_cast<int>(capped), at_least) - pairs;
}

}  // namespace

const char* Name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kFaster:
      return "faster";
    case Verdict::kSlower:
      return "slower";
    case Verdict::kSame:
      return "same";
    case Verdict::kSmallDifference:
      return "small difference";
    case Verdict::kCannotTell:
      return "cannot tell";
  }
  return "unknown";
}

bool IsLook(int pairs) {
  return std::find(std::begin(kLooks), std::end(kLooks), pairs) != std::end(kLooks);
}

Judgement Judge(std::span<const double> log_ratios, double margin, bool lower_is_better,
                bool is_last_look, double confidence) {
  const stats::PairedEstimate ratio = stats::SignedRank(log_ratios, confidence);
  const double log_margin = std::log1p(margin);
  const double half_width = (ratio.high - ratio.low) / 2;
  const double low = lower_is_better ? -ratio.high : ratio.low;
  const double high = lower_is_better ? -ratio.low : ratio.high;

  Judgement judgement{};
  judgement.verdict = Decide(low, high, log_margin, is_last_look);
  judgement.final = is_last_look || judgement.verdict != Verdict::kCannotTell;
  judgement.ratio = ratio;
  judgement.ratio_estimate = std::exp(ratio.estimate);
  judgement.ratio_low = std::exp(ratio.low);
  judgement.ratio_high = std::exp(ratio.high);
  judgement.pairs = ratio.pairs;
  judgement.confidence = confidence;
  judgement.reachable = std::expm1(half_width);
  if (judgement.verdict == Verdict::kCannotTell) {
    judgement.more_pairs = MorePairs(ratio.estimate, half_width, log_margin, ratio.pairs);
  }
  return judgement;
}

double ConfidenceOf(int comparisons) {
  return 1 - (1 - kLookConfidence) / std::max(1, comparisons);
}

}  // namespace bench
