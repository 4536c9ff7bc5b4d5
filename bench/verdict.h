#pragma once

#include <span>

#include "stats/signed_rank.h"

namespace bench {

// What can be said of B against A.
enum class Verdict {
  kFaster,           // Better by more than the margin.
  kSlower,           // Worse by more than the margin.
  kSame,             // Within the margin, either way.
  kSmallDifference,  // Different, but it stays open whether by more than the margin.
  kCannotTell,
};

// "faster", "slower", "same", "small difference", "cannot tell".
const char* Name(Verdict verdict);

// The numbers of pairs after which a comparison may be judged. Judging more often finds a
// difference between equals sooner or later; with these looks, each at kLookConfidence, that
// happens to about one comparison in twenty.
// Source: Pocock, "Group sequential methods in the design and analysis of clinical trials" (1977),
// whose nominal level for four looks at 5 % in all is 1.82 % a look.
inline constexpr int kLooks[] = {10, 20, 40, 80};
inline constexpr double kLookConfidence = 0.9818;

bool IsLook(int pairs);

struct Judgement {
  Verdict verdict;
  bool final;  // Decided, or the last look: no more pairs are to be played.

  stats::PairedEstimate ratio;  // Of log(B/A).
  double ratio_estimate;        // B/A: exp() of the above.
  double ratio_low;             // 0 when there are too few pairs.
  double ratio_high;            // Infinite likewise.
  int pairs;
  double confidence;  // of the interval

  // For kCannotTell roughly how many further pairs decide, provided the estimate stays and the
  // interval shrinks with the root of their number; at least to the next look. Else 0.
  int more_pairs;

  // The half-width of the interval as a share (0.03: 3 %): a true difference of about this size is
  // within reach with these pairs, a smaller margin is not. Infinite when there are too few.
  double reachable;
};

// Judges B against A by the logarithms of the ratios B/A of a metric, a value a pair. To be called
// only where IsLook().
//
// `margin` >= 0 is the share that matters (0.05: 5 %). It is symmetric in the logarithm: B and A
// are alike when B/A is between 1 / (1 + margin) and 1 + margin, so that swapping the arms swaps
// faster and slower and changes nothing else. `lower_is_better` is for latencies and costs.
// `is_last_look` gives up: it settles for kSmallDifference, or ends in kCannotTell.
// `confidence` is that of the interval: kLookConfidence, or more where several arms are judged at
// once (ConfidenceOf()).
Judgement Judge(std::span<const double> log_ratios, double margin, bool lower_is_better,
                bool is_last_look, double confidence = kLookConfidence);

// The confidence of each look's interval where `comparisons` arms are judged against the same one:
// Bonferroni's, so that the chance of a false alarm of any of them stays that of one.
double ConfidenceOf(int comparisons);

}  // namespace bench
